"""Which parts of a corpus are held out for validation, so that they stand for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.media.steps import Sliced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Steps = NDArray[Any]

Span = tuple[int, int]  # first step, end

MOST_OF_WANTED = 2.0  # a file is held out as a whole only if it is at most so much too long
STRETCHES = 10  # over which the held-out part is spread if the end is of another kind
OTHERS = 20  # stretches at most that the end is compared with
PAIRS = 1 << 12  # pairs of steps are counted in so many classes
ANOTHER_KIND = 0.3  # nats per pair of steps above the median of the others
DEVIATIONS = 4.0  # and so many standard deviations above it
ALIKE, MAX_ALIKE = 0.1, 0.2  # at most this fraction of the others comes within ALIKE nats of it
MAX_COMPARED = 1 << 22  # steps of a stretch that are looked at


def ends_or_wholes(parts: Sequence[Span], fraction: float, least: int, seed: int) -> list[Span]:
    """What to hold out of several files or recordings, in their order.

    Of a part that is long enough, the end; of the others, whole ones.

    Args:
        parts: where each file begins and ends.
        fraction: of all steps to hold out.
        least: the minimum length of an end; a part whose end would be shorter is held out as a
            whole, or not at all.
        seed: chooses which.
    """
    long, short = [], []
    for begin, end in parts:
        if round((end - begin) * fraction) >= least:
            long.append((begin, end))
        elif begin < end:
            short.append((begin, end))
    wanted = fraction * sum(end - begin for begin, end in short)
    if short and np.median([end - begin for begin, end in short]) > MOST_OF_WANTED * wanted:
        long, short = [*long, *short], []  # too few to leave out a whole one
    held = []
    for begin, end in long:
        size = max(2 if len(long) == 1 else 1, round((end - begin) * fraction))
        held.append((max(begin + 1, end - size), end))
    most, taken = len(short) - (not long), 0
    for index in np.random.default_rng(seed).permutation(len(short)).tolist()[: max(0, most)]:
        begin, end = short[index]
        is_first = not held
        if is_first or taken + (end - begin) / 2 <= wanted:
            held.append((begin, end))
            taken += end - begin
    return sorted(held)


def spread(count: int, held: int) -> list[Span]:
    """Ten stretches of together `held` steps: the end of each tenth of `count` steps."""
    ends = [count * number // STRETCHES for number in range(1, STRETCHES + 1)]
    sizes = [held * n // STRETCHES - held * (n - 1) // STRETCHES for n in range(1, STRETCHES + 1)]
    return [(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def complement(held: Sequence[Span], count: int) -> list[Span]:
    """What is left of `count` steps without these spans, which are in order."""
    bounds = [0, *(bound for span in held for bound in span), count]
    pairs = zip(bounds[::2], bounds[1::2], strict=True)
    return [(begin, end) for begin, end in pairs if begin < end]


def is_of_another_kind(steps: Sliced, held: int) -> bool:
    """Whether the last `held` of integer steps, (N,), are of another kind than the rest.

    Compared is the cross-entropy of pairs of neighbouring steps.  That of the end under the
    frequencies of the rest is held against that of up to OTHERS stretches of the same length, each
    under the frequencies of all others.  The end is of another kind if it lies ANOTHER_KIND nats
    and DEVIATIONS standard deviations above their median, and if few of them come near it.  (The
    ends of 182 books, plays and laws were at most 0.18 nats above; a German appendix to an English
    book is 1.4.)
    """
    rest = len(steps) - held
    number = min(OTHERS, rest // max(1, held))
    if number < 3 or steps.ndim > 1:  # vectors have no frequencies
        return False
    starts = [*np.linspace(0, rest - held, number).astype(int).tolist(), rest]
    counts = np.stack([_pairs(steps[start : start + held]) for start in starts])
    known = counts[:-1].sum(0)
    entropies = np.array(
        [_cross_entropy(own, known - own * (i < number)) for i, own in enumerate(counts)]
    )
    others, end = entropies[:-1], float(entropies[-1])
    median = float(np.median(others))
    deviation = 1.4826 * float(np.median(np.abs(others - median)))
    return (
        end - median > max(ANOTHER_KIND, DEVIATIONS * deviation)
        and float(np.mean(others > end - ALIKE)) <= MAX_ALIKE
    )


def _pairs(steps: Steps) -> NDArray[np.float64]:
    """How often each class of pairs of neighbouring steps occurs, (PAIRS,)."""
    wide = np.asarray(steps[:MAX_COMPARED]).astype(np.int64)
    classes = (wide[:-1] * 31_337 + wide[1:]) % PAIRS
    return np.bincount(classes, minlength=PAIRS).astype(float)


def _cross_entropy(counts: NDArray[np.float64], known: NDArray[np.float64]) -> float:
    """The nats per pair of `counts` under the frequencies `known`, (PAIRS,) both."""
    p = (known + 0.5) / (known.sum() + 0.5 * PAIRS)
    return float(-(counts @ np.log(p)) / max(1.0, counts.sum()))
