"""transformers on our weights, through its own `generate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from kvbench.models import export
from kvbench.models.base import LanguageModel
from kvbench.models.hf_files import HEADS
from kvbench.shape import Shape

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


@torch.no_grad()
def converted(ours: LanguageModel) -> Any:
    """The same weights, in the same dtype, as transformers' model of the same architecture.

    Raises ValueError for a model that transformers does not compute.
    """
    config, like = ours.config, ours.lm_head.weight
    sizes = dict(vars(config))
    own = sizes.pop("owner") == tuple(range(config.n_layer))
    shape = cast(Shape, sizes | {"arch": type(config).__module__.rpartition(".")[2]})
    if not own or not sizes.get("bias", True):
        raise ValueError("transformers' model has biases, and K and V in every layer")
    said = AutoConfig.for_model(**export.config_json(shape))
    theirs = AutoModelForCausalLM.from_config(said, dtype=like.dtype).to(like.device).eval()
    parameters, copied = dict(theirs.named_parameters()), []
    head = theirs.get_output_embeddings().weight
    for name, tensor in export.their_tensors(shape, ours.state_dict()):
        copied.append(head if name in HEADS else parameters[name])
        copied[-1].copy_(tensor)
    if len(copied) != len(parameters):
        raise ValueError("transformers' model has parameters that ours lacks")
    return theirs
