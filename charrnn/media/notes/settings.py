"""The settings of notes."""

from __future__ import annotations

import dataclasses

from charrnn.settings import PrimeOptions, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotesSettings:
    """How tunes are learnt."""

    transpose: int | None = setting(
        "Learn copies of each tune, too, shifted by up to this many semitones up and down. "
        "(default: 5, or fewer where there are many tunes)",
        "Notes",
        default=None,
        least=0,
        most=24,
        section="data",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotesOptions(PrimeOptions):
    """Options of a single call of `sample` for notes."""
