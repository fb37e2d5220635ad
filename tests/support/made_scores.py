"""Retrieval cells of chosen answers, on the header of a published record. Never a result."""

import json
from functools import cache
from pathlib import Path

import numpy as np

PUBLISHED = Path(__file__).parents[2] / "published/cpu-amd-epyc-avx2/quality/results.jsonl"
SHARE = {"needle": 1.0, "multikey": 0.75, "variables": 0.25, "words": 0.5}  # right with v1


@cache
def published():
    """The perplexity record of each version."""
    records = map(json.loads, PUBLISHED.read_text().splitlines())
    return {record["version"]: record for record in records}


def retrieval(version, losing=0.0, items=20, lengths=(256, 512)):
    """A cell that loses this share of what v1 answers, and half as much again at the longest."""
    like = published()[version]
    drop = {"text", "context", "stride", "prompt", "n_windows", "n_tokens", "n_bytes", "loss"}
    drop |= {"perplexity", "bits_per_byte", "modes", "degradation", "paired", "divergence"}
    kept = {k: like[k] for k in like if k not in drop and not k.startswith(("window_", "by_"))}
    kept.pop("probes")
    scores = []
    for task, share in SHARE.items():
        for length in lengths:
            right = np.arange(items) < round(share * items)
            more = 1.5 if length == max(lengths) else 1.0
            right &= np.arange(items) >= round(losing * more * share * items)
            ranks = np.where(right, 1, 3)
            margins = np.where(right, 2.0, -1.0) - losing + 0.1 * np.cos(np.arange(items))
            scores.append(
                {"task": task, "length": length, "item": list(range(items))}
                | {"rank": ranks.tolist(), "margin": margins.tolist()}
            )
    few = [part(one, [0, items // 2]) for one in scores]
    wrong = [part(one, [0]) | {"rank": [8], "margin": [-4.0]} for one in scores]
    made = {"benchmark_name": "retrieval", "lengths": list(lengths), "items": items}
    made |= {"candidates": 8, "scores": scores, "corrupted": wrong}
    return kept | made | ({"noise_floor": few} if version == "v1" else {})


def part(scores, items):
    """These items of one task and length."""
    own = {key: [scores[key][i] for i in items] for key in ("rank", "margin")}
    return scores | {"item": items} | own
