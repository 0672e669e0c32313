"""How much memory there is for a table."""

import math
import os
from pathlib import Path

from schuss.table.objects import gives_tables

_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def memory_for(source: object, memory: float | None = None) -> int | None:
    """Bytes that the columns of a source may take: half of `memory`, or of half of what is free.

    None for what is in memory already.
    """
    if not (isinstance(source, str | os.PathLike) or gives_tables(source)):
        return None
    half = (half_of_free_memory() if memory is None else memory) / 2
    return None if half == math.inf else int(half)


def half_of_free_memory() -> float:
    """Bytes: half of what the system could still give this process, infinite where it does not say."""
    return min(_free_in_system(), _free_in_groups()) / 2


def _free_in_system() -> float:
    """Bytes that programs can get without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def _free_in_groups() -> float:
    """Bytes up to the limits of the control groups that this process is in; what is kept of files can be let go."""
    left = math.inf
    for line in _lines(_GROUPS):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used, cache = _ROOT, "max", "current", "file"
        elif controllers == "memory":  # of version 1, where each controller has groups of its own
            root, limit, used, cache = _ROOT / "memory", "limit_in_bytes", "usage_in_bytes", "total_cache"
        else:
            continue
        own = root / path.lstrip("/")
        for group in (own, *own.parents[: len(own.relative_to(root).parts)]):
            stated = dict(line.split() for line in _lines(group / "memory.stat"))
            taken = _number(group / f"memory.{used}", 0) - float(stated.get(cache, 0))
            left = min(left, _number(group / f"memory.{limit}") - taken)
    return left


def _lines(path: Path) -> list[str]:
    """Of a file of the system; none where it is not there."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _number(path: Path, otherwise: float = math.inf) -> float:
    """What a file of the system holds."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # "max" stands for no limit
        return otherwise
