"""Run Snakemake until a study with `stopping` has measured enough rounds.

    python -m kvbench.cli.rounds --cores 1 all --configfile config/mine.yaml

All arguments are Snakemake's. Every run adds a round, until the verdicts' intervals are narrow
enough or the time is over (`config/schema.yaml`, key `stopping`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from kvbench.plan.rounds import DECIDED


def main(arguments: Sequence[str]) -> int:
    """Snakemake's exit status; 2 for a study that adds no rounds."""
    if not arguments or set(arguments) & {"-h", "--help"}:
        print(__doc__)
        return 0
    decided: list[object] | None = None
    while True:
        DECIDED.unlink(missing_ok=True)
        status = subprocess.run([sys.executable, "-m", "snakemake", *arguments]).returncode
        if status:
            return status
        if not DECIDED.exists():
            print("config key 'stopping' sets neither half_width nor minutes", file=sys.stderr)
            return 2
        last, decided = decided, json.loads(DECIDED.read_text())
        if last is not None and (decided == last or not decided[1]):
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
