"""transformers' GPT2LMHeadModel on our weights, through its own `generate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from kvbench.models.base import LanguageModel
from kvbench.models.gpt2 import Config

LIBRARY = f"transformers {transformers.__version__}"


class Peer:
    """`peer(mark)` generates T tokens after the prompt (B, P) and returns all of them.

    mark() is called before the prefill and twice after each token, as `generate` does, so that
    picking it is within the step.
    """

    stepwise = True  # every step is marked

    def __init__(self, ours: LanguageModel, prompt: Tensor, T: int, peer: dict[str, Any]) -> None:
        self.model = converted(ours)
        self.prompt, self.T = prompt, T
        self.options: dict[str, Any] = {"attention_mask": torch.ones_like(prompt)}
        self.config = GenerationConfig(
            max_new_tokens=T, do_sample=False, eos_token_id=None, pad_token_id=0, **peer["cache"]
        )

    def __call__(self, mark: Callable[[], None]) -> Tensor:
        def after_token(tokens: Tensor, scores: Tensor, **_: Any) -> Tensor:
            mark()
            mark()
            return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

        mark()
        return self.model.generate(
            self.prompt,
            generation_config=self.config,
            stopping_criteria=transformers.StoppingCriteriaList([after_token]),
            **self.options,
        )


def converted(ours: LanguageModel) -> GPT2LMHeadModel:
    """The same weights, in the same dtype, as transformers holds them.

    Raises ValueError for a model that is not a GPT-2 with biases and K/V of its own in each layer.
    """
    config = ours.config
    if not isinstance(config, Config) or not config.as_published:
        raise ValueError("transformers' GPT-2 has biases, and K and V in every layer")
    like = ours.lm_head.weight
    shape = GPT2Config(
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        n_positions=config.block_size,
        vocab_size=config.vocab_size,
        bos_token_id=None,
        eos_token_id=None,
    )
    theirs = GPT2LMHeadModel(shape).to(like.device, like.dtype).eval()
    tensors = {
        name: tensor.t() if tensor.ndim == 2 and ".h." in name else tensor  # Conv1D: (in, out)
        for name, tensor in ours.state_dict().items()
    }
    theirs.load_state_dict(tensors)
    return theirs
