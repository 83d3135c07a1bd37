"""Stretches of steps that stand in a corpus: the longest ones, and what follows one there.

Stretches of one length are compared by a 64-bit hash; what matters is compared step by step, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.integer]
Hashes = NDArray[np.uint64]
# A hash is a polynomial in BASE, modulo 2 ** 64; both are odd numbers with well-mixed bits.
BASE, MIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
BLOCK = 1 << 20  # hashes of a corpus that are held at once
FILTER_BITS = 20
AT_ONCE = 1 << 16  # places of a stretch that are compared at once
LENGTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def hashes(steps: Steps, length: int) -> Hashes:
    """A hash of each stretch of `length` steps, (N - length + 1,); empty if N is less.

    Hashes of stretches that are twice as long follow from those of both halves.
    """
    if len(steps) < length:
        return np.zeros(0, np.uint64)
    own = (steps.astype(np.uint64) + np.uint64(1)) * np.uint64(MIX)
    own ^= own >> np.uint64(32)
    size, covered, found = 1, 0, np.zeros(len(steps) + 1, np.uint64)
    while covered < length:
        if length & size:  # put a stretch of `size` steps after what is covered
            count = len(steps) - covered - size + 1
            found = found[:count] * _power(size) + own[covered : covered + count]
            covered += size
        own = own[: max(0, len(own) - size)] * _power(size) + own[size:]
        size *= 2
    return found


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(BASE, exponent, 1 << 64))


def shared(steps: Steps, corpus: Steps, length: int) -> NDArray[np.int64]:
    """For each stretch of `length` steps, a place where it stands in the corpus, or -1: nowhere.

    Args:
        steps: (N,).
        corpus: (M,), which may be much longer; it is read in blocks.
        length: of the stretches.

    Returns:
        (N - length + 1,).
    """
    own, inverse = np.unique(hashes(steps, length), return_inverse=True)
    places = np.full(len(own), -1)
    shift = np.uint64(64 - FILTER_BITS)
    may_be = np.zeros(1 << FILTER_BITS, bool)  # most hashes of the corpus are ruled out by it
    may_be[own >> shift] = True
    for begin in range(0, len(corpus) - length + 1, BLOCK):
        found = hashes(np.asarray(corpus[begin : begin + BLOCK + length - 1]), length)
        some = np.flatnonzero(may_be[found >> shift])
        at = np.minimum(np.searchsorted(own, found[some]), len(own) - 1)
        is_equal = own[at] == found[some]
        places[at[is_equal]] = begin + some[is_equal]
    return places[inverse] if len(own) else np.zeros(0, np.int64)


@dataclass(frozen=True)
class Copies:
    """What a sequence shares with a corpus.

    Attributes:
        begin: of the longest stretch that stands in the corpus.
        length: of that stretch; 0: there is none.
        place: where it begins in the corpus.
        shares: for each of LENGTHS, up to the first that no stretch has, the share of the steps
            that belong to a shared stretch of at least so many.
    """

    begin: int
    length: int
    place: int
    shares: dict[int, float]


def copies(steps: Steps, corpus: Steps) -> Copies:
    """The longest stretch of a sequence, (N,), that stands in a corpus, (M,), and how much of it
    belongs to shorter ones."""
    shares: dict[int, float] = {}
    low, places = 0, np.zeros(0, np.int64)
    high = len(steps) + 1
    for length in LENGTHS:
        found = shared(steps, corpus, length)
        starts = np.flatnonzero(found >= 0)
        if not len(starts):
            high = length
            shares[length] = 0.0
            break
        covered = np.zeros(len(steps) + 1, np.int64)
        np.add.at(covered, starts, 1)
        np.add.at(covered, starts + length, -1)
        shares[length] = float((np.cumsum(covered)[:-1] > 0).mean())
        low, places = length, found
    while high - low > 1:
        middle = (low + high) // 2
        found = shared(steps, corpus, middle)
        if (found >= 0).any():
            low, places = middle, found
        else:
            high = middle
    if not low:
        return Copies(0, 0, 0, shares)
    begin = int(np.flatnonzero(places >= 0)[0])
    return Copies(begin, low, int(places[begin]), shares)


class Following:
    """What follows a stretch wherever it stands in a corpus.

    Args:
        corpus: (M,).
        length: of the stretches, at least 1.
    """

    def __init__(self, corpus: Steps, length: int) -> None:
        self._corpus, self.length = corpus, length
        own = hashes(corpus, length)[:-1]  # nothing follows the last one
        self._order = np.argsort(own, kind="stable")
        self._sorted = own[self._order]

    def after(self, steps: Steps) -> NDArray[np.integer]:
        """The steps that follow these, (length,), in the corpus, without repeats."""
        [wanted] = hashes(steps, self.length)
        first, end = (
            np.searchsorted(self._sorted, wanted),
            np.searchsorted(self._sorted, wanted, "right"),
        )
        found: list[NDArray[np.integer]] = [self._corpus[:0]]
        for begin in range(int(first), int(end), AT_ONCE):  # a run of blanks has a million places
            places = self._order[begin : min(begin + AT_ONCE, int(end))]
            is_equal = np.ones(len(places), bool)
            for offset, step in enumerate(steps.tolist()):
                is_equal &= self._corpus[places + offset] == step
            found.append(np.unique(self._corpus[places[is_equal] + self.length]))
        return np.unique(np.concatenate(found))
