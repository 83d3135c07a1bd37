"""The encoded corpus: an array of steps on disk, written in blocks and read through a memory map.

Steps are unsigned integers, (N,), of the smallest type that can hold them, or float32 frames,
(N, F).
"""

from __future__ import annotations

import json
import os
import tokenize
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError, RunError
from charrnn.files import cannot_write, replacing
from charrnn.media.steps import Discrete, Sliced, Step

Steps = NDArray[Any]
DType = np.dtype[Any]
HEADER = b"\x93NUMPY\x01\x00v\x00"  # .npy version 1.0, followed by a header of 118 bytes
VALIDATION_STEPS = 200_000  # at most: enough to compare models to 0.01 nats
CHECKED = ".corpus.checked.json"  # beside a large array: the result of its check
LARGE = 1 << 30  # bytes
_WINDOWS = 8  # of a long array that are searched
_COPY = 1 << 22  # steps (or bytes) that are read at a time
_DOCUMENTS = 1 << 16  # whose places are looked up at a time


def write(path: Path, blocks: Iterable[Steps]) -> int:
    """Write blocks of steps, each (n,) or (n, F), as one .npy array.

    Memory use is constant: one block at a time.  If an integer is too large for the current type,
    the steps written so far are copied to a wider type.

    Returns:
        The number of steps.

    Raises:
        CorpusError: the disk is full, or the file cannot be written; no file is left behind.
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
            stream.write(np.ascontiguousarray(block, dtype).data)
            count += len(block)
        _end(stream, dtype, (count, *frame))
    except BaseException:
        if stream is not None:
            with suppress(OSError):  # if the disk is full, this fails again
                stream.close()
        path.unlink(missing_ok=True)
        _wide(path).unlink(missing_ok=True)
        with cannot_write(path, CorpusError):
            raise
    return count


def _begin(path: Path, dtype: DType) -> BinaryIO:
    stream = open(path, "wb")  # noqa: SIM115 - closed by _end
    _header(stream, dtype, (0,))
    return stream


def _header(stream: BinaryIO, dtype: DType, shape: tuple[int, ...]) -> None:
    """Write the .npy header; NumPy pads it, so that the count can be changed later in place."""
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
    """Copy the array at `path` to a wider type; return the file, open for appending."""
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


def read(path: Path, remedy: str = "start a new run") -> Steps:
    """Map an array of steps, (N,) or (N, F), into memory, read-only.

    Args:
        path: the file.
        remedy: what to do if it is not readable.

    Raises:
        RunError: the file is missing, or is not such an array.
    """
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path}: refers to {os.readlink(path)}, which is gone; put it back there")
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: not a file; {remedy}")
    try:
        with open(path, "rb") as stream:  # NumPy would also open formats that we never write
            if stream.read(len(HEADER)) != HEADER:
                raise ValueError("another kind of file")
        with warnings.catch_warnings(action="ignore"):  # from parsing a bad header
            steps = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, TypeError, SyntaxError) as error:
        raise RunError(f"{path}: not a readable corpus ({error}); {remedy}") from None
    except tokenize.TokenError:
        raise RunError(f"{path}: not a readable corpus; {remedy}") from None
    if (steps.ndim, steps.dtype.kind) not in ((1, "u"), (2, "f")):
        raise RunError(f"{path}: not an array of steps; {remedy}")
    return steps  # type: ignore[no-any-return]


def rewrite(path: Path, blocks: Callable[[Steps], Iterable[Steps]]) -> None:
    """Replace the array by the blocks that `blocks` computes from it, in constant memory.

    Raises:
        CorpusError: as in `write`; the array is then unchanged.
    """
    other = path.with_name(path.name + ".other")
    write(other, blocks(read(path)))
    other.replace(path)


def places(steps: Sliced, wanted: int) -> NDArray[np.int64]:
    """The indices at which the step `wanted` occurs, (n,)."""
    starts = range(0, len(steps), _COPY)
    found = [np.flatnonzero(steps[i : i + _COPY] == wanted) + i for i in starts]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def occurrences(steps: Steps, wanted: Steps) -> NDArray[np.int64]:
    """The indices at which the steps `wanted`, (P,), begin, (n,); of a long array, those in a few
    stretches spread over it."""
    count = min(_WINDOWS, -(-len(steps) // _COPY))
    size = -(-min(len(steps), _COPY) // count) if count else 0
    found = []
    for start in np.linspace(0, len(steps) - size, count).astype(int).tolist():
        window = np.asarray(steps[start : start + size])
        hits = np.ones(max(0, len(window) - len(wanted) + 1), bool)
        for offset, step in enumerate(wanted.tolist()):
            hits &= window[offset : offset + len(hits)] == step
        found.append(np.flatnonzero(hits) + start)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def rearranged(steps: Sliced, spans: Iterable[tuple[int, int]]) -> Iterator[Steps]:
    """These spans of a corpus, each from a first step to an end, one after the other."""
    for begin, end in spans:
        for start in range(begin, end, _COPY):
            yield steps[start : min(end, start + _COPY)]


def shuffled(steps: Steps, ends: NDArray[np.int64], seed: int) -> Iterator[Steps]:
    """The documents of a corpus in random order, each with the step that ends it.

    Otherwise, in a sorted list of names, validation would use only names with the last letters.
    The first one, too, follows the end of a document.
    """
    yield steps[ends[-1] :]
    steps = np.asarray(steps)  # slicing a memory map takes ten times as long
    starts = np.append(0, ends[:-1] + 1)
    order = np.random.default_rng(seed).permutation(len(ends))
    gathered, size = [], 0
    for first in range(0, len(order), _DOCUMENTS):
        some = order[first : first + _DOCUMENTS]
        for begin, last in zip(starts[some].tolist(), ends[some].tolist(), strict=True):
            gathered.append(steps[begin : last + 1])
            size += last + 1 - begin
            if size > _COPY:
                yield np.concatenate(gathered)
                gathered, size = [], 0
    if gathered:
        yield np.concatenate(gathered)


def checked(path: Path, steps: Steps, step: Step) -> int:
    """Check that a corpus consists of valid steps of a codec.

    The file is read without the memory map, which would count as memory of this process.  For a
    large one that takes minutes, so the result is kept beside it, and holds as long as the file is
    the same by inode, size and time of change.

    Args:
        path: the file.
        steps: the result of `read`.
        step: the kind of the codec's steps.

    Returns:
        CRC-32 of the file, to check later that a run still uses the same corpus.

    Raises:
        RunError: the codec cannot have produced a step.
    """
    frame = () if isinstance(step, Discrete) else (step.size,)
    if steps.shape[1:] != frame or (frame and steps.dtype != np.float32):
        raise RunError(f"{path}: does not fit this model's codec; start a new run")
    header = steps.offset if isinstance(steps, np.memmap) else 0
    if path.stat().st_size != header + steps.nbytes:
        raise RunError(f"{path}: its length does not match its header; start a new run")
    stamp, most = _stamp(path), 0
    if (known := _checked_before(path)) and known[:-2] == stamp and known[-2] < step.size:
        return known[-1]
    with open(path, "rb") as stream:
        value = zlib.crc32(stream.read(header))
        while block := stream.read(_COPY):
            value = zlib.crc32(block, value)
            found = np.frombuffer(block, steps.dtype)
            most = max(most, 0 if frame else int(found.max(initial=0)))
            if most >= step.size:
                raise RunError(f"{path}: has step {most}, but the codec has only {step.size}")
    if path.stat().st_size >= LARGE:
        with suppress(OSError), replacing(path.with_name(CHECKED)) as temporary:
            temporary.write_text(json.dumps([*stamp, most, value]))
    return value


def _stamp(path: Path) -> list[int]:
    """What changes when a file is changed or replaced."""
    state = path.stat()
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns]


def _checked_before(path: Path) -> list[int]:
    """The stamp of a file that was checked in this directory, its largest step, and its CRC-32;
    empty: there is none."""
    with suppress(OSError, ValueError, RecursionError):
        with open(path.with_name(CHECKED), "rb") as stream:
            found = json.loads(stream.read(1_000))
        if isinstance(found, list) and len(found) == 6 and all(type(n) is int for n in found):
            return found
    return []


def default_val_fraction(count: int) -> float:
    """The fraction of a corpus of `count` steps that is held out unless the user says otherwise."""
    return min(0.1, VALIDATION_STEPS / count)


def held_out(count: int, val_fraction: float) -> int:
    """The number of steps, of `count`, that are held out for validation: at least two."""
    return max(2, round(count * val_fraction))


def split(steps: Steps, val_fraction: float) -> tuple[Steps, Steps]:
    """Split the steps into a training part and, at the end, a validation part."""
    count = held_out(len(steps), val_fraction)
    return steps[:-count], steps[-count:]
