"""Tunes and MIDI files for tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charrnn.media.notes.midi import to_midi
from charrnn.media.notes.tune import Bar, Metre, Notes, Part, Tune, sort

Event = tuple[int, bytes]  # ticks since the one before, and the message


def number(value: int) -> bytes:
    """A number of variable length."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(parts[::-1])


def track(events: Sequence[Event], *, end: bool = True) -> bytes:
    data = b"".join(number(delta) + message for delta, message in events)
    data += b"\x00\xff\x2f\x00" * end
    return b"MTrk" + struct.pack(">I", len(data)) + data


def midi(*tracks: bytes, form: int = 1, division: int = 480) -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6, form, len(tracks), division) + b"".join(tracks)


def on(pitch: int, velocity: int = 90, channel: int = 0) -> bytes:
    return bytes([0x90 | channel, pitch, velocity])


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes([0x80 | channel, pitch, 0])


SCALE: list[Event] = [
    event for pitch in (60, 62, 64, 65) for event in ((0, on(pitch)), (480, off(pitch)))
]


def tune_of(rows: Sequence[tuple[int, ...]], bars: int = 2, parts: int = 1) -> Tune:
    """A tune in 4/4 of rows of onset, length, pitch, and perhaps velocity and part."""
    filled = [(*row, *(80, 0)[len(row) - 3 :]) for row in rows]
    notes: Notes = sort(np.array(filled, np.int64).reshape(-1, 5))
    there = [Bar(48 * number, 48, Metre(4, 4)) for number in range(bars)]
    return Tune(notes, [Part(0, number) for number in range(parts)], there)


def dance(seed: int, bars: int = 8) -> Tune:
    """A tune of two parts whose second half repeats the first."""
    random = np.random.default_rng(seed)
    rows = []
    for bar in range(bars // 2):
        pitches = random.choice([60, 62, 64, 67, 69], 4)
        for begin in (48 * bar, 48 * (bar + bars // 2)):
            rows += [(begin + 12 * k, 12, int(pitch)) for k, pitch in enumerate(pitches)]
            rows += [(begin, 48, 48 + third, 80, 1) for third in (0, 4, 7)]
    return tune_of(rows, bars, parts=2)


def folder_of_tunes(path: Path, count: int = 12) -> Path:
    """A folder with MIDI files."""
    path.mkdir()
    for seed in range(count):
        (path / f"tune{seed:02}.mid").write_bytes(to_midi(dance(seed)))
    return path
