"""Statistics of a free run, compared with the recording: does the sound change as it should?

A model of sound can predict the next frame well, and yet fade out or repeat itself when fed with
its own output; the loss does not show it.  So a few seconds are measured, and so are stretches of
the same length of the recording; each figure is the ratio to their median, ideally 1.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np
import scipy.cluster.vq
import scipy.signal
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOWEST_HZ, HIGHEST_HZ = 50.0, 11_025.0
BANDS = 32
FLOOR = 1e-9  # share of the power of a full-scale sine: -90 dB
CLUSTERS = 32
REFERENCE_S = 120.0  # of the recording, at most, are used
FADED = 6.0  # nats of power below the usual level, 26 dB: silence
STILL = 0.25  # nats between two frames: the sound does not change
ALIKE = 0.2  # of the usual distance between two frames: they are the same
SHORTEST_LOOP_S, LONGEST_LOOP_S = 0.5, 20.0


@dataclass(frozen=True)
class Figures:
    """Ratios of a free run to stretches of the recording."""

    flux: float  # increase of loudness from frame to frame, mean over the bands
    onsets: float  # peaks of the flux per second
    spread: float  # standard deviation over time, mean over the bands
    variety: float  # number of kinds of frame: perplexity over clusters of the recording's frames
    lasting: float  # flux of the second half divided by that of the first

    @property
    def distance(self) -> float:
        """How far all ratios are from 1: the sum of their absolute logarithms."""
        return math.fsum(abs(math.log(min(max(v, 1e-3), 1e3))) for v in self.to_dict().values())

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


class Listener:
    """Compares free runs with a recording.

    Args:
        recording: magnitudes, 1 for full scale, (N, bins).
        rate: samples per second.
        steps_per_s: frames per second.
        seconds: length of a free run.
    """

    def __init__(
        self, recording: NDArray[np.float32], rate: int, steps_per_s: float, seconds: float = 10.0
    ) -> None:
        self._rate, self._steps_per_s = rate, steps_per_s
        heard = bands(recording[: round(REFERENCE_S * steps_per_s)], rate)
        self.steps = max(2, min(round(seconds * steps_per_s), len(heard)))
        self._prominence = float(_flux(heard).std())
        clusters = min(CLUSTERS, len(heard))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty cluster does no harm
            self._centres, _ = scipy.cluster.vq.kmeans2(heard, clusters, minit="++", rng=0)
        places = range(0, len(heard) - self.steps + 1, max(1, self.steps // 2))
        windows = [self._measured(heard[place : place + self.steps]) for place in places]
        self._typical = [median(values) for values in zip(*windows, strict=True)]

    def figures(self, free_run: NDArray[np.float32]) -> Figures:
        """The figures of magnitudes, (`steps`, bins)."""
        heard = bands(free_run, self._rate)
        measured = self._measured(heard)
        ratios = (a / max(b, 1e-9) for a, b in zip(measured, self._typical, strict=True))
        flux, onsets, spread, variety = ratios
        rises, half = _flux(heard), len(heard) // 2
        lasting = float(rises[half:].mean() / max(rises[:half].mean(), 1e-9))
        return Figures(flux, onsets, spread, variety, lasting)

    def _measured(self, heard: Array) -> tuple[float, float, float, float]:
        """Flux, onsets, spread and variety of a stretch, (n, BANDS)."""
        flux = _flux(heard)
        peaks = len(scipy.signal.find_peaks(flux, prominence=self._prominence)[0])
        nearest, _ = scipy.cluster.vq.vq(heard, self._centres)
        shares = np.bincount(nearest) / len(nearest)
        shares = shares[shares > 0]
        return (
            float(flux.mean()),
            peaks * self._steps_per_s / len(heard),
            float(heard.std(0).mean()),
            math.exp(-float(np.sum(shares * np.log(shares)))),
        )


def bands(magnitudes: NDArray[np.float32], rate: int) -> Array:
    """The logarithm of the power in BANDS bands that are equally wide in octaves, (n, BANDS), or
    fewer if there are not enough bins."""
    bins = magnitudes.shape[1]
    highest = min(HIGHEST_HZ, rate / 2)
    edges = np.geomspace(LOWEST_HZ, highest, BANDS + 1) / (rate / 2) * (bins - 1)
    starts = np.unique(np.clip(np.round(edges[:-1]).astype(int), 0, bins - 1))
    power = np.square(magnitudes[:, : max(int(edges[-1]), starts[-1]) + 1], dtype=np.float64)
    widths = np.diff(np.append(starts, power.shape[1]))
    heard: Array = np.log(np.add.reduceat(power, starts, 1) / widths + FLOOR)
    return heard


def _flux(heard: Array) -> Array:
    rises: Array = np.clip(np.diff(heard, axis=0), 0, None).mean(1)
    return rises


def trouble(heard: Array, steps_per_s: float) -> str:
    """What is wrong with a sample: that it falls silent, holds one sound, or repeats itself at its
    end; empty if none of these.

    Args:
        heard: output of `bands`, (n, BANDS).
        steps_per_s: frames per second.
    """
    second = max(1, round(steps_per_s))
    if len(heard) < 2 * second:
        return ""
    loudness = heard.max(1)
    usual = float(np.quantile(loudness, 0.9))
    if usual < math.log(FLOOR) + FADED:
        return "it is silent"
    if loudness[-second:].max() < usual - FADED:
        since = int(np.flatnonzero(loudness >= usual - FADED)[-1]) + 1
        return f"it falls silent after {since / steps_per_s:.1f} s"
    end = heard[-round(2 * LONGEST_LOOP_S * steps_per_s) :]
    usually = float(np.abs(end - end.mean(0)).mean()) * 2**0.5
    if usually < STILL:
        return "it holds one sound"
    for lag in range(round(SHORTEST_LOOP_S * steps_per_s), len(end) // 2):
        if np.abs(end[-lag:] - end[-2 * lag : -lag]).mean() < ALIKE * usually:
            return f"it repeats itself every {lag / steps_per_s:.1f} s"
    return ""
