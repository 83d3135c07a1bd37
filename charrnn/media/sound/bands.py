"""Mel bands of frames, and their levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.media.sound.stft import Frames, Stft

FLOOR = 1e-4  # of a full-scale sine: -80 dB
LEAST = 1e-6  # of a full-scale sine: smaller magnitudes count as this one
LOUDEST = 1e2  # times a full-scale sine: sampled magnitudes are limited to this
MOST_GAIN = 6.0  # nats of a band in one round
BREAK_HZ = 700  # of the mel scale of O'Shaughnessy (1987), 2595 log10(1 + f / 700)


def mel_centres(rate: int, bands: int) -> NDArray[np.float64]:
    """The frequencies in Hz of the centres of bands up to half the sample rate, (bands,)."""
    mels = np.linspace(0, np.log1p(rate / 2 / BREAK_HZ), bands + 2)[1:-1]
    centres: NDArray[np.float64] = BREAK_HZ * np.expm1(mels)
    return centres


def mel_bank(rate: int, stft: Stft, bands: int) -> Frames:
    """The share of each bin in each mel band, (bins, bands), which adds up to 1."""
    if not bands:
        return np.zeros((stft.bins, 0), np.float32)
    mels = np.log1p(np.arange(stft.bins) * rate / stft.n_fft / BREAK_HZ)
    centres = np.log1p(mel_centres(rate, bands) / BREAK_HZ)
    shares = [np.interp(mels, centres, row) for row in np.eye(bands)]
    return np.stack(shares, 1).astype(np.float32)


def levels(magnitudes: Frames, bank: Frames) -> Frames:
    """Log levels of bands, (n, bands), of magnitudes relative to full scale, (n, bins)."""
    power = np.square(magnitudes) @ bank + np.float32(FLOOR**2)
    logs: Frames = np.log(power) / 2
    return logs


def gains(magnitudes: Frames, wanted: Frames, bank: Frames) -> Frames:
    """Factors, (n, bins), that bring the bands of magnitudes nearer to log levels.

    Args:
        magnitudes: relative to full scale, (n, bins).
        wanted: as from `levels`, (n, bands).
        bank: as from `mel_bank`.
    """
    power = np.exp(2 * np.minimum(wanted, np.float32(np.log(LOUDEST)))) - np.float32(FLOOR**2)
    wanted = np.log(np.maximum(power, np.float32(LEAST**2)))
    lacking = (wanted - np.log(np.square(magnitudes) @ bank + np.float32(LEAST**2))) / 2
    factors: Frames = np.exp(np.clip(lacking, -MOST_GAIN, MOST_GAIN) @ bank.T)
    return factors
