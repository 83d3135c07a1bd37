from __future__ import annotations

import heapq

import numpy as np
import pytest

from charrnn.media.sound.phase import AHEAD, BLOCK_FRAMES, PhaseStream, _roots
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


def roots_by_heap(before: np.ndarray, now: np.ndarray, loud: np.ndarray) -> list[int | None]:
    """The roots of one frame with a heap, as in the paper; `before` is 0 where there is no way."""
    roots: list[int | None] = [None] * len(now)
    heap = [(-level, len(now) + k) for k, level in enumerate(before) if level > 0]
    heapq.heapify(heap)
    for start in (None, *np.argsort(-now, kind="stable").tolist()):
        if start is not None and loud[start] and roots[start] is None:
            roots[start] = start
            heap.append((-now[start], start))
        while heap:
            k = heapq.heappop(heap)[1]
            reaches = [k - len(now)] if k >= len(now) else [k + 1, k - 1]
            for near in reaches:
                if 0 <= near < len(now) and loud[near] and roots[near] is None:
                    roots[near] = near if k >= len(now) else roots[k]
                    heapq.heappush(heap, (-now[near], near))
    return roots


@pytest.mark.parametrize("seed", range(20))
def test_phases_come_from_where_a_heap_would_take_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    magnitudes = random.lognormal(0, random.uniform(0.5, 4), (6, 40)).astype(np.float32)
    loud = random.random(magnitudes.shape) < random.choice([0.5, 0.8, 1.0])
    loud[4] = False
    roots, is_reached = _roots(magnitudes, loud)
    for frame in range(6):
        before = magnitudes[frame - 1] * (loud[frame - 1] & loud[frame]) if frame else np.zeros(40)
        expected = roots_by_heap(before, magnitudes[frame], loud[frame])
        assert [int(root) for root in roots[frame][loud[frame]]] == [
            r for r in expected if r is not None
        ]
        begun = roots[frame][loud[frame]]
        np.testing.assert_array_equal(is_reached[frame][loud[frame]], before[begun] > 0)


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
