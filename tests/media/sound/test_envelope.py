from __future__ import annotations

import numpy as np
import pytest

from charrnn.media.sound import bands
from charrnn.media.sound import envelope as envelopes
from charrnn.media.sound.envelope import Envelope, EnvelopeStream
from charrnn.media.sound.stft import Stft
from tests.sounds import RATE, convergence, music

HOP, BANDS, SHORT = 512, 16, 256


def padded(sound: np.ndarray) -> np.ndarray:
    """With the silence that the first short frame reaches into."""
    return np.pad(sound, (SHORT, 0))


def shaped(envelope: Envelope, sound: np.ndarray, wanted: np.ndarray, parts: int = 1) -> np.ndarray:
    stream = EnvelopeStream(envelope)
    pieces = [
        stream.push(*pair)
        for pair in zip(np.array_split(sound, parts), np.array_split(wanted, parts), strict=True)
    ]
    return np.concatenate([*pieces, stream.flush(sound[:0])])


@pytest.fixture
def envelope() -> Envelope:
    envelope = Envelope.for_frames(RATE, Stft(2048, HOP), BANDS)
    assert envelope is not None
    return envelope


@pytest.mark.parametrize(
    ("rate", "n_fft", "hop", "short"),
    [
        (22_050, 2048, 512, 256),
        (48_000, 2048, 512, 512),
        (44_100, 4096, 1024, 512),
        (16_000, 1024, 256, 256),
        (8_000, 2048, 512, 128),
        (22_050, 512, 128, None),  # too short
        (22_050, 512, 256, None),  # the long frames are short
        (22_050, 2048, 32, None),
        (22_050, 1494, 249, 249),  # odd
    ],
)
def test_short_frames_are_neither_long_nor_too_short(
    rate: int, n_fft: int, hop: int, short: int | None
) -> None:
    envelope = Envelope.for_frames(rate, Stft(n_fft, hop), 32)
    assert (envelope and envelope.stft.hop) == short
    if envelope and short:
        assert 0.009 <= short / rate < 0.02
        assert envelope.count * short == hop
    assert Envelope.for_frames(rate, Stft(n_fft, hop), 0) is None


def test_its_bands_begin_at_600_hz(envelope: Envelope) -> None:
    frequencies = np.arange(envelope.stft.bins) * RATE / HOP  # of short frames, two of half a hop
    shares = envelope.bank.sum(1)
    assert envelope.width == 2 * envelope.bank.shape[1] < 2 * BANDS
    assert shares[frequencies < 300].max() < 0.5
    np.testing.assert_allclose(shares[frequencies > 700], 1, atol=1e-6)
    (loudest,) = np.flatnonzero(envelope.bank[:, 0] == envelope.bank[:, 0].max())
    assert frequencies[loudest] == pytest.approx(600, abs=200)


def test_levels_are_those_of_a_sine(envelope: Envelope) -> None:
    """Of amplitude 1 in the middle of a band: 0, but for the leakage into its neighbours."""
    bin_ = int(envelope.bank[:, 3].argmax())
    sine = np.sin(2 * np.pi * bin_ / HOP * np.arange(17 * HOP // 2)).astype(np.float32)
    levels = envelope.of(sine).reshape(-1, envelope.width // 2)
    assert len(levels) == 16
    assert levels[:, 3] == pytest.approx(np.full(16, 0.1), abs=0.2)
    assert levels[:, 8:].max() < -4


def test_a_sound_with_its_own_envelope_stays_as_it_is(envelope: Envelope) -> None:
    sound = music(2.0)[: 80 * HOP]
    found = shaped(envelope, sound, envelope.of(padded(sound))[: len(sound) // HOP])
    assert len(found) == len(sound)
    np.testing.assert_allclose(found[: -HOP // 2], sound[: -HOP // 2], atol=1e-3)
    np.testing.assert_allclose(found, sound, atol=0.1)  # a half frame has less in it


def test_noise_becomes_clicks(envelope: Envelope, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    noise = 0.1 * random.standard_normal(80 * HOP).astype(np.float32)
    clicks = noise * 0.01
    clicks[:: 10 * HOP] = 1
    wanted = envelope.of(padded(clicks))[:80]

    def error(sound: np.ndarray) -> float:
        return float(np.abs(envelope.of(padded(sound))[:80] - wanted).mean())

    assert error(noise) > 2
    twice = error(shaped(envelope, noise, wanted))
    assert twice < 0.5
    monkeypatch.setattr(envelopes, "ROUNDS", 1)
    assert error(shaped(envelope, noise, wanted)) > 1.05 * twice


def test_a_voice_with_other_phases_stays_as_it_is(envelope: Envelope) -> None:
    """Short frames are long enough not to follow its waves."""
    time = np.arange(80 * HOP) / RATE
    voice, other = (
        0.1 * sum(np.sin(2 * np.pi * 110 * k * time + turn * k**2) / k for k in range(1, 40))
        for turn in (0.0, 1.0)
    )
    wanted = envelope.of(padded(voice.astype(np.float32)))[:80]
    found = shaped(envelope, other.astype(np.float32), wanted)
    stft = Stft(2048, HOP)
    target, heard = (np.abs(stft.forward(sound))[4:-4] for sound in (other, found))
    assert convergence(target, heard) < -25


def test_blocks_change_nothing(envelope: Envelope) -> None:
    sound, wanted = music(2.0)[: 80 * HOP], envelope.of(padded(music(2.0, seed=3)))[:80]
    whole = shaped(envelope, sound, wanted)
    for parts in (3, 80, 300):
        np.testing.assert_allclose(shaped(envelope, sound, wanted, parts), whole, atol=1e-5)
    assert np.abs(whole - sound).max() > 0.05


def test_hostile_levels_stay_within_bounds(envelope: Envelope) -> None:
    sound = music(2.0)[: 40 * HOP]
    for level in (-1e5, 1e5):
        wanted = np.full((40, envelope.width), level, np.float32)
        found = shaped(envelope, sound, wanted)
        assert np.isfinite(found).all()
        assert np.abs(found).max() < np.exp(2 * 6.5) * np.abs(sound).max()
        magnitudes = np.full((40, envelope.stft.bins), 0.1, np.float32)
        factors = bands.gains(magnitudes, wanted[:, : envelope.bank.shape[1]], envelope.bank)
        assert np.abs(np.log(factors)).max() <= bands.MOST_GAIN + 1e-3


@pytest.mark.parametrize("length", [0, HOP])
def test_hardly_any_sound(envelope: Envelope, length: int) -> None:
    wanted = np.zeros((length // HOP, envelope.width), np.float32)
    assert len(shaped(envelope, np.zeros(length, np.float32), wanted)) == length
