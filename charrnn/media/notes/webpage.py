"""The web page of a model of notes: it plays a tune, also one that somebody has begun."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.media.notes import events, synth
from charrnn.media.notes.events import Event
from charrnn.media.notes.tune import (
    COMMON,
    QUARTER,
    SECOND,
    TEMPO,
    Metre,
    Part,
    bar_steps,
    distance,
)
from charrnn.media.web import WebPage

if TYPE_CHECKING:
    from charrnn.media.notes.codec import NotesCodec

BARS, SECONDS = 200, 120  # the maximum length, until another is given
KEYS = 25  # of the keyboard: two octaves
LOWEST = range(12, 97, 12)  # the first key of the keyboard may be one of these
USUAL = 60  # and is this one if all are known equally well
FAMILIES = (
    *("piano", "chimes", "organ", "guitar", "bass", "strings", "ensemble", "brass"),
    *("reed", "pipe", "synth lead", "synth pad", "synth effects", "folk", "percussion", "effects"),
)


def web_page(codec: NotesCodec, settings: Any) -> WebPage:
    """As `Codec.web_page`."""
    constants, per_quarter = codec.constants, SECOND if codec.in_seconds else QUARTER
    parts = sorted(codec.values(events.PART_KIND)) or [constants.part or Part(0)]
    keyboard = min(parts, key=partial(distance, Part(0)))
    levels = codec.values(events.TEMPO_KIND)
    level = min(levels, default=0, key=lambda k: abs(k - events.tempo_level(TEMPO)))
    metres = codec.values(events.BAR)
    metre = COMMON if COMMON in metres else metres[-1]
    data = {
        "codec": {
            "start": codec.start(np.random.default_rng(0)).tolist(),
            "end": codec.end,
            "never": codec.never(settings).tolist(),
            "events": [_plain(event, parts, per_quarter) for event in codec.events],
            "perQuarter": per_quarter,
            "parts": parts,
            "part": None if constants.part is None else 0,
            "velocity": constants.velocity,
            "tempo": constants.tempo or TEMPO,
            "oneMetre": constants.has_one_metre,
            "repeats": codec.repeats_for(settings),
            "mostBacks": codec.most_backs,
        },
        "names": [_name(part, parts) for part in parts],
        "families": [list(family) for family in synth.FAMILIES],
        "keyboard": {
            "part": parts.index(keyboard),
            "metre": codec.step_of[Event(events.BAR, metre)],
            "tempo": codec.step_of.get(Event(events.TEMPO_KIND, level)),
            "lowest": _lowest(codec),
            "count": KEYS,
        },
        "length": SECONDS if codec.in_seconds else BARS,
        "bar": "second" if codec.in_seconds else "bar",
    }
    note = "A small neural network invents the tunes, note by note."
    folder = Path(__file__).resolve().parent / "web"
    scripts = ("tune.js", "synth.js", "keyboard.js", "roll.js", "notes.js")
    return WebPage(folder, "notes.css", scripts, ("rules.js",), data, note)


def _plain(event: Event, parts: list[Part], per_quarter: int) -> tuple[str, Any]:
    """An event with a value that needs no tables: of a part its index, of a bar also its length."""
    kind, value = event
    if isinstance(value, Part):
        return kind, parts.index(value)
    if isinstance(value, Metre):
        return kind, [*value, bar_steps(value, per_quarter)]
    if kind == events.TEMPO_KIND:
        return kind, events.tempo_of(value)
    return kind, events.velocity_of(value) if kind == events.VELOCITY_KIND else value


def _name(part: Part, parts: list[Part]) -> str:
    """What a part is called in the page."""
    if part.is_drum:
        return "drums"
    family = part.program // 8
    alike = [other for other in parts if not other.is_drum and other.program // 8 == family]
    number = f" {alike.index(part) + 1}" if len(alike) > 1 else ""
    return f"{FAMILIES[family]}{number}"


def _lowest(codec: NotesCodec) -> int:
    """The pitch of the first key: the keyboard has the most pitches that the model knows."""
    known = set(codec.values(events.NOTE) or codec.values(events.DRUM))

    def worth(lowest: int) -> tuple[int, int]:
        return len(known & set(range(lowest, lowest + KEYS))), -abs(lowest - USUAL)

    return max(LOWEST, key=worth)
