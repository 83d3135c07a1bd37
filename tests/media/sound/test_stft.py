from __future__ import annotations

import librosa
import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.media.sound.stft import Stft
from tests.sounds import music


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (1024, 512), (256, 32), (600, 200)])
@pytest.mark.parametrize("length", [1, 700, 22_050])
def test_the_inverse_gives_the_sound_back(n_fft: int, hop: int, length: int) -> None:
    stft, sound = Stft(n_fft, hop), music(1.0)[:length]
    spectrum = stft.forward(sound)
    assert spectrum.shape == (length // hop + 1, stft.bins)
    again = stft.inverse(spectrum, length)
    noise = np.sum(np.square(again - sound, dtype=np.float64))
    assert noise <= 1e-12 * np.sum(np.square(sound, dtype=np.float64))  # 120 dB


@pytest.mark.long
def test_the_spectrum_is_librosa_s() -> None:
    sound = music(1.0)
    expected = librosa.stft(sound, n_fft=2048, hop_length=512, pad_mode="constant").T
    np.testing.assert_allclose(Stft().forward(sound), expected, atol=2e-4)


def test_full_scale_is_what_a_sine_comes_to() -> None:
    stft = Stft(512, 128)
    sine = np.sin(2 * np.pi * 32 / 512 * np.arange(4096)).astype(np.float32)
    assert np.abs(stft.forward(sine))[10:20, 32] == pytest.approx(stft.full_scale, rel=1e-4)


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 500), (2048, 2048), (25, 5)])
def test_sizes_that_lose_sound_are_refused(n_fft: int, hop: int) -> None:
    with pytest.raises(ConfigError, match="--hop-length"):
        Stft(n_fft, hop)
