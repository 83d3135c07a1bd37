"""Devices: lists them, picks one, and checks its precision, threads and free memory."""

from __future__ import annotations

import ctypes
import functools
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from charrnn.errors import DeviceError
from charrnn.processes import memory_left, processors


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


@functools.cache
def can_bf16(device: torch.device) -> bool:
    """Whether this device can train in bf16; many processors cannot."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    lstm, step = torch.nn.LSTM(1, 1, device=device), torch.zeros(1, 1, 1, device=device)
    try:
        with torch.autocast(device.type, torch.bfloat16), torch.random.fork_rng(devices=[]):
            lstm(step)[0].sum().backward()
    except RuntimeError:
        return False
    return True


def usable_precision(wanted: str, device: torch.device) -> str:
    """The chosen precision, or fp32 if the device does not support it."""
    return wanted if wanted == "fp32" or can_bf16(device) else "fp32"


def most_threads() -> int:
    """The largest number of threads worth allowing; more would only slow the machine down."""
    return 4 * processors()


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next update.

    By default glibc returns large blocks to the system immediately; mapping and clearing their
    pages again at every update took a fifth of the training time.  On other systems this does
    nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def free_memory(device: torch.device) -> int:
    """Free memory for tensors on this device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available + psutil.swap_memory().free)
    left = memory_left()
    return free if left is None else min(free, left)


@contextmanager
def out_of_memory(batch: int, length: int, fits: Callable[[int], bool]) -> Iterator[None]:
    """Turn a failed allocation, on any device, into an error that says what to do.

    Args:
        batch: B.
        length: T.
        fits: whether there is enough memory for a given batch size.

    Raises:
        DeviceError: out of memory; names a smaller batch size that was tried and fits.
    """
    try:
        yield
        return
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # frees tensors in local variables
    size = batch // 2
    while size and not fits(size):
        size //= 2
    raise too_large(batch, length, size)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: for the same rounding each time, or for what is too small for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def gradients_in_evaluation() -> Iterator[None]:
    """For gradients of a network in evaluation mode, which the kernels of cuDNN do not have."""
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        yield


def too_large(batch: int, length: int, fitting: int, *, tried: bool = True) -> DeviceError:
    """The error for a batch size that does not fit in memory; `fitting`: one that does, or 0."""
    remedy = f"--batch-size {fitting} {'fits' if tried else 'should fit'}"
    remedy = remedy if fitting else "no batch fits: give a smaller --hidden"
    return DeviceError(f"out of memory at batch {batch} and length {length}; {remedy}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is a failed allocation; PyTorch's CPU allocator and oneDNN raise plain
    RuntimeErrors for these."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        phrase in text
        for phrase in ("allocate memory", "out of memory", "bad_alloc", "could not create a memory")
    )
