"""Devices: which this machine has, which one to use, and how much memory it has left."""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Callable, Iterator
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
        DeviceError: this machine does not have it.
    """
    found = available()
    if name == "auto":
        name = found[0]
    if name not in found:
        raise DeviceError(f"no {name} device here; available: {', '.join(found)} (--device)")
    return torch.device(name)


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def most_threads() -> int:
    """The largest number of threads worth allowing; more would only slow the machine down."""
    return 4 * processors()


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next update.

    glibc returns large blocks to the system at once, so their pages were cleared and mapped again
    at every update, which took a fifth of the training time.  On other systems this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def free_memory(device: torch.device) -> int:
    """Bytes that are still free for tensors on this device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available + psutil.swap_memory().free)


@contextmanager
def out_of_memory(batch: int, length: int, fits: Callable[[int], bool]) -> Iterator[None]:
    """Turn a failed allocation, on any device, into an error that says what to do.

    Args:
        batch: B.
        length: T.
        fits: tries a smaller batch.

    Raises:
        DeviceError: out of memory; names a smaller batch that was tried and fits.
    """
    try:
        yield
        return
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # frees the tensors that they hold
    size = batch // 2
    while size and not fits(size):
        size //= 2
    raise too_large(batch, length, size)


def too_large(batch: int, length: int, fitting: int, *, tried: bool = True) -> DeviceError:
    """The error for a batch that does not fit in memory; `fitting`: one that does, or 0."""
    remedy = f"--batch-size {fitting} {'fits' if tried else 'should fit'}"
    remedy = remedy if fitting else "no batch fits: give a smaller --hidden"
    return DeviceError(f"out of memory at batch {batch} and length {length}; {remedy}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means a failed allocation, for which PyTorch's CPU allocator and oneDNN
    raise plain RuntimeErrors."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        phrase in text
        for phrase in ("allocate memory", "out of memory", "bad_alloc", "could not create a memory")
    )
