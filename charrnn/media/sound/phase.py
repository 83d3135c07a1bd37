"""Phase reconstruction: turns magnitudes into sound.

The initial phases come from real-time phase-gradient heap integration (Prusa, Balazs and
Sondergaard 2017; Prusa and Sondergaard 2016): the gradient of the phase is computed from that of
the log magnitude and integrated from bin to bin, the loudest bins first.  There is no heap here:
two passes over the bins find the same order for all frames at once.  The fast Griffin-Lim algorithm
(Perraudin, Balazs and Sondergaard 2013) then improves these phases.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charrnn.media.sound.stft import Samples, Spectrum, Stft

Magnitudes = NDArray[np.float32]
Phases = NDArray[np.float64]
Bins = NDArray[np.int64]

HANN = 0.25645  # times n_fft squared: width of the Gaussian that best approximates a Hann window
TOLERANCE = 1e-3  # bins below this fraction of the loudest one in a block get random phases
MOMENTUM = 0.99  # of the fast Griffin-Lim algorithm
ROUNDS = 32
BLOCK_FRAMES = 64  # frames converted to sound at a time
AHEAD = 8  # following frames that are processed with a block, and again with the next block
TINY = 1e-12


class PhaseStream:
    """Converts frames of magnitudes to sound, a block at a time.

    Memory use is constant, and sound is available long before the last frame.

    Args:
        stft: the transform of the magnitudes.
        seed: for the random phases of bins that are too quiet to matter.
        rounds: iterations of the Griffin-Lim algorithm.
    """

    def __init__(self, stft: Stft, seed: int = 0, rounds: int = ROUNDS) -> None:
        self._stft, self._rounds = stft, rounds
        self._random = np.random.default_rng(seed)
        self._waiting = np.zeros((0, stft.bins), np.float32)
        self._past: Spectrum = np.zeros((0, stft.bins), np.complex64)  # overlap the next block
        self._to_drop = stft.n_fft // 2  # samples before the centre of the first frame

    def push(self, magnitudes: Magnitudes) -> Samples:
        """Add frames, (n, bins); return the sound that is final by now, (m,)."""
        self._waiting = np.concatenate([self._waiting, magnitudes.astype(np.float32)])
        sounds = [np.zeros(0, np.float32)]
        while len(self._waiting) >= BLOCK_FRAMES + AHEAD:
            sounds.append(self._convert(BLOCK_FRAMES))
        return np.concatenate(sounds)

    def flush(self) -> Samples:
        """The rest of the sound; the total length is one hop for each frame."""
        return self._convert(len(self._waiting), is_last=True)

    def _convert(self, count: int, *, is_last: bool = False) -> Samples:
        """Convert the next `count` frames; return the sound that later frames do not overlap."""
        stft, past = self._stft, self._past
        block = self._spectrum(self._waiting[: count + AHEAD])[: len(past) + count]
        self._waiting = self._waiting[count:]
        sound = np.zeros(0, np.float32)
        if len(block):
            sound = stft.overlapped(block.copy()) / stft.weights(len(block))
        begin, end = len(past) * stft.hop, len(block) * stft.hop
        if is_last:
            end += stft.n_fft // 2
        self._past = block[-(stft.n_fft // stft.hop - 1) :]
        dropped = min(self._to_drop, end - begin)
        self._to_drop -= dropped
        return sound[begin + dropped : end]

    def _spectrum(self, magnitudes: Magnitudes) -> Spectrum:
        """A complex spectrum with the past frames first, then these magnitudes, (n, bins)."""
        stft, past = self._stft, self._past
        target: Magnitudes = np.concatenate([np.abs(past), magnitudes])
        if not target.any():
            return target.astype(np.complex64)
        phases = integrated(target, np.angle(past).astype(np.float64), stft, self._random)
        spectrum: Spectrum = (target * np.exp(1j * phases)).astype(np.complex64)
        weights = stft.weights(len(target))
        last = spectrum
        for _ in range(self._rounds):
            consistent = stft.frames(stft.overlapped(spectrum) / weights)  # of an actual sound
            spectrum = consistent + np.float32(MOMENTUM) * (consistent - last)
            last = consistent
            spectrum *= target / np.maximum(np.abs(spectrum), np.float32(TINY))
            spectrum[: len(past)] = past
        return spectrum


def integrated(
    magnitudes: Magnitudes, past: Phases, stft: Stft, random: np.random.Generator
) -> Phases:
    """Phases for magnitudes, (n, bins), computed by integrating the phase gradient.

    Args:
        magnitudes: of all frames, (n, bins).
        past: the known phases of the first frames, (m, bins).
        stft: the transform.
        random: generates phases where they are arbitrary.
    """
    frames, bins = magnitudes.shape
    width = HANN * stft.n_fft**2 / (stft.hop * stft.n_fft)
    logs = np.log(np.maximum(magnitudes, np.float32(TINY))).astype(np.float64)
    in_time = np.gradient(logs, axis=0) if frames > 1 else np.zeros_like(logs)
    in_frequency = np.gradient(logs, axis=1)
    # Phase differences from bin to bin and from frame to frame.  The time origin of a frame is its
    # first sample and not its centre, which adds pi to each step from bin to bin.
    across = np.pi - width * in_time
    along = 2 * np.pi * stft.hop / stft.n_fft * np.arange(bins) + in_frequency / width
    steps_up = (across[:, 1:] + across[:, :-1]) / 2
    phases = random.uniform(0, 2 * np.pi, (frames, bins))
    phases[: len(past)] = past
    loud = magnitudes >= TOLERANCE * magnitudes.max()
    roots, is_reached = _roots(magnitudes, loud)
    climbed = np.concatenate([np.zeros((frames, 1)), np.cumsum(steps_up, axis=1)], axis=1)
    for frame in range(len(past), frames):
        before, root = max(0, frame - 1), roots[frame]
        reached = phases[before] + (along[before] + along[frame]) / 2
        first = np.where(is_reached[frame], reached[root], phases[frame, root])
        found = first + climbed[frame] - climbed[frame, root]
        phases[frame] = np.where(loud[frame], found, phases[frame])
    return phases


def _roots(magnitudes: Magnitudes, loud: NDArray[np.bool_]) -> tuple[Bins, NDArray[np.bool_]]:
    """The bin of the same frame from which each loud bin gets its phase, by way of those between.

    In heap integration a bin gets its phase from what is loudest: itself in the previous frame, or
    an adjacent bin that has its phase already.  So of all ways to a bin, which begin in the
    previous frame and go up or down, the one counts whose quietest step is the loudest.  A group of
    loud bins to which there is no way begins in its loudest bin.  Of bins that are equally loud the
    previous frame's comes first, then the lower one.

    Args:
        magnitudes: (n, bins).
        loud: which bins get a phase, (n, bins).

    Returns:
        The bins, and whether the way begins in the previous frame, (n, bins) each.
    """
    level = np.where(loud, magnitudes, np.float32(-1)).T  # -1: there is no way
    source = np.full_like(level, -1)
    source[:, 1:] = np.where(loud[1:] & loud[:-1], magnitudes[:-1], np.float32(-1)).T
    from_below, root_below = _arriving(source, level, range(len(level)))
    from_above, root_above = _arriving(source, level, range(len(level) - 1, -1, -1))
    roots = np.where(from_below >= from_above, root_below, root_above)
    best = np.maximum(from_below, from_above)
    roots = np.where(source >= best, np.arange(len(level))[:, None], roots).T.copy()
    is_reached = (np.maximum(source, best) >= 0).T
    lost = np.flatnonzero(loud & ~is_reached)
    begins = np.diff(lost, prepend=-2) > 1
    begins |= lost % len(level) == 0
    group = np.cumsum(begins) - 1
    loudest = np.lexsort((-magnitudes.ravel()[lost], group))[begins]
    roots.ravel()[lost] = (lost[loudest] % len(level))[group]
    return roots, is_reached


def _arriving(source: Magnitudes, level: Magnitudes, order: range) -> tuple[Magnitudes, Bins]:
    """How loud the quietest step is on the best way to each bin through the bins before it in this
    order, and the bin where that way begins, (bins, n) each; -1: there is none."""
    arriving, roots = np.full_like(level, -1), np.zeros(level.shape, np.int64)
    for last, k in pairwise(order):
        arriving[k] = np.minimum(level[last], np.maximum(source[last], arriving[last]))
        roots[k] = np.where(source[last] >= arriving[last], last, roots[last])
    return arriving, roots
