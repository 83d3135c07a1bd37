"""Draws spectrograms as PNG pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from charrnn.files import replacing

HEIGHT = 240  # of a spectrogram, in pixels
WIDTH = 600, 1200  # minimum and maximum, in pixels
LABEL = 16  # height of the label above it, in pixels
LOWEST_HZ = 40.0
RANGE_DB = 70.0
# From silence to the loudest: black, blue, red, orange, cream.
COLOURS = ((0, 0, 0), (40, 30, 110), (170, 40, 90), (250, 160, 40), (255, 255, 230))

Panel = tuple[str, NDArray[np.float32], int]  # name, magnitudes (n, bins), sample rate in Hz


def draw(path: Path, panels: Sequence[Panel]) -> None:
    """Write a PNG with the spectrograms one above the other.

    They share one time scale; frequency is logarithmic; each is normalised to its own maximum.

    Raises:
        OSError: it cannot be written.
    """
    longest = max(len(magnitudes) for _, magnitudes, _ in panels)
    width = min(WIDTH[1], max(WIDTH[0], longest))
    picture = Image.new("RGB", (width, len(panels) * (HEIGHT + LABEL)), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    for row, (name, magnitudes, rate) in enumerate(panels):
        top = row * (HEIGHT + LABEL)
        pen.text((4, top + 2), name, fill=(0, 0, 0))
        columns = max(1, round(width * len(magnitudes) / longest))
        picture.paste(_image(magnitudes, rate, columns), (0, top + LABEL))
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def _image(magnitudes: NDArray[np.float32], rate: int, width: int) -> Image.Image:
    """A spectrogram, `width` pixels wide."""
    bins = magnitudes.shape[1]
    places = np.geomspace(LOWEST_HZ / (rate / 2), 1, HEIGHT)[::-1] * (bins - 1)
    rows = magnitudes[:, np.clip(np.round(places).astype(int), 0, bins - 1)].T  # (HEIGHT, n)
    starts = np.linspace(0, rows.shape[1], width, endpoint=False).astype(int)
    columns = np.maximum.reduceat(rows, starts, 1)
    loudest = max(float(columns.max()), 1e-12)
    decibels = 20 * np.log10(np.maximum(columns / loudest, 1e-12))
    levels = np.clip(1 + decibels / RANGE_DB, 0, 1)
    stops = np.linspace(0, 1, len(COLOURS))
    pixels = np.stack([np.interp(levels, stops, part) for part in zip(*COLOURS, strict=True)], -1)
    return Image.fromarray(pixels.astype(np.uint8))
