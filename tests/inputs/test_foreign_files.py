"""Files of others: read right, or refused at once in one line that names the file."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import damaged, read_or_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch.nn import functional as F

from kvbench.analysis.datasheet import read_roofs
from kvbench.bench.roofline_counted import read_run
from kvbench.files.foreign import FormatError, safetensors_header
from kvbench.inputs import tokens
from kvbench.models import weights
from kvbench.models.build import build
from kvbench.models.convert import convert
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.records.provenance import weights_digest

MODEL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 32, "vocab_size": 65}
SHAPE = {"arch": "gpt2", **MODEL}
SCHEMA = load_schema()


def state(wrapper="", head=False):
    """A GPT-2's tensors as nanoGPT names them, behind what compiling or parallel training adds."""
    torch.manual_seed(0)
    model = build(SHAPE, dtype="float32", device="cpu")
    found = {wrapper + name: t.clone() for name, t in model.named_parameters()}
    if head:
        found[f"{wrapper}lm_head.weight"] = found[f"{wrapper}transformer.wte.weight"]
    return found


def study(path, **given):
    model = {**MODEL, "activation": "gelu", **given.pop("model_config", {})}
    given = {"benchmarks": ["latency"], "pretrained": None, "model_config": model} | given
    return resolve({"weights": str(path), **given}, SCHEMA)


def refusal(path, **given):
    with pytest.raises(ConfigError) as refused:
        study(path, **given)
    line = str(refused.value)
    assert "\n" not in line and str(path) in line, line
    return line


@pytest.fixture
def file(tmp_path):
    save_file(state(), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


@pytest.mark.parametrize("wrapper", ["", "_orig_mod.", "module.", "module._orig_mod."])
def test_a_wrapped_model_s_names_are_read_as_they_were(tmp_path, wrapper):
    path = tmp_path / "wrapped.safetensors"
    save_file(state(wrapper), path)
    study(path)
    found = weights.read(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in state().items())


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s}])
def test_a_checkpoint_with_a_tied_head_is_converted(tmp_path, wrap):
    torch.save(wrap(state("_orig_mod.", head=True)), tmp_path / "ckpt.pt")
    target = tmp_path / "mine.safetensors"
    convert(tmp_path / "ckpt.pt", target, "gelu")
    assert weights.read(target).keys() == state().keys()
    study(target)
    assert "activation is 'gelu'" in refusal(target, model_config={"activation": "gelu_new"})


def test_a_checkpoint_is_never_run_and_jobs_open_none(tmp_path):
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "ckpt.pt"
    torch.save({"model": Runs()}, path)
    with pytest.raises(weights.WeightsError, match=r"ckpt\.pt is not a whole PyTorch checkpoint"):
        convert(path, tmp_path / "mine.safetensors", "gelu")
    assert not (tmp_path / "ran").exists()
    assert "kvbench.models.convert" in refusal(path)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_the_activation_asked_for_is_computed(file, activation):
    model = build({**SHAPE, "activation": activation}, dtype="float32", weights=file, device="cpu")
    mlp, x = next(model.blocks()).mlp, torch.randn(3, 16)
    form = {"gelu": "none", "gelu_new": "tanh"}[activation]
    hidden = F.gelu(F.linear(x, mlp.c_fc.weight, mlp.c_fc.bias), approximate=form)
    torch.testing.assert_close(mlp(x), F.linear(hidden, mlp.c_proj.weight, mlp.c_proj.bias))


def test_an_activation_that_nothing_says_is_asked_for(file):
    assert "set model_config.activation" in refusal(file, model_config={"activation": None})


@pytest.mark.parametrize(
    "said, words",
    [
        ({"activation_function": "relu"}, "'relu'"),
        ({"activation_function": "gelu_new"}, "'gelu_new'"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
        ({"scale_attn_weights": False}, "scale_attn_weights"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"n_head": 4}, "n_head 4"),
        ([1], "config.json is not a whole JSON mapping"),
    ],
)
def test_the_settings_file_of_the_weights_is_honoured_or_refused(file, said, words):
    config_file = file.with_name("config.json")
    config_file.write_text(json.dumps({"activation_function": "gelu", "layer_norm_epsilon": 1e-5}))
    study(file)
    config_file.write_text(json.dumps(said))
    assert words in refusal(file)


@pytest.mark.parametrize(
    "key, value", [("n_layer", 3), ("n_embd", 32), ("block_size", 64), ("vocab_size", 64)]
)
def test_a_file_of_another_shape_is_refused_by_the_key_that_differs(file, key, value):
    assert f"its {key} is {MODEL[key]}, model_config.{key} is {value}" in refusal(
        file, model_config={key: value}
    )


def test_a_vocabulary_below_the_tokenizer_s_is_refused_before_any_job(file):
    with pytest.raises(ConfigError, match="custom has 65 embeddings and its tokenizer 50,257"):
        study(file, benchmarks=["perplexity"], perplexity={"presets": [], "context": 8})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_numbers_that_no_model_computes_with_are_named_at_planning_and_at_loading(tmp_path, bad):
    path, tensors = tmp_path / "bad.safetensors", state()
    name = "transformer.h.1.mlp.c_fc.weight"
    tensors[name] = tensors[name].double()
    tensors[name][3, 4] = bad
    save_file(tensors, path)
    assert name in refusal(path)
    with pytest.raises(weights.WeightsError, match=name):
        build(SHAPE, dtype="float32", weights=path, device="cpu")
    with pytest.raises(weights.WeightsError, match=name):
        weights.save(tmp_path / "new.safetensors", {name: tensors[name].float()})
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize("about", ["null", "5", "{bad", "[]", '"text"'])
def test_damaged_metadata_is_refused_wherever_it_is_read(tmp_path, about):
    path = tmp_path / "meta.safetensors"
    save_file(state(), path, {"kvbench": about})
    for read in (weights.read, weights_digest, safetensors_header):
        with pytest.raises(FormatError, match=r"meta\.safetensors is not a whole safetensors file"):
            read(path)


WHOLE = save({"transformer.wte.weight": torch.randn(4, 3), "b": torch.randn(2)}, {"kvbench": "{}"})


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(damaged(WHOLE))
def test_a_damaged_safetensors_file_is_read_or_refused(scratch, data):
    path = scratch / "damaged.safetensors"
    path.write_bytes(data)
    for read in (weights.read, weights_digest):
        with read_or_refused(path, FormatError):
            read(path)


def write_header(path, header):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_header_is_read_or_refused(scratch, header):
    path = scratch / "header.safetensors"
    write_header(path, header)
    with read_or_refused(path, FormatError):
        safetensors_header(path)


def stored(path, ids, vocab=20):
    ids = np.asarray(ids, np.uint16)
    tokens.write_tokens(path, tokens.Tokens(ids, np.ones(vocab, np.uint8)))
    return path


def test_a_text_too_short_or_of_other_ids_is_refused_by_name(tmp_path):
    path = stored(tmp_path / "text.npz", [1, 2, 3])
    assert tokens.load_tokens(path, 20, at_least=3).tokens.tolist() == [1, 2, 3]
    with pytest.raises(FormatError, match=r"text\.npz has 3 tokens, a window needs 4"):
        tokens.load_tokens(path, 20, at_least=4)
    with pytest.raises(FormatError, match=r"text\.npz has token id 3, the model 3 embeddings"):
        tokens.load_tokens(path, 3)
    for data, words in ((b"", "is an empty text"), (b"\xff\xfea", "is not a whole text in UTF-8")):
        (tmp_path / "text.txt").write_bytes(data)
        with pytest.raises(FormatError, match=words):
            tokens.read_text(tmp_path / "text.txt")


def test_a_damaged_token_file_is_refused(scratch):
    whole = stored(scratch / "whole.npz", range(20)).read_bytes()

    @settings(max_examples=60, deadline=None)
    @given(damaged(whole))
    def check(data):
        path = scratch / "damaged.npz"
        path.write_bytes(data)
        with read_or_refused(path, FormatError):
            tokens.load_tokens(path)

    check()


WRONG = [None, True, "", "x", [], {}, 0, -1.0, float("inf"), [1], {"a": 1}, 2**70]


@pytest.mark.parametrize("key", ["device_name", "dtype", "read_gb_s", "gemm_gflop_s", "copy_gb_s"])
def test_roofs_of_another_machine_are_whole_or_refused_before_any_job(tmp_path, key):
    whole = {"device_name": "H", "dtype": "bfloat16", "read_gb_s": 4000, "gemm_gflop_s": 8e5}
    path = tmp_path / "roofs.json"
    path.write_text(json.dumps(whole))
    assert read_roofs(path) == whole
    for value in [*WRONG, ...]:
        path.write_text(json.dumps({k: v for k, v in {**whole, key: value}.items() if v != ...}))
        fits = isinstance(value, str) if key in ("device_name", "dtype") else value == 2**70
        if fits or (key == "copy_gb_s" and value in (None, ...)):
            read_roofs(path)
            continue
        with pytest.raises(FormatError, match=rf"roofs\.json is not a whole .* its '{key}' is"):
            read_roofs(path)
    asked = {"source": "csv", "csv_dir": str(tmp_path)}
    for data in (b"", b"\xff", b"[", b"null", b"[1]", b"{}"):
        path.write_bytes(data)
        with pytest.raises(
            ConfigError, match=r"'roofline\.csv_dir' is .*roofs\.json is not a whole"
        ):
            resolve({"roofline": asked}, SCHEMA)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"dtype": "bfloat16"}',
        b'{"dtype": 5, "batch_size": 1, "wall_ms_median": 2.0}',
        b'{"dtype": "x", "batch_size": 1.5, "wall_ms_median": 2.0}',
        b'{"dtype": "x", "batch_size": 1, "wall_ms_median": NaN}',
        b'{"dtype": "x", "batch_size": 1, "wall_ms_median": 2, "ncu": 3}',
        b'{"dtype": "x", "batch_size": 1, "wall_ms_median": 2, "ncu": {"clocks_before": 3}}',
    ],
)
def test_what_a_profiled_program_said_is_whole_or_refused(tmp_path, given):
    path = tmp_path / "gpt2.run.json"
    path.write_bytes(given)
    with read_or_refused(path, FormatError):
        read_run(path)
        pytest.fail("it was read")
    path.write_text('{"dtype": "x", "batch_size": 1, "wall_ms_median": 2, "ncu": null}')
    assert read_run(path)["batch_size"] == 1


@pytest.mark.parametrize(
    "held",
    [
        {1: torch.ones(2)},
        {"wte.weight": torch.eye(3).to_sparse()},
        {"wte.weight": "text"},
        {"model": [1]},
        {"model": None},
        {"state_dict": {"a": torch.ones(1)}},
        torch.ones(3),
        [torch.ones(3)],
        5,
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, held):
    path = tmp_path / "ckpt.pt"
    torch.save(held, path)
    with read_or_refused(path, FormatError):
        convert(path, tmp_path / "mine.safetensors", "gelu")
        pytest.fail("it was converted")
    assert not (tmp_path / "mine.safetensors").exists()


def test_a_damaged_checkpoint_is_converted_or_refused(scratch):
    torch.save({"model": state()}, scratch / "whole.pt")
    whole = (scratch / "whole.pt").read_bytes()

    @settings(max_examples=60, deadline=None)
    @given(damaged(whole))
    def check(data):
        path, target = scratch / "damaged.pt", scratch / "converted.safetensors"
        path.write_bytes(data)
        try:
            convert(path, target, "gelu")
        except FormatError as refusal:
            line = str(refusal)
            assert "\n" not in line and (str(path) in line or str(target) in line)

    check()


def test_codes_are_no_weights(tmp_path):
    tensors, path = state(), tmp_path / "codes.safetensors"
    tensors["transformer.wte.weight"] = tensors["transformer.wte.weight"].to(torch.int8)
    save_file(tensors, path)
    with pytest.raises(weights.WeightsError, match=r"wte\.weight holds whole numbers"):
        build(SHAPE, dtype="float32", weights=path, device="cpu")


def test_a_cast_to_a_narrow_dtype_is_looked_at_too(tmp_path):
    tensors, path = state(), tmp_path / "wide.safetensors"
    tensors["transformer.ln_f.bias"][0] = 1e5
    save_file(tensors, path)
    build(SHAPE, dtype="bfloat16", weights=path, device="cpu")
    with pytest.raises(weights.WeightsError, match=r"ln_f\.bias has NaN or infinite numbers"):
        build(SHAPE, dtype="float16", weights=path, device="cpu")
