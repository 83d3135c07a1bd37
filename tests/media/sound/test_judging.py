from __future__ import annotations

import numpy as np
import pytest

from charrnn.media.sound.judging import Listener, bands, trouble
from charrnn.media.sound.stft import Stft
from tests.sounds import RATE, music

STFT = Stft(1024, 256)
PER_S = RATE / 256


def magnitudes(sound: np.ndarray) -> np.ndarray:
    return np.abs(STFT.forward(sound)) / STFT.full_scale


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    return magnitudes(music(20.0))


def test_more_of_the_same_music_is_as_it_should_be(recording: np.ndarray) -> None:
    listener = Listener(recording, RATE, PER_S, seconds=5)
    other = magnitudes(music(5.5, seed=7))[: listener.steps]
    found = listener.figures(other).to_dict()
    assert all(0.7 < value < 1.4 for value in found.values()), found


def test_a_drone_is_far_away(recording: np.ndarray) -> None:
    listener = Listener(recording, RATE, PER_S, seconds=5)
    drone = np.repeat(recording[100:101], listener.steps, 0)
    assert listener.figures(drone).spread < 0.1
    usual = listener.figures(magnitudes(music(5.5, seed=7))[: listener.steps])
    assert listener.figures(drone).distance > 5 * usual.distance


def test_figures_are_finite_whatever_is_heard(recording: np.ndarray) -> None:
    listener = Listener(recording, RATE, PER_S, seconds=5)
    for sound in (0 * recording, 1e6 * recording):
        assert np.isfinite(listener.figures(sound[: listener.steps]).distance)


def test_short_recordings_are_compared_as_a_whole() -> None:
    short = magnitudes(music(0.5))
    listener = Listener(short, RATE, PER_S)
    assert listener.steps == len(short)
    assert listener.figures(short).distance < 3


@pytest.mark.parametrize("count", [1, 3, 8])
def test_more_of_the_same_music_is_not_told_apart(recording: np.ndarray, count: int) -> None:
    listener = Listener(recording, RATE, PER_S, seconds=5)
    same = [magnitudes(music(6.0, seed=seed)) for seed in range(7, 7 + count)]
    assert 0.4 < listener.told_apart(same) < 0.6
    random = np.random.default_rng(0)
    rough = [run * random.uniform(0.5, 2, run.shape) for run in same]
    assert listener.told_apart(rough) > 0.95
    assert max(listener.copied(same), listener.copied(rough)) < 0.05


def test_how_much_bands_change(recording: np.ndarray) -> None:
    """From frame to frame; in high bands alone, too."""
    listener = Listener(recording, RATE, PER_S, seconds=5)
    same = [magnitudes(music(6.0, seed=seed)) for seed in range(7, 11)]
    anywhere = [None] * len(same)
    usual = listener.changes(same, anywhere)
    np.testing.assert_allclose(usual, 1, atol=0.35)
    rough = np.random.default_rng(0).uniform(0.5, 2, same[0].shape)
    rough[:, :128] = 1  # up to 2756 Hz
    changes = listener.changes([run * rough[: len(run)] for run in same], anywhere)
    np.testing.assert_allclose(changes[:15], usual[:15], rtol=0.05)
    assert (changes[-10:] > 1.2 * usual[-10:]).all()


def test_changes_are_those_of_the_same_place() -> None:
    """A calm part of the recording is not compared with a lively one."""
    hiss = np.random.default_rng(0).normal(size=4 * RATE)
    hum = (0.01 * np.sin(np.arange(4 * RATE) / 5) + 1e-4 * hiss).astype(np.float32)
    whole = magnitudes(np.concatenate([music(4.0), hum]))
    listener = Listener(whole, RATE, PER_S)
    calm = whole[round(4.5 * PER_S) :][:200]
    np.testing.assert_allclose(listener.changes([calm], [4.5]), 1, atol=1e-6)
    assert np.abs(listener.changes([calm], [0.0]) - 1).mean() > 0.3
    assert np.abs(listener.changes([calm], [None]) - 1).mean() > 0.1
    # What is past the end is left out, if the recording is no circle.
    end = np.concatenate([whole[-50:], 5 * whole[:100]])
    begin_s = (len(whole) - 50) / PER_S
    np.testing.assert_allclose(listener.changes([end], [begin_s]), 1, atol=0.1)
    np.testing.assert_allclose(listener.changes([calm], [9.5]), 1)
    circle = Listener(whole, RATE, PER_S, is_circle=True)
    end = np.concatenate([whole[-50:], whole[:100]])
    assert np.median(np.abs(circle.changes([end], [begin_s]) - 1)) < 0.25  # but for the jump
    assert np.abs(circle.changes([calm], [begin_s]) - 1).mean() > 0.3


@pytest.mark.parametrize("thinner", [1, 4])
def test_a_copy_is_noticed(recording: np.ndarray, thinner: int) -> None:
    """With any number of frames per second."""
    recording = np.repeat(recording, thinner, 0)
    listener = Listener(recording, RATE, thinner * PER_S, seconds=5)
    copy = recording[300 * thinner :][: listener.steps]
    other = np.repeat(magnitudes(music(6.0, seed=7)), thinner, 0)[: listener.steps]
    assert listener.told_apart([copy]) < 0.6
    assert listener.copied([copy]) == listener.copied([2 * copy]) == 1
    assert listener.copied([other]) == 0
    assert listener.copied([copy, other]) == 0.5


def test_what_comes_back_in_the_recording(recording: np.ndarray) -> None:
    assert Listener(recording, RATE, PER_S).own_copies == 0
    bar, other = music(2.5, seed=3)[: 215 * 256], music(7.5, seed=4)  # whole frames
    looped = magnitudes(np.concatenate([bar, bar, bar, other]))
    assert 0.2 < Listener(looped, RATE, PER_S).own_copies < 0.5


def test_too_little_to_be_told_apart(recording: np.ndarray) -> None:
    listener = Listener(recording, RATE, PER_S, seconds=5)
    assert listener.told_apart([recording[:20]]) == 1
    assert listener.copied([recording[:20]]) == 0
    short = Listener(recording[:30], RATE, PER_S)
    assert (short.own_copies, short.told_apart([recording[:30]])) == (0, 1)
    assert listener.told_apart([0 * recording]) == 1


def test_bands_of_few_bins() -> None:
    assert bands(np.ones((5, 9), np.float32), RATE).shape[0] == 5


def complaint(sound: np.ndarray) -> str:
    return trouble(bands(magnitudes(sound.astype(np.float32)), RATE), PER_S)


def test_music_is_no_trouble() -> None:
    assert complaint(music(8.0)) == ""
    assert complaint(music(1.0)) == ""


@pytest.mark.parametrize("since", [1, 3, 6])
def test_a_fade_is_noticed(since: float) -> None:
    sound = music(10.0)
    sound *= np.exp(-np.maximum(0, np.arange(len(sound)) / RATE - since) * 2)
    assert "falls silent after" in complaint(sound)


def test_silence_is_noticed() -> None:
    assert complaint(np.zeros(4 * RATE)) == "it is silent"
    assert "falls silent after" in complaint(np.append(music(3.0), np.zeros(7 * RATE)))


def test_a_drone_is_noticed() -> None:
    drone = np.sin(2 * np.pi * 220 * np.arange(8 * RATE) / RATE)
    assert complaint(drone + 0.0001 * music(8.0)) == "it holds one sound"


@pytest.mark.parametrize("seconds", [1, 3.5])
def test_a_loop_is_noticed(seconds: float) -> None:
    bar = music(seconds, seed=3)
    assert complaint(np.concatenate([music(2.0), *[bar] * 4])) == (
        f"it repeats itself every {seconds:.1f} s"
    )
