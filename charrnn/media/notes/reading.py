"""Reads the files of a corpus of notes: their tunes, and what was changed or left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charrnn.errors import CorpusError
from charrnn.media.codec import first_of
from charrnn.media.notes import ABC
from charrnn.media.notes.abc import read_book
from charrnn.media.notes.midi import HEADER, WITHIN, MidiError, Score, on_grid, read_scores
from charrnn.media.notes.tune import Losses
from charrnn.media.report import Reader, Report
from charrnn.media.sources import Sources, opened, source_label

if TYPE_CHECKING:
    from charrnn.media.notes.codec import NotesCodec, Steps

NAMED = 3  # a notice lists at most this many files
LARGEST = 1 << 26  # bytes that are read of a file


class Tunes:
    """The tunes of files.

    Args:
        sources: the files.

    Attributes:
        notices: for the user, complete after iterating.
        losses: what was changed; whoever puts a tune on the grid adds its own.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._passed: list[str] = []
        self._damaged: list[str] = []
        self._silent: list[str] = []
        self.losses = Losses()

    def __iter__(self) -> Iterator[Score]:
        """Each tune that has notes.

        Raises:
            CorpusError: a file that was named cannot be read.
        """
        for name in self._sources.files:
            with opened(name) as stream:
                data = stream.read(LARGEST + 1)
            try:
                scores = list(_scores(name, data))
            except MidiError as error:
                if name not in self._sources.found:
                    raise CorpusError(f"{source_label(name)}: {error}") from None
                self._passed.append(f"{source_label(name)} {error}")
                continue
            if not any(len(score.notes) for score in scores):
                self._silent.append(source_label(name))
            for score in scores:
                if score.damage:
                    self._damaged.append(f"{source_label(name)}: {score.damage}")
                if len(score.notes):
                    yield score

    @property
    def notices(self) -> tuple[str, ...]:
        """What was left out or changed."""
        found = []
        for files, what in (
            (self._passed, "left out"),
            (self._silent, "left out, no notes in it:"),
            (self._damaged, "read as far as it is sound:"),
        ):
            if files:
                found.append(f"{what} {first_of(files, NAMED)}")
        return (*found, *changes(self.losses))


def _scores(name: str, data: bytes) -> Iterator[Score]:
    """The tunes of a MIDI file, or of a book in ABC notation."""
    if HEADER not in data[:WITHIN]:
        text = data.decode("utf-8-sig", "replace")
        if re.search(r"(?m)^X:", text):
            return read_book(text)
    if name.lower().endswith(ABC):
        raise MidiError("has no tune, which would begin with X:")
    return read_scores(data)


def changes(losses: Losses) -> tuple[str, ...]:
    """Notices about notes that were changed."""
    parts = [
        f"{losses.moved:,} moved to the grid" if losses.moved else "",
        f"{losses.cut:,} shortened" if losses.cut else "",
        f"{losses.left_out:,} left out" if losses.left_out else "",
        f"{losses.other_part:,} given to another instrument" if losses.other_part else "",
    ]
    said = ", ".join(filter(None, parts))
    return (f"of the notes, {said}",) if said else ()


class TuneReader(Reader):
    """The `Reader` of notes: one tune after the other.

    Args:
        codec: the codec of the model.
        sources: the files.
    """

    codec: NotesCodec

    def __init__(self, codec: NotesCodec, sources: Sources) -> None:
        super().__init__(codec)
        self._tunes = Tunes(sources)
        self.count = self.notes = 0  # tunes and notes that have been read

    def __iter__(self) -> Iterator[Steps]:
        yield np.array([self.codec.end])
        for score in self._tunes:
            tune = self.codec.fitted(on_grid(score, in_seconds=self.codec.in_seconds))
            self._tunes.losses.add(tune.losses)
            self.count += 1
            self.notes += len(tune.notes)
            yield self.codec.encode(tune)

    @property
    def notices(self) -> tuple[str, ...]:
        """What was left out or changed so far."""
        return self._tunes.notices

    def report(self, steps: Steps, predicted: int, nats_per_step: float | None) -> Report:
        """As in `Reader`; also per note and per tune."""
        report = super().report(steps, predicted, nats_per_step)
        if nats_per_step is not None and self.notes:
            total = nats_per_step * predicted
            per_note, per_tune = total / self.notes, total / self.count
            report.add("nats_per_note", per_note, "nats per note", f"{per_note:.4f}")
            report.add("nats_per_tune", per_tune, "nats per tune", f"{per_tune:.1f}")
        report.add("tunes", self.count, "tunes", f"{self.count:,}")
        report.add("notes", self.notes, "notes", f"{self.notes:,}")
        report.notes += self.notices
        return report
