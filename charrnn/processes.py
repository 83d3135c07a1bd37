"""Processes that train together, and the processors and memory that this process may use; by the
environment and the limits of containers, without PyTorch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

STARTED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun
CGROUPS = Path("/sys/fs/cgroup")  # of Linux; containers and clusters set limits there
MEMBERS = Path("/proc/self/cgroup")  # to which control groups this process belongs


def rank_and_size() -> tuple[int, int]:
    """The number of this process among those that train together, from 0, and how many there are,
    as torchrun starts them; (0, 1): it is alone."""
    try:
        rank, size, *_ = (os.environ[name] for name in STARTED)
        return int(rank), int(size)
    except (KeyError, ValueError):
        return 0, 1


def size_here() -> int:
    """How many of them are on this machine."""
    _, size = rank_and_size()
    try:
        return int(os.environ["LOCAL_WORLD_SIZE"]) if size > 1 else 1
    except (KeyError, ValueError):
        return size


def processors() -> int:
    """The number of processors that this process may use, also in a container with a limit."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    for group in _groups("cpu"):
        for quota, period in (("cpu.max", ""), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            with suppress(OSError, ValueError):
                numbers = _numbers(group / quota) + (_numbers(group / period) if period else [])
                if numbers[0] > 0:
                    count = min(count, math.ceil(numbers[0] / numbers[1]))
    return max(1, count)


def memory_left() -> int | None:
    """The memory that the limits of its control groups leave, in bytes; None: there are none."""
    left = []
    for group in _groups("memory"):
        for most, used, idle in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with suppress(OSError, ValueError):
                stat = (group / "memory.stat").read_text(encoding="ascii").split()
                # What was read from files is in use, and is given up when memory is needed.
                given_up = int(stat[stat.index(idle) + 1])
                left.append(_numbers(group / most)[0] - _numbers(group / used)[0] + given_up)
    return min(left, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """The control groups of this process that may have limits for memory or processors, versions 1
    and 2, from the innermost outwards."""
    with suppress(OSError):
        for line in MEMBERS.read_text(encoding="utf-8").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controller not in controllers.split(",") and controllers:
                continue
            root = CGROUPS / controllers if controllers else CGROUPS
            inner = root / path.strip("/")
            yield from (each for each in (inner, *inner.parents) if each.is_relative_to(root))


def _numbers(path: Path) -> list[int]:
    return [int(word) for word in path.read_text(encoding="ascii").split()]
