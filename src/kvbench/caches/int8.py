"""The INT8 cache as a class, to build one of your own on: a code a channel, an fp32 scale a row."""

from __future__ import annotations

from kvbench.caches.coded import described
from kvbench.costs.description import Description
from kvbench.costs.part import Part

KVCache = described(Description(keys=Part("int8"), values=Part("int8")))
