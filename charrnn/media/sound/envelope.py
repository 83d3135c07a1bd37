"""The temporal envelope of sound: the levels of its bands in short frames.

A frame of the spectrogram is so long (93 ms by default) that it spreads onsets.  It therefore also
has the levels of bands in short frames, and sound that was made from long frames is brought to
these levels, as decoders of audio do with what they make up (spectral band replication, Dietz et
al. 2002).

A hop is divided into H short ones.  Short frame j is centred on sample j * hop / H, and is two
short hops long.
"""

from __future__ import annotations

import numpy as np

from charrnn.media.sound.bands import gains, levels, mel_bank, mel_centres
from charrnn.media.sound.stft import Frames, Samples, Stft

LEAST_S = 0.009  # of a short hop: shorter frames would follow the waves of the sound itself
LOWEST_HZ = 600.0  # bands begin here, since lower ones would blur tones
ROUNDS = 2  # in which bands are brought to their levels, since they and the frames overlap


class Envelope:
    """The short frames of sound.

    Args:
        rate: samples per second.
        count: H, short hops in a hop.
        hop: of the long frames, in samples; H divides it.
        bands: number of mel bands; only those from 600 Hz on are used.

    Attributes:
        stft: of the short frames.
        first: number of the first band.
        bank: share of each bin in the bands from `first` on, (bins, E).
        width: H * E, how many numbers it adds to a long frame.
    """

    def __init__(self, rate: int, count: int, hop: int, bands: int) -> None:
        self.count, self.stft = count, Stft(2 * hop // count, hop // count)
        self.first = int(np.sum(mel_centres(rate, bands) < LOWEST_HZ))
        self.bank = mel_bank(rate, self.stft, bands)[:, self.first :]
        self.width = count * (bands - self.first)

    @classmethod
    def for_frames(cls, rate: int, stft: Stft, bands: int) -> Envelope | None:
        """That of long frames; None: there are no bands, the hop is too short, or the long frames
        are less than twice as long as short ones."""
        most = int(stft.hop / rate / LEAST_S)
        counts = [count for count in range(1, most + 1) if stft.hop % count == 0]
        if not counts or not bands or 4 * stft.hop // counts[-1] > stft.n_fft:
            return None
        return cls(rate, counts[-1], stft.hop, bands)

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
        """Add the last sound; return the rest, one hop for each long frame in all."""
        for stage in self._rounds:
            sound = stage.flush(sound)
        return sound


class _Round:
    """One round of an `EnvelopeStream`."""

    def __init__(self, envelope: Envelope) -> None:
        self._stft, self._bank = envelope.stft, envelope.bank
        hop = self._stft.hop
        self._sound = np.zeros(hop, np.float32)  # from the beginning of the next short frame on
        self._wanted = np.zeros((0, self._bank.shape[1]), np.float32)  # of short frames to come
        self._last = self._wanted  # levels of the last short frame
        self._overlap = np.zeros(hop, np.float32)  # of the frames before with the next one
        self._to_drop = hop  # samples before the centre of the first frame

    def push(self, sound: Samples, wanted: Frames) -> Samples:
        """As `EnvelopeStream.push`."""
        stft, hop = self._stft, self._stft.hop
        sound = np.concatenate([self._sound, sound])
        wanted = np.concatenate([self._wanted, wanted.reshape(-1, self._bank.shape[1])])
        count = max(0, min(len(sound) // hop - 1, len(wanted)))
        self._sound, self._wanted = sound[count * hop :], wanted[count:]
        if not count:
            return np.zeros(0, np.float32)
        self._last = wanted[count - 1 : count]
        spectrum = stft.frames(sound[: (count + 1) * hop])
        magnitudes = np.abs(spectrum).astype(np.float32) / np.float32(stft.full_scale)
        shaped = stft.overlapped(spectrum * gains(magnitudes, wanted[:count], self._bank))
        shaped[:hop] += self._overlap
        self._overlap = shaped[count * hop :]
        weights = np.square(stft.window[:hop]) + np.square(stft.window[hop:])
        final: Samples = (shaped[: count * hop].reshape(count, hop) / weights).reshape(-1)
        dropped, self._to_drop = self._to_drop, 0
        return final[dropped:]

    def flush(self, sound: Samples) -> Samples:
        """As `EnvelopeStream.flush`."""
        begun = self.push(sound, self._last[:0])
        rest = self.push(self._sound[::-1], self._last)  # as loud after the end as before it
        return np.concatenate([begun, rest])
