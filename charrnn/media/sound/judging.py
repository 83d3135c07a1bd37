"""Judges free runs: whether sampled sound changes over time like the recording, or gets stuck;
whether it can be told from the recording; and whether it is a copy of it.

A model of sound can predict the next frame well and yet fade out or repeat itself when it is fed
its own output; the loss does not show this.  So a few seconds of a free run are compared with
excerpts of the recording of the same length: each of `Figures` is a ratio to their median; 1 is
ideal.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.files import replacing
from charrnn.media.product import Critic, Drawn, Verdict
from charrnn.media.sound.analysis import FOLDS, WINDOWS_S, described
from charrnn.media.sound.bands import mel_bank
from charrnn.media.sound.soundfiles import SoundFile
from charrnn.media.sound.stft import Frames, Samples, Stft

if TYPE_CHECKING:
    from charrnn.media.sound.codec import SoundCodec, Steps

Array = NDArray[np.float64]

MEL_BANDS = 40  # of free runs that are compared
LOWEST_HZ, HIGHEST_HZ = 50.0, 11_025.0
BANDS = 32  # of a sample that may be in trouble
POWER_FLOOR = 1e-9  # of the power of a full-scale sine: -90 dB
CLUSTERS = 32
UNHEARD = 0.01  # nats: changes below that are none
REFERENCE_S = 120.0  # at most this much of the recording is used for comparison
SHRINKAGE = 1.0  # added to the diagonal of the covariance of standardised values
COPY_S, SAME = 1.0, 0.95  # a stretch as long as that is a copy if it correlates more than that
COPIES_WEIGHT = 2.0  # a copy is worse than a sound that is told from the recording
FEW_COPIES = 0.15  # up to this share they cost nothing
COURSES_PER_S = 43  # frames per second are enough to compare stretches
FIGURES_WEIGHT = 0.1  # of the figures' distance: between models that are all told apart, it decides
PREVIEW_S = 5.0  # of a free run are saved as a preview
FADED = 6.0  # nats of power, 26 dB: a sample this far below its usual level has fallen silent
STILL = 0.25  # nats: if two frames usually differ by less, the sound does not change
ALIKE = 0.2  # of the usual difference of two frames: below that, the sound repeats itself
SHORTEST_LOOP_S, LONGEST_LOOP_S = 0.5, 20.0


@dataclass(frozen=True)
class Figures:
    """Measurements of a free run, as ratios to those of excerpts of the recording."""

    flux: float  # spectral flux: increase of loudness from frame to frame, mean over the bands
    onsets: float  # peaks of the flux per second
    spread: float  # standard deviation over time, mean over the bands
    variety: float  # perplexity of the frames over clusters of the recording's frames
    lasting: float  # flux of the second half of the free run divided by that of the first half

    @property
    def distance(self) -> float:
        """The sum of the absolute logarithms of the ratios: 0 is ideal."""
        return math.fsum(abs(math.log(min(max(v, 1e-3), 1e3))) for v in self.to_dict().values())

    def to_dict(self) -> dict[str, float]:
        """Values that JSON can hold."""
        return asdict(self)


class Listener:
    """Compares free runs with a recording.

    Args:
        recording: magnitudes, (N, bins), relative to full scale.
        rate: samples per second.
        steps_per_s: frames per second.
        seconds: length of a free run.
        is_circle: whether the recording begins again after its end.

    Attributes:
        steps: the same in frames; less if the recording is shorter.
        own_copies: the share of one-second stretches that come back in the recording itself.
    """

    def __init__(
        self,
        recording: NDArray[np.float32],
        rate: int,
        steps_per_s: float,
        seconds: float = 10.0,
        *,
        is_circle: bool = False,
    ) -> None:
        import scipy.cluster.vq  # slow to import, and not needed to sample

        bins = recording.shape[1]
        self._bank = mel_bank(rate, Stft(2 * (bins - 1), bins - 1), MEL_BANDS)
        self._steps_per_s, self._is_circle = steps_per_s, is_circle
        loudness = self._bands(recording[: round(REFERENCE_S * steps_per_s)])
        self._loudness = loudness
        self._thinned = max(1, round(steps_per_s / COURSES_PER_S))
        self._course = max(2, round(COPY_S * steps_per_s / self._thinned))
        self.own_copies = self._own_copies()
        self.steps = max(2, min(round(seconds * steps_per_s), len(loudness)))
        self._prominence = float(_flux(loudness).std())
        clusters = min(CLUSTERS, len(loudness))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about empty clusters, which do no harm
            self._centres, _ = scipy.cluster.vq.kmeans2(loudness, clusters, minit="++", rng=0)
        places = range(0, len(loudness) - self.steps + 1, max(1, self.steps // 2))
        windows = [self._measured(loudness[place : place + self.steps]) for place in places]
        self._typical = [median(values) for values in zip(*windows, strict=True)]

    def figures(self, free_run: NDArray[np.float32]) -> Figures:
        """The figures of a free run: magnitudes, (`steps`, bins)."""
        loudness = self._bands(free_run)
        measured = self._measured(loudness)
        ratios = (a / max(b, 1e-9) for a, b in zip(measured, self._typical, strict=True))
        flux, onsets, spread, variety = ratios
        rises, half, lasting = _flux(loudness), len(loudness) // 2, 1.0
        if half < len(rises):
            lasting = float(rises[half:].mean() / max(rises[:half].mean(), 1e-9))
        return Figures(flux, onsets, spread, variety, lasting)

    def told_apart(self, free_runs: Sequence[NDArray[np.float32]]) -> float:
        """How well a linear classifier tells windows of free runs from windows of the recording, by
        how the levels of bands change; see `charrnn.media.sound.analysis.told_apart`.

        Returns:
            The area under the ROC curve, the mean over the lengths of windows: 0.5 or less, it
            cannot tell; 1, it always can, or there are too few windows to learn from.
        """
        runs = [self._bands(run) for run in free_runs]
        areas = []
        for seconds in WINDOWS_S:
            length = max(2, round(seconds * self._steps_per_s))
            windows = sum(len(run) // length for run in runs), len(self._loudness) // length
            if min(windows) >= FOLDS:
                made = [described(run, length) for run in runs if len(run) >= length]
                real = described(self._loudness, length)
                levels = self._loudness.shape[1]  # the first values
                areas.append(_area(np.concatenate(made)[:, levels:], real[:, levels:]))
        return mean(areas) if areas else 1.0

    def changes(
        self, free_runs: Sequence[NDArray[np.float32]], begins_s: Sequence[float | None]
    ) -> Array:
        """How much free runs change from frame to frame in each band, relative to the recording,
        (MEL_BANDS,).

        Args:
            free_runs: magnitudes.
            begins_s: where in the recording each is, in seconds, so that it is compared with that
                part; None: unknown.  What is past the recording is left out.
        """
        real = np.abs(np.diff(self._loudness, axis=0))
        made, wanted = np.full(MEL_BANDS, UNHEARD), np.full(MEL_BANDS, UNHEARD)
        for run, begin_s in zip(free_runs, begins_s, strict=True):
            change, part = np.abs(np.diff(self._bands(run), axis=0)), real
            if begin_s is not None:
                rows = round(begin_s * self._steps_per_s) + np.arange(len(change))
                rows = rows % len(real) if self._is_circle else rows
                change, part = change[rows < len(real)], real[rows[rows < len(real)]]
            if len(change) and len(part):
                made += change.mean(0)
                wanted += part.mean(0)
        changes: Array = made / wanted
        return changes

    def copied(self, free_runs: Sequence[NDArray[np.float32]]) -> float:
        """The share of one-second stretches of free runs that change over time like some stretch of
        the recording: 0, nothing is a copy; 1, all is."""
        courses = (self._courses(self._bands(run)) for run in free_runs)
        made = np.concatenate([each[:: self._course // 2] for each in courses])
        recording = self._courses(self._loudness)
        if not len(made) or not len(recording):
            return 0.0
        return float(np.mean((made @ recording.T).max(1) > SAME))

    def _bands(self, magnitudes: NDArray[np.float32]) -> Array:
        """The log power of mel bands, (n, MEL_BANDS)."""
        loudness: Array = np.log(np.square(magnitudes, dtype=np.float64) @ self._bank + POWER_FLOOR)
        return loudness

    def _own_copies(self) -> float:
        """The share of stretches of the recording that come back elsewhere in it."""
        courses = self._courses(self._loudness)
        found = []
        for place in range(0, len(courses), self._course // 2):
            alike = courses @ courses[place]
            alike[max(0, place - self._course) : place + self._course] = 0  # itself
            found.append(bool(alike.max() > SAME))
        return mean(found) if found else 0.0

    def _courses(self, loudness: Array) -> Frames:
        """How stretches of a second differ from their mean, flat and at unit norm, (n, D); n is 0
        if there are too few frames."""
        count = len(loudness) // self._thinned
        if count < self._course:
            return np.zeros((0, self._course * loudness.shape[1]), np.float32)
        cut = loudness[: count * self._thinned].reshape(count, self._thinned, -1)
        thinned = cut.mean(1, dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(thinned, self._course, 0)
        flat = (windows - windows.mean(2, keepdims=True)).reshape(len(windows), -1)
        courses: Frames = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + np.float32(1e-9))
        return courses

    def _measured(self, loudness: Array) -> tuple[float, float, float, float]:
        """Flux, onsets, spread and variety of an excerpt, (n, MEL_BANDS)."""
        import scipy.cluster.vq
        import scipy.signal

        flux = _flux(loudness)
        peaks = len(scipy.signal.find_peaks(flux, prominence=self._prominence)[0])
        nearest, _ = scipy.cluster.vq.vq(loudness, self._centres)
        fractions = np.bincount(nearest) / len(nearest)
        fractions = fractions[fractions > 0]
        return (
            float(flux.mean()),
            peaks * self._steps_per_s / len(loudness),
            float(loudness.std(0).mean()),
            math.exp(-float(np.sum(fractions * np.log(fractions)))),
        )


def bands(magnitudes: NDArray[np.float32], rate: int) -> Array:
    """The log power in BANDS bands that are equally wide in octaves, (n, BANDS); fewer bands if
    there are too few bins."""
    bins = magnitudes.shape[1]
    highest = min(HIGHEST_HZ, rate / 2)
    edges = np.geomspace(LOWEST_HZ, highest, BANDS + 1) / (rate / 2) * (bins - 1)
    starts = np.unique(np.clip(np.round(edges[:-1]).astype(int), 0, bins - 1))
    power = np.square(magnitudes[:, : max(int(edges[-1]), starts[-1]) + 1], dtype=np.float64)
    widths = np.diff(np.append(starts, power.shape[1]))
    loudness: Array = np.log(np.add.reduceat(power, starts, 1) / widths + POWER_FLOOR)
    return loudness


def _area(made: Array, real: Array) -> float:
    """The area under the ROC curve of telling windows, (n, D), apart.

    Fisher's linear discriminant with shrinkage learns on four fifths of each and judges the last
    fifth, in turn.
    """
    scores: tuple[list[Array], list[Array]] = [], []
    folds = [np.arange(len(part)) * FOLDS // len(part) for part in (made, real)]
    for fold in range(FOLDS):
        a, b = made[folds[0] != fold], real[folds[1] != fold]
        scale = np.concatenate([a, b]).std(0) + 1e-6
        each = [np.cov(part / scale, rowvar=False, bias=True) for part in (a, b)]
        within = np.mean(each, axis=0) + SHRINKAGE * np.eye(len(scale))
        direction = np.linalg.solve(within, (a.mean(0) - b.mean(0)) / scale) / scale
        scores[0].append(made[folds[0] == fold] @ direction)
        scores[1].append(real[folds[1] == fold] @ direction)
    a, b = np.concatenate(scores[0]), np.sort(np.concatenate(scores[1]))
    below = np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")  # ties count as half
    return float(below.mean() / 2 / len(b))


def _flux(loudness: Array) -> Array:
    rises: Array = np.clip(np.diff(loudness, axis=0), 0, None).mean(1)
    return rises


class TroubleMonitor:
    """Measures the loudness of a sample that comes in blocks, for `trouble`.

    Args:
        rate: samples per second.
    """

    def __init__(self, rate: int) -> None:
        self._rate, self._stft = rate, Stft()
        self._rest = np.zeros(self._stft.n_fft // 2, np.float32)
        self._bands: list[Array] = []

    def add(self, sound: Samples) -> None:
        """Measure a block, (n,)."""
        stft, sound = self._stft, np.concatenate([self._rest, sound])
        count = max(0, (len(sound) - stft.n_fft) // stft.hop + 1)
        self._rest = sound[count * stft.hop :]
        if count:
            whole = sound[: stft.n_fft + (count - 1) * stft.hop]
            loudness: Frames = np.abs(stft.frames(whole))
            magnitudes = loudness / np.float32(stft.full_scale)
            self._bands.append(bands(magnitudes, self._rate))

    def trouble(self) -> str:
        """What is wrong with the sample; see `trouble`."""
        if not self._bands:
            return ""
        return trouble(np.concatenate(self._bands), self._rate / self._stft.hop)


def trouble(heard: Array, steps_per_s: float) -> str:
    """What is audibly wrong with a sample: it falls silent, holds one sound, or repeats itself at
    its end; "" if nothing is.

    Args:
        heard: the sample's log power from `bands`, (n, BANDS).
        steps_per_s: frames per second.
    """
    second = max(1, round(steps_per_s))
    if len(heard) < 2 * second:
        return ""
    loudness = heard.max(1)
    usual = float(np.quantile(loudness, 0.9))
    if usual < math.log(POWER_FLOOR) + FADED:
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


@dataclass(frozen=True, kw_only=True)
class SoundVerdict(Verdict):
    """The result of comparing free runs with the recording; the first run is the preview."""

    codec: SoundCodec
    run: Steps  # the first one
    recording: Steps
    rounds: int  # of Griffin-Lim

    def score(self, nats_per_step: float) -> float:
        """As in `Verdict`."""
        return nats_per_step if self.codec.chosen_by_loss else super().score(nats_per_step)

    def save(self, folder: Path, stem: str) -> Path:
        """As in `Verdict`: a few seconds as FLAC, and a PNG of their spectrogram below that of the
        recording."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{stem}.flac"
        count = round(PREVIEW_S * self.codec.steps_per_s)
        with (
            replacing(path) as temporary,
            open(temporary, "wb+") as stream,
            SoundFile(stream, path, self.codec.rate) as file,
        ):
            file.write(self.codec.decoded(self.run[:count], self.rounds))
        self._draw(path.with_suffix(".png"), count)
        return path

    def draw(self, path: Path) -> None:
        """As in `Verdict`: spectrograms."""
        self._draw(path, len(self.run))

    def _draw(self, path: Path, count: int) -> None:
        count = min(count, len(self.run))
        pieces = (("recording", self.recording), ("free run", self.run))
        self.codec.draw(path, [(name, np.asarray(steps)[:count]) for name, steps in pieces])


class SoundCritic(Critic):
    """Compares free runs with the recording.

    The best model is the one whose free runs are hardest to tell from the recording, and of which
    few are copies; a copy counts less if most of the recording comes back in itself.

    Args:
        codec: of the model.
        corpus: the steps of the recording, (N,) or (N, F).
    """

    compares: ClassVar[bool] = True

    def __init__(self, codec: SoundCodec, corpus: Steps) -> None:
        self._codec, self.num = codec, codec.runs
        self.score = "validation loss" if codec.chosen_by_loss else "distance from the recording"
        self._recording = np.array(corpus[: round(REFERENCE_S * codec.steps_per_s)])
        heard = codec.listened(self._recording)
        self._listener = Listener(
            heard,
            codec.rate,
            codec.listened_per_s,
            codec.run_s,
            is_circle=len(self._recording) == len(corpus),
        )

    def look(self, drawn: Iterable[Iterator[Drawn]], settings: Any) -> SoundVerdict:
        """As in `Critic`; the ratios to the recording are means over the runs.  What is learnt is
        how much of the noise is heard; see `SoundCodec.matched`."""
        codec = self._codec
        steps = round(self._listener.steps / codec.listened_per_s * codec.steps_per_s)
        runs = [np.array([step for step, _ in islice(sequence, steps)]) for sequence in drawn]
        heard = [codec.listened(run) for run in runs]
        measured = [self._listener.figures(run) for run in heard]
        columns = zip(*(figures.to_dict().values() for figures in measured), strict=True)
        figures = Figures(*map(mean, columns)).to_dict()
        apart, copied = self._listener.told_apart(heard), self._listener.copied(heard)
        # Squared, since a little that comes back in the recording does not excuse copies of it.
        blame = 1 - self._listener.own_copies**2
        distance = mean(figures.distance for figures in measured)
        learnt = codec.matched(self._listener.changes(heard, list(map(codec.place_s, runs))))
        self._codec = learnt or codec
        figures |= {"frames_told_apart": apart, "copied": copied}
        named = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in figures.items())
        return SoundVerdict(
            distance=max(0.0, apart - 0.5)
            + COPIES_WEIGHT * blame * max(0.0, copied - FEW_COPIES)
            + FIGURES_WEIGHT * distance,
            figures=figures,
            detail="free run " + ", ".join(named),
            learnt=learnt,
            codec=codec,
            run=runs[0],
            recording=self._recording,
            rounds=settings.griffin_lim,
        )
