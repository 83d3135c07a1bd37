"""The short-time Fourier transform and its inverse.

Frame i is centred on sample i * hop: it covers the samples from i * hop - n_fft / 2 on, and there
is silence before the first and after the last.  A sound of N samples has N // hop + 1 frames, and
frames without a sound of their own length are one hop each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from charrnn.errors import ConfigError

Samples = NDArray[np.float32]
Spectrum = NDArray[np.complex64]
MOST_OVERLAP = 64  # frames that cover a sample: more cost time and say nothing new
LEAST_WINDOW = 1e-3  # of the squared windows' sum, by which the edges of a sound are divided


@dataclass(frozen=True)
class Stft:
    """A transform with a Hann window.

    Args:
        n_fft: samples in a frame, even.
        hop: samples from one frame to the next; divides `n_fft` and is from a 64th to half of it.

    Raises:
        ConfigError: sizes that do not fit each other.
    """

    n_fft: int = 2048
    hop: int = 512

    def __post_init__(self) -> None:
        if self.n_fft % 2 or self.n_fft % self.hop or self.n_fft < 2 * self.hop:
            raise ConfigError(
                f"a frame of {self.n_fft} samples every {self.hop} cannot be turned back into "
                "sound: --n-fft must be even, a multiple of --hop-length and at least twice as much"
            )
        if self.n_fft > MOST_OVERLAP * self.hop:
            raise ConfigError(
                f"a frame of {self.n_fft} samples every {self.hop}: --n-fft may be at most "
                f"{MOST_OVERLAP} times --hop-length"
            )

    @property
    def bins(self) -> int:
        """Frequencies of a frame, from 0 to half the sample rate."""
        return self.n_fft // 2 + 1

    @cached_property
    def window(self) -> Samples:
        """The periodic Hann window, (n_fft,)."""
        return np.hanning(self.n_fft + 1)[:-1].astype(np.float32)

    @property
    def full_scale(self) -> float:
        """The magnitude that a sine of amplitude 1 has in its bin."""
        return float(self.window.sum()) / 2

    def forward(self, sound: Samples) -> Spectrum:
        """The frames of a sound, (N,), as a spectrum, (frames, bins)."""
        return self.frames(np.pad(sound, self.n_fft // 2))

    def frames(self, padded: Samples) -> Spectrum:
        """The frames that lie wholly in these samples, (N,), as a spectrum, (frames, bins)."""
        views = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop]
        spectrum: Spectrum = scipy.fft.rfft(views * self.window, axis=1)
        return spectrum

    def overlapped(self, spectrum: Spectrum) -> Samples:
        """The windowed frames added up, (n_fft + (frames - 1) * hop,): a sound, once it is divided
        by `weights`."""
        pieces = scipy.fft.irfft(spectrum, self.n_fft, axis=1, overwrite_x=True)
        return self._added(pieces * self.window)

    def weights(self, frames: int) -> Samples:
        """The squared windows of so many frames added up, by which to divide."""
        squared = np.broadcast_to(np.square(self.window), (frames, self.n_fft))
        return np.maximum(self._added(squared), np.float32(LEAST_WINDOW))

    def inverse(self, spectrum: Spectrum, length: int | None = None) -> Samples:
        """The sound of a spectrum, (N,), by least squares (Griffin and Lim 1984).

        Args:
            spectrum: (frames, bins).
            length: N; None: a hop for each frame but the first.
        """
        sound = self.overlapped(spectrum.copy()) / self.weights(len(spectrum))
        begin = self.n_fft // 2
        wanted = (len(spectrum) - 1) * self.hop if length is None else length
        sound = sound[begin : begin + wanted]
        return np.pad(sound, (0, wanted - len(sound)))

    def _added(self, pieces: Samples) -> Samples:
        """Frames, (frames, n_fft), added up where they overlap."""
        frames, overlaps = len(pieces), self.n_fft // self.hop
        hops = np.zeros((frames + overlaps - 1, self.hop), np.float32)
        parts = pieces.reshape(frames, overlaps, self.hop)
        for shift in range(overlaps):
            hops[shift : shift + frames] += parts[:, shift]
        return hops.reshape(-1)
