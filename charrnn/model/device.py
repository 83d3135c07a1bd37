"""Where the network runs: the devices of this machine and the choice among them."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from charrnn.errors import DeviceError


def available() -> list[str]:
    """The devices of this machine, the fastest first."""
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    return found


def pick(name: str) -> torch.device:
    """The device of this name; "auto" is the fastest one.

    Raises:
        DeviceError: it is not there.
    """
    found = available()
    if name == "auto":
        name = found[0]
    if name not in found:
        raise DeviceError(f"no {name} device here; available: {', '.join(found)} (--device)")
    return torch.device(name)


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Have the C library keep for the next step what this one has freed.

    glibc gives large pieces back to the system at once, and their pages are cleared and mapped
    anew at every step of training: that took a fifth of it.  Elsewhere nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def out_of_memory(batch: int, length: int) -> Iterator[None]:
    """Turn a failed allocation, on whichever device, into an error that says what to do.

    Raises:
        DeviceError: out of memory.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory at batch {batch} and length {length}; "
            f"try --batch-size {max(1, batch // 2)}, or a smaller --hidden"
        ) from None


def _is_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch's CPU allocator and oneDNN raise plain RuntimeErrors."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        phrase in text for phrase in ("can't allocate memory", "out of memory", "bad_alloc")
    )
