"""B lanes of T steps at a time: the batches of truncated backpropagation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.data.corpus import Steps


@dataclass(frozen=True)
class Lanes:
    """An array of steps cut into `batch` lanes that are read in segments of `length` steps.

    Lane b is contiguous, and segment i + 1 of each lane goes on where segment i ended, so that
    the recurrent state can be carried from one to the next.

    Args:
        steps: (N,) or (N, F), may be memory-mapped.
        batch: B.
        length: T.
        offset: where the first lane begins, at most `slack`; another one each epoch shifts
            every cut and leaves out other steps, and the number of segments stays the same.
        ragged: whether a last, shorter segment is read as well, so that no step is left out
            but the few that do not fill all lanes; the offset is 0 then.
        order: for stateless training, in which order the B times `segments` pieces are read,
            wherever they lie; None: lane by lane, as above.
    """

    steps: Steps
    batch: int
    length: int
    offset: int = 0
    ragged: bool = False
    order: NDArray[np.int64] | None = None

    @property
    def lane_length(self) -> int:
        """Steps in a lane that have a successor to predict."""
        if self.ragged:
            return (len(self.steps) - 1) // self.batch
        return (len(self.steps) - self.length) // (self.batch * self.length) * self.length

    @property
    def slack(self) -> int:
        """Steps that do not fill a segment of every lane: at least T - 1 if not ragged."""
        return len(self.steps) - 1 - self.batch * self.lane_length

    @property
    def segments(self) -> int:
        """Segments in a lane."""
        return -(-self.lane_length // self.length)

    def places(self, index: int) -> tuple[NDArray[np.int64], int]:
        """Where the pieces of one segment begin, (B,), and how many inputs each has."""
        width = min(self.length, self.lane_length - index * self.length)
        if self.order is None:
            starts = index * self.length + np.arange(self.batch) * self.lane_length
        else:
            starts = self.order[index * self.batch : (index + 1) * self.batch] * self.length
        return starts + self.offset, width

    def segment(self, index: int) -> tuple[Steps, Steps]:
        """Inputs and their successors, both (B, T), or (B, T, F), of one segment."""
        starts, width = self.places(index)
        block = np.stack([self.steps[start : start + width + 1] for start in starts.tolist()])
        wide = block if block.dtype.kind == "f" else block.astype(np.int64)  # (B, T + 1)
        return wide[:, :-1], wide[:, 1:]


def epoch_lanes(
    steps: Steps, batch: int, length: int, *, seed: int, epoch: int, stateful: bool = True
) -> Lanes:
    """The lanes of an epoch: where they begin, and the order of stateless pieces, follow from
    seed and epoch, so nothing is stored."""
    plain = Lanes(steps, batch, length)
    generator = np.random.default_rng([seed, epoch])
    offset = int(generator.integers(plain.slack + 1))
    order = None if stateful else generator.permutation(batch * plain.segments)
    return Lanes(steps, batch, length, offset, order=order)
