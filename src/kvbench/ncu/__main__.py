"""The totals of an Nsight Compute CSV export as one JSON object.

python -m kvbench.ncu FILE            of an export that is there
python -m kvbench.ncu profile ...     of one phase, profiled now: python -m kvbench.ncu profile -h
python -m kvbench.ncu metrics         the counters for this machine's GPU, for ncu --metrics
"""

import argparse
import json
import os
import sys

from kvbench.ncu import NcuError, command, parse, runner


def main(argv: list[str] | None = None) -> int:
    """Print the totals and return 0, or one line on stderr and return 1."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["profile"]:
        return command.main(arguments[1:])
    if arguments[:1] == ["metrics"]:
        return _metrics(arguments[1:])
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="kvbench.ncu", description=__doc__, formatter_class=raw)
    parser.add_argument("file", help="output of: ncu --csv --page raw (or details, or a summary)")
    parser.add_argument(
        "--flop-per-tensor-inst",
        type=float,
        metavar="N",
        help="calibrated FLOP of one tensor instruction (V100, T4)",
    )
    args = parser.parse_args(arguments)
    try:
        result = parse(args.file, flop_per_tensor_inst=args.flop_per_tensor_inst, progress=True)
    except (NcuError, OSError) as error:
        said = f"{args.file}: {error.strerror or error}" if isinstance(error, OSError) else error
        print(f"kvbench.ncu: {said}", file=sys.stderr)
        return 1
    try:
        print(json.dumps(result, indent=2), flush=True)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _metrics(arguments: list[str]) -> int:
    """Print the names that `ncu --metrics` takes, parted by commas."""
    parser = argparse.ArgumentParser(prog="kvbench.ncu metrics")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    try:
        print(",".join(runner.query(runner.need(), parser.parse_args(arguments).dtype)))
    except NcuError as error:
        print(f"kvbench.ncu: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
