"""The decode step that is the same work at every depth generates what the eager loop generates.

Capturing needs CUDA; the step that is captured does not, and is what most of this runs.
"""

from itertools import product

import pytest
import torch
from stored import stored
from torch.profiler import ProfilerActivity, profile

from kvbench.bench import latency, roofline
from kvbench.bench.setup import decode_kernels
from kvbench.caches import make
from kvbench.costs.description import Description
from kvbench.engine.backend import settle
from kvbench.engine.fast_cache import PromptCache
from kvbench.engine.generate import Sampler, generate, greedy
from kvbench.engine.static_step import StaticStep
from kvbench.engine.static_view import StaticView
from kvbench.models.build import build
from kvbench.plan.cells import cell
from kvbench.plan.config import load_schema, resolve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []
SHAPE = {"n_layer": 3, "n_head": 2, "n_embd": 64, "block_size": 80, "vocab_size": 101}
GPT2 = {"arch": "gpt2", **SHAPE}
LLAMA = {**GPT2, "arch": "llama", "n_head": 4, "n_kv_head": 2, "n_inner": 96}
CACHES = ["dense", "int8", "int4"]


def setting(shape=GPT2, name="dense", layer_map="own", B=2, tokens=80, dtype="float32"):
    """A model, an empty cache and a prompt of 7 tokens."""
    model = build(shape, layer_map, dtype, seed=3, device=DEVICE)
    prompt = torch.randint(101, (B, 7), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    return model, make(described(name), model.config, B, tokens, model.lm_head.weight), prompt


@pytest.mark.parametrize("name", CACHES[:2])
@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_static_step_generates_what_the_eager_loop_does(shape, name):
    for layer_map in ("own", "pairs"):
        model, cache, prompt = setting(shape, name, layer_map)
        step = StaticStep(model, cache, greedy)
        eager = generate(model, prompt, 80, setting(shape, name, layer_map)[1])  # the window slides
        for _ in range(2):  # again over the same storage
            assert torch.equal(step.generate(prompt, 80), eager)


@pytest.mark.parametrize(("name", "B"), [("dense", 2), ("int8", 1), ("int8", 2), ("int4", 1)])
@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_fused_step_generates_what_the_eager_loop_does(shape, name, B):
    pytest.importorskip("triton")
    small = shape | {"n_layer": 2, "n_embd": 32, "vocab_size": 30}  # the interpreter is slow
    small |= {"n_inner": 40} if shape is LLAMA else {}
    model, cache, prompt = setting(small, name, "pairs", B)
    step = StaticStep(model, cache, greedy, kernel="triton")
    eager = generate(model, prompt % 30, 3, setting(small, name, "pairs", B)[1])
    assert torch.equal(step.generate(prompt % 30, 3), eager)
    assert step.settings["source"] in ("not measured", "measured", "kept")


DESCRIBED = {
    "k8v4": {"keys": "int8", "values": "int4", "dense_layers": [1]},
    "fp8": {"keys": "fp8_e4m3", "values": {"type": "fp8_e5m2", "scale": "tensor"}},
    "q8_0": {"keys": "q8_0", "values": "q4_0"},
    "rotated": {"keys": "int8", "values": "int8", "rotate": True},
}


def described(name):
    """A format of a description, or one of the registry, as a cache stores it."""
    given = DESCRIBED.get(name)
    return Description.of(given).data() if given else stored(name)


@pytest.mark.parametrize("name", DESCRIBED)
@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_fused_step_reads_keys_and_values_of_formats_of_their_own(shape, name):
    """A prompt that a kernel quantises, then steps; codes at a tie may fall either way."""
    pytest.importorskip("triton")
    small = shape | {"n_layer": 2, "n_head": 2, "vocab_size": 30}
    small |= {"n_kv_head": 1, "n_inner": 40} if shape is LLAMA else {}
    model, cache, prompt = setting(small, name)
    fused, eager, prompt = PromptCache(cache), setting(small, name)[1], prompt % 30
    with torch.inference_mode():
        model(prompt[:, :5], fused), model(prompt[:, :5], eager)
    step = StaticStep(model, fused, None, kernel="triton")
    for i in (5, 6):
        step.begin(prompt[:, i : i + 1], i)
        step()
        with torch.inference_mode():
            expected = model(prompt[:, i : i + 1], eager)
        torch.testing.assert_close(step.logits, expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(step.logits.argmax(-1), expected.argmax(-1))


def test_an_activation_without_a_kernel_is_refused_before_any_step():
    pytest.importorskip("triton")
    model, cache, _ = setting(GPT2 | {"activation": "gelu"})
    with pytest.raises(ValueError, match=r"activation gelu: .*kernel: torch"):
        StaticStep(model, cache, greedy, kernel="triton")


def test_a_prompt_quantised_by_a_kernel_is_attended_to_as_it_is_stored():
    pytest.importorskip("triton")
    for shape, layer_map in ((GPT2, "own"), (LLAMA, "pairs")):
        model, cache, prompt = setting(shape, "int8", layer_map)
        fused, plain = PromptCache(cache), setting(shape, "int8", layer_map)[1]
        for chunk in (prompt[:, :4], prompt[:, 4:]):  # the second reads what the first has stored
            with torch.inference_mode():
                ours, expected = model(chunk, fused), model(chunk, plain)
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
        for mine, theirs in zip(cache.storages(), plain.storages(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1)  # codes at a tie
        with torch.inference_mode():
            assert torch.equal(
                model(prompt[:, :1], fused).argmax(), model(prompt[:, :1], plain).argmax()
            )


def test_sampled_tokens_are_the_eager_loops_and_start_again():
    model, cache, prompt = setting()
    step = StaticStep(model, cache, Sampler(0.9, 20, seed=5))
    eager = generate(model, prompt, 30, setting()[1], Sampler(0.9, 20, seed=5))
    assert torch.equal(step.generate(prompt, 30), eager)
    assert torch.equal(step.generate(prompt, 30), eager)


def test_marks_are_those_of_the_eager_loop():
    model, cache, prompt = setting()
    for n in (1, 5, 78):
        marks = iter(range(2 * n + 1))
        StaticStep(model, cache, greedy).generate(prompt, n, marks.__next__)
        assert next(marks, None) is None


def test_a_step_that_picks_nothing_can_be_repeated_at_one_depth():
    model, cache, prompt = setting()
    with torch.inference_mode():
        expected = model(prompt, setting()[1])[:, -1]
        model(prompt[:, :-1], cache)
    step = StaticStep(model, cache, None)
    step.begin(prompt[:, -1:], 6)
    for _ in range(3):
        step()
        torch.testing.assert_close(step.logits[:, -1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pick", [greedy, Sampler(0.8, 5)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", CACHES)
def test_a_step_waits_for_nothing_and_keeps_nothing(name, pick):
    """No `.item()`, and every byte allocated is released: as many at depth 8 as at depth 60."""
    model, cache, prompt = setting(name=name)
    step = StaticStep(model, cache, pick)
    step()
    allocated = {}
    for depth in (8, 60):
        step.begin(prompt[:, :1], depth)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            step()
        events = list(seen.profiler.kineto_results.events())
        assert not {e.name() for e in events} & {"aten::item", "aten::_local_scalar_dense"}
        sizes = [e.nbytes() for e in events if e.name() == "[memory]"]
        assert sum(sizes) == 0
        allocated[depth] = sorted(size for size in sizes if size > 0)
    assert allocated[8] == allocated[60]


def test_positions_past_the_newest_are_hidden():
    _, cache, _ = setting()
    view = StaticView(cache, 2, torch.tensor([9], device=DEVICE))
    assert view.positions(1).tolist() == [9] and view.visible.sum() == 10


STUDY = {"pretrained": "null", "model_config": SHAPE, "prompt_length": 7, "num_measure_runs": 1}


def cell_of(benchmark, version, how, **where):
    config = resolve(STUDY | {"roofline": {"P": 20}} | how, load_schema())
    return cell(config, benchmark, "custom", version, **where)


def test_what_cannot_be_captured_runs_eagerly_and_says_why():
    on = {"execution": "compile", "kernel": "torch"}
    assert settle(cell_of("latency", "v1", on, T=4), "cpu").execution == "compile"
    assert "shape" in settle(cell_of("latency", "v0", on, T=4), "cpu").reason
    assert "eager" in settle(cell_of("phase", "v1", on, T=4), "cpu").reason
    prefill = settle(cell_of("roofline", "v1", on, phase="prefill", P=20), "cpu")
    assert prefill.execution == "eager"
    on_cuda = settle(cell_of("latency", "v2", {}, T=4), "cuda")
    assert on_cuda.execution == "graph" and on_cuda.static
    assert not settle(cell_of("latency", "v1", {"execution": "eager"}, T=4), "cuda").static
    with pytest.raises(RuntimeError, match="graph needs CUDA"):
        settle(cell_of("latency", "v1", {}, T=4).replace(execution="graph"), "cpu")


FUSED = {
    "k8v4": {"keys": "int8", "values": "int4"},
    "fp8": {"keys": "fp8_e4m3", "values": {"type": "fp8_e5m2", "scale": "tensor"}},
    "groups": {"keys": "int4", "values": "int8", "group": 32, "scale_type": "fp16"},
    "blocks": {"keys": "q8_0", "values": "q4_0", "dense_layers": [0, -1]},
    "turned": {"keys": "int8", "values": "int4", "rotate": True},
}
UNFUSED = {  # a part of the reason
    "q5": ({"keys": "q5_1", "values": "int8"}, "q5_1"),
    "channel": ({"keys": {"type": "int8", "scale": "channel"}}, "one row a token"),
    "centred": ({"keys": "int8", "values": "int8", "centred": True}, "one row a token"),
    "mixed": ({"keys": "q5_1", "values": "q5_1", "dense_layers": [0]}, "q5_1"),
}


def test_formats_run_fused_on_cuda_or_say_why():
    pytest.importorskip("triton")
    apart = {name: given for name, (given, _) in UNFUSED.items()}
    named = [{"name": name, **given} for name, given in (FUSED | apart).items()]
    config = resolve(
        STUDY | {"roofline": {"P": 20}, "versions": named, "model_config": SHAPE | {"n_head": 1}},
        load_schema(),
    )

    def settled(benchmark, name, how=None, **where):
        found = cell(config, benchmark, "custom", name, **where).replace(**how or {})
        choice = settle(found, "cuda")
        return choice.execution, choice.kernel, choice.reason

    for name in FUSED:
        assert settled("latency", name, T=4) == ("graph", "triton", None)
        assert settled("roofline", name, phase="prefill", P=20)[:2] == ("eager", "triton")
        execution, kernel, reason = settled("latency", name, {"kernel": "torch"}, T=4)
        whole = name == "k8v4"  # which torch's operators read as well
        assert (execution, kernel, reason is None) == (
            "graph" if whole else "eager",
            "torch",
            whole,
        )
    for name, (_, why) in UNFUSED.items():
        execution, kernel, reason = settled("latency", name, T=4)
        assert (execution, kernel) == ("eager", "torch") and why in reason
        assert settled("roofline", name, phase="prefill", P=20)[:2] == ("eager", "torch")
    record = decode_kernels(cell(config, "latency", "custom", "blocks", T=4), "triton")
    assert record == {
        part: f"triton {kind}; dense in layers 0, -1"
        for part, kind in {"keys": "q8_0", "values": "q4_0"}.items()
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_compiled_cell_is_measured_and_its_compile_time_is_apart():
    one_layer = SHAPE | {"n_layer": 1}
    on = {"execution": "compile", "device": "cpu", "model_config": one_layer}
    record = latency.run(cell_of("latency", "v1", on, T=4), None)
    assert record["execution"] == "compile" and record["kernel"] == "torch"
    assert record["compile_s"] > 0 and len(record["runs"][0]["step_ms"]) == 4


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["torch", "triton"])
@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
@pytest.mark.parametrize("B", [1, 2])
def test_a_captured_graph_generates_what_the_eager_loop_does(kernel, shape, layer_map, B):
    model, cache, prompt = setting(shape, "dense", layer_map, B)
    step = StaticStep(model, cache, greedy, "graph", kernel)
    eager = generate(model, prompt, 80, setting(shape, "dense", layer_map, B)[1])
    assert torch.equal(step.generate(prompt, 80), eager)
    assert torch.equal(step.generate(prompt, 80), eager)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "kernel"),
    [*product(CACHES, ["torch", "triton"]), *((name, "triton") for name in DESCRIBED)],
)
@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
@pytest.mark.parametrize("B", [1, 19])
def test_captured_steps_give_the_eager_loops_logits(name, kernel, shape, layer_map, B):
    """Of the same tokens: a code at a tie may fall either way, and free runs would then part."""
    if name in DESCRIBED:
        shape = shape | {"n_head": 2} | ({"n_kv_head": 1} if shape is LLAMA else {})
    model, cache, prompt = setting(shape, name, layer_map, B)
    step, eager = (
        StaticStep(model, cache, None, "graph", kernel),
        setting(shape, name, layer_map, B)[1],
    )
    with torch.inference_mode():
        for held in (cache, eager):
            model(prompt[:, :4], held)
        for i in range(4, 7):
            step.begin(prompt[:, i : i + 1], i)
            step()
            expected = model(prompt[:, i : i + 1], eager)
            close = 1e-5 if name == "dense" else 1e-2
            torch.testing.assert_close(step.logits, expected, rtol=close, atol=close)


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["torch", "triton"])
def test_a_captured_graph_draws_the_eager_loops_tokens(kernel):
    model, cache, prompt = setting()
    step = StaticStep(model, cache, Sampler(0.9, 20), "graph", kernel)
    eager = generate(model, prompt, 80, setting()[1], Sampler(0.9, 20))
    assert torch.equal(step.generate(prompt, 80), eager)
    assert torch.equal(step.generate(prompt, 80), eager)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", [*CACHES, "k8v4"])
@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("B", [1, 19])
def test_a_captured_step_in_two_byte_floats_is_nearer_to_fp32_than_torchs(dtype, name, shape, B):
    """Against the same weights and cache in fp32, both by the largest error of a logit."""
    wide = setting(shape, name, B=B)[0]
    wide.load_state_dict(build(shape, "own", dtype, seed=3, device=DEVICE).state_dict())
    logits = {}
    for way, kind in (("exact", "float32"), ("torch", dtype), ("triton", dtype)):
        model, cache, prompt = setting(shape, name, B=B, dtype=kind)
        model = wide if way == "exact" else model
        with torch.inference_mode():
            model(prompt[:, :6], cache)
        kernel = "triton" if way == "triton" else "torch"
        step = StaticStep(model, cache, None, "graph", kernel)
        step.begin(prompt[:, 6:], 6)
        step()
        first = step.logits.float().clone()
        step()
        assert torch.equal(first, step.logits.float())  # a replay adds in one order
        logits[way] = first
    errors = {way: (logits[way] - logits["exact"]).abs().max() for way in ("torch", "triton")}
    assert errors["triton"] <= 1.5 * errors["torch"] + 1e-3


@pytest.mark.gpu
@pytest.mark.parametrize("execution", ["graph"])
def test_preparing_a_step_leaves_a_filled_cache_as_it_was(execution):
    model, cache, prompt = setting(name="int8", tokens=64)
    with torch.inference_mode():
        model(prompt, cache)
    before = [t.clone() for t in cache.storages()]
    StaticStep(model, cache, None, execution, "triton")
    for now, then in zip(cache.storages(), before, strict=True):
        assert torch.equal(now[:, :, :-1], then[:, :, :-1])


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("name", [*CACHES, *DESCRIBED])
def test_replays_neither_synchronise_nor_allocate(name):
    model, cache, prompt = setting(name=name)
    step = StaticStep(model, cache, greedy, "graph", "triton")
    step.begin(prompt[:, -1:], 7)
    calls = torch.cuda.memory_stats()["allocation.all.allocated"]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == calls


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["int8", "int4", "k8v4", "fp8"])
def test_a_prompts_kernel_on_a_gpu_gives_the_eager_loops_tokens(name):
    for shape in (GPT2, LLAMA):
        model, cache, prompt = setting(shape, name)
        plain = generate(model, prompt, 40, setting(shape, name)[1])
        assert torch.equal(generate(model, prompt, 40, PromptCache(cache)), plain)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:TensorFloat32 tensor cores")
@pytest.mark.parametrize("execution", ["graph", "compile"])
def test_latency_and_roofline_cells_run_captured(execution):
    kernel = {"graph": "triton", "compile": "torch"}[execution]
    on = {"execution": execution, "kernel": kernel, "device": "cuda", "dtype": "bfloat16"}
    record = latency.run(cell_of("latency", "v2", on, T=8), None)
    assert (record["execution"], record["kernel"]) == (execution, kernel)
    assert record["capture_s"] > 0
    point = roofline.run(cell_of("roofline", "v4", on, phase="decode", P=20), None)
    assert point["execution"] == execution and point["time_ms_median"] > 0
