"""Which counters make up each quantity, and what one count of each is worth."""

import re
from dataclasses import dataclass
from functools import cache

from kvbench.ncu.values import BYTES, COUNT, CYCLES, RATE, TIME

QUANTITIES = ("dram_bytes", "l2_bytes", "l1_bytes", "time_ns", "core_flop", "tensor_flop")

DURATION = "Duration"  # the details page's label of gpu__time_duration.sum
_CYCLES, _RATE = "sm__cycles_elapsed.avg", "sm__cycles_elapsed.avg.per_second"
_TENSOR_INST = "sm__inst_executed_pipe_tensor_op_hmma.sum"
_SECTOR_BYTES = 32

# In order of preference. Each option is a sum of counters, all of which must be there.
_BYTES_FROM = {
    "dram_bytes": (
        {"dram__bytes.sum": 1},
        {"dram__bytes_read.sum": 1, "dram__bytes_write.sum": 1},
        {"dram__bytes_op_read.sum": 1, "dram__bytes_op_write.sum": 1},  # CC 12.0, ncu 2026
        {"dram__sectors_read.sum": _SECTOR_BYTES, "dram__sectors_write.sum": _SECTOR_BYTES},
    ),
    "l2_bytes": ({"lts__t_bytes.sum": 1},),
    "l1_bytes": ({"l1tex__t_bytes.sum": 1},),
}
# FLOP per thread instruction: a fused multiply-add is two, packed fp16 works on two values.
# The second table is packed fp32, which only CC 10 and newer have.
_FAMILIES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "fp32": ({"fadd": 1, "fmul": 1, "ffma": 2}, {"fadd2": 2, "fmul2": 2, "ffma2": 4}),
    "fp64": ({"dadd": 1, "dmul": 1, "dfma": 2}, {}),
    "fp16": ({"hadd": 2, "hmul": 2, "hfma": 4}, {}),
}
_SASS = "{prefix}__sass_thread_inst_executed_op_{op}_pred_on.sum"
_TENSOR_OPS = re.compile(
    r"sm__ops_path_tensor(?:_op_(?P<op>[a-z0-9]+))?(?:_src_(?P<src>[a-z0-9_]+?))?"
    r"(?:_dst_(?P<dst>[a-z0-9_]+?))?(?:_sparsity_(?P<sparsity>on|off))?\.sum"
)

_DIMENSIONS = {
    "gpu__time_duration.sum": TIME,
    _CYCLES: CYCLES,
    _RATE: RATE,
    _TENSOR_INST: COUNT,
    **{
        name: COUNT if "sectors" in name else BYTES
        for options in _BYTES_FROM.values()
        for option in options
        for name in option
    },
    **{
        _SASS.format(prefix=prefix, op=op): COUNT
        for prefix in ("smsp", "sm")
        for tables in _FAMILIES.values()
        for table in tables
        for op in table
    },
}


@cache
def dimension(metric: str) -> str | None:
    """The dimension of a counter this package reads, None for every other metric."""
    if _TENSOR_OPS.fullmatch(metric):
        return COUNT
    return _DIMENSIONS.get(metric)


@dataclass(frozen=True)
class Option:
    """One way to get a quantity: a weighted sum of counters, or a count over a rate."""

    label: str
    terms: tuple[tuple[str, float], ...]
    over: str | None = None


def _weighted(counters: dict[str, int]) -> tuple[tuple[str, float], ...]:
    return tuple((name, float(factor)) for name, factor in counters.items())


def _sum_of(counters: dict[str, int]) -> Option:
    """The option that adds these counters up, labelled with them."""
    label = " + ".join(n if f == 1 else f"{n} x {f}" for n, f in counters.items())
    return Option(label, _weighted(counters))


def time_options() -> tuple[Option, ...]:
    """Kernel time: the counter, the same under its label, or elapsed cycles over their rate."""
    return (
        Option("gpu__time_duration.sum", (("gpu__time_duration.sum", 1.0),)),
        Option(f"the label {DURATION}", ((DURATION, 1.0),)),
        Option(f"{_CYCLES} / {_RATE}", ((_CYCLES, 1e9),), over=_RATE),
    )


def byte_options(quantity: str) -> tuple[Option, ...]:
    """Bytes at one level of the memory hierarchy."""
    return tuple(_sum_of(option) for option in _BYTES_FROM[quantity])


def core_families(names: set[str]) -> tuple[dict[str, Option], str]:
    """FLOP of the CUDA cores by family (fp32, fp64, fp16), and why there are none.

    A family with some of its counters absent cannot be counted, and then nor can the sum.
    """
    found = {}
    for family, (required, packed) in _FAMILIES.items():
        # Both prefixes count the same; smsp__ wins when both are there.
        tables = [
            {_SASS.format(prefix=p, op=op): factor for op, factor in (required | packed).items()}
            for p in ("smsp", "sm")
        ]
        whole = [t for t in tables if all(name in names for name in list(t)[: len(required)])]
        if whole:
            counters = {name: factor for name, factor in whole[0].items() if name in names}
            found[family] = Option(family, _weighted(counters))
        elif any(name in names for table in tables for name in table):
            return {}, f"{family} needs the counters of {', '.join(required)}, all three"
    return found, ""


def core_option(names: set[str]) -> tuple[Option | None, str]:
    """FLOP of the CUDA cores, over the families the table holds, and what to say about it."""
    found, why = core_families(names)
    if not found:
        return None, why
    absent = [f for f in _FAMILIES if f not in found]
    label = " + ".join(found) + (f" (not in the file: {', '.join(absent)})" if absent else "")
    return Option(label, tuple(term for option in found.values() for term in option.terms)), ""


def _covers(a: dict, b: dict) -> bool:
    """Whether counter `a` is the aggregate of `b`: it leaves open what `b` fixes."""
    return a != b and all(value is None or value == b[key] for key, value in a.items())


def _overlap(a: dict, b: dict) -> bool:
    return all(a[k] is None or b[k] is None or a[k] == b[k] for k in a)


def tensor_option(names: set[str], flop_per_inst: float | None) -> tuple[Option | None, str]:
    """FLOP of the tensor cores, and what to say when there is no telling.

    sm__ops_path_tensor_* count operations, a multiply-add as two. Hopper has both aggregates
    and their leaves: a leaf counts only where its aggregate is absent. The instruction counter
    of V100 and T4 needs `flop_per_inst`, measured on a GEMM of known size.
    """
    parsed = {n: m.groupdict() for n in sorted(names) if (m := _TENSOR_OPS.fullmatch(n))}
    top = [n for n, p in parsed.items() if not any(_covers(q, p) for q in parsed.values())]
    for i, a in enumerate(top):
        for b in top[i + 1 :]:
            if _overlap(parsed[a], parsed[b]):
                return None, f"{a} and {b} count some operations twice"
    if top:
        return _sum_of(dict.fromkeys(top, 1)), ""
    if _TENSOR_INST not in names:
        return None, ""
    if flop_per_inst is None:
        return None, (
            f"{_TENSOR_INST} counts instructions: calibrate it with a GEMM of known size "
            "and give the FLOP per instruction"
        )
    label = f"{_TENSOR_INST} x {flop_per_inst:g}"
    return Option(label, ((_TENSOR_INST, flop_per_inst),)), ""
