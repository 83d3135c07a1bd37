"""Telling samples from the recording; tempo, beat and notes."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.media.sound import analysis
from tests.sounds import RATE, music

pytestmark = pytest.mark.long  # librosa's first calls take seconds


def clicks(bpm: float, seconds: float = 12.0) -> np.ndarray:
    """A short burst of noise on each beat."""
    sound = 1e-3 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    burst = np.random.default_rng(1).standard_normal(600) * np.exp(-np.arange(600) / 100)
    for start in np.arange(0, len(sound) - 600, 60 / bpm * RATE).astype(int):
        sound[start : start + 600] += burst
    return sound.astype(np.float32)


def test_what_sounds_alike_cannot_be_told_apart() -> None:
    one, other = music(20.0, seed=1), music(20.0, seed=2)
    alike = analysis.told_apart(one, other, RATE)
    noisy = other + 0.1 * np.random.default_rng(3).standard_normal(len(other)).astype(np.float32)
    apart = analysis.told_apart(noisy, one, RATE)
    assert alike.keys() == apart.keys() == {"0.2 s", "1 s"}
    assert all(0.2 < area < 0.75 for area in alike.values())
    assert all(area > 0.95 for area in apart.values())


def test_level_and_spectrum_alone_give_nothing_away() -> None:
    one, other = music(20.0, seed=1), music(20.0, seed=2)
    louder = analysis.told_apart(3 * other, one, RATE)
    assert louder == pytest.approx(analysis.told_apart(other, one, RATE), abs=0.05)


def test_tones_stand_out_of_noise() -> None:
    noise = np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)
    flat = analysis.tones(noise, RATE)
    assert flat == pytest.approx(0.51, abs=0.03)
    assert analysis.tones(music(10.0), RATE) > flat + 1
    shuffled = np.random.default_rng(1).permutation(music(10.0).reshape(-1, 50)).ravel()
    assert analysis.tones(shuffled, RATE) < flat + 0.4  # the same, cut into 2 ms
    assert analysis.tones(np.zeros(RATE, np.float32), RATE) == 0
    real = music(12.0)
    found = analysis.compared(noise[: len(real)], real, real, RATE)["tones"]
    assert found["sample"] == pytest.approx(0, abs=0.03)
    assert found["codec"] == 1
    assert analysis.compared(real, noise, noise, RATE)["tones"] is None


@pytest.mark.parametrize("bpm", [96.0, 120.0])
def test_the_tempo_of_clicks(bpm: float) -> None:
    tempo, strength = analysis.beat(clicks(bpm), RATE)
    assert tempo == pytest.approx(bpm, rel=0.03)
    hiss = np.random.default_rng(2).standard_normal(12 * RATE).astype(np.float32)
    assert strength > 0.5 > 0.3 > analysis.beat(hiss, RATE)[1]


def test_the_notes_of_a_sine() -> None:
    time = np.arange(2 * RATE) / RATE
    found = analysis.chroma(np.sin(2 * np.pi * 440 * time).astype(np.float32), RATE)
    assert found.argmax() == 9  # A
    assert found.sum() == pytest.approx(1)
    assert found[9] > 0.4
