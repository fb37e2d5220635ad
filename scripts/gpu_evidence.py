"""What one GPU shows of this project, in nine minutes and without Snakemake: see --help."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from perf.evidence.run import main

if __name__ == "__main__":
    sys.exit(main())
