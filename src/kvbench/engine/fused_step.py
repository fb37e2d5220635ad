"""A model's forward of one token a sequence as few Triton kernels: five a layer, seven for a batch.

One sequence: every product reads its weights once, with the norm before it and the activation or
the residual after it on the way (`kernels.triton.linear.one_row`). Several sequences: products on
matrix units (`few_rows`), whose summands the next norm adds up in order. In both the attention
appends the new token and joins its own shares. The residual stream is fp32.

Every result is the same at every replay: nothing is added up in the order in which programs end.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kvbench.caches import Cache
from kvbench.engine.static_view import kernel_rows
from kvbench.kernels.triton import bound
from kvbench.kernels.triton.bound import Attention, Launch, RowSetting, RowsSetting
from kvbench.models.base import LanguageModel, Layer, LinearGELU

Settings = dict[str, Any]  # site -> AttentionSetting, RowSetting or RowsSetting
SITES = ("attention", "head", "down", "up", "qkv", "proj")  # in the order in which they are settled

# What came near the fastest on an H200, for GPT-2's and GPT-2 XL's shapes.
ROW_CHOICES = [
    RowSetting(4, 4),
    RowSetting(4, 2),
    RowSetting(8, 8),
    RowSetting(8, 4),
    RowSetting(2, 4),
    RowSetting(2, 8),
]
HEAD_CHOICES = [RowSetting(8, 8, 6), RowSetting(4, 4, 6), RowSetting(4, 8, 6)]
ROWS_CHOICES = [RowsSetting(32, 128, 1, 4), RowsSetting(16, 128, 1, 4), RowsSetting(64, 64, 1, 5)]
SUMMED_CHOICES = [  # where the next kernel adds up summands
    RowsSetting(32, 128, 4, 3),
    RowsSetting(64, 128, 4, 3),
    RowsSetting(32, 64, 6, 3),
    RowsSetting(32, 128, 2, 4),
]
ROWS_HEAD_CHOICES = [
    RowsSetting(32, 64, 1, 3),
    RowsSetting(64, 64, 1, 4),
    RowsSetting(64, 128, 1, 3),
]


class FusedStep:
    """`step()` gives logits (B, 1, vocab_size) of `token` (B, 1) at `position` (1,).

    token and position are int64 tensors on the device, which the caller moves on. Rows of K and V
    are stored in `cache`, whose rows the kernels must read (`static_view.readable`). Raises
    ValueError where a tensor does not fit, or no kernel computes what the model does.
    """

    def __init__(
        self,
        model: LanguageModel,
        cache: Cache,
        token: Tensor,
        position: Tensor,
        settings: Settings | None = None,
    ) -> None:
        self.decoder, self.config = model.decoder(), model.config
        if self.config.unfused:
            raise ValueError(f"a fused step has no {self.config.unfused}: use kernel: torch")
        self.token, self.position = token, position
        self.batch, head = cache.batch, self.decoder.head
        self.pdl = token.is_cuda and torch.cuda.get_device_capability(token.device) >= (9, 0)
        self.attentions: dict[int, Attention] = {}
        for i, layer in enumerate(self.decoder.layers):
            rows, blocks, turned = kernel_rows(cache, layer.owner)
            self.attentions[i] = Attention(
                self.config.n_head, *rows, owns=layer.owner == i, blocks=blocks, turned=turned
            )
        self.settings = {site: self.choices(site)[0] for site in SITES} | (settings or {})
        dtype, V = head.weight.dtype, head.out_features
        self.logits = torch.empty(1, self.batch, V, dtype=dtype, device=token.device)
        build = self._one_row if self.batch == 1 else self._few_rows
        self.launches = list(build())

    def __call__(self) -> Tensor:
        """Run the step; waits for nothing, allocates nothing."""
        for launch in self.launches:
            launch()
        return self.logits.transpose(0, 1)

    def choices(self, site: str) -> list[Any]:
        """Settings of one kind of kernel that are worth measuring, the best guess first."""
        if site == "attention":
            return self.attentions[self._commonest()].choices()
        if self.batch == 1:
            return HEAD_CHOICES if site == "head" else ROW_CHOICES
        if site == "head":
            return ROWS_HEAD_CHOICES
        return ROWS_CHOICES if site in ("qkv", "up") else SUMMED_CHOICES

    def _commonest(self) -> int:
        """A layer whose cache is of the format that most are of: one setting serves them all."""
        formats = [one.format for one in self.attentions.values()]
        return formats.index(statistics.mode(formats))

    def _new(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device=self.token.device)

    def _embed(self, x: Tensor) -> tuple[Launch, Tensor | None]:
        decoder = self.decoder
        turn = None if decoder.speed is None else self._new(2, decoder.speed.numel())
        launch = bound.embed(
            self.token, self.position, decoder.embedding, decoder.positions, decoder.speed,
            x, turn, self.pdl,
        )  # fmt: skip
        return launch, turn

    def _attend(self, i: int, qkv: Tensor, out: Tensor, turn: Tensor | None) -> Launch:
        setting = self.settings["attention"]
        return self.attentions[i].launch(qkv, self.position, out, setting, turn)

    def _one_row(self) -> Iterator[Launch]:
        layers, C = self.decoder.layers, self.decoder.embedding.size(1)
        x, y = self._new(1, C), self._new(1, layers[0].proj.in_features)
        launch, turn = self._embed(x)
        yield launch
        for i, layer in enumerate(layers):
            qkv, inner = self._new(1, layer.qkv.out_features), self._new(layer.up.out_features)
            yield self._row("qkv", x[0], layer.qkv, qkv[0], layer.norm_1)
            yield self._attend(i, qkv, y, turn)
            yield self._row("proj", y[0], layer.proj, x[0], add=True)
            yield self._row("up", x[0], layer.up, inner, layer.norm_2, layer.gate)
            yield self._row("down", inner, layer.down, x[0], add=True)
        decoder = self.decoder
        yield self._row("head", x[0], decoder.head, self.logits[0, 0], decoder.norm)

    def _row(
        self,
        site: str,
        x: Tensor,
        layer: Any,
        out: Tensor,
        norm: Any = None,
        gate: Any = None,
        add: bool = False,
    ) -> Launch:
        gelu, setting = isinstance(layer, LinearGELU), self.settings[site]
        return bound.one_row(x, layer, out, setting, norm, gate, gelu, add, self.pdl)

    def _few_rows(self) -> Iterator[Launch]:
        decoder, layers, B = self.decoder, self.decoder.layers, self.batch
        C, dtype = decoder.embedding.size(1), decoder.head.weight.dtype
        x, normed = self._new(B, C), self._new(B, C, dtype=dtype)
        y = self._new(B, layers[0].proj.in_features, dtype=dtype)
        launch, turn = self._embed(x)
        yield launch
        summands: Tensor | None = None
        for i, layer in enumerate(layers):
            yield bound.add_norm(x, summands, layer.norm_1, normed, self.pdl)
            qkv = self._new(1, B, layer.qkv.out_features)
            yield self._rows("qkv", normed, layer.qkv, qkv)
            yield self._attend(i, qkv[0], y, turn)
            summands = self._summands("proj", layer.proj)
            yield self._rows("proj", y, layer.proj, summands)
            yield bound.add_norm(x, summands, layer.norm_2, normed, self.pdl)
            inner = self._new(1, B, layer.up.out_features, dtype=dtype)
            yield self._rows("up", normed, layer.up, inner, layer)
            summands = self._summands("down", layer.down)
            yield self._rows("down", inner[0], layer.down, summands)
        yield bound.add_norm(x, summands, decoder.norm, normed, self.pdl)
        yield self._rows("head", normed, decoder.head, self.logits)

    def _summands(self, site: str, layer: Any) -> Tensor:
        return self._new(self.settings[site].split, self.batch, layer.out_features)

    def _rows(
        self, site: str, x: Tensor, layer: Any, out: Tensor, gated: Layer | None = None
    ) -> Launch:
        gelu, gate = isinstance(layer, LinearGELU), gated.gate if gated else None
        setting = self.settings[site]
        return bound.few_rows(x, layer, out, setting, gate, gelu, self.pdl)
