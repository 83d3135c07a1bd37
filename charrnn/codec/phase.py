"""Sound from magnitudes: phases to begin with, and a few rounds that make them agree.

The start is phase-gradient heap integration in its real-time form (Prusa, Balazs and Sondergaard
2017; Prusa and Sondergaard 2016): the gradient of a frame's phase follows from that of the log
magnitude, and is integrated from bin to bin, the loudest first.  The fast Griffin-Lim algorithm
(Perraudin, Balazs and Sondergaard 2013) goes on from there.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from charrnn.codec.stft import Samples, Spectrum, Stft

Magnitudes = NDArray[np.float32]
Phases = NDArray[np.float64]

HANN = 0.25645  # times n_fft squared: the width of the Gaussian that is nearest to a Hann window
TOLERANCE = 1e-3  # of the loudest bin of a block: below, the phase is random
MOMENTUM = 0.99  # of the fast Griffin-Lim algorithm
ROUNDS = 32
BLOCK = 64  # frames that are made into sound at a time
AHEAD = 8  # frames behind a block that are looked at with it, and made anew with the next one
TINY = 1e-12


class PhaseStream:
    """Frames of magnitudes in, sound out, a block at a time: memory stays flat, and the first sound
    is there long before the last frame.

    Args:
        stft: the transform whose magnitudes they are.
        seed: of the phases of bins too quiet to matter.
        rounds: of the Griffin-Lim algorithm.
    """

    def __init__(self, stft: Stft, seed: int = 0, rounds: int = ROUNDS) -> None:
        self._stft, self._rounds = stft, rounds
        self._random = np.random.default_rng(seed)
        self._waiting = np.zeros((0, stft.bins), np.float32)
        self._past: Spectrum = np.zeros((0, stft.bins), np.complex64)  # what overlaps the next one
        self._unheard = stft.n_fft // 2  # samples to drop, before the centre of the first frame

    def push(self, magnitudes: Magnitudes) -> Samples:
        """Take frames, (n, bins); give the sound that is certain by now, (m,)."""
        self._waiting = np.concatenate([self._waiting, magnitudes.astype(np.float32)])
        sounds = [np.zeros(0, np.float32)]
        while len(self._waiting) >= BLOCK + AHEAD:
            sounds.append(self._made(BLOCK))
        return np.concatenate(sounds)

    def flush(self) -> Samples:
        """The rest of the sound; all together it is as long as a hop for each frame."""
        return self._made(len(self._waiting), is_last=True)

    def _made(self, count: int, *, is_last: bool = False) -> Samples:
        """The sound of the next frames, as far as no later one overlaps it, if there is one."""
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
        dropped = min(self._unheard, end - begin)
        self._unheard -= dropped
        return sound[begin + dropped : end]

    def _spectrum(self, magnitudes: Magnitudes) -> Spectrum:
        """A spectrum of the past frames and of these magnitudes, (n, bins)."""
        stft, past = self._stft, self._past
        wanted: Magnitudes = np.concatenate([np.abs(past), magnitudes])
        if not wanted.any():
            return wanted.astype(np.complex64)
        phases = integrated(wanted, np.angle(past).astype(np.float64), stft, self._random)
        spectrum: Spectrum = (wanted * np.exp(1j * phases)).astype(np.complex64)
        weights = stft.weights(len(wanted))
        last = spectrum
        for _ in range(self._rounds):
            heard = stft.frames(stft.overlapped(spectrum) / weights)
            spectrum = heard + np.float32(MOMENTUM) * (heard - last)
            last = heard
            spectrum *= wanted / np.maximum(np.abs(spectrum), np.float32(TINY))
            spectrum[: len(past)] = past
        return spectrum


def integrated(
    magnitudes: Magnitudes, past: Phases, stft: Stft, random: np.random.Generator
) -> Phases:
    """Phases of magnitudes, (n, bins), by the integration of their gradient.

    Args:
        magnitudes: of all frames.
        past: the phases of the first frames, (m, bins), where they are known.
        stft: the transform.
        random: where a phase is arbitrary.
    """
    frames, bins = magnitudes.shape
    width = HANN * stft.n_fft**2 / (stft.hop * stft.n_fft)
    logs = np.log(np.maximum(magnitudes, np.float32(TINY))).astype(np.float64)
    in_time = np.gradient(logs, axis=0) if frames > 1 else np.zeros_like(logs)
    in_frequency = np.gradient(logs, axis=1)
    # From bin to bin, and from frame to frame; frames are counted from their first sample, which
    # turns every other bin round.
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
    """Fill in the phases of a frame's loud bins: from the frame before, or from a neighbour,
    whichever is louder; what no neighbour leads to keeps the phase that it has.

    Args:
        phases: of the frame, (bins,), to be written.
        magnitudes: of the frame.
        loud: which bins to fill in.
        steps_up: from each bin to the next higher one.
        reached: what the frame before leads to.
        before: its magnitudes.
        sources: which of its bins lead on.
    """
    live = np.flatnonzero(loud).tolist()
    left, found = set(live), dict[int, float]()
    level, up, arrived = magnitudes.tolist(), steps_up.tolist(), reached.tolist()
    bins = len(level)  # a bin of the frame before is counted from here on
    pop, push = heapq.heappop, heapq.heappush
    heap = [(-before[k], bins + k) for k in sources.tolist()]
    heapq.heapify(heap)
    for start in (None, *sorted(live, key=level.__getitem__, reverse=True)):
        if start in left:  # a loud island that nothing leads to
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
