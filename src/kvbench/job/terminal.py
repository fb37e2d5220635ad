"""Snakemake's terminal, made quiet: a line a job that takes a second, a failed one's last lines.

Stands in for Snakemake's own handler of the terminal, which it still uses for all that it does not
say more briefly. Any of Snakemake's options on output (`--quiet`, `--verbose`, `--printshellcmds`,
`--logger`) leaves the terminal as Snakemake has it; its log file has everything either way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LEAST_S = 1.0  # a job that takes less is not worth a line
LAST = 12  # lines of a failed job's log
DROPPED = (
    *("Select jobs to execute", "Execute ", "Assuming unrestricted", "Using shell", "Complete"),
    *("Conda environments: ignored", "Building DAG", "Using workflow specific profile"),
)


class Brief(logging.Handler):
    """A handler that says most events of a run in fewer words than `plain`, which it replaces."""

    def __init__(self, plain: logging.Handler, stream: Any, dryrun: bool) -> None:
        super().__init__()
        self.plain, self.stream, self.dryrun = plain, stream, dryrun
        self.jobs: dict[int, tuple[str, float]] = {}  # what it makes, when it began
        self.done = ""
        self.said_counts = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = self.lines(record)
        except Exception:
            self.handleError(record)
            return
        if lines is None:
            self.plain.handle(record)
        elif lines:
            self.stream.write("".join(f"{line}\n" for line in lines))
            self.stream.flush()

    def lines(self, record: logging.LogRecord) -> list[str] | None:
        """What to say of a record; None to leave it to Snakemake's own handler."""
        event = getattr(record, "event", None)
        found = vars(record)
        kind = getattr(event, "value", None)
        if kind == "job_info":
            self.jobs[found["jobid"]] = (_made(found), time.monotonic())
            return []
        if kind in ("workflow_started", "resources_info", "shellcmd", "job_started", "group_info"):
            return []
        if kind == "progress":
            return self._progress(found["done"], found["total"])
        if kind == "job_finished":
            self.done = self._finished(found["job_id"])
            return []
        if kind == "job_error":
            return _failed(found)
        if kind == "run_info":
            again, self.said_counts = self.said_counts, True
            return [] if again else _counts(found["stats"])
        text = str(record.msg or "")
        if record.levelno <= logging.INFO and text.startswith(DROPPED):
            return []
        if self.dryrun and record.levelno <= logging.INFO and "Reasons:" in text:
            return []
        if text.startswith("RuleException:") and "returned non-zero exit status" in text:
            return []  # the job itself has said why; one that was killed could not
        return None

    def _finished(self, job: int) -> str:
        made, began = self.jobs.pop(job, ("", time.monotonic()))
        took = time.monotonic() - began
        return f"{made}  {took:.0f} s" if made and took >= LEAST_S else ""

    def _progress(self, done: int, total: int) -> list[str]:
        """The line of the job that has just finished, behind how many of all are done."""
        said, self.done = self.done, ""
        return [f"[{done:>{len(str(total))}}/{total}] {said}"] if said else []


def quieten(output: Any, dryrun: bool) -> None:
    """Make the terminal quiet, unless an option of Snakemake's says what it should show.

    `output` are Snakemake's settings of output.
    """
    from snakemake.logging import ColorizingTextHandler, logger

    asked = output.verbose or output.printshellcmds or output.debug_dag or output.quiet
    for plain in [h for h in logger.handlers if isinstance(h, ColorizingTextHandler)]:
        if not asked:
            logger.removeHandler(plain)
            logger.addHandler(Brief(plain, plain.stream, dryrun))


def _made(found: dict[str, Any]) -> str:
    outputs = list(map(str, found.get("output") or []))
    return outputs[0] if outputs else str(found.get("rule_name") or "")


def _failed(found: dict[str, Any]) -> list[str]:
    """What failed, and how its log ends."""
    lines = [f"Error in rule {found['rule_name']}: {_made(found)} was not made"]
    for log in map(Path, found.get("log") or []):
        try:
            text = log.read_text(errors="replace").splitlines()
        except OSError:
            continue
        if text:
            lines += [f"  {log} ends:", *(f"    {line}" for line in text[-LAST:])]
    return lines


def _counts(stats: dict[str, int]) -> list[str]:
    """How many jobs of each rule are to be run."""
    jobs = {rule: count for rule, count in stats.items() if rule != "total"}
    width = max(map(len, jobs), default=0)
    measured = sum(count for rule, count in jobs.items() if rule.startswith("measure_"))
    said = f"{sum(jobs.values())} jobs to run" + (f", {measured} of them measure" * bool(measured))
    return [f"{said}:", *_columns(f"{rule:{width}} {n:5}" for rule, n in jobs.items())]


def _columns(cells: Iterable[str]) -> list[str]:
    """Cells of one width in two columns."""
    every = list(cells)
    half = (len(every) + 1) // 2
    pairs = zip(every[:half], every[half:] + [""] * (half * 2 - len(every)), strict=True)
    return [f"  {left}    {right}".rstrip() for left, right in pairs]
