"""Tunes as events, the symbols of a model of notes, and back.

    tempo 18 · bar 6/8 · at 18 · part 24 · velocity 9 · length 6 · note 67 · note 64 · ... · end

A bar begins with `bar` and its metre, or is `back k`: equal to the one k bars ago.  `at` is a place
in the bar, in grid steps, before the notes that begin there, part by part, from high to low.  Part,
velocity and length stay as they are until they change; each part has a velocity and a length of its
own.  A corpus with one part, one velocity or one tempo has no events for it.

The idea of positions in bars is that of REMI (Huang and Yang 2020); that of bars which repeat
earlier ones is ours.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.media.notes.tune import (
    IN_SECONDS,
    MAX_LENGTH,
    ONSET,
    PITCHES,
    QUARTER,
    SECOND,
    TEMPO,
    VELOCITY,
    Bar,
    Metre,
    Notes,
    Part,
    Tune,
    bar_steps,
    sort,
)

MOST_BACK = 64  # bars
SLOWEST, FASTEST, TEMPOS = 20.0, 320.0, 32  # quarters per minute; levels, equally far in logarithms
LOUDNESS = 8  # MIDI velocities of a level

KINDS = ("end", "tempo", "bar", "back", "at", "part", "velocity", "length", "note", "drum")
END, TEMPO_KIND, BAR, BACK, AT, PART_KIND, VELOCITY_KIND, LENGTH_KIND, NOTE, DRUM = KINDS


class Event(NamedTuple):
    """One event; `value` is a number, or that of a bar a `Metre`, of a part a `Part`."""

    kind: str
    value: Any = 0

    def __str__(self) -> str:
        if isinstance(self.value, Part):
            number = f".{self.value.number}" if self.value.number else ""
            return f"part {'drums' if self.value.is_drum else self.value.program}{number}"
        if self.value == IN_SECONDS:
            return "bar 1s"
        return self.kind if self.kind == END else f"{self.kind} {self.value}"


def parsed(text: str) -> Event:
    """The event that `str` wrote.

    Raises:
        ValueError: it is none.
    """
    kind, _, value = text.partition(" ")
    event = Event(kind, _value(kind, value))
    if kind not in KINDS or str(event) != text:
        raise ValueError(f"no event: {text!r:.40}")
    return event


LIMITS = {  # of the value of an event
    TEMPO_KIND: (0, TEMPOS - 1),
    BACK: (1, MOST_BACK),
    AT: (0, 64 * 4 * QUARTER - 1),
    VELOCITY_KIND: (0, 127 // LOUDNESS),
    LENGTH_KIND: (1, MAX_LENGTH),
    NOTE: (0, PITCHES - 1),
    DRUM: (0, PITCHES - 1),
}


def _value(kind: str, text: str) -> int | Metre | Part:
    """The value of an event of this kind."""
    if kind == END:
        return 0
    if kind == BAR:
        if text == "1s":
            return IN_SECONDS
        beats, _, unit = text.partition("/")
        metre = Metre(int(beats), int(unit))
        if not metre.is_possible:
            raise ValueError(f"no metre: {text!r:.40}")
        return metre
    if kind == PART_KIND:
        program, _, number = text.partition(".")
        is_drum = program == "drums"
        part = Part(0 if is_drum else int(program), int(number or 0), is_drum)
        if not (0 <= part.program < 128 and 0 <= part.number < 128):
            raise ValueError(f"no part: {text!r:.40}")
        return part
    least, most = LIMITS.get(kind, (0, -1))
    if not least <= int(text) <= most:
        raise ValueError(f"out of range: {text!r:.40}")
    return int(text)


def tempo_level(bpm: float) -> int:
    """The level of a tempo."""
    place = math.log(max(bpm, 1e-3) / SLOWEST) / math.log(FASTEST / SLOWEST) * (TEMPOS - 1)
    return min(TEMPOS - 1, max(0, round(place)))


def tempo_of(level: int) -> float:
    """Quarters per minute of a level."""
    return float(SLOWEST * (FASTEST / SLOWEST) ** (level / (TEMPOS - 1)))


def loudness_level(velocity: int) -> int:
    """The level of a MIDI velocity."""
    return velocity // LOUDNESS


def velocity_of(level: Any) -> Any:
    """The MIDI velocity in the middle of a level, or of each of an array of levels."""
    return level * LOUDNESS + LOUDNESS // 2


@dataclass(frozen=True)
class Constants:
    """What never varies in a corpus.

    Attributes:
        part, velocity, tempo: have no events then; None: they vary.
        has_one_metre: whether no tune changes its metre.
    """

    part: Part | None = None
    velocity: int | None = None
    tempo: float | None = None
    has_one_metre: bool = False

    @classmethod
    def of(cls, tunes: Iterable[Tune]) -> Constants:
        """Those of a corpus."""
        parts: set[Part] = set()
        velocities: set[int] = set()
        tempos: set[float] = set()
        has_one_metre = True
        for tune in tunes:
            has_one_metre &= len({bar.metre for bar in tune.bars}) < 2
            parts |= set(tune.parts)
            velocities |= set(np.unique(tune.notes[:, VELOCITY]).tolist())
            tempos |= {bpm for _, bpm in tune.tempos}
        middle = sorted(velocities)[len(velocities) // 2] if velocities else 80
        return cls(
            part=next(iter(parts)) if len(parts) == 1 else None,
            velocity=middle if len({loudness_level(v) for v in velocities}) < 2 else None,
            tempo=min(tempos, default=TEMPO) if len(set(map(tempo_level, tempos))) < 2 else None,
            has_one_metre=has_one_metre,
        )


DISTANCES = range(1, MOST_BACK + 1)


def encode(
    tune: Tune,
    constants: Constants,
    backs: Container[int] = DISTANCES,
) -> Iterator[Event]:
    """The events of a tune, without the end.

    Args:
        tune: the tune.
        constants: what has no events.
        backs: the distances that `back` may have.
    """
    state: dict[Part, list[int | None]] = {}
    current = constants.part
    level: int | None = None
    keys = bar_keys(tune)
    distances = _backs(keys, backs)
    starts = np.searchsorted(tune.notes[:, ONSET], [bar.begin for bar in tune.bars] + [2**62])
    tempos = sorted(tune.tempos)
    rows = tune.notes.tolist()
    place = 0
    for index, bar in enumerate(tune.bars):
        if constants.tempo is None:
            while place < len(tempos) and tempos[place][0] < bar.begin + bar.length:
                place += 1  # a tempo that changes in a bar holds from its beginning
            new = tempo_level(tempos[max(0, place - 1)][1])
            if new != level:
                yield Event(TEMPO_KIND, new)
                level = new
        if distances[index]:
            yield Event(BACK, distances[index])
            continue
        yield Event(BAR, bar.metre)
        at = -1
        for onset, length, pitch, velocity, number in rows[starts[index] : starts[index + 1]]:
            part = tune.parts[number]
            if onset != at:
                at = onset
                yield Event(AT, onset - bar.begin)
            if part != current:
                current = part
                yield Event(PART_KIND, part)
            last = state.setdefault(part, [None, None])
            if constants.velocity is None and loudness_level(velocity) != last[0]:
                last[0] = loudness_level(velocity)
                yield Event(VELOCITY_KIND, last[0])
            if length != last[1]:
                last[1] = length
                yield Event(LENGTH_KIND, length)
            yield Event(DRUM if part.is_drum else NOTE, pitch)


class BarKey(NamedTuple):
    """What makes two bars of a tune equal."""

    length: int
    metre: Metre
    notes: bytes


def bar_keys(tune: Tune) -> list[BarKey]:
    """The key of each bar."""
    notes = tune.notes.copy()
    notes[:, VELOCITY] //= LOUDNESS
    starts = np.searchsorted(notes[:, ONSET], [bar.begin for bar in tune.bars] + [2**62])
    keys = []
    for index, bar in enumerate(tune.bars):
        own = notes[starts[index] : starts[index + 1]]
        own[:, ONSET] -= bar.begin
        keys.append(BarKey(bar.length, bar.metre, own.tobytes()))
    return keys


def _backs(keys: Sequence[BarKey], distances: Container[int]) -> list[int]:
    """For each bar how many bars ago an equal one was; 0: none was, or it is empty.

    Where there are several, the same distance as for the bar before, or else the one at which most
    bars are equal from here on.
    """
    backs: list[int] = []
    for index, key in enumerate(keys):
        most = min(index, MOST_BACK)
        equal = [k for k in range(1, most + 1) if key.notes and keys[index - k] == key]
        found = [k for k in equal if k in distances]
        if not found:
            backs.append(0)
        elif backs[-1] in found:
            backs.append(backs[-1])
        else:
            backs.append(max(found, key=lambda k: (_run(keys, index, k), -k)))
    return backs


def _run(keys: Sequence[BarKey], index: int, back: int) -> int:
    """How many bars from this one on equal those `back` bars ago."""
    end = index
    while end < len(keys) and keys[end] == keys[end - back]:
        end += 1
    return end - index


class Decoder:
    """Turns events into bars of notes; what does not fit is passed over.

    Attributes:
        bars: those that are complete, and the current one.
        parts: the instruments so far.
        tempos: grid step and quarters per minute.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self.per_quarter = QUARTER
        self.bars: list[Bar] = []
        self.parts: list[Part] = []
        self.tempos: list[tuple[int, float]] = [(0, constants.tempo or TEMPO)]
        self._rows: list[list[list[int]]] = []  # the notes of each bar, onsets within the bar
        self._at: int | None = None
        self._part = constants.part
        self._state: dict[Part, list[int]] = {}

    @property
    def end(self) -> int:
        """The grid step at which the last bar ends."""
        return self.bars[-1].begin + self.bars[-1].length if self.bars else 0

    def push(self, event: Event) -> None:
        """Add an event."""
        kind, value = event
        if isinstance(value, Metre):
            self._begin(Bar(self.end, self._length(value), value), [])
        elif kind == BACK:
            if value <= len(self.bars):
                old = self.bars[-value]
                notes = [list(row) for row in self._rows[-value]]
                self._begin(old._replace(begin=self.end), notes)
        elif kind == TEMPO_KIND:
            self.tempos = [t for t in self.tempos if t[0] < self.end] + [
                (self.end, tempo_of(value))
            ]
        elif kind == AT:
            self._at = value
        elif isinstance(value, Part):
            self._part = value
        elif kind in (VELOCITY_KIND, LENGTH_KIND):
            own = self._own()
            if kind == LENGTH_KIND:
                own[1] = value
            else:
                own[0] = velocity_of(value)
        elif kind in (NOTE, DRUM):
            self._note(value, kind == DRUM)

    def _length(self, metre: Metre) -> int:
        self.per_quarter = SECOND if metre == IN_SECONDS else self.per_quarter
        return bar_steps(metre, self.per_quarter)

    def _begin(self, bar: Bar, notes: list[list[int]]) -> None:
        self.bars.append(bar)
        self._rows.append(notes)
        self._at = None

    def _own(self) -> list[int]:
        part = self._part or Part(0)
        velocity = 80 if self._constants.velocity is None else self._constants.velocity
        return self._state.setdefault(part, [velocity, self.per_quarter])

    def _note(self, pitch: int, is_drum: bool) -> None:
        part = self._part or Part(0)
        if self._at is None or not self.bars or self._at >= self.bars[-1].length:
            return
        if part.is_drum != is_drum:
            return
        if part not in self.parts:
            self.parts.append(part)
        velocity, length = self._own()
        number = self.parts.index(part)
        self._rows[-1].append([self._at, length, pitch, velocity, number])

    def notes(self, first: int = 0, end: int | None = None) -> Notes:
        """The notes, (N, 5), of the bars from `first` up to `end`."""
        bars = zip(self.bars[first:end], self._rows[first:end], strict=True)
        rows = [[bar.begin + row[0], *row[1:]] for bar, rows in bars for row in rows]
        return sort(np.array(rows, np.int64).reshape(-1, 5))

    def tune(self) -> Tune:
        """Everything so far."""
        return Tune(self.notes(), list(self.parts), list(self.bars), self.tempos, self.per_quarter)
