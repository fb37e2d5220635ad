"""Whether two cells ran on one implementation, so that a ratio of their times is of the caches."""

from __future__ import annotations

from kvbench.records.record import Record


def implementations(a: Record, b: Record) -> str | None:
    """What apart from their caches differs between two cells: how they ran, and whose kernels read.

    None where nothing does. A version without a cache has no decode attention that could differ,
    and no step of one token that native kernels run as one call.
    """
    names = {"execution": "execution", "kernel": "kernels", "decode_attention": "decode attention"}
    uncached = not (a.get("use_cache", True) and b.get("use_cache", True))
    if uncached and {a.get("execution"), b.get("execution")} == {"eager", "step"}:
        del names["execution"]
    found = [
        f"{name} {a[key]} against {b[key]}"
        for key, name in names.items()
        if a.get(key) and b.get(key) and a[key] != b[key]
    ]
    if not found:
        return None
    return f"{', '.join(found)}: --config kernel=torch execution=eager compares the caches"
