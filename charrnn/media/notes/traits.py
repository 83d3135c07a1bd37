"""What people can name about a sequence of events: places in bar and tune, pitch, length, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charrnn.media.notes.events import AT, BACK, BAR, DRUM, END, KINDS, LENGTH_KIND, NOTE
from charrnn.media.traits import Kinds, Parts, Trait, Traits

if TYPE_CHECKING:
    from charrnn.media.notes.codec import NotesCodec, Steps

NUMBERS = (
    *("place in the bar", "pitch of the last note", "length of the last note", "notes in the bar"),
    *("bars of the tune", "bars of four", "bars since one that repeats", "events of the bar"),
)


def traits_of(codec: NotesCodec, steps: Steps) -> Traits:
    """The traits of events, (N,) steps, each after it was read."""
    events = [codec.events[step] for step in steps.tolist()]
    rows = np.zeros((len(events), len(NUMBERS)))
    bars, time = np.zeros(len(events)), 0
    at = pitch = length = notes = bar = repeated = own = 0
    spans, texts, tune, begin = [], [], 1, 0
    for index, event in enumerate(events):
        own += 1
        if event.kind == END:
            at = notes = bar = repeated = own = 0
            tune, begin = tune + 1, index + 1
        elif event.kind in (BAR, BACK):
            if own > 1 and bar:
                spans.append((begin, index))
                texts.append(f"tune {tune}, bar {bar}")
            bar, time, begin = bar + 1, time + 1, index
            at = notes = 0
            own = 1
            repeated = 0 if event.kind == BACK else repeated + 1
        elif event.kind == AT:
            at = event.value
        elif event.kind == LENGTH_KIND:
            length = event.value
        elif event.kind in (NOTE, DRUM):
            pitch, notes = event.value, notes + 1
        rows[index] = (at, pitch, length, notes, bar, bar % 4, repeated, own)
        bars[index] = time
    numbers = [
        Trait(name, values)
        for name, values in zip(NUMBERS, rows.T, strict=True)
        if np.ptp(values) > 0
    ]
    of = np.array([KINDS.index(event.kind) for event in events])
    present = [kind for kind in KINDS if (of == KINDS.index(kind)).any()]
    own_kinds = np.array([present.index(event.kind) for event in events])
    return Traits(
        numbers,
        [Kinds("kind of event", present, own_kinds)],
        [Parts("bars", spans, texts)] if len(spans) > 1 else [],
        bars,
        "bars",
    )
