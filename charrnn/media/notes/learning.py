"""Encodes a corpus of tunes and learns its events; holds out whole tunes, transposes the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.media.medium import Learner
from charrnn.media.notes import events
from charrnn.media.notes.codec import NotesCodec, Steps
from charrnn.media.notes.events import Constants, Event
from charrnn.media.notes.midi import on_grid
from charrnn.media.notes.reading import Tunes
from charrnn.media.sources import Sources

OFF_GRID = 0.5  # of the notes: a corpus with more of them off the grid has no metre
TRANSPOSE = 5  # semitones each way, by default
MOST_EVENTS = 4_000_000  # with all copies, by default


class TuneLearner(Learner):
    """The `Learner` of notes.

    Args:
        sources: the files.
        transpose: semitones up and down; None: chosen by the length of the corpus.
        val_fraction: fraction of the events to hold out, in whole tunes; of a single tune, its end.
    """

    def __init__(self, sources: Sources, transpose: int | None, val_fraction: float) -> None:
        self._sources, self._tunes = sources, Tunes(sources)
        self._transpose, self._fraction = transpose, val_fraction
        self._codec: NotesCodec | None = None
        self._notices: list[str] = []
        self._held_out = ""

    def __iter__(self) -> Iterator[Steps]:
        scores = list(self._tunes)
        if not scores:
            said = "; ".join(self._tunes.notices)
            raise CorpusError(f"{self._sources}: has no notes" + (f" ({said})" if said else ""))
        off = sum(score.off_grid for score in scores)
        in_seconds = off > OFF_GRID * sum(len(score.notes) for score in scores)
        if in_seconds:
            self._notices.append(
                "most notes are off the grid of the metre: learnt as a performance, in 10 ms steps"
            )
        tunes = [on_grid(score, in_seconds=in_seconds) for score in scores]
        for tune in tunes:
            self._tunes.losses.add(tune.losses)
        constants = Constants.of(tunes)
        encoded = [list(events.encode(tune, constants)) for tune in tunes]
        semitones = self._semitones(encoded)
        self._codec = codec = NotesCodec.of(_transposed(encoded, semitones), constants)
        steps = [np.array([*map(codec.step_of.__getitem__, tune), codec.end]) for tune in encoded]
        learnt, held = self._split(steps, codec)
        copies = list(_copies(learnt, codec, semitones))
        order = np.random.default_rng(self.seed).permutation(len(copies)).tolist()
        count = 1 + sum(map(len, copies))
        held_count = sum(map(len, held))
        yield np.array([codec.end])  # the first tune, too, follows an end
        yield from (copies[index] for index in order)
        yield from held
        self.val_fraction = held_count / (count + held_count)
        self._notices += self._tunes.notices
        if len(copies) > len(learnt):
            self._notices.append(
                f"{len(copies):,} tunes to learn, with copies shifted by up to {semitones} "
                "semitones; for none: --transpose 0"
            )

    def _semitones(self, encoded: Sequence[Sequence[Event]]) -> int:
        """By how many semitones tunes are shifted each way."""
        if self._transpose is not None:
            return self._transpose
        if not any(event.kind == events.NOTE for tune in encoded for event in tune):
            return 0
        count = sum(map(len, encoded))
        return max(0, min(TRANSPOSE, (MOST_EVENTS // max(1, count) - 1) // 2))

    def _split(
        self, steps: Sequence[Steps], codec: NotesCodec
    ) -> tuple[Sequence[Steps], Sequence[Steps]]:
        """The tunes to learn, and those that are held out."""
        wanted = self._fraction * sum(map(len, steps))
        if len(steps) == 1:
            kinds = [codec.events[step].kind for step in steps[0].tolist()]
            bars = [i for i, kind in enumerate(kinds) if kind in (events.BAR, events.BACK)]
            cut = next((i for i in bars if i >= len(steps[0]) - wanted), bars[-1])
            cut -= kinds[cut - 1] == events.TEMPO_KIND
            self._held_out = "from the end of the tune"
            return [np.append(steps[0][:cut], codec.end)], [steps[0][cut:]]
        held: set[int] = set()
        taken = 0
        for index in np.random.default_rng(self.seed).permutation(len(steps)).tolist()[:-1]:
            if held and taken + len(steps[index]) / 2 > wanted:
                continue
            held.add(index)
            taken += len(steps[index])
        self._held_out = f"in {len(held):,} whole tunes"
        return (
            [tune for index, tune in enumerate(steps) if index not in held],
            [tune for index, tune in enumerate(steps) if index in held],
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """As in `Learner`."""
        return tuple(self._notices) if self._codec else self._tunes.notices

    @property
    def held_out(self) -> str:
        """As in `Learner`."""
        return self._held_out

    @property
    def codec(self) -> NotesCodec:
        """The codec, after iterating."""
        assert self._codec is not None
        return self._codec


def _transposed(encoded: Sequence[Sequence[Event]], semitones: int) -> Iterator[Sequence[Event]]:
    """The tunes, and the notes of their copies."""
    for tune in encoded:
        yield tune
        pitches = {event.value for event in tune if event.kind == events.NOTE}
        for shift in _shifts(pitches, semitones):
            yield [Event(events.NOTE, pitch + shift) for pitch in pitches]


def _shifts(pitches: set[Any], semitones: int) -> list[int]:
    """The shifts, other than 0, with which all pitches are possible ones."""
    if not pitches:
        return []
    low, high = min(pitches), max(pitches)
    shifts = range(-semitones, semitones + 1)
    return [shift for shift in shifts if shift and low + shift >= 0 and high + shift <= 127]


def _copies(
    learnt: Sequence[Steps], codec: NotesCodec, semitones: int
) -> Iterator[NDArray[np.integer]]:
    """The tunes and their shifted copies."""
    tables = {
        shift: np.array(
            [
                codec.step_of.get(Event(event.kind, event.value + shift), 0)
                if event.kind == events.NOTE
                else step
                for step, event in enumerate(codec.events)
            ]
        )
        for shift in range(-semitones, semitones + 1)
    }
    for tune in learnt:
        yield tune
        found = (codec.events[step] for step in np.unique(tune).tolist())
        pitches = {event.value for event in found if event.kind == events.NOTE}
        yield from (tables[shift][tune] for shift in _shifts(pitches, semitones))
