"""Cross-checks of a profile against itself, its device and the model that ran."""

import math
import re

from kvbench.files import Json
from kvbench.ncu.store import Table

_GEMM = re.compile(r"gemm|nvjet|xmma|wgmma", re.I)
# GEMM in name, but on the CUDA cores: fp32 and fp64, and cuBLAS's kernels for tiny shapes.
_CUDA_CORE_GEMM = re.compile(r"gemv|[sdcz]gemm|simt|gemmk1|gemmSN", re.I)
_TOLERANCE = 0.01  # replay passes differ by less, rounding to three digits as well
_ROOF_SLACK = 1.05
_WEIGHT_SHARE = 0.9


def is_tensor_gemm(kernel: str) -> bool:
    """Whether a kernel's name says that it multiplies matrices on tensor cores."""
    return bool(_GEMM.search(kernel)) and not _CUDA_CORE_GEMM.search(kernel)


def read_plus_write(table: Table, locale: str) -> str | None:
    """A note when DRAM bytes read and written do not add up to the total beside them."""
    names = ("dram__bytes.sum", "dram__bytes_read.sum", "dram__bytes_write.sum")
    if any(name not in table.columns for name in names):
        return None
    rows = zip(*(getattr(table.columns[name], locale) for name in names), strict=True)
    total = parts = 0.0
    for both, read, write in rows:
        if not math.isnan(both + read + write):
            total += both
            parts += read + write
    if math.isclose(total, parts, rel_tol=_TOLERANCE):
        return None
    return f"dram__bytes_read + dram__bytes_write is {parts:.0f}, but dram__bytes is {total:.0f}"


def implausible(
    result: Json,
    *,
    bytes_per_s: float | None = None,
    flop_per_s: float | None = None,
    weight_bytes: float | None = None,
) -> list[str]:
    """What in a parsed profile cannot be: rates above a roof, fewer bytes than the weights.

    `bytes_per_s` and `flop_per_s` are the roofs of the device, `weight_bytes` what one decode
    step must at least read; a check without its bound, or its quantities, is left out.
    """
    notes = []
    seconds = (result["time_ns"] or 0) * 1e-9
    dram, core, tensor = (result[k] for k in ("dram_bytes", "core_flop", "tensor_flop"))
    flop = core + tensor if core is not None and tensor is not None else None
    for count, roof, unit in ((dram, bytes_per_s, "byte/s"), (flop, flop_per_s, "FLOP/s")):
        if count is not None and roof and seconds and count / seconds > _ROOF_SLACK * roof:
            notes.append(f"{count / seconds:.3g} {unit} is above the roof of {roof:.3g} {unit}")
    if dram is not None and weight_bytes and dram < _WEIGHT_SHARE * weight_bytes:
        notes.append(f"{dram} bytes from DRAM are fewer than the {weight_bytes:.0f} of the weights")
    return notes
