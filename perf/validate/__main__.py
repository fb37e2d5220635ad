"""Print the table of promised and found rates: `python -m perf.validate [words of a scenario]`."""

from __future__ import annotations

import argparse
import sys

from perf.validate.scenario import simulate
from perf.validate.scenarios import scenarios


def main() -> int:
    """Simulate and print; 1 where a rate lies beyond its promise by more than two errors."""
    parser = argparse.ArgumentParser(prog="python -m perf.validate", description=__doc__)
    parser.add_argument("only", nargs="*", help="scenarios whose name holds all of these words")
    parser.add_argument("--share", type=float, default=1.0, help="of the studies, 0.1 for a look")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("| scenario | promised | found | studies | |\n|---|---|---|---|---|")
    broken = 0
    for scenario in scenarios():
        if not all(word in scenario.name for word in given.only):
            continue
        found = simulate(scenario, given.seed, given.share)
        slack = 2 * found.error
        holds = scenario.low - slack <= found.rate <= scenario.high + slack
        broken += not holds
        rate = f"{100 * found.rate:.1f} % ± {100 * found.error:.1f}"
        word = "holds" if holds else "FALLS SHORT"
        columns = (scenario.name, scenario.promised, rate, str(found.studies), word)
        print(f"| {' | '.join(columns)} |", flush=True)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
