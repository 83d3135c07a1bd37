from __future__ import annotations

import numpy as np
import pytest

from charrnn.media.sound.phase import AHEAD, BLOCK_FRAMES, PhaseStream
from charrnn.media.sound.stft import Stft
from tests.sounds import convergence, music

STFT = Stft()


def sound_of(magnitudes: np.ndarray, at_once: int = 10**6, **options: int) -> np.ndarray:
    stream = PhaseStream(STFT, **options)
    starts = range(0, len(magnitudes), at_once)
    pieces = [stream.push(magnitudes[start : start + at_once]) for start in starts]
    return np.concatenate([*pieces, stream.flush()])


def heard(sound: np.ndarray, frames: int) -> np.ndarray:
    return np.abs(STFT.forward(sound))[:frames]


@pytest.fixture(scope="module")
def magnitudes() -> np.ndarray:
    return np.abs(STFT.forward(music(5.0)))


def test_magnitudes_become_sound_of_these_magnitudes(magnitudes: np.ndarray) -> None:
    integrated = convergence(magnitudes, heard(sound_of(magnitudes, rounds=0), len(magnitudes)))
    rounded = convergence(magnitudes, heard(sound_of(magnitudes), len(magnitudes)))
    assert integrated < -12  # random phases come to about -4
    assert rounded < -25


def test_phases_of_a_steady_tone_go_on_without_a_round() -> None:
    tone = np.sin(2 * np.pi * 440.3 / 22_050 * np.arange(44_100)).astype(np.float32)
    magnitudes = np.abs(STFT.forward(tone))
    middle = slice(8, -8)
    found = heard(sound_of(magnitudes, rounds=0), len(magnitudes))
    assert convergence(magnitudes[middle], found[middle]) < -30


@pytest.mark.parametrize("at_once", [1, 7, BLOCK_FRAMES])
def test_it_does_not_matter_how_frames_come(magnitudes: np.ndarray, at_once: int) -> None:
    short = magnitudes[:100]
    np.testing.assert_array_equal(sound_of(short, at_once, rounds=2), sound_of(short, rounds=2))


SOME_FRAMES = [0, 1, 2, 5, BLOCK_FRAMES, BLOCK_FRAMES + AHEAD, 2 * BLOCK_FRAMES + 3]


@pytest.mark.parametrize("frames", SOME_FRAMES)
def test_every_frame_makes_a_hop(magnitudes: np.ndarray, frames: int) -> None:
    sound = sound_of(magnitudes[:frames], rounds=1)
    assert sound.shape == (frames * STFT.hop,)
    assert np.isfinite(sound).all()


def test_silence_stays_silence() -> None:
    assert not sound_of(np.zeros((100, STFT.bins), np.float32)).any()


def test_sound_comes_before_the_last_frame(magnitudes: np.ndarray) -> None:
    stream = PhaseStream(STFT, rounds=1)
    sound = stream.push(magnitudes[: BLOCK_FRAMES + AHEAD])
    assert len(sound) == BLOCK_FRAMES * STFT.hop - STFT.n_fft // 2
