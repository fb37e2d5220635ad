"""Run Snakemake until a study with `stopping` has measured enough rounds.

    python -m kvbench.cli.rounds --cores 1 all --configfile config/mine.yaml

All arguments are Snakemake's. Every run after the first adds a round, until the verdicts' intervals
are narrow enough or the time is over (`config/schema.yaml`, key `stopping`). A study that sets
neither is run once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from kvbench.plan.rounds import ADD, DECIDED


def main(arguments: Sequence[str]) -> int:
    """Snakemake's exit status."""
    if not arguments or set(arguments) & {"-h", "--help"}:
        print(__doc__)
        return 0
    command = [sys.executable, "-m", "snakemake", *arguments]
    decision: list[object] | None = None
    while True:
        DECIDED.unlink(missing_ok=True)
        status = subprocess.run(command, env=os.environ | {ADD: "1"}).returncode
        if status or not DECIDED.exists():
            return status
        last, decision = decision, json.loads(DECIDED.read_text())
        reason = decision[1]
        if not reason or decision == last:  # these targets make no verdicts
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
