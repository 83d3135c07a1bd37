"""A sample that is a tune in ABC notation: checked, and played."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.errors import SamplingError
from charrnn.media.notes.abc import Song, parse, to_score
from charrnn.media.notes.midi import on_grid
from charrnn.media.notes.writing import write
from charrnn.media.text.codec import PLAYED
from charrnn.media.text.writing import TextSample


class AbcSample(TextSample):
    """Text in ABC notation."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pieces_so_far: list[str] = []

    def pieces(self) -> Any:
        """As in `Sample`."""
        for piece in super().pieces():
            self._pieces_so_far.append(piece)
            yield piece

    @cached_property
    def song(self) -> Song:
        """The tune, once the sample is complete."""
        for _ in self:
            pass
        return parse(self.prime + "".join(self._pieces_so_far))

    @property
    def complaint(self) -> str:
        """As in `Sample`: what is wrong with the notation, e.g. that a bar does not add up."""
        return self.song.trouble

    def to_dict(self) -> dict[str, Any]:
        """As in `Sample`."""
        return super().to_dict() | {"trouble": self.song.trouble or None}

    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        """As in `Sample`; the tune is played, repeats and all, if the name asks for it."""
        suffix = "" if path is None else path.suffix.lower()
        if path is None or suffix not in PLAYED:
            super().write(stream, path)
            return
        tune = on_grid(to_score(self.song))
        if not len(tune.notes):
            raise SamplingError(f"{path}: {self.song.trouble}; try another --seed")
        write(tune, stream, path)
