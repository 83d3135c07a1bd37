"""A tune: notes, bars and tempo on a grid of time steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

QUARTER = 12  # grid steps of a quarter note
SECOND = 100  # grid steps of a second, for performances without a metre
PITCHES = 128  # of MIDI
TEMPO = 120.0  # quarters per minute if nothing is said
MAX_BARS = 10_000
MAX_LENGTH = 64 * QUARTER  # grid steps of a note (7.7 s of a performance); longer ones are cut
MOST_PARTS = 15  # in a tune, as many as there are MIDI channels besides that of the drums
COLUMNS = ("onset", "length", "pitch", "velocity", "part")  # of an array of notes
ONSET, LENGTH, PITCH, VELOCITY, PART = range(5)

Notes = NDArray[np.int64]  # (N, 5), with these columns


class Part(NamedTuple):
    """An instrument: its General MIDI program, and its number among those with the same one."""

    program: int
    number: int = 0
    is_drum: bool = False


class Metre(NamedTuple):
    """A time signature, e.g. 6/8."""

    beats: int
    unit: int

    @property
    def is_possible(self) -> bool:
        """Whether MIDI and ABC can write it."""
        return 0 < self.beats <= 64 and self.unit in (1, 2, 4, 8, 16, 32, 64)

    @property
    def quarters(self) -> Fraction:
        """The length of a bar."""
        return Fraction(4 * self.beats, self.unit)

    def __str__(self) -> str:
        return f"{self.beats}/{self.unit}"


COMMON = Metre(4, 4)
IN_SECONDS = Metre(0, 1)  # the bars of a performance: each lasts a second


class Bar(NamedTuple):
    """A bar: its first grid step, its length in grid steps, and its metre."""

    begin: int
    length: int
    metre: Metre


@dataclass
class Losses:
    """What was changed when notes were read, in notes."""

    moved: int = 0  # by more than a tenth of a grid step
    cut: int = 0  # shortened: longer than MAX_LENGTH, or struck again while they sounded
    left_out: int = 0  # a second one of the same pitch at the same time; beyond MAX_BARS
    other_part: int = 0  # given to another instrument

    def add(self, other: Losses) -> None:
        """Add those of another tune."""
        self.other_part += other.other_part
        self.moved += other.moved
        self.cut += other.cut
        self.left_out += other.left_out


@dataclass
class Tune:
    """Notes on a grid.

    Attributes:
        notes: (N, 5), in the order of `sort`.
        parts: the instruments in order, which the column `part` counts from 0.
        bars: without gaps, from step 0 to the end of the bar in which the last note begins.
        tempos: grid step and quarters per minute, from step 0.
        per_quarter: grid steps of a quarter note.
        losses: what was changed to fit the grid.
    """

    notes: Notes
    parts: Sequence[Part]
    bars: list[Bar]
    tempos: list[tuple[int, float]] = field(default_factory=lambda: [(0, TEMPO)])
    per_quarter: int = QUARTER
    losses: Losses = field(default_factory=Losses)

    @property
    def steps(self) -> int:
        """The length in grid steps: to the end of the last bar or of the last note."""
        ends = self.notes[:, ONSET] + self.notes[:, LENGTH]
        bars = self.bars[-1].begin + self.bars[-1].length if self.bars else 0
        return max(bars, int(ends.max()) if len(ends) else 0)

    def seconds(self, steps: NDArray[np.integer] | Sequence[int]) -> NDArray[np.float64]:
        """The times of grid steps, (n,), in seconds."""
        begins = np.array([step for step, _ in self.tempos], float)
        rates = np.array([60 / bpm / self.per_quarter for _, bpm in self.tempos])  # s per grid step
        starts = np.concatenate([[0.0], np.cumsum(np.diff(begins) * rates[:-1])])
        places = np.clip(np.searchsorted(begins, steps, "right") - 1, 0, None)
        return np.asarray(starts[places] + (np.asarray(steps) - begins[places]) * rates[places])

    @property
    def is_drum(self) -> NDArray[np.bool_]:
        """Whether each note, (N,), is a drum."""
        drums = np.array([part.is_drum for part in self.parts], bool)
        return np.asarray(drums[self.notes[:, PART]])

    @property
    def pitched(self) -> Notes:
        """The notes without drums."""
        return self.notes[~self.is_drum]


def distance(part: Part, other: Part) -> tuple[bool, bool, int, int]:
    """How far two instruments are from each other: first of all, whether one is a drum."""
    return (
        part.is_drum != other.is_drum,
        part.program // 8 != other.program // 8,  # another family of instruments
        abs(part.program - other.program),
        abs(part.number - other.number),
    )


def in_order(notes: Notes, parts: Sequence[Part], losses: Losses) -> tuple[Notes, list[Part]]:
    """The notes with their parts in order; parts beyond MOST_PARTS, those with the fewest notes,
    are joined with the nearest of the others."""
    counts = np.bincount(notes[:, PART], minlength=len(parts))
    melodic = [k for k, part in enumerate(parts) if not part.is_drum]
    most = sorted(melodic, key=lambda k: (-counts[k], k))[:MOST_PARTS]
    kept = sorted({parts[k] for k in most} | {part for part in parts if part.is_drum})
    targets = [part if part in kept else min(kept, key=partial(distance, part)) for part in parts]
    moved = [index for index, part in enumerate(parts) if part != targets[index]]
    losses.other_part += int(counts[moved].sum())
    notes = notes.copy()
    notes[:, PART] = np.array([kept.index(part) for part in targets] or [0])[notes[:, PART]]
    return notes, kept


def sort(notes: Notes) -> Notes:
    """Notes in order: by onset, part, and from high to low."""
    order = np.lexsort((-notes[:, LENGTH], -notes[:, PITCH], notes[:, PART], notes[:, ONSET]))
    return notes[order]


def one_at_a_time(notes: Notes, losses: Losses) -> Notes:
    """Sorted notes that one instrument can play: of two equal ones the longer, and a note ends
    when its pitch is struck again."""
    notes = sort(notes)
    order = np.lexsort((-notes[:, LENGTH], notes[:, ONSET], notes[:, PITCH], notes[:, PART]))
    ordered = notes[order]
    voice = ordered[:, [PART, PITCH]]
    follows = np.append((voice[1:] == voice[:-1]).all(1), False)
    after = np.append(ordered[1:, ONSET], 0)
    # Equal ones stand from long to short, so all but the first of them go.
    is_double = np.roll(follows & (after == ordered[:, ONSET]), 1)
    kept = ordered[~is_double]
    voice, after = kept[:, [PART, PITCH]], np.append(kept[1:, ONSET], 0)
    follows = np.append((voice[1:] == voice[:-1]).all(1), False)
    is_late = follows & (kept[:, ONSET] + kept[:, LENGTH] > after)
    kept[is_late, LENGTH] = (after - kept[:, ONSET])[is_late]
    losses.left_out += int(is_double.sum())
    losses.cut += int(is_late.sum())
    return sort(kept)


def bars_of(metres: Sequence[tuple[int, Metre]], end: int, per_quarter: int = QUARTER) -> list[Bar]:
    """The bars of a tune up to the one that contains the step before `end`.

    Args:
        metres: grid step and metre, in order; a new metre begins a new bar.
        end: grid steps.
        per_quarter: grid steps of a quarter note.
    """
    bars: list[Bar] = []
    changes = list(metres) if metres and metres[0][0] <= 0 else [(0, COMMON), *metres]
    for index, (begin, metre) in enumerate(changes):
        until = min(end, changes[index + 1][0]) if index + 1 < len(changes) else end
        length, at = bar_steps(metre, per_quarter), max(0, begin)
        while at < until and len(bars) < MAX_BARS:
            is_cut = until < end and at + length > until
            own = _cut_metre(until - at, per_quarter) or metre if is_cut else metre
            bars.append(Bar(at, until - at if is_cut else length, own))
            at += length
    return bars


def bar_steps(metre: Metre, per_quarter: int = QUARTER) -> int:
    """Grid steps of a bar."""
    if metre == IN_SECONDS:
        return SECOND
    return max(1, math.floor(metre.quarters * per_quarter))


def _cut_metre(steps: int, per_quarter: int) -> Metre | None:
    """The metre of a bar that ends early because another metre begins; None: there is none."""
    for unit in (4, 8, 16, 32):
        beats = Fraction(steps * unit, 4 * per_quarter)
        if beats.denominator == 1 and 0 < beats <= 64:
            return Metre(int(beats), unit)
    return None
