"""The corpus: one array of steps on disk, written in a stream, read through a memory map."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError, RunError

Steps = NDArray[np.integer]
_COPY = 1 << 22  # steps copied at a time when the array has to grow wider


def write(path: Path, blocks: Iterable[Steps]) -> int:
    """Write blocks of steps, each (n,), as one .npy array of the narrowest unsigned type.

    Memory stays flat: a block at a time.  When a step outgrows the type, what was written is
    copied into a wider one.

    Returns:
        The number of steps.

    Raises:
        CorpusError: the disk is full or the file cannot be written; no file is left behind.
    """
    dtype, count = np.dtype(np.uint8), 0
    try:
        stream = _begin(path, dtype)
        try:
            for block in blocks:
                if not len(block):
                    continue
                needed = np.min_scalar_type(int(block.max()))
                if needed.itemsize > dtype.itemsize:
                    _end(stream, dtype, count)
                    stream, dtype = _widen(path, needed, count), needed
                stream.write(block.astype(dtype).tobytes())
                count += len(block)
        finally:
            _end(stream, dtype, count)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise CorpusError(f"{path}: the corpus cannot be written ({error.strerror})") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return count


def _begin(path: Path, dtype: np.dtype[np.unsignedinteger]) -> BinaryIO:
    stream = open(path, "wb")  # noqa: SIM115 - closed by _end
    _header(stream, dtype, 0)
    return stream


def _header(stream: BinaryIO, dtype: np.dtype[np.unsignedinteger], count: int) -> None:
    """The .npy header; numpy pads it so that the count can be written again in place."""
    np.lib.format.write_array_header_1_0(
        stream, {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    )


def _end(stream: BinaryIO, dtype: np.dtype[np.unsignedinteger], count: int) -> None:
    with stream:
        stream.seek(0)
        _header(stream, dtype, count)


def _widen(path: Path, dtype: np.dtype[np.unsignedinteger], count: int) -> BinaryIO:
    """Copy the array at `path` into a wider type and go on writing behind it."""
    wide = path.with_name(path.name + ".wide")
    stream = _begin(wide, dtype)
    narrow = read(path) if count else np.zeros(0, dtype)
    for start in range(0, count, _COPY):
        stream.write(narrow[start : start + _COPY].astype(dtype).tobytes())
    wide.replace(path)
    return stream


def read(path: Path) -> Steps:
    """Map an array of steps, (N,), into memory, read-only.

    Raises:
        RunError: the file is missing, or is not such an array.
    """
    try:
        steps = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: not a readable corpus ({error}); start the run anew") from None
    if steps.ndim != 1 or steps.dtype.kind != "u":
        raise RunError(f"{path}: not an array of steps; start the run anew")
    return steps  # type: ignore[no-any-return]


def split(steps: Steps, val_fraction: float) -> tuple[Steps, Steps]:
    """Part the steps into those to learn from and, at the end, those to validate on."""
    held_out = max(2, round(len(steps) * val_fraction))
    return steps[:-held_out], steps[-held_out:]
