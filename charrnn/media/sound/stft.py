"""The short-time Fourier transform and its inverse.

Frame i is centred on sample i * hop: it covers n_fft samples from i * hop - n_fft / 2 on, with
silence before the first sample and after the last.  A sound of N samples has N // hop + 1 frames.
Sampled frames, whose sound has no length yet, count as one hop each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from charrnn.errors import ConfigError

Samples = NDArray[np.float32]  # (N,)
Frames = NDArray[np.float32]  # (N, F)
Spectrum = NDArray[np.complex64]
MOST_OVERLAP = 64  # frames that cover a sample: more cost time without adding information
LEAST_WINDOW = 1e-3  # minimum of the summed squared windows, to avoid dividing by zero at the edges


@dataclass(frozen=True)
class Stft:
    """A transform with a Hann window.

    Args:
        n_fft: samples in a frame, even.
        hop: samples from one frame to the next; must divide `n_fft` and be from 1/64 to 1/2 of it.

    Raises:
        ConfigError: `n_fft` and `hop` do not fit together.
    """

    n_fft: int = 2048
    hop: int = 512

    def __post_init__(self) -> None:
        if self.n_fft % 2 or self.n_fft % self.hop or self.n_fft < 2 * self.hop:
            raise ConfigError(
                f"a frame of {self.n_fft} samples every {self.hop} cannot be turned back into "
                "sound: --n-fft must be even, and 2, 3, 4, ... times --hop-length"
            )
        if self.n_fft > MOST_OVERLAP * self.hop:
            raise ConfigError(
                f"a frame of {self.n_fft} samples every {self.hop}: --n-fft may be at most "
                f"{MOST_OVERLAP} times --hop-length"
            )

    @property
    def bins(self) -> int:
        """Number of frequencies in a frame, from 0 to half the sample rate."""
        return self.n_fft // 2 + 1

    @cached_property
    def window(self) -> Samples:
        """The periodic Hann window, (n_fft,)."""
        return np.hanning(self.n_fft + 1)[:-1].astype(np.float32)

    @property
    def full_scale(self) -> float:
        """The magnitude of a sine of amplitude 1 in its bin."""
        return float(self.window.sum()) / 2

    def forward(self, sound: Samples) -> Spectrum:
        """The spectrum, (frames, bins), of a sound, (N,)."""
        return self.frames(np.pad(sound, self.n_fft // 2))

    def magnitudes(self, sound: Samples) -> Frames:
        """Magnitudes, (n, bins), of a sound, (N,), relative to full scale: one frame for each hop,
        but at least two."""
        count = max(2, len(sound) // self.hop)
        padded = np.pad(sound, (0, max(0, 2 * self.hop - len(sound))))
        magnitudes: Frames = np.abs(self.forward(padded)[:count])
        return magnitudes / np.float32(self.full_scale)

    def frames(self, padded: Samples) -> Spectrum:
        """The spectrum, (frames, bins), of the frames that lie entirely in these samples, (N,)."""
        views = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop]
        spectrum: Spectrum = scipy.fft.rfft(views * self.window, axis=1)
        return spectrum

    def overlapped(self, spectrum: Spectrum) -> Samples:
        """Overlap-add of the windowed frames, (n_fft + (frames - 1) * hop,); divide the result by
        `weights` to get sound."""
        pieces = scipy.fft.irfft(spectrum, self.n_fft, axis=1, overwrite_x=True)
        return self._added(pieces * self.window)

    def weights(self, frames: int) -> Samples:
        """Overlap-add of the squared windows of `frames` frames, to divide `overlapped` by."""
        squared = np.broadcast_to(np.square(self.window), (frames, self.n_fft))
        return np.maximum(self._added(squared), np.float32(LEAST_WINDOW))

    def inverse(self, spectrum: Spectrum, length: int | None = None) -> Samples:
        """The sound of a spectrum, (N,), by least squares (Griffin and Lim 1984).

        Args:
            spectrum: (frames, bins).
            length: N; None: one hop for each frame except the first.
        """
        sound = self.overlapped(spectrum.copy()) / self.weights(len(spectrum))
        begin = self.n_fft // 2
        count = (len(spectrum) - 1) * self.hop if length is None else length
        sound = sound[begin : begin + count]
        return np.pad(sound, (0, count - len(sound)))

    def _added(self, pieces: Samples) -> Samples:
        """Overlap-add of frames, (frames, n_fft)."""
        frames, overlaps = len(pieces), self.n_fft // self.hop
        hops = np.zeros((frames + overlaps - 1, self.hop), np.float32)
        parts = pieces.reshape(frames, overlaps, self.hop)
        for shift in range(overlaps):
            hops[shift : shift + frames] += parts[:, shift]
        return hops.reshape(-1)
