"""Sounds for the tests, synthesised as they are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 22_050


def music(seconds: float = 4.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Plucked notes of a scale over a held fifth, (N,), with a little noise."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.1 * np.sin(2 * np.pi * 110 * time) + 0.1 * np.sin(2 * np.pi * 165 * time)
    for start in np.arange(0, seconds, 0.25):
        frequency = 220 * 2 ** (random.choice([0, 2, 4, 7, 9, 12]) / 12)
        since = time - start
        sound += np.where(
            since >= 0, 0.4 * np.exp(-6 * np.abs(since)) * np.sin(2 * np.pi * frequency * since), 0
        )
    return (sound + 0.001 * random.normal(size=len(time))).astype(np.float32)


def recorded(path: Path, sound: np.ndarray, rate: int = RATE, **format_: str) -> Path:
    """The sound as a file of the kind that its name says."""
    soundfile.write(path, sound, rate, **format_)
    return path


def convergence(wanted: np.ndarray, found: np.ndarray) -> float:
    """The norm of the difference of magnitudes over that of the wanted ones, in dB."""
    return float(20 * np.log10(np.linalg.norm(wanted - found) / np.linalg.norm(wanted)))
