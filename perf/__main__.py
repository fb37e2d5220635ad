"""`python -m perf`; in a module of its own, since fresh processes import `run` by name."""

import sys

from perf.run import main

if __name__ == "__main__":
    sys.exit(main())
