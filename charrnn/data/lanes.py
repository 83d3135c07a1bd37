"""Batches for truncated backpropagation through time: B lanes, T steps at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.data.corpus import Steps

ALL = slice(None)


@dataclass(frozen=True)
class Lanes:
    """An array of steps cut into `batch` lanes, which are read in segments of `length` steps.

    Each lane is contiguous, and its segment i + 1 continues where segment i ended, so that the
    recurrent state can be carried over.

    Args:
        steps: (N,) or (N, F), may be memory-mapped.
        batch: B.
        length: T.
        offset: start of the first lane, at most `slack` unless `circular`; a different one in each
            epoch shifts all cuts and leaves out other steps, without changing the number of
            segments.
        ragged: whether to read a shorter last segment too, so that only the few steps that do not
            fill all lanes are left out; the offset must then be 0.
        order: for stateless training, the order in which the B * `segments` pieces of the corpus
            are read; None: lane by lane, as above.
        circular: whether the first step follows the last one.
    """

    steps: Steps
    batch: int
    length: int
    offset: int = 0
    ragged: bool = False
    order: NDArray[np.int64] | None = None
    circular: bool = False

    @property
    def lane_length(self) -> int:
        """Steps in a lane that have a next step to predict."""
        if self.ragged:
            return (len(self.steps) - 1) // self.batch
        return (len(self.steps) - self.length) // (self.batch * self.length) * self.length

    @property
    def slack(self) -> int:
        """Steps left over after filling all lanes: at least T - 1 if not ragged."""
        return len(self.steps) - 1 - self.batch * self.lane_length

    @property
    def segments(self) -> int:
        """Number of segments in a lane."""
        return -(-self.lane_length // self.length)

    def places(self, index: int) -> tuple[NDArray[np.int64], int]:
        """The start of each lane's piece of a segment, (B,), and the number of inputs in each; if
        `circular`, pieces may go past the end."""
        width = min(self.length, self.lane_length - index * self.length)
        if self.order is None:
            starts = index * self.length + np.arange(self.batch) * self.lane_length
        else:
            starts = self.order[index * self.batch : (index + 1) * self.batch] * self.length
        starts = starts + self.offset
        return starts % len(self.steps) if self.circular else starts, width

    def segment(self, index: int, rows: slice = ALL) -> tuple[Steps, Steps]:
        """Inputs and targets (the next steps) of one segment, both (B, T) or (B, T, F).

        Args:
            index: of the segment.
            rows: the lanes that are read.
        """
        block = self.block(index, rows)
        return block[:, :-1], block[:, 1:]

    def block(self, index: int, rows: slice = ALL) -> Steps:
        """The inputs of one segment and the steps after them, (B, T + 1) or (B, T + 1, F)."""
        starts, width = self.places(index)
        block = np.stack([self._piece(start, width + 1) for start in starts[rows].tolist()])
        return block if block.dtype.kind == "f" else block.astype(np.int64)

    def _piece(self, start: int, count: int) -> Steps:
        if self.circular:
            return circular_piece(self.steps, start, count)
        return self.steps[start : start + count]


def circular_piece(steps: Steps, start: int, count: int) -> Steps:
    """`count` successive steps, at most N + 1; after the last step comes the first."""
    piece = steps[start : start + count]
    missing = count - len(piece)
    return np.concatenate([piece, steps[:missing]]) if missing else piece


def epoch_lanes(
    steps: Steps,
    batch: int,
    length: int,
    *,
    seed: int,
    epoch: int,
    stateful: bool = True,
    circular: bool = False,
) -> Lanes:
    """The lanes of an epoch.

    Their offset and the order of stateless pieces depend only on seed and epoch, so a checkpoint
    need not store them.
    """
    plain = Lanes(steps, batch, length)
    generator = np.random.default_rng([seed, epoch])
    offset = int(generator.integers(len(steps) if circular else plain.slack + 1))
    order = None if stateful else generator.permutation(batch * plain.segments)
    return Lanes(steps, batch, length, offset, order=order, circular=circular)
