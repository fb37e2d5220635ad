"""Each benchmark measures what it says, on a model small enough to measure in a blink."""

import json
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kvbench.analysis.pool import pool
from kvbench.analysis.verdicts import judge
from kvbench.bench import capacity, decode, latency, phase, vram
from kvbench.bench import roofline as decode_step
from kvbench.bench.meters import clock
from kvbench.bench.meters.peak_memory import CpuPeak, ProfilerPeak, peak_meter
from kvbench.bench.quality import perplexity
from kvbench.bench.quality.one_forward import cached_logits
from kvbench.bench.setup import ready
from kvbench.bench.yardstick import Yardstick
from kvbench.caches import make
from kvbench.cell import PHASES, steps_a_reading
from kvbench.files.placeholder import NotMeasuredError
from kvbench.job.measure import out_of_memory_is_a_result
from kvbench.models import gpt2
from kvbench.models.build import build
from kvbench.plan.cells import cell
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.queue import queue_key, run_order, sample_queue
from kvbench.records import schema
from kvbench.records.byte_sums import ByteSumError, check_bytes
from kvbench.records.provenance import stamp
from kvbench.records.read import MixedRecordsError, read_cells
from kvbench.records.store import read_record, write_lines, write_record
from kvbench.report import tables
from kvbench.report.figures import degradation, speedup, style, tradeoff
from kvbench.report.figures import latency as latency_figure
from kvbench.report.figures import perplexity as perplexity_figure
from kvbench.report.figures import phase as phase_figure
from kvbench.report.figures import roofline as roofline_figure
from kvbench.report.figures import vram as vram_figure

VERSIONS = ["v0", "v1", "v2", "v3", "v4"]
SHAPE = {"n_layer": 3, "n_head": 2, "n_embd": 64, "block_size": 96, "vocab_size": 101}
STUDY = {
    "pretrained": "null",
    "energy_s": 0,
    "model_config": SHAPE,
    "prompt_length": 8,
    "num_measure_runs": 3,
}
CONFIG = resolve(STUDY | {"roofline": {"P": 20}, "device": "cpu"}, load_schema())
SEED_KEYS = {
    *("implementation_name", "gpu_name", "gpu_total_vram", "python_version", "pytorch_version"),
    *("cuda_version", "dtype", "model_config", "pretrained", "prompt_length", "batch_size", "seed"),
    *("benchmark_name", "version", "version_description", "use_cache", "kv_cache_quant"),
    *("cross_layer_sharing", "T", "time_total_ms_median", "time_per_token_ms_median"),
}


def cell_of(benchmark, version, **where):
    return cell(CONFIG, benchmark, "custom", version, **{"batch": 2, **where})


@pytest.fixture(scope="module")
def samples():
    """Two processes' worth of latency samples for every version at two lengths."""
    return {
        (version, T): [
            latency.run(cell_of("latency", version, T=T), None) | {"replicate": r} for r in (1, 2)
        ]
        for version in VERSIONS
        for T in (4, 8)
    }


def test_latency_records_every_step_of_every_run(samples):
    record = samples["v2", 8][0]
    assert set(record) >= SEED_KEYS
    assert len(record["runs"]) == 3 and all(len(run["step_ms"]) == 8 for run in record["runs"])
    for run in record["runs"]:
        assert run["ttft_ms"] >= run["step_ms"][0] > 0
        assert sum(run["step_ms"]) + run["sampling_ms"] == pytest.approx(run["device_ms"])
        assert run["device_ms"] <= run["time_total_ms"]
    json.dumps(record, allow_nan=False)


def calls_of_a_reading(cell):
    """Every operator that one reading calls, with the shapes it is called on."""
    with ready(cell, None) as setup:
        yardstick = Yardstick(setup, 2, prefill=True)
        with torch.profiler.profile(record_shapes=True) as counted:
            yardstick()
    return str(sorted((e.key, str(e.input_shapes), e.count) for e in counted.key_averages(True)))


def test_a_yardstick_is_read_in_every_run_and_is_the_same_work_for_every_version(samples):
    for version in VERSIONS:
        for sample in samples[version, 8]:
            assert len(sample["yardstick_ms"]) == len(sample["runs"])
    assert len({calls_of_a_reading(cell_of("latency", version, T=8)) for version in VERSIONS}) == 1
    without = latency.run(cell_of("latency", "v1", T=4).replace(yardstick=False), None)
    assert "yardstick_ms" not in without and len(without["runs"]) == 3


def test_readings_within_a_generation_are_in_none_of_its_times(monkeypatch):
    """A prefill before it, then a step after each of its own; time passes in them alone."""
    read, now_ns = [], 0

    def slow(yardstick):
        nonlocal now_ns
        read.append(yardstick.steps)
        now_ns += 50_000_000
        return 50.0

    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter_ns=lambda: now_ns))
    monkeypatch.setattr(Yardstick, "__call__", slow)
    record = latency.run(cell_of("latency", "v1", T=14).replace(num_measure_runs=1), None)
    assert record["yardstick_ms"] == [14 * 50.0]
    assert read == [0, 1] + [0] + 13 * [1]  # warm, then the run: 13 steps after the prefill
    assert record["runs"][0]["time_total_ms"] == 0
    assert set(record["runs"][0]["step_ms"]) == {0}


@pytest.mark.parametrize(("T", "readings"), [(8, 8), (64, 32), (128, 32), (160, 40), (2000, 500)])
def test_a_generation_is_read_within_at_least_32_times_or_after_each_step(T, readings):
    assert T // steps_a_reading(T) == readings


def test_the_backend_of_torch_s_attention_is_recorded_and_is_never_cudnn_s(samples):
    """A record names what torch chooses for the cell's own shapes."""
    for record in (sample for two in samples.values() for sample in two):
        assert record["sdpa_backend"] == {"prefill": "flash_attention", "decode": "flash_attention"}
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        record = latency.run(cell_of("latency", "v1", T=4), None)
    assert record["sdpa_backend"] == {"prefill": "math", "decode": "math"}


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["torch", "triton"])
def test_a_mask_takes_another_backend_on_a_gpu_and_cudnn_is_none(kernel):
    asked = {"device": "cuda", "dtype": "bfloat16", "kernel": kernel, "execution": "graph"}
    found = latency.run(cell_of("latency", "v1", T=4) | asked, None)["sdpa_backend"]
    step = "efficient_attention" if kernel == "torch" else "flash_attention"
    assert found == {"prefill": "flash_attention", "decode": step}


def test_pooling_keeps_all_raw_samples_and_gives_an_interval(samples):
    two = samples["v1", 8]
    pooled = pool(two)
    assert [process["runs"] for process in pooled["processes"]] == [s["runs"] for s in two]
    interval = pooled["time_total_ms_interval"]
    assert interval["low"] <= pooled["time_total_ms_median"] <= interval["high"]
    assert pool(two[:1])["time_total_ms_interval"]["low"] is None  # one process has no interval


def test_samples_of_two_machines_are_not_pooled(samples, tmp_path):
    here, there = samples["v1", 4]
    for name, record in (("r1", here), ("r2", there | {"device_name": "another"})):
        write_record(tmp_path / f"{name}.json", record)
    with pytest.raises(MixedRecordsError, match=r"device_name.*r1\.json.*r2\.json"):
        read_cells([str(tmp_path / f"{name}.json") for name in ("r1", "r2")], replicates=True)


@pytest.mark.parametrize("kind", [CpuPeak, ProfilerPeak])
def test_the_cpu_meters_count_every_byte(kind, request):
    library = str(request.getfixturevalue("library")) if kind is CpuPeak else None
    meter = peak_meter("cpu", library)
    assert type(meter) is kind
    meter.start()
    a = torch.empty(1000, dtype=torch.uint8)
    b = torch.empty(500, dtype=torch.uint8)
    del a
    meter.split()
    c = torch.empty(300, dtype=torch.uint8)
    meter.stop()
    del b, c
    assert meter.peaks == [1500, 800]


@pytest.mark.parametrize("version", VERSIONS)
def test_peak_memory_reconciles(version):
    record = vram.run(cell_of("vram", version, T=40), None)
    parts = record["baseline_memory_bytes"] + record["cache_reserved_bytes"]
    assert record["peak_memory_bytes"] == parts + record["transient_bytes"]
    assert record["peak_activation_bytes"] == max(
        record["prefill_peak_bytes"], record["decode_peak_bytes"]
    )
    held = 8 + 40 - 1  # the last token is generated, not cached
    used = 2 * held * record["cache_bytes_per_token"]
    assert record["cache_used_bytes"] == (0 if version == "v0" else used)
    assert len({json.dumps(repeat) for repeat in record["repeats"]}) == 1  # exact, so repeatable


def test_without_a_cache_the_first_and_the_last_step_have_the_peaks_of_all(monkeypatch):
    with ready(cell_of("vram", "v0", T=12), None) as setup:
        two = vram.one_run(setup)
        monkeypatch.setattr(vram, "first_and_last", vram.generate)
        every = vram.one_run(setup)
    peaks = ("prefill_peak_bytes", "decode_peak_bytes", "peak_activation_bytes")
    assert [two[key] for key in peaks] == [every[key] for key in peaks]


@pytest.mark.parametrize("key", ["transient_bytes", "cache_used_bytes", "decode_peak_bytes"])
def test_a_memory_record_whose_bytes_do_not_add_up_is_refused_by_name(key, tmp_path):
    record = vram.run(cell_of("vram", "v2", T=8), None)
    path = str(tmp_path / "v2.json")
    write_record(path, record)
    assert read_cells([path])[0]["cache_tokens"] == 8 + 8 - 1
    write_record(path, record | {key: record[key] + 10**9})
    with pytest.raises(ByteSumError, match=rf"v2\.json: .*{key}.* does not hold"):
        read_cells([path])


def test_transients_of_cached_versions_are_equal():
    """What a step needs beside the cache does not grow with what is cached."""
    of = {T: vram.run(cell_of("vram", "v1", T=T), None)["transient_bytes"] for T in (20, 80)}
    assert of[80] - of[20] == 2 * 60 * 8  # the buffer of token ids, int64


@pytest.mark.parametrize("version", ["v0", "v4"])
def test_phases_add_up_to_the_total(version):
    record = phase.run(cell_of("phase", version, T=5), None)
    for run in record["runs"]:
        assert sum(run[name] for name in phase.PHASES) == pytest.approx(run["total"])
        assert all(run[name] > 0 for name in phase.PHASES)
    assert record["instrumented_ratio"] > 0
    assert set(record["time_phase_ms"]) == {*phase.PHASES, "total"}


@pytest.mark.parametrize("version", VERSIONS)
def test_decode_times_every_step_at_one_depth(version, monkeypatch):
    lengths = []
    forward = gpt2.Model.forward
    monkeypatch.setattr(
        gpt2.Model,
        "forward",
        lambda model, idx, cache, *more: (
            lengths.append((cache.length, idx.size(1))) or forward(model, idx, cache, *more)
        ),
    )
    record = decode.run(cell_of("decode", version, depth=20), None)
    assert record["depth"] == record["prompt_length"] == 20
    assert [len(run["step_ms"]) for run in record["runs"]] == [CONFIG["decode"]["steps"]] * 3
    steps = (CONFIG["num_measure_runs"] + 1) * CONFIG["decode"]["steps"]
    assert lengths[-steps:] == [(0, 21) if version == "v0" else (20, 1)] * steps
    pooled = pool([record | {"replicate": r} for r in (1, 2)])
    assert pooled["tpot_ms_interval"]["replicates"] == 2 and "T" not in pooled


def test_a_dispatch_cell_makes_the_same_calls_on_next_to_nothing():
    def calls(benchmark):
        with torch.profiler.profile() as counted:
            decode.run(cell_of(benchmark, "v2", depth=20).replace(yardstick=False), None)
        named = ("linear", "matmul", "layer_norm", "gelu", "softmax", "index_put_", "round")
        return {e.key: e.count for e in counted.key_averages() if e.key.split("::")[-1] in named}

    tiny = cell_of("dispatch", "v2", depth=20).model_config
    assert tiny["n_layer"] == SHAPE["n_layer"] and tiny["n_head"] == 1
    assert calls("dispatch") == calls("decode")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["prefill", "decode"])
def test_a_phase_can_be_run_again_and_again_at_the_same_depth(version, name):
    record = decode_step.run(cell_of("roofline", version, phase=name, P=20), None)
    assert record["P"] == 20 and record["flop"] > 0 and record["bytes"] > record["weight_bytes"] - 1
    assert (record["kv_read_bytes"] == 0) == (version == "v0")


def test_a_short_phase_runs_on_until_it_was_watched_long_enough(monkeypatch):
    def runs(least_ms):
        monkeypatch.setattr(decode_step, "LEAST_MS", least_ms)
        return len(decode_step.run(cell_of("roofline", "v1", phase="decode", P=20), None)["runs"])

    assert (runs(0), runs(math.inf)) == (CONFIG["num_measure_runs"], decode_step.ENOUGH)


def test_a_phase_uses_of_a_run_budget_no_more_than_it_fills(monkeypatch):
    monkeypatch.setattr(decode_step, "LEAST_MS", 0)
    budgeted = cell_of("roofline", "v1", phase="prefill", P=20).replace(run_budget_s=100.0)
    assert len(decode_step.run(budgeted, None)["runs"]) == 1 < budgeted.num_measure_runs


def test_windows_score_each_token_once_and_never_a_first_one():
    spans = perplexity.windows(n_tokens=100, context=30, stride=12)
    scored = [token for _, end, first in spans for token in range(first, end)]
    assert scored == list(range(1, 100))
    assert all(end - begin <= 30 and first > begin for begin, end, first in spans)
    every = perplexity.windows(10_000, 30, 30)
    places = [every.index(span) for span in perplexity.evenly(every, 7)]
    assert len(every) == 334 and places[0] == 0
    assert {after - before for before, after in pairwise(places)} <= {47, 48}
    assert perplexity.evenly(every, None) == every


@pytest.mark.parametrize("version", VERSIONS)
def test_one_forward_scores_as_token_by_token_decoding(version):
    setting = cell_of("latency", version, T=1)
    model = build(CONFIG_SHAPE, setting.layer_owner, "float32", device="cpu")
    tokens = torch.randint(101, (40,), generator=torch.Generator().manual_seed(1))
    cache = make(setting.cache, model.config, 1, 40, model.lm_head.weight)
    steps = []
    for t in range(39):
        begin = cache.length if setting.use_cache else 0
        steps.append(model(tokens[None, begin : t + 1], cache)[0, -1])
    expected = torch.nn.functional.cross_entropy(torch.stack(steps), tokens[1:], reduction="sum")
    logits = cached_logits(model, setting.cache, tokens[None, :-1])[0]
    found = torch.nn.functional.cross_entropy(logits.float(), tokens[1:], reduction="sum")
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


CONFIG_SHAPE = cell_of("latency", "v1", T=1).model_config


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Perplexity records of every version on made tokens."""
    text = tmp_path_factory.mktemp("text") / "t.npz"
    tokens = np.random.default_rng(0).integers(101, size=300).astype(np.uint16)
    np.savez(text, tokens=tokens, token_bytes=np.full(101, 3, np.uint8))
    settings = {version: cell_of("perplexity", version) for version in VERSIONS}
    return [perplexity.run(s, None, str(text)) for s in settings.values()]


def test_perplexity_in_both_modes(scored):
    plain = {record["modes"]["teacher_forced"]["loss"] for record in scored}
    assert len(plain) == 1  # teacher forcing cannot see a cache
    for record in scored:
        assert record["perplexity"] == pytest.approx(math.exp(record["loss"]))
        assert record["bits_per_byte"] == pytest.approx(record["loss"] / math.log(2) / 3)
    v0, v1, v2, v3, _ = (record["loss"] for record in scored)
    assert v1 == pytest.approx(v0, rel=1e-6)
    assert v2 != v1 and v3 != v1  # quantised or shared K/V are not the same numbers


def test_a_version_is_compared_with_v1_token_by_token(scored):
    v0, v1, v2, v3, _ = (record["paired"]["kl"]["mean"] for record in scored)
    assert v0 == 0 and v1 < v2 < v3
    for record in scored:
        ratio = record["perplexity"] / record["modes"]["teacher_forced"]["perplexity"]
        assert record["paired"]["perplexity_ratio"]["ratio"] == pytest.approx(ratio)
        assert record["degradation"] == pytest.approx(100 * (ratio - 1))
        deltas = np.subtract(*(record["window_nll"][m] for m in ("cached", "teacher_forced")))
        mean = deltas.sum() / record["n_tokens"]
        assert record["paired"]["delta_nll"]["mean"] == pytest.approx(mean, abs=1e-9)
        assert len(record["by_layer"]["attention_error"]) == 3
        assert set(record["probes"]) == {"copy", "induction", "needle"}
        json.dumps(record, allow_nan=False)


def test_out_of_memory_is_a_result_and_other_errors_are_not():
    def greedy_for_memory(cell, weights):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")

    record = out_of_memory_is_a_result(greedy_for_memory, cell_of("vram", "v1", T=4), weights="x")
    assert record["error"] == "out of memory" and record["version"] == "v1" and record["T"] == 4

    def broken(cell, weights):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        out_of_memory_is_a_result(broken, cell_of("vram", "v1", T=4), weights="x")


def test_blocks_hold_every_version_once_in_an_order_of_their_own():
    order = run_order(CONFIG | {"T_values": [4, 8]}, ["custom"])
    turns = sorted(order, key=order.get)
    blocks = [turns[i : i + 5] for i in range(0, len(turns), 5)]
    assert len(blocks) == 2 * CONFIG["replicates"]
    for block in blocks:
        assert len({turn[:4] for turn in block}) == 1 and {t[4] for t in block} == set(VERSIONS)
    assert len({tuple(turn[4] for turn in block) for block in blocks}) > 1
    assert order == run_order(CONFIG | {"T_values": [4, 8]}, ["custom"])


def test_every_timed_sample_has_one_position_in_the_queue():
    order = sample_queue(CONFIG)
    assert sorted(order.values()) == list(range(1, len(order) + 1))
    path = {"preset": "custom", "batch": "1", "replicate": "3"}
    assert queue_key("latency", **path, version="v2", T="8") in order
    assert queue_key("dispatch", **path, version="v2", depth="32") in order
    assert queue_key("controls", **path, control="v1-again", T="16") in order
    point = {**path, "version": "v2", "phase": "decode"}
    assert queue_key("roofline", **point, P="20") in order
    assert queue_key("roofline", **point, P="21") not in order  # asked for by name
    of_points = {key: place for key, place in order.items() if key[0] == "roofline"}
    rounds = [key[-2] for key in sorted(of_points, key=of_points.get)]
    assert rounds == sorted(rounds) and set(rounds) == {"1", "2", "3"}


@pytest.fixture
def drawn(samples, scored):
    """Figures and the records they show."""
    pooled = [pool(two) for two in samples.values()]
    memory = [vram.run(cell_of("vram", v, T=T), None) for v in VERSIONS for T in (4, 8)]
    phases = [phase.run(cell_of("phase", v, T=4), None) for v in VERSIONS]
    phases = [record | {"instrumented_ratio": 1.0} for record in phases]  # else some are left out
    points = [
        decode_step.run(cell_of("roofline", v, phase=p, P=20), None)
        for v in VERSIONS
        for p in PHASES
    ]
    roofs = {"benchmark_name": "roofs", "dtype": "float32", "read_gb_s": 10.0, "gemm_gflop_s": 50.0}
    return {
        "latency": (latency_figure, pooled),
        "speedup": (speedup, [*pooled, judge(pooled, margin=0.02)]),
        "vram": (vram_figure, memory),
        "phase": (phase_figure, phases),
        "perplexity": (perplexity_figure, scored),
        "degradation": (degradation, scored),
        "tradeoff": (tradeoff, pooled + scored),
        "roofline": (roofline_figure, [*points, roofs]),
    }


def test_figures_and_tables_show_every_version_and_their_weights(drawn, tmp_path):
    for name, (family, records) in drawn.items():
        paths = [tmp_path / f"{name}.{ext}" for ext in ("svg", "png")]
        style.save(family.draw(records), *paths)
        svg = paths[0].read_text()
        shown = VERSIONS[1:] if name == "speedup" else VERSIONS
        assert all(version in svg for version in shown) and "weights: random" in svg, name
        again = tmp_path / f"{name}.again.svg"
        style.save(family.draw(records), again)
        assert again.read_bytes() == paths[0].read_bytes()  # equal data, equal bytes
        if name in tables.ROWS:
            cells = [record for record in records if record["benchmark_name"] != "roofs"]
            tables.publish(tables.table(cells, name), tmp_path / "t.md", tmp_path / "t.csv")
            assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + len(cells)
            assert "weights: random" in (tmp_path / "t.md").read_text()


def test_every_line_of_a_made_study_is_a_record(drawn, tmp_path):
    steps = [
        decode.run(cell_of(b, "v2", depth=20), None) | {"replicate": 1}
        for b in ("decode", "dispatch")
    ]

    def without_memory(cell, weights):
        raise MemoryError("no room")

    lost = out_of_memory_is_a_result(
        without_memory, cell_of("decode", "v1", depth=20), weights=None
    )
    sizes = capacity.run(cell_of("capacity", "v1").replace(budget_bytes=2**21), None)
    whole = [r for _, records in drawn.values() for r in records if "provenance" not in r]
    whole = [r for r in whole if r["benchmark_name"] not in ("verdicts", "roofs")]
    paths = []
    for i, record in enumerate([*whole, *(pool([one]) for one in steps), lost, sizes]):
        paths.append(tmp_path / f"{i}.json")
        files = {"code": ["src/kvbench/records/store.py"]}
        write_record(paths[-1], stamp(record, {"some": "cell"}, files))
    write_lines(tmp_path / "results.jsonl", map(read_record, paths))
    with open(tmp_path / "results.jsonl") as lines:
        assert schema.check_lines(lines, "results.jsonl") == len(paths)
    kinds = {json.loads(path.read_text())["benchmark_name"] for path in paths}
    kinds.add("retrieval")  # its items want a tokenizer: tests/bench/quality
    assert kinds == set(schema.benchmark_names())


@pytest.mark.parametrize("version", VERSIONS)
def test_capacity_is_predicted_and_confirmed_on_both_sides(version):
    budget = 3 * 2**20
    cell = cell_of("capacity", version).replace(budget_bytes=budget, T=12)
    record = capacity.run(cell, None)
    batch = record["predicted_batch"]
    assert batch > 4 and record["confirmed"]  # beyond the batches it was drawn from
    fits, not_any_more = record["sides"]
    assert (fits["batch"], not_any_more["batch"]) == (batch, batch + 1)
    assert fits["peak_memory_bytes"] <= budget < not_any_more["peak_memory_bytes"]
    each, held = record["cache_bytes_per_sequence"], 64  # 8 + 12 tokens, in blocks of 64
    assert each == held * record["cache_bytes_per_token"]


def test_a_batch_is_predicted_again_where_small_batches_need_scratch_of_their_own(monkeypatch):
    asked = []

    def weigh(setup, batch):
        asked.append(batch)
        scratch = 3000 * batch if batch < 8 else 50_000  # as a kernel that splits little work
        return {"batch": batch, "peak_memory_bytes": 1000 * batch + scratch} | {
            "cache_reserved_bytes": 64 * batch
        }

    monkeypatch.setattr(capacity, "weigh", weigh)
    record = capacity.run(cell_of("capacity", "v1").replace(budget_bytes=250_999), None)
    assert asked == [1, 2, 4, 62, 145, 200, 201]  # 62 by the first line, which is redrawn there
    assert [probe["batch"] for probe in record["probes"]] == [2, 4, 62, 145, 200]
    assert record["predicted_batch"] == 200 and record["confirmed"]


def test_a_budget_that_holds_nothing_is_an_answer():
    record = capacity.run(cell_of("capacity", "v1").replace(budget_bytes=2**16), None)
    assert record["predicted_batch"] == 0 and record["confirmed"]
    assert [side["fits"] for side in record["sides"]] == [False]


@pytest.mark.gpu
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_capacity_is_confirmed_on_a_gpu(version):
    cell = cell_of("capacity", version).replace(device="cuda", budget_bytes=256 * 2**20)
    record = capacity.run(cell, None)
    assert record["accounting"] == "cuda allocator" and record["confirmed"]
    for side in record["sides"]:  # blocks are of the whole process
        assert side["peak_reserved_bytes"] >= side["peak_allocated_bytes"] > side["transient_bytes"]


@pytest.mark.gpu
@pytest.mark.parametrize("version", VERSIONS)
def test_peak_memory_reconciles_on_a_gpu(version):
    record = vram.run(cell_of("vram", version, T=40).replace(device="cuda"), None)
    check_bytes(record, version)
    assert record["transient_bytes"] >= 0


def test_an_out_of_memory_cell_is_marked_in_figure_and_table(samples, tmp_path):
    good = [pool(two) for two in samples.values()]
    lost = cell_of("latency", "v4", T=16).failure("out of memory", "")
    style.save(latency_figure.draw([*good, lost]), tmp_path / "f.svg")
    assert "v4 out of memory" in (tmp_path / "f.svg").read_text()
    assert tables.table([*good, lost], "latency").rows[-1]["error"] == "out of memory"


def test_a_preset_that_could_not_be_had_is_shown_as_not_measured(tmp_path):
    def run(cell, weights):
        raise NotMeasuredError("no such wheel")

    lost = [out_of_memory_is_a_result(run, cell_of("perplexity", v), weights="x") for v in VERSIONS]
    style.save(perplexity_figure.draw(lost), tmp_path / "f.svg")
    assert "every cell: not measured" in (tmp_path / "f.svg").read_text()
    tables.publish(tables.table(lost, "perplexity"), tmp_path / "t.md", tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().count("not measured") == len(VERSIONS)


def test_cells_of_two_machines_are_not_compared(samples, tmp_path):
    here = pool(samples["v1", 4])
    write_record(tmp_path / "a.json", here)
    write_record(tmp_path / "b.json", here | {"device_name": "another"})
    with pytest.raises(MixedRecordsError, match=r"device_name.*a\.json.*b\.json"):
        read_cells([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
