"""Phase reconstruction: turns magnitudes into sound.

The initial phases come from real-time phase-gradient heap integration (Prusa, Balazs and
Sondergaard 2017; Prusa and Sondergaard 2016): the gradient of the phase is computed from that of
the log magnitude and integrated from bin to bin, the loudest bins first.  The fast Griffin-Lim
algorithm (Perraudin, Balazs and Sondergaard 2013) then improves these phases.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from charrnn.media.sound.stft import Samples, Spectrum, Stft

Magnitudes = NDArray[np.float32]
Phases = NDArray[np.float64]

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
    for frame in range(len(past), frames):
        before = max(0, frame - 1)
        reached = phases[before] + (along[before] + along[frame]) / 2
        sources = np.flatnonzero(loud[before] & loud[frame]) if frame else np.zeros(0, np.int64)
        _spread(
            phases[frame],
            magnitudes[frame],
            loud[frame],
            steps_up[frame],
            reached,
            magnitudes[before],
            sources,
        )
    return phases


def _spread(
    phases: Phases,
    magnitudes: Magnitudes,
    loud: NDArray[np.bool_],
    steps_up: Phases,
    reached: Phases,
    before: Magnitudes,
    sources: NDArray[np.integer],
) -> None:
    """Fill in the phases of a frame's loud bins, each from the previous frame or from an adjacent
    bin, whichever is louder.

    A group of loud bins that cannot be reached from the previous frame starts from its loudest bin,
    which keeps the phase that it has in `phases`.

    Args:
        phases: of the frame, (bins,); is changed in place.
        magnitudes: of the frame, (bins,).
        loud: which bins to fill in, (bins,).
        steps_up: phase difference from each bin to the next higher one, (bins - 1,).
        reached: phases extrapolated from the previous frame, (bins,).
        before: magnitudes of the previous frame, (bins,).
        sources: bins of the previous frame to start from.
    """
    live = np.flatnonzero(loud).tolist()
    left, found = set(live), dict[int, float]()
    level, up, arrived = magnitudes.tolist(), steps_up.tolist(), reached.tolist()
    bins = len(level)  # in the heap, bin k of the previous frame has the number bins + k
    pop, push = heapq.heappop, heapq.heappush
    heap = [(-before[k], bins + k) for k in sources.tolist()]
    heapq.heapify(heap)
    for start in (None, *sorted(live, key=level.__getitem__, reverse=True)):
        if start in left:  # a group of loud bins that cannot be reached
            left.discard(start)
            found[start] = phases[start]
            push(heap, (-level[start], start))
        while heap:
            k = pop(heap)[1]
            reaches: list[tuple[int, float]] = []
            if k >= bins:
                reaches.append((k - bins, arrived[k - bins]))
            else:
                if k + 1 < bins:
                    reaches.append((k + 1, found[k] + up[k]))
                reaches.append((k - 1, found[k] - up[k - 1]))
            for near, phase in reaches:
                if near in left:
                    left.discard(near)
                    found[near] = phase
                    push(heap, (-level[near], near))
    phases[live] = [found[k] for k in live]
