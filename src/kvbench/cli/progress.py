"""Snakemake at work: its own lines, or on a terminal a bar with the time left."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from kvbench.cli.errors import Failed
from kvbench.plan import estimate

POLL_S = 1.0  # between looks at what is done: a job is being measured meanwhile


def execute(command: list[str], seconds: dict[str, float], total: float) -> None:
    """Run Snakemake, with a bar on a terminal, else its own lines. Raises Failed where it fails."""
    console = Console(stderr=True)
    if not console.is_terminal:
        if subprocess.run(command).returncode:
            raise Failed("a job failed: its log's last lines are above; run again to go on")
        return
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
    )
    said = TextColumn("{task.description}")
    with Progress(*columns, said, console=console, refresh_per_second=1 / POLL_S) as bar:
        task = bar.add_task("", total=total, left=f"{estimate.words(total)} left")

        def follow() -> None:
            for line in process.stdout or ():
                if re.match(r"\[ *\d+/\d+\] ", line):
                    bar.update(task, description=line.split("  ")[0].strip())
                elif not re.match(r" {2}\w+ +\d+|\d+ jobs to run|Elapsed time|Using ", line):
                    bar.console.print(line.rstrip(), markup=False, highlight=False)

        reader = threading.Thread(target=follow)
        reader.start()
        began = time.monotonic()
        try:
            while process.poll() is None:
                done = sum(s for path, s in seconds.items() if _made_since(path, began))
                left = estimate.left(total, done, time.monotonic() - began)
                bar.update(task, completed=min(done, total), left=f"{estimate.words(left)} left")
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            process.wait()  # it has the signal as well, and ends its jobs
            raise
        reader.join()
        bar.update(task, completed=total, left="")
    if process.returncode:
        raise Failed("a job failed: its log's last lines are above; run again to go on")


def _made_since(path: str, began: float) -> bool:
    try:
        return Path(path).stat().st_mtime >= time.time() - (time.monotonic() - began) - 1
    except OSError:
        return False
