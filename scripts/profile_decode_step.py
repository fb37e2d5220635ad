"""Run exactly one prefill or decode step of one version, for a profiler: see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from kvbench.cli.profile import main

if __name__ == "__main__":
    main()
