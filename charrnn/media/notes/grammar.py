"""Which events may follow those so far, so that every sample is a valid tune."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.media.codec import Rules
from charrnn.media.notes.events import (
    AGAIN,
    AT,
    BACK,
    BAR,
    DRUM,
    END,
    LENGTH_KIND,
    MOST_BACK,
    NOTE,
    PART_KIND,
    TEMPO_KIND,
    VELOCITY_KIND,
    Constants,
    Event,
)
from charrnn.media.notes.tune import IN_SECONDS, QUARTER, SECOND, Part, bar_steps

MOST_PARTS = 15  # MIDI channels besides that of the drums
PITCHES = 128

Mask = NDArray[np.bool_]


class Vocabulary:
    """The events of a codec, by kind.

    Args:
        events: the event of each step.
        constants: what has no events.
    """

    def __init__(self, events: Sequence[Event], constants: Constants) -> None:
        self.events, self.constants = events, constants
        self.size = len(events)
        self.none = np.zeros(self.size, bool)
        kinds = {event.kind for event in events}
        self.of_kind = {kind: self._mask(lambda e, k=kind: e.kind == k) for kind in kinds}
        # The value of each `at`, `back`, `note` and `drum`, and the place of each part in the order
        # in which parts stand at one position.
        self.values = np.zeros(self.size, np.int64)
        parts = sorted(e.value for e in events if isinstance(e.value, Part))
        self.rank = {part: place for place, part in enumerate(parts)}
        for step, (_, value) in enumerate(events):
            if isinstance(value, Part):
                self.values[step] = self.rank[value]
            elif isinstance(value, int):
                self.values[step] = value
        self.part_steps = {
            event.value: step for step, event in enumerate(events) if event.kind == PART_KIND
        }
        self.begins = self.all_of(END, BAR, BACK, TEMPO_KIND)
        has_drums = DRUM in kinds
        self.lowest = {
            is_drum: min(
                (e.value for e in events if e.kind == (DRUM if is_drum else NOTE)), default=PITCHES
            )
            for is_drum in {False, has_drums}
        }

    def _mask(self, test: Any) -> Mask:
        return np.fromiter(map(test, self.events), bool, self.size)

    def all_of(self, *kinds: str) -> Mask:
        """The events of these kinds, (V,)."""
        found = self.none.copy()
        for kind in kinds:
            if kind in self.of_kind:
                found |= self.of_kind[kind]
        return found

    def has(self, kind: str) -> bool:
        """Whether there are events of this kind."""
        return kind in self.of_kind


class TuneRules(Rules):
    """The grammar of a tune (see `events`), for one sequence.

    Args:
        vocabulary: of the codec.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._reset()

    def _reset(self) -> None:
        self._last = END
        self._per_quarter = QUARTER
        self._bars: list[tuple[int, frozenset[Part | None]]] = []  # grid steps; parts with notes
        self._at = -1
        self._part = self._vocabulary.constants.part
        self._has_tempo = not self._vocabulary.has(TEMPO_KIND)
        self._used: frozenset[Part] = frozenset()  # in the tune
        self._repeated: frozenset[Part] = frozenset()  # in this bar, by `again`
        self._state: dict[Part, tuple[int | None, int | None]] = {}  # velocity, length
        self._pitch = PITCHES  # of the last note here, in this part
        self._rank = -1  # of the last part that has a note here, or an `again`

    def copy(self) -> TuneRules:
        """As in `Rules`."""
        other = copy(self)
        other._bars, other._state = list(self._bars), dict(self._state)
        return other

    def add(self, step: int) -> None:
        """As in `Rules`."""
        kind, value = self._vocabulary.events[step]
        self._last = kind
        if kind == END:
            self._reset()
        elif kind in (BAR, BACK):
            self._begin_bar(kind, value)
        elif kind == TEMPO_KIND:
            self._has_tempo = True
        elif kind == AT:
            self._at, self._pitch, self._rank = value, PITCHES, -1
        elif kind == PART_KIND:
            self._part, self._pitch = value, PITCHES
        elif self._part is not None:
            velocity, length = self._state.get(self._part, (None, None))
            if kind == VELOCITY_KIND:
                self._state[self._part] = (value, length)
            elif kind == LENGTH_KIND:
                self._state[self._part] = (velocity, value)
            else:
                self._sound(kind, value)

    def _begin_bar(self, kind: str, value: Any) -> None:
        if kind == BAR:
            self._per_quarter = SECOND if value == IN_SECONDS else self._per_quarter
            bar: tuple[int, frozenset[Part | None]]
            bar = (bar_steps(value, self._per_quarter), frozenset())
        else:
            bar = self._bars[-value] if value <= len(self._bars) else (0, frozenset())
        self._bars.append(bar)
        self._at, self._rank, self._repeated = -1, -1, frozenset()

    def _sound(self, kind: str, value: int) -> None:
        """A note, or an `again`."""
        assert self._part is not None
        part = frozenset([self._part])
        self._rank = self._vocabulary.rank.get(self._part, 0)
        self._used |= part
        if kind == AGAIN:
            self._repeated |= part
        else:
            self._pitch = value
        if self._bars:
            length, parts = self._bars[-1]
            self._bars[-1] = (length, parts | part)

    def allowed(self) -> Mask:
        """As in `Rules`."""
        words, last = self._vocabulary, self._last
        if last in (END, TEMPO_KIND):
            if not self._has_tempo:
                return words.all_of(TEMPO_KIND)
            return words.all_of(BAR) | self._distances(BACK, None)
        if last == PART_KIND and self._at < 0:
            return self._distances(AGAIN, self._part)
        may = words.none.copy()
        if last in (BAR, BACK, AGAIN, NOTE, DRUM):
            may |= words.all_of(END, BAR, TEMPO_KIND) | self._distances(BACK, None)
        if last in (BAR, AGAIN, NOTE, DRUM) and self._has_part():
            length = self._bars[-1][0] if self._bars else 0
            may |= words.all_of(AT) & (words.values > self._at) & (words.values < length)
        if last in (BAR, AGAIN):
            may |= self._parts(lambda part: bool(self._distances(AGAIN, part).any()))
        if last in (AT, NOTE, DRUM):
            may |= self._parts(self._may_play)
        if last in (AT, PART_KIND, VELOCITY_KIND, LENGTH_KIND, NOTE, DRUM):
            may |= self._of_this_part()
        return may

    def weighed(self, logits: NDArray[Any], temperature: float) -> NDArray[Any]:
        """As in `Rules`: what bars repeat, and whether a tune ends, is drawn as it was learnt.

        A temperature below 1 would make repeats rarer still where they are rare, and tunes without
        form.  So among the events that begin a bar, and for `again`, it has no effect.
        """
        words = self._vocabulary
        if temperature in (0, 1):
            return logits
        values = logits.astype(np.float64)
        begins = words.begins & np.isfinite(values)
        agains = words.of_kind.get(PART_KIND if self._at < 0 else "", words.none)
        agains = (agains | words.all_of(AGAIN)) & np.isfinite(values)
        weighed = values.copy()
        if begins.any():
            own = values[begins]
            total = _log_sum(own / temperature)
            weighed[begins] = temperature * (total + own - _log_sum(own))
        if agains.any():
            others = np.isfinite(values) & ~agains
            share = values - _log_sum(values[np.isfinite(values)])  # log p at a temperature of 1
            weighed[agains] = temperature * share[agains]
            if others.any():
                left = _log_sum(share[others]) - _log_sum(weighed[others] / temperature)
                weighed[others] += temperature * left
        return weighed

    def _distances(self, kind: str, part: Part | None) -> Mask:
        """`back` to bars that are there and have notes; `again` to bars of the same length in
        which this part has some."""
        words = self._vocabulary
        if not words.has(kind):
            return words.none
        bars, own = self._bars, None
        if kind == AGAIN:
            bars, own = self._bars[:-1], self._bars[-1][0]
        good = np.zeros(MOST_BACK + 2, bool)
        for back, (length, parts) in enumerate(reversed(bars[-MOST_BACK:]), 1):
            good[back] = bool(parts) if own is None else part in parts and length == own
        return words.all_of(kind) & good[np.clip(words.values, 0, MOST_BACK + 1)]

    def _may_play(self, part: Part) -> bool:
        """Whether a part may have notes of its own in this bar: it repeats no other, and there are
        no more parts than MIDI channels."""
        if part in self._repeated:
            return False
        melodic = sum(not used.is_drum for used in self._used)
        return part.is_drum or part in self._used or melodic < MOST_PARTS

    def _has_part(self) -> bool:
        return not self._vocabulary.rank or any(map(self._may_play, self._vocabulary.rank))

    def _parts(self, test: Callable[[Part], bool]) -> Mask:
        """Parts that may follow here: later ones that pass the test."""
        words, may = self._vocabulary, self._vocabulary.none.copy()
        for part, step in words.part_steps.items():
            is_later = words.rank[part] > self._rank and (part != self._part or self._at < 0)
            may[step] = is_later and test(part)
        return may

    def _of_this_part(self) -> Mask:
        """Velocity, length and notes of the current part."""
        words, part, last = self._vocabulary, self._part, self._last
        may = words.none.copy()
        if part is None or not self._may_play(part):
            return may
        velocity, length = self._state.get(part, (None, None))
        if words.lowest.get(part.is_drum, PITCHES) >= self._pitch:
            return may  # no note could follow
        if last not in (VELOCITY_KIND, LENGTH_KIND):
            may |= words.all_of(VELOCITY_KIND) & (words.values != velocity)
        if velocity is None and words.has(VELOCITY_KIND):
            return may
        if last != LENGTH_KIND:
            may |= words.all_of(LENGTH_KIND) & (words.values != length)
        if length is not None:
            may |= words.all_of(DRUM if part.is_drum else NOTE) & (words.values < self._pitch)
        return may


def _log_sum(values: NDArray[np.float64]) -> float:
    """The log of the sum of exp(values)."""
    highest = float(values.max())
    return highest + float(np.log(np.exp(values - highest).sum()))
