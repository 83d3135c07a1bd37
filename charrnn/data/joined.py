"""Arrays of steps on disk, read as one; not through a memory map, which counts as memory in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.data.corpus import Steps
from charrnn.errors import CorpusError

Table = NDArray[np.integer]


class Joined:
    """Arrays as `corpus.write` writes them, one after the other; can be sliced as an array.

    Args:
        parts: the file of each array, and a table that maps its steps to those of the whole, (n,);
            None: they are the same.

    Raises:
        CorpusError: a file cannot be read.
    """

    def __init__(self, parts: Sequence[tuple[Path, Table | None]]) -> None:
        self._paths = [path for path, _ in parts]
        self._tables = [
            table if table is None else table.astype(np.min_scalar_type(int(table.max(initial=0))))
            for _, table in parts
        ]
        headers = [_header(path) for path in self._paths]
        self._types = [(offset, dtype) for offset, dtype, _ in headers]
        self._frame = headers[0][2][1:] if headers else ()
        self._ends = np.cumsum([0, *(shape[0] for _, _, shape in headers)])

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,) or (N, F)."""
        return (len(self), *self._frame)

    @property
    def ndim(self) -> int:
        """1 or 2."""
        return len(self.shape)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, wanted: slice) -> Steps:
        """The steps of a slice without a stride."""
        begin, end, _ = wanted.indices(len(self))
        first = int(np.searchsorted(self._ends, begin, "right")) - 1
        found = []
        while first < len(self._paths) and self._ends[first] < end:
            base = int(self._ends[first])
            a, b = max(begin, base), min(end, int(self._ends[first + 1]))
            if a < b:
                found.append(self._read(first, a - base, b - a))
            first += 1
        if not found:
            return np.zeros((0, *self._frame), np.uint8)
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _read(self, number: int, begin: int, count: int) -> Steps:
        """Steps of one array."""
        path, table = self._paths[number], self._tables[number]
        offset, dtype = self._types[number]
        width = math.prod(self._frame)
        try:
            flat = np.fromfile(
                path, dtype, count * width, offset=offset + begin * width * dtype.itemsize
            )
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read ({error.strerror or error})") from None
        if len(flat) != count * width:
            raise CorpusError(f"{path}: was cut short while it was read; start again")
        return flat.reshape(count, *self._frame) if table is None else table.take(flat)


def _header(path: Path) -> tuple[int, np.dtype[np.generic], tuple[int, ...]]:
    """Where the numbers of an array begin, their type, and its shape."""
    try:
        with open(path, "rb") as stream:
            np.lib.format.read_magic(stream)
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            return stream.tell(), dtype, shape
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read ({error})") from None
