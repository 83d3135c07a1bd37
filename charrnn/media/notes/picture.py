"""Draws tunes as PNG pictures: piano rolls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from charrnn.errors import SamplingError
from charrnn.files import replacing
from charrnn.media.notes.tune import Tune

HEIGHT = 200  # of a piano roll, in pixels
WIDTH = 1200
LABEL = 16  # height of the label above it, in pixels
MARGIN = 3  # semitones above and below the notes
LONGEST = 64  # quarters, or seconds, that are drawn
# One for each part.
COLOURS = ((30, 90, 180), (200, 70, 40), (40, 140, 70), (140, 60, 150), (190, 140, 20))
GRID, GRID_DARK = (235, 235, 235), (200, 200, 200)


def draw(path: Path, tunes: Sequence[tuple[str, Tune]]) -> None:
    """Write a PNG with the tunes one above the other: time from left to right, pitch from low to
    high, a colour for each part.

    They share one scale of time and pitch; of long tunes the beginning is drawn.

    Raises:
        SamplingError: there is no tune.
        OSError: it cannot be written.
    """
    if not tunes:
        raise SamplingError("there is nothing to draw; give a --length, or a prime with notes")
    per_quarter = max(tune.per_quarter for _, tune in tunes)
    span = min(max(1, *(tune.steps for _, tune in tunes)), LONGEST * per_quarter)
    pitches = [pitch for _, tune in tunes for pitch in tune.notes[:, 2].tolist()] or [60]
    low, high = min(pitches) - MARGIN, max(pitches) + MARGIN
    picture = Image.new("RGB", (WIDTH, len(tunes) * (HEIGHT + LABEL)), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    for row, (name, tune) in enumerate(tunes):
        top = row * (HEIGHT + LABEL)
        pen.text((4, top + 2), name, fill=(0, 0, 0))
        top += LABEL
        for bar in tune.bars:
            if bar.begin < span:
                x = WIDTH * bar.begin / span
                pen.line([(x, top), (x, top + HEIGHT)], fill=GRID_DARK)
        for octave in range(0, 128, 12):
            if low < octave < high:
                y = top + HEIGHT * (high - octave) / (high - low)
                pen.line([(0, y), (WIDTH, y)], fill=GRID)
        for onset, length, pitch, _, part in tune.notes.tolist():
            if onset >= span:
                continue
            left, right = WIDTH * onset / span, WIDTH * min(span, onset + length) / span
            y = top + HEIGHT * (high - pitch) / (high - low)
            box = [left, y - 2, max(left + 1, right - 1), y + 2]
            pen.rectangle(box, fill=COLOURS[part % len(COLOURS)])
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
