"""llama.cpp on our weights, written as GGUF in a folder that goes with the process.

By llama-cpp-python's low-level interface, which is llama.h: its high-level one copies the logits of
every step and tokenises text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import llama_cpp as llama
import numpy as np
import torch
from torch import Tensor

from kvbench.models.base import LanguageModel
from kvbench.models.gpt2 import Config

LIBRARY = f"llama.cpp (llama-cpp-python {llama.__version__})"
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
CACHES = {"f16": llama.GGML_TYPE_F16, "q8_0": llama.GGML_TYPE_Q8_0}
PARTS = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
OUTER = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
SILENT = llama.llama_log_callback(lambda *_: None)  # else a line for every tensor of every graph


class Peer:
    """`peer(mark)` generates T tokens after the prompt (B, P) and returns all of them.

    mark() is called before the prefill and twice after each token: llama.cpp leaves logits, and
    picking the largest is within the step.
    """

    stepwise = True

    def __init__(self, ours: LanguageModel, prompt: Tensor, T: int, peer: dict[str, Any]) -> None:
        self.prompt, self.T, self.n_vocab = prompt.cpu(), T, ours.config.vocab_size
        B, P = prompt.shape
        llama.llama_backend_init()
        llama.llama_log_set(SILENT, None)
        with tempfile.TemporaryDirectory(prefix="kvbench-llamacpp-") as folder:
            path = Path(folder, "model.gguf")
            write_gguf(ours, path)
            params = llama.llama_model_default_params()
            params.n_gpu_layers = 0 if prompt.device.type == "cpu" else ours.config.n_layer + 1
            params.use_mmap = False  # the file goes
            self.model = llama.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise RuntimeError(f"{LIBRARY} could not load the weights it was given")
        about = llama.llama_context_default_params()
        about.n_ctx, about.n_batch, about.n_seq_max = B * (P + T), max(B * P, 32), B
        about.n_threads = about.n_threads_batch = torch.get_num_threads()
        about.type_k = about.type_v = CACHES[peer["cache"]]
        about.no_perf = True
        self.context = llama.llama_init_from_model(self.model, about)
        if not self.context:
            raise RuntimeError(f"{LIBRARY} could not make a {peer['cache']} cache")
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(B * P, 0, 1)

    def __del__(self) -> None:
        for free, held in (("batch_free", "batch"), ("free", "context"), ("model_free", "model")):
            if getattr(self, held, None):
                getattr(llama, f"llama_{free}")(getattr(self, held))

    def __call__(self, mark: Callable[[], None]) -> Tensor:
        B, P = self.prompt.shape
        tokens = np.empty((B, P + self.T), np.int64)
        tokens[:, :P] = self.prompt
        llama.llama_memory_clear(self.memory, False)
        mark()
        read = 0
        for end in range(P, P + self.T):
            tokens[:, end] = self.step(tokens[:, read:end], read)
            read = end
            mark()
            mark()
        return torch.from_numpy(tokens)

    def step(self, tokens: np.ndarray, place: int) -> list[int]:
        """The likeliest token after `tokens` (B, n), which stand at `place` and on."""
        n, batch = tokens.shape[1], self.batch
        for i, token in enumerate(tokens.reshape(-1).tolist()):
            batch.token[i], batch.pos[i] = token, place + i % n
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, i // n
            batch.logits[i] = i % n == n - 1
        batch.n_tokens = tokens.size
        if code := llama.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode returned {code}")
        lasts = range(n - 1, tokens.size, n)
        found = (llama.llama_get_logits_ith(self.context, i) for i in lasts)
        return [int(np.ctypeslib.as_array(row, (self.n_vocab,)).argmax()) for row in found]


def write_gguf(ours: LanguageModel, path: Path) -> None:
    """The weights as llama.cpp's `gpt2`: matrices in their dtype, vectors and positions float32.

    The vocabulary has a size and no words. Raises ValueError for a model that is no plain GPT-2.
    """
    config, kind = ours.config, gguf.GGMLQuantizationType[DTYPES[ours.lm_head.weight.dtype]]
    if not isinstance(config, Config) or not config.as_published:
        raise ValueError("llama.cpp's GPT-2 has biases, and K and V in every layer")
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    for name, tensor in ours.state_dict().items():
        if name.startswith("lm_head."):
            continue  # tied
        data = tensor.float().cpu().numpy()
        if data.ndim == 1 or ".wpe." in name:
            writer.add_tensor(gguf_name(name), data)
        else:
            writer.add_tensor(gguf_name(name), gguf.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """`transformer.h.0.attn.c_attn.weight` as `blk.0.attn_qkv.weight`, and so on."""
    *inner, leaf = name.removeprefix("transformer.").split(".")
    if inner[0] == "h":
        return f"blk.{inner[1]}.{PARTS['.'.join(inner[2:])]}.{leaf}"
    return f"{OUTER[inner[0]]}.{leaf}"
