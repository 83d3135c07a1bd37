"""Which events may follow those so far, so that every sample is a valid tune."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.media.codec import Rules
from charrnn.media.notes.events import (
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
from charrnn.media.notes.tune import (
    IN_SECONDS,
    MOST_PARTS,
    PITCHES,
    QUARTER,
    SECOND,
    Part,
    bar_steps,
)

Mask = NDArray[np.bool_]


class Vocabulary:
    """The events of a codec, by kind.

    Args:
        events: the event of each step.
        constants: what has no events.
        most_backs: how many bars in a row may equal earlier ones; None: any number.
    """

    def __init__(
        self, events: Sequence[Event], constants: Constants, most_backs: int | None = None
    ) -> None:
        self.events, self.constants, self.most_backs = events, constants, most_backs
        self.size = len(events)
        self.none = np.zeros(self.size, bool)
        kinds = {event.kind for event in events}
        self.of_kind = {kind: self._mask(lambda e, k=kind: e.kind == k) for kind in kinds}
        # The value of each event that has a number, and of a part its place in the order in which
        # parts stand at one position.
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
        repeats: is added to the log odds of a bar that equals an earlier one over a new one.
    """

    def __init__(self, vocabulary: Vocabulary, repeats: float = 0.0) -> None:
        self._vocabulary, self._repeats = vocabulary, repeats
        self._reset()

    def _reset(self) -> None:
        self._last = END
        self._per_quarter = QUARTER
        self._bars: list[tuple[int, bool]] = []  # length in grid steps, and whether it has notes
        self._bar_step: int | None = None  # that of the first bar
        self._backs_in_row = 0
        self._at = -1
        self._part = self._vocabulary.constants.part
        self._has_tempo = not self._vocabulary.has(TEMPO_KIND)
        self._used: frozenset[Part] = frozenset()  # in the tune
        self._state: dict[Part, tuple[int | None, int | None]] = {}  # velocity, length
        self._pitch = PITCHES  # of the last note here, in this part
        self._rank = -1  # of the last part that has a note here

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
        elif kind == BAR:
            self._per_quarter = SECOND if value == IN_SECONDS else self._per_quarter
            self._bars.append((bar_steps(value, self._per_quarter), False))
            self._bar_step = step if self._bar_step is None else self._bar_step
            self._at, self._backs_in_row = -1, 0
        elif kind == BACK:
            self._bars.append(self._bars[-value] if value <= len(self._bars) else (0, False))
            self._at, self._backs_in_row = -1, self._backs_in_row + 1
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
                self._sound(self._part, value)

    def _sound(self, part: Part, pitch: int) -> None:
        """A note."""
        self._pitch, self._rank = pitch, self._vocabulary.rank.get(part, 0)
        self._used |= {part}
        if self._bars:
            self._bars[-1] = (self._bars[-1][0], True)

    def allowed(self) -> Mask:
        """As in `Rules`."""
        words, last = self._vocabulary, self._last
        if last in (END, TEMPO_KIND):
            if not self._has_tempo:
                return words.all_of(TEMPO_KIND)
            return self._new_bars() | self._backs()
        may = words.none.copy()
        if last in (BAR, BACK, NOTE, DRUM):
            may |= words.all_of(END, TEMPO_KIND) | self._new_bars() | self._backs()
        if last in (BAR, NOTE, DRUM):
            length = self._bars[-1][0] if self._bars else 0
            may |= words.all_of(AT) & (words.values > self._at) & (words.values < length)
        if last in (AT, NOTE, DRUM):
            may |= self._parts()
        if last in (AT, PART_KIND, VELOCITY_KIND, LENGTH_KIND, NOTE, DRUM):
            may |= self._of_this_part()
        return may

    def favoured(self, logits: NDArray[Any]) -> NDArray[Any]:
        """As in `Rules`: the odds of bars that come back over new ones.  At temperature 1 any bar
        together stays as likely as before, beside more notes in the bar or the end."""
        words, repeats = self._vocabulary, self._repeats
        if not repeats:
            return logits
        backs, bars = words.all_of(BACK), words.all_of(BAR, BACK)
        most = np.max(logits[bars], initial=-np.inf)
        if not np.isfinite(most):
            return logits
        weights = np.exp(logits[bars] - most)
        raised = weights * np.exp(repeats * backs[bars])
        changed = logits.astype(np.float64)
        changed[bars] += repeats * backs[bars] + np.log(weights.sum() / raised.sum())
        return changed

    def _new_bars(self) -> Mask:
        """`bar`: only of the first one's metre where tunes do not change it."""
        words = self._vocabulary
        if not words.constants.has_one_metre or self._bar_step is None:
            return words.all_of(BAR)
        may = words.none.copy()
        may[self._bar_step] = True
        return may

    def _backs(self) -> Mask:
        """`back` to bars that are there and have notes, unless too many in a row come back."""
        words = self._vocabulary
        if words.most_backs is not None and self._backs_in_row >= words.most_backs:
            return words.none
        good = np.zeros(MOST_BACK + 2, bool)
        for back, (_, has_notes) in enumerate(reversed(self._bars[-MOST_BACK:]), 1):
            good[back] = has_notes
        return words.all_of(BACK) & good[np.clip(words.values, 0, MOST_BACK + 1)]

    def _parts(self) -> Mask:
        """Parts that may follow here: later ones, and no more than there are MIDI channels."""
        words, may = self._vocabulary, self._vocabulary.none.copy()
        melodic = sum(not used.is_drum for used in self._used)
        for part, step in words.part_steps.items():
            is_later = words.rank[part] > self._rank and part != self._part
            has_channel = part.is_drum or part in self._used or melodic < MOST_PARTS
            may[step] = is_later and has_channel
        return may

    def _of_this_part(self) -> Mask:
        """Velocity, length and notes of the current part."""
        words, part, last = self._vocabulary, self._part, self._last
        may = words.none.copy()
        if part is None:
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
