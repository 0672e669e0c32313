"""How much memory there is for a table."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CONTROL_GROUPS = (  # of version 2 and 1: limit, and what is in use
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def memory_for(source: object, memory: float | None = None) -> int | None:
    """Bytes that the columns of a source may take: half of `memory`, or of half of what is free.

    None for what is in memory already.
    """
    if not isinstance(source, str | os.PathLike | list | tuple | Iterator):
        return None
    half = (half_of_free_memory() if memory is None else memory) / 2
    return None if half == math.inf else int(half)


def half_of_free_memory() -> float:
    """Bytes: half of what the system could still give this process, infinite where it does not say."""
    return min(_free_in_system(), *(_number(limit) - _number(used, 0) for limit, used in _CONTROL_GROUPS)) / 2


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


def _number(path: str, otherwise: float = math.inf) -> float:
    """What a file of the system holds."""
    try:
        return float(Path(path).read_text())
    except (OSError, ValueError):  # "max" stands for no limit
        return otherwise
