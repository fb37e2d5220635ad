"""Peers: how long another runner takes for the same tokens from the same weights.

As `latency`, on the same prompt, dtype, threads and device. Before anything is timed, v1 generates
its greedy tokens from the very weights that the peer is given, and the record says where the peer's
first differ: nowhere, in float32.
"""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import Any

from torch import Tensor

from kvbench import peers
from kvbench.bench.latency import one_run, summarise
from kvbench.bench.setup import Setup, ready
from kvbench.cell import Cell
from kvbench.engine.generate import generate, greedy, no_mark, overflow_steps
from kvbench.files.placeholder import NotMeasuredError
from kvbench.job.log import is_out_of_memory
from kvbench.records.record import Record


def run(cell: Cell, weights: str | None = None) -> Record:
    """One process's sample of a peer's cell; a peer that is not installed is a result.

    Raises NotMeasuredError for one that does not run here.
    """
    lacking = peers.missing(cell.version)
    if lacking:
        return cell.failure("not installed", f"no {', '.join(lacking)}")
    with ready(cell, weights) as setup:
        T, start = cell.T, cell.prompt_length
        ours = generate(setup.model, setup.prompt, T, setup.cache(start + T), greedy)
        module, peer, theirs = started(cell.version, setup, T)
        at = first_difference(ours, theirs, start)
        for _ in range(cell.num_warmup_runs):
            one_run(setup, peer, lambda mark: mark, T)
        setup.begin()
        runs = [one_run(setup, peer, lambda mark: mark, T) for _ in setup.measured_runs()]
        facts = {
            "T": T,
            **summarise(runs, T),
            "overflow_steps": overflow_steps(start, T, cell.model_config["block_size"]),
            "peer_library": module.LIBRARY,
            "tokens_equal": at is None,
            "first_difference": at,
            "runs": runs,
        }
        if not peer.stepwise:  # the ends of its steps are unknown
            facts |= {"ttft_ms_median": None, "tpot_ms_median": None}
            facts |= {"runs": [run | {"step_ms": [], "ttft_ms": None} for run in runs]}
        return setup.record(**facts) | {
            "execution": "peer",
            "kernel": module.LIBRARY,
            "sdpa_backend": None,  # the runner's own affair
        }


def started(name: str, setup: Setup, T: int) -> tuple[Any, Any, Tensor]:
    """A peer's module, the peer on the cell's model and prompt, and T tokens that it generated.

    Raises NotMeasuredError, with the peer's own reason, where it does not start: it was built for
    other libraries or another device, or cannot hold the model.
    """
    about = peers.PEERS[name]
    try:
        module = import_module(f"kvbench.peers.{about['module']}")
        peer = module.Peer(setup.model, setup.prompt, T, about)
        return module, peer, peer(no_mark)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        traceback.print_exc()
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NotMeasuredError(f"{name} does not run on {setup.device} here: {reason}") from error


def first_difference(ours: Tensor, theirs: Tensor, start: int) -> int | None:
    """How many generated tokens agree in every sequence before one does not; None if all do.

    Raises ValueError where the prompts or the numbers of tokens differ.
    """
    theirs = theirs.to(ours.device)
    if ours.shape != theirs.shape or not ours[:, :start].equal(theirs[:, :start]):
        raise ValueError(f"the peer returned {tuple(theirs.shape)}, not {tuple(ours.shape)}")
    differ = (ours != theirs).any(0).nonzero()
    return int(differ[0]) - start if len(differ) else None
