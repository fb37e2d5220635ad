"""Which counters make up each quantity, and what one count of each is worth."""

import re
from dataclasses import dataclass
from functools import cache

from kvbench.files import Json
from kvbench.ncu.values import BYTE_RATE, BYTES, COUNT, CYCLES, PER_CYCLE, RATE, TIME

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
        {"dram__sectors.sum": _SECTOR_BYTES},
        {"fbpa__dram_read_bytes.sum": 1, "fbpa__dram_write_bytes.sum": 1},  # before CC 8.0
        {"dram_read_bytes": 1, "dram_write_bytes": 1},  # nvprof's names
    ),
    "l2_bytes": ({"lts__t_bytes.sum": 1}, {"lts__t_sectors.sum": _SECTOR_BYTES}),
    "l1_bytes": ({"l1tex__t_bytes.sum": 1}, {"l1tex__t_sectors.sum": _SECTOR_BYTES}),
}
_DRAM_RATE = "dram__bytes.sum.per_second"
_PER_CYCLE = ".per_cycle_elapsed"  # what --set detailed, full and roofline print in place of sums
# Cycles of a launch, in order of preference; the same of each unit that counts instructions.
_CYCLES_FROM = ("smsp__cycles_elapsed.avg", _CYCLES, "sm__cycles_elapsed.max")
_CLOCK = "smsp__cycles_elapsed.avg.per_second"
_TIME = "gpu__time_duration.sum"
# Counters of what this reads, by other names or in other forms: named where they stand alone.
RELATED = {
    "dram_bytes": re.compile(r"(fbpa__)?dram_*_?(bytes|sectors|read|write).*"),
    "l2_bytes": re.compile(r"(lts__t_(bytes|sectors)|l2_).*"),
    "l1_bytes": re.compile(r"l1tex__t_(bytes|sectors).*"),
    "core_flop": re.compile(r"(derived__)?smsp?__.*_op_[dfh](add|mul|fma).*|flop_count_.*"),
    "tensor_flop": re.compile(r"sm__(ops_path_tensor|inst_executed_pipe_tensor).*|.*hmma.*"),
}
# FLOP per thread instruction: a fused multiply-add is two, packed fp16 works on two values.
# The second table is packed fp32, which only CC 10 and newer have.
_FAMILIES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "fp32": ({"fadd": 1, "fmul": 1, "ffma": 2}, {"fadd2": 2, "fmul2": 2, "ffma2": 4}),
    "fp64": ({"dadd": 1, "dmul": 1, "dfma": 2}, {}),
    "fp16": ({"hadd": 2, "hmul": 2, "hfma": 4}, {}),
}
# What to export for each quantity, where a file has it in a form that is not read.
WANTED = {
    "dram_bytes": "dram__bytes_read.sum and dram__bytes_write.sum",
    "l2_bytes": "lts__t_bytes.sum",
    "l1_bytes": "l1tex__t_bytes.sum",
    "core_flop": "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum, and of fmul and ffma",
    "tensor_flop": "sm__ops_path_tensor_*.sum, as `python -m kvbench.ncu metrics` names them",
}
_SASS = "{prefix}__sass_thread_inst_executed_op_{op}_pred_on.sum"
_SASS_COUNTERS = [
    _SASS.format(prefix=prefix, op=op)
    for prefix in ("smsp", "sm")
    for tables in _FAMILIES.values()
    for op in tables[0] | tables[1]
]
_TENSOR_OPS = re.compile(
    r"sm__ops_path_tensor(?:_op_(?P<op>[a-z0-9]+))?(?:_src_(?P<src>[a-z0-9_]+?))?"
    r"(?:_dst_(?P<dst>[a-z0-9_]+?))?(?:_sparsity_(?P<sparsity>on|off))?\.sum"
)

_DIMENSIONS = {
    _TIME: TIME,
    _DRAM_RATE: BYTE_RATE,
    _CLOCK: RATE,
    **dict.fromkeys(_CYCLES_FROM, CYCLES),
    _RATE: RATE,
    _TENSOR_INST: COUNT,
    **{
        name: COUNT if "sectors" in name else BYTES
        for options in _BYTES_FROM.values()
        for option in options
        for name in option
    },
    **dict.fromkeys(_SASS_COUNTERS, COUNT),
    **{f"{name}{_PER_CYCLE}": PER_CYCLE for name in _SASS_COUNTERS},
}


@cache
def dimension(metric: str) -> str | None:
    """The dimension of a counter this package reads, None for every other metric."""
    if _TENSOR_OPS.fullmatch(metric):
        return COUNT
    return _DIMENSIONS.get(metric)


@dataclass(frozen=True)
class Option:
    """One way to get a quantity: a weighted sum of counters, over one, or times some others."""

    label: str
    terms: tuple[tuple[str, float], ...]
    over: str | None = None
    times: tuple[str, ...] = ()


def _weighted(counters: dict[str, int]) -> tuple[tuple[str, float], ...]:
    return tuple((name, float(factor)) for name, factor in counters.items())


def _sum_of(counters: dict[str, int]) -> Option:
    """The option that adds these counters up, labelled with them."""
    label = " + ".join(n if f == 1 else f"{n} x {f}" for n, f in counters.items())
    return Option(label, _weighted(counters))


def time_options() -> tuple[Option, ...]:
    """Kernel time: the counter, the same under its label, or elapsed cycles over their rate."""
    return (
        Option(_TIME, ((_TIME, 1.0),)),
        Option(f"the label {DURATION}", ((DURATION, 1.0),)),
        Option(f"{_CYCLES} / {_RATE}", ((_CYCLES, 1e9),), over=_RATE),
    )


def byte_options(quantity: str) -> tuple[Option, ...]:
    """Bytes at one level of the memory hierarchy."""
    sums = tuple(_sum_of(option) for option in _BYTES_FROM[quantity])
    if quantity != "dram_bytes":
        return sums
    return *sums, Option(f"{_DRAM_RATE} x {_TIME}", ((_DRAM_RATE, 1e-9),), times=(_TIME,))


def _cycles(names: set[str]) -> tuple[tuple[str, ...], float, str] | None:
    """The counters whose product is a launch's cycles, its factor, and its label."""
    for name in _CYCLES_FROM:
        if name in names:
            return (name,), 1.0, name
    if {_CLOCK, _TIME} <= names:
        return (_CLOCK, _TIME), 1e-9, f"{_CLOCK} x {_TIME}"
    return None


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
            continue
        if any(name in names for table in tables for name in table):
            return {}, f"{family} needs the counters of {', '.join(required)}, all three"
        rates = [{name + _PER_CYCLE: f for name, f in table.items()} for table in tables]
        whole = [r for r in rates if all(name in names for name in list(r)[: len(required)])]
        cycles = _cycles(names)
        if whole and cycles:
            times, factor, label = cycles
            given = {name: f * factor for name, f in whole[0].items() if name in names}
            terms = tuple((name, float(f)) for name, f in given.items())
            found[family] = Option(f"{family} per cycle x {label}", terms, times=times)
        elif any(name in names for rate in rates for name in rate):
            wanted = "cycles, as sm__cycles_elapsed.max" if whole else "all three operations"
            return {}, f"{family} is there per cycle, which needs {wanted}"
    return found, ""


def core_option(names: set[str]) -> tuple[Option | None, str]:
    """FLOP of the CUDA cores, over the families the table holds, and what to say about it."""
    found, why = core_families(names)
    if not found:
        return None, why
    times, *others = {option.times for option in found.values()}
    if others:
        return None, f"of {', '.join(found)} some are there as sums, some per cycle only"
    label = " + ".join(option.label for option in found.values())
    if absent := [family for family in _FAMILIES if family not in found]:
        label += f" (not in the file: {', '.join(absent)})"
    terms = tuple(term for option in found.values() for term in option.terms)
    return Option(label, terms, times=times), ""


def _covers(a: Json, b: Json) -> bool:
    """Whether counter `a` is the aggregate of `b`: it leaves open what `b` fixes."""
    return a != b and all(value is None or value == b[key] for key, value in a.items())


def _overlap(a: Json, b: Json) -> bool:
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
