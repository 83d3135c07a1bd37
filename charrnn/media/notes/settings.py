"""The settings of notes."""

from __future__ import annotations

import dataclasses

from charrnn.settings import PrimeOptions, setting

MOST_REPEATS = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotesSettings:
    """How tunes are learnt, and how much of a tune comes back."""

    transpose: int | None = setting(
        "Learn copies of each tune, too, shifted by up to this many semitones up and down. "
        "(default: 5, or fewer where there are many tunes)",
        "Notes",
        default=None,
        least=0,
        most=24,
        section="data",
    )
    repeats: float | None = setting(
        "Added to the log odds that a new bar equals an earlier one: at 3 much of a tune comes "
        "back, at 0 as much as the network itself expects. (default: found while training)",
        "Notes",
        default=None,
        least=-MOST_REPEATS,
        most=MOST_REPEATS,
        section="sampling",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotesOptions(PrimeOptions):
    """Options of a single call of `sample` for notes."""
