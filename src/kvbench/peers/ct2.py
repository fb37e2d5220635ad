"""CTranslate2 on our weights, converted once in a folder that goes with the process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import ctranslate2
import torch
from ctranslate2.converters.transformers import GPT2Loader
from torch import Tensor

from kvbench.models.base import LanguageModel
from kvbench.peers.hf import converted

LIBRARY = f"CTranslate2 {ctranslate2.__version__}"


class Peer:
    """`peer(mark)` generates T tokens after the prompt (B, P) and returns all of them.

    The end of each step is known for one sequence, and unknown for a batch.
    """

    def __init__(self, ours: LanguageModel, prompt: Tensor, T: int, peer: dict[str, Any]) -> None:
        self.prompt, self.T = prompt, T
        if not getattr(ours.config, "as_published", False):
            raise ValueError("CTranslate2 is given a GPT-2, with biases and K and V in every layer")
        spec = GPT2Loader().get_model_spec(converted(ours))
        words = [str(token) for token in range(ours.config.vocab_size)]
        spec.register_vocabulary(words)
        spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = words[0]
        spec.validate()
        dtype = str(ours.lm_head.weight.dtype).removeprefix("torch.")
        spec.optimize(quantization=dtype)
        self.folder = tempfile.TemporaryDirectory(prefix="kvbench-ct2-")
        spec.save(self.folder.name)
        self.generator = ctranslate2.Generator(
            self.folder.name,
            device=prompt.device.type,
            compute_type=dtype,
            intra_threads=torch.get_num_threads(),
            inter_threads=1,
        )
        self.stepwise = len(prompt) == 1
        self.words = [[str(token) for token in row] for row in prompt.tolist()]

    def __call__(self, mark: Callable[[], None]) -> Tensor:
        def after_token(step: Any) -> bool:
            mark()
            mark()
            return False

        mark()
        found = self.generator.generate_batch(
            self.words,
            max_length=self.T,
            min_length=self.T,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=[],
            callback=after_token if self.stepwise else None,
        )
        tokens = torch.tensor([[int(word) for word in row.sequences[0]] for row in found])
        if not self.stepwise:
            for _ in range(2 * self.T):
                mark()
        return torch.cat([self.prompt.cpu(), tokens], 1)
