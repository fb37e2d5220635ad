"""What one GPU shows of this project, in nine minutes and without Snakemake: see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))  # nothing is installed

from perf.evidence.run import main

if __name__ == "__main__":
    sys.exit(main())
