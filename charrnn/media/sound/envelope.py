"""The temporal envelope of sound: the level of each mel band twice in a hop.

A frame of the spectrogram is usually four hops long, and an onset is spread over all of it.  So a
frame also has the levels of bands in two short frames of one hop, and sound that was made from long
frames is brought to these levels, as decoders of audio do with what they make up (spectral band
replication, Dietz et al. 2002).

Short frame j is centred on sample j * hop / 2, and covers a hop.
"""

from __future__ import annotations

import numpy as np

from charrnn.media.sound.stft import Frames, Samples, Stft

LOWEST_HZ = 600.0  # bands begin here, since lower ones would blur tones
FLOOR = 1e-4  # of a full-scale sine: -80 dB
LEAST = 1e-6  # of a full-scale sine: smaller magnitudes count as this one
LOUDEST = 1e2  # times a full-scale sine
MOST_GAIN = 6.0  # nats of a band in one round
ROUNDS = 2  # in which bands are brought to their levels, since they and the frames overlap


def mel_bank(rate: int, stft: Stft, bands: int) -> Frames:
    """The share of each bin in each mel band, (bins, bands), which adds up to 1.

    The scale is that of O'Shaughnessy (1987), 2595 log10(1 + f / 700).
    """
    if not bands:
        return np.zeros((stft.bins, 0), np.float32)
    mel = np.log1p(np.arange(stft.bins) * rate / stft.n_fft / 700)
    centres = np.linspace(0, mel[-1], bands + 2)[1:-1]
    shares = [np.interp(mel, centres, row) for row in np.eye(bands)]
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


class Envelope:
    """The short frames of sound.

    Args:
        rate: samples per second.
        hop: of the long frames, even.
        bands: number of mel bands; those from 600 Hz on count.

    Attributes:
        stft: of the short frames.
        first: number of the first band.
        bank: share of each bin in the bands from `first` on, (bins, E).
        width: count of numbers in a long frame, 2 E.
    """

    def __init__(self, rate: int, hop: int, bands: int) -> None:
        self.stft = Stft(hop, hop // 2)
        centres = 700 * np.expm1(np.linspace(0, np.log1p(rate / 2 / 700), bands + 2)[1:-1])
        self.first = int(np.sum(centres < LOWEST_HZ))
        self.bank = mel_bank(rate, self.stft, bands)[:, self.first :]
        self.width = 2 * (bands - self.first)

    def of(self, padded: Samples) -> Frames:
        """Log levels, (n, width), of the short frames that lie entirely in these samples, (N,)."""
        magnitudes = np.abs(self.stft.frames(padded)).astype(np.float32)
        short = levels(magnitudes / np.float32(self.stft.full_scale), self.bank)
        return short.reshape(-1, self.width)


class EnvelopeStream:
    """Brings sound to its envelope, in blocks.

    Args:
        envelope: of the sound.
    """

    def __init__(self, envelope: Envelope) -> None:
        self._rounds = [_Round(envelope) for _ in range(ROUNDS)]

    def push(self, sound: Samples, wanted: Frames) -> Samples:
        """Add sound, (n,), and the log levels, (m, width), of its long frames, which may be ahead
        of it; return the sound that is final by now, (k,)."""
        for stage in self._rounds:
            sound = stage.push(sound, wanted)
        return sound

    def flush(self, sound: Samples) -> Samples:
        """Add the last sound; return the rest.  The total length is that of the sound."""
        for stage in self._rounds:
            sound = stage.flush(sound)
        return sound


class _Round:
    """One round of an `EnvelopeStream`."""

    def __init__(self, envelope: Envelope) -> None:
        self._stft, self._bank = envelope.stft, envelope.bank
        half = self._stft.hop
        self._sound = np.zeros(half, np.float32)  # from the beginning of the next short frame on
        self._wanted = np.zeros((0, self._bank.shape[1]), np.float32)  # of short frames to come
        self._last = self._wanted  # levels of the last short frame
        self._overlap = np.zeros(half, np.float32)  # of the frames before with the next one
        self._to_drop = half  # samples before the centre of the first frame

    def push(self, sound: Samples, wanted: Frames) -> Samples:
        """As `EnvelopeStream.push`."""
        stft, half = self._stft, self._stft.hop
        sound = np.concatenate([self._sound, sound])
        wanted = np.concatenate([self._wanted, wanted.reshape(-1, self._bank.shape[1])])
        count = max(0, min(len(sound) // half - 1, len(wanted)))
        self._sound, self._wanted = sound[count * half :], wanted[count:]
        if not count:
            return np.zeros(0, np.float32)
        self._last = wanted[count - 1 : count]
        spectrum = stft.frames(sound[: (count + 1) * half])
        magnitudes = np.abs(spectrum).astype(np.float32) / np.float32(stft.full_scale)
        shaped = stft.overlapped(spectrum * gains(magnitudes, wanted[:count], self._bank))
        shaped[:half] += self._overlap
        self._overlap = shaped[count * half :]
        weights = np.square(stft.window[:half]) + np.square(stft.window[half:])
        final: Samples = (shaped[: count * half].reshape(count, half) / weights).reshape(-1)
        dropped, self._to_drop = self._to_drop, 0
        return final[dropped:]

    def flush(self, sound: Samples) -> Samples:
        """As `EnvelopeStream.flush`."""
        begun = self.push(sound, self._last[:0])
        rest = self.push(self._sound[::-1], self._last)  # as loud after the end as before it
        return np.concatenate([begun, rest])
