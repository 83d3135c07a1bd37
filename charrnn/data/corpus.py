"""The corpus: one array of steps on disk, written in a stream, read through a memory map.

Steps are unsigned integers, (N,), of the narrowest type that holds them, or frames, (N, F), of
floats.
"""

from __future__ import annotations

import tokenize
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.codec.steps import Discrete, Step
from charrnn.errors import CorpusError, RunError

Steps = NDArray[Any]
DType = np.dtype[Any]
HEADER = b"\x93NUMPY\x01\x00v\x00"  # of version 1.0, and 118 bytes to come
_COPY = 1 << 22  # steps copied at a time when the array has to grow wider


def write(path: Path, blocks: Iterable[Steps]) -> int:
    """Write blocks of steps, each (n,), or (n, F), as one .npy array.

    Memory stays flat: a block at a time.  When an integer outgrows the type, what was written is
    copied into a wider one.

    Returns:
        The number of steps.

    Raises:
        CorpusError: the disk is full or the file cannot be written; no file is left behind.
    """
    dtype: DType = np.dtype(np.uint8)
    frame: tuple[int, ...] = ()
    count, stream = 0, None
    try:
        stream = _begin(path, dtype)
        for block in blocks:
            if not len(block):
                continue
            if block.ndim > 1 and not count:
                dtype, frame = np.dtype(np.float32), block.shape[1:]
                stream.seek(0)
                _header(stream, dtype, (0, *frame))
            needed: DType = dtype if frame else np.min_scalar_type(int(block.max()))
            if needed.itemsize > dtype.itemsize:
                _end(stream, dtype, (count,))
                stream = _widened(path, needed, count)
                dtype = needed
            stream.write(block.astype(dtype).tobytes())
            count += len(block)
        _end(stream, dtype, (count, *frame))
    except BaseException as error:
        if stream is not None:
            with suppress(OSError):  # a full disk fails here once more
                stream.close()
        path.unlink(missing_ok=True)
        _wide(path).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CorpusError(f"{path}: cannot be written ({error.strerror})") from None
        raise
    return count


def _begin(path: Path, dtype: DType) -> BinaryIO:
    stream = open(path, "wb")  # noqa: SIM115 - closed by _end
    _header(stream, dtype, (0,))
    return stream


def _header(stream: BinaryIO, dtype: DType, shape: tuple[int, ...]) -> None:
    """The .npy header; numpy pads it so that the count can be written again in place."""
    np.lib.format.write_array_header_1_0(
        stream, {"descr": dtype.str, "fortran_order": False, "shape": shape}
    )


def _end(stream: BinaryIO, dtype: DType, shape: tuple[int, ...]) -> None:
    with stream:
        stream.seek(0)
        _header(stream, dtype, shape)


def _wide(path: Path) -> Path:
    return path.with_name(path.name + ".wide")


def _widened(path: Path, dtype: DType, count: int) -> BinaryIO:
    """Copy the array at `path` into a wider type and go on writing behind it."""
    stream = _begin(_wide(path), dtype)
    try:
        narrow = read(path) if count else np.zeros(0, dtype)
        for start in range(0, count, _COPY):
            stream.write(narrow[start : start + _COPY].astype(dtype).tobytes())
        _wide(path).replace(path)
    except BaseException:
        with suppress(OSError):
            stream.close()
        raise
    return stream


def read(path: Path) -> Steps:
    """Map an array of steps, (N,) or (N, F), into memory, read-only.

    Raises:
        RunError: the file is missing, or is not such an array.
    """
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: not a file; start the run anew")
    try:
        with open(path, "rb") as stream:  # NumPy would also open what was never written here
            if stream.read(len(HEADER)) != HEADER:
                raise ValueError("another kind of file")
        with warnings.catch_warnings(action="ignore"):  # of Python's parser, at headers of nonsense
            steps = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, TypeError, SyntaxError) as error:
        raise RunError(f"{path}: not a readable corpus ({error}); start the run anew") from None
    except tokenize.TokenError:
        raise RunError(f"{path}: not a readable corpus; start the run anew") from None
    if (steps.ndim, steps.dtype.kind) not in ((1, "u"), (2, "f")):
        raise RunError(f"{path}: not an array of steps; start the run anew")
    return steps  # type: ignore[no-any-return]


def rewrite(path: Path, blocks: Callable[[Steps], Iterable[Steps]]) -> None:
    """Put what `blocks` makes of the array into its place; memory stays flat.

    Raises:
        CorpusError: as `write` does; the array is untouched then.
    """
    other = path.with_name(path.name + ".other")
    write(other, blocks(read(path)))
    other.replace(path)


def places(steps: Steps, wanted: int) -> NDArray[np.int64]:
    """Where a step stands in the array."""
    starts = range(0, len(steps), _COPY)
    found = [np.flatnonzero(steps[i : i + _COPY] == wanted) + i for i in starts]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def shuffled(steps: Steps, ends: NDArray[np.int64], seed: int) -> Iterator[Steps]:
    """The documents of a corpus, each with the step that ends it, in random order.

    A list that was sorted would otherwise be validated on its last letter only.
    """
    starts = np.append(0, ends[:-1] + 1)
    order = np.random.default_rng(seed).permutation(len(ends))
    gathered, size = [], 0
    for begin, last in zip(starts[order].tolist(), ends[order].tolist(), strict=True):
        gathered.append(steps[begin : last + 1])
        size += last + 1 - begin
        if size > _COPY:
            yield np.concatenate(gathered)
            gathered, size = [], 0
    if gathered:
        yield np.concatenate(gathered)


def checked(path: Path, steps: Steps, step: Step) -> int:
    """Look whether all of a corpus is such steps.

    Read as a plain file: through the memory map, all of it would count as this process's memory.

    Args:
        path: the file.
        steps: what is in it, as `read` gives it.
        step: what a codec makes.

    Returns:
        CRC-32 of the file: whether it is the one that a run began with.

    Raises:
        RunError: a step that the codec cannot have made.
    """
    frame = () if isinstance(step, Discrete) else (step.size,)
    if steps.shape[1:] != frame or (frame and steps.dtype != np.float32):
        raise RunError(f"{path}: is not of this model's steps; start the run anew")
    header = steps.offset if isinstance(steps, np.memmap) else 0
    if path.stat().st_size != header + steps.nbytes:
        raise RunError(f"{path}: is not as long as it says; start the run anew")
    with open(path, "rb") as stream:
        value = zlib.crc32(stream.read(header))
        while block := stream.read(_COPY):
            value = zlib.crc32(block, value)
            found = np.frombuffer(block, steps.dtype)
            if not frame and len(found) and found.max() >= step.size:
                raise RunError(f"{path}: has a step {found.max()} of {step.size}")
    return value


def held_out(count: int, val_fraction: float) -> int:
    """How many of so many steps are kept for validation: at least two."""
    return max(2, round(count * val_fraction))


def split(steps: Steps, val_fraction: float) -> tuple[Steps, Steps]:
    """Part the steps into those to learn from and, at the end, those to validate on."""
    count = held_out(len(steps), val_fraction)
    return steps[:-count], steps[-count:]
