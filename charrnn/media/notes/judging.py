"""Compares free runs of a model of notes with its corpus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.files import replacing
from charrnn.media.notes.events import BACK
from charrnn.media.notes.tune import LENGTH, ONSET, PITCH, Bar, Tune
from charrnn.media.product import Critic, Drawn, Verdict

if TYPE_CHECKING:
    from charrnn.media.notes.codec import NotesCodec, Steps

RUNS = 8  # free runs of a verdict
WEIGHT = 0.1  # of the distance of free runs beside the loss: it varies more from run to run
MOST_EVENTS = 3_000  # of a free run
REFERENCE = 200_000  # events of the corpus that are compared with
LEAST_NOTES = 8  # of a tune that can be judged
LEAST_FORM, TINY = 0.02, 1e-6
# Log odds of bars that come back: what a run adds for each e-fold that the form of its free runs
# differs from the corpus, the most at one evaluation, and the most of all.
PER_FOLD, MOST_ADDED, MOST_LEARNT = 1.5, 1.0, 4.0
COPIED = 12  # notes of a run that counts as copied
WIDEST, LONGEST = 16, 96  # an interval in semitones, a length and a place in grid steps
NEAR, FAR = 4, 64  # quarters: distances at which a tune may come back
SCALES = np.array(
    [
        [(pitch - key) % 12 in scale for pitch in range(12)]
        for scale in ({0, 2, 4, 5, 7, 9, 11}, {0, 2, 3, 5, 7, 8, 11})  # major, harmonic minor
        for key in range(12)
    ],
    float,
)

Histogram = NDArray[np.float64]


def melody(tune: Tune) -> NDArray[np.int64]:
    """The highest note of each onset, without drums, (n, 2): onset and pitch."""
    own = tune.pitched
    order = np.lexsort((-own[:, PITCH], own[:, ONSET]))
    own = own[order]
    is_top = np.diff(own[:, ONSET], prepend=-1) != 0
    return np.asarray(own[is_top][:, [ONSET, PITCH]])


def overlap(one: Histogram, other: Histogram) -> float:
    """The part that two histograms have in common, from 0 to 1."""
    return float(np.minimum(one, other).sum())


def intervals(tunes: Iterable[Tune]) -> Histogram:
    """How often each step of the melody occurs, in semitones."""
    return _histogram((np.diff(melody(t)[:, 1]) for t in tunes), -WIDEST, WIDEST)


def lengths(tunes: Iterable[Tune]) -> Histogram:
    """How often each length of a note occurs."""
    return _histogram((t.notes[:, LENGTH] for t in tunes), 0, LONGEST)


def places(tunes: Iterable[Tune]) -> Histogram:
    """How often a note begins at each place of a bar."""
    return _histogram((t.notes[:, ONSET] - _bar_begins(t.bars, t) for t in tunes), 0, LONGEST)


def chords(tunes: Iterable[Tune]) -> Histogram:
    """How often each interval above the lowest note begins together with it; 0: a note alone."""
    return _histogram(map(_above, tunes), 0, 12)


def _bar_begins(bars: Sequence[Bar], tune: Tune) -> NDArray[np.int64]:
    begins = np.array([bar.begin for bar in bars] or [0])
    return np.asarray(begins[np.searchsorted(begins, tune.notes[:, ONSET], "right") - 1])


def _above(tune: Tune) -> NDArray[np.int64]:
    own = tune.pitched
    order = np.lexsort((own[:, PITCH], own[:, ONSET]))
    onset, pitch = own[order, ONSET], own[order, PITCH]
    is_first = np.diff(onset, prepend=-1) != 0
    lowest = pitch[is_first][np.cumsum(is_first) - 1]
    above = np.where(pitch > lowest, (pitch - lowest - 1) % 12 + 1, 0)
    is_alone = is_first & (np.diff(onset, append=-1) != 0)
    return np.asarray(above[~is_first | is_alone])


def _histogram(values: Iterable[NDArray[np.int64]], low: int, high: int) -> Histogram:
    found = np.concatenate([np.zeros(0, np.int64), *values])
    counts = np.bincount(np.clip(found, low, high) - low, minlength=high - low + 1)
    return np.asarray(counts / max(1, counts.sum()))


def in_scale(tune: Tune) -> float:
    """The part of the notes that fits the best of the major and minor scales."""
    own = tune.pitched
    counts = np.bincount(own[:, PITCH] % 12, minlength=12)
    return float((SCALES @ counts).max() / max(1, counts.sum()))


def form(tune: Tune) -> float:
    """How much of a tune comes back: the part of the melody that is repeated at the distance at
    which most of it is."""
    line = melody(tune)
    span = tune.bars[-1].begin + tune.bars[-1].length if tune.bars else 0
    if len(line) < LEAST_NOTES or span > 1 << 17:
        return 0.0
    pitches = np.full(span, -1, np.int16)
    inside = line[:, 0] < span
    pitches[line[inside, 0]] = line[inside, 1]
    best = 0.0
    half = max(1, tune.per_quarter // 2)
    for lag in range(NEAR * tune.per_quarter, min(FAR * tune.per_quarter, span * 3 // 4), half):
        one, other = pitches[:-lag], pitches[lag:]
        either = int(((one >= 0) | (other >= 0)).sum())
        if either >= LEAST_NOTES:
            best = max(best, int(((one == other) & (one >= 0)).sum()) / either)
    return best


def runs(tune: Tune) -> list[bytes]:
    """Every run of COPIED notes of the melody, as intervals and distances."""
    line = melody(tune)
    steps = np.diff(line, axis=0).astype(np.int16)
    return [steps[i : i + COPIED - 1].tobytes() for i in range(len(steps) - COPIED + 2)]


class Listener:
    """Knows the tunes of a corpus, to compare others with them.

    Args:
        tunes: the corpus.
    """

    def __init__(self, tunes: Sequence[Tune]) -> None:
        tunes = [tune for tune in tunes if len(tune.notes) >= LEAST_NOTES] or list(tunes)
        self._known = [measure(tunes) for measure in (intervals, lengths, places, chords)]
        self._scale, self._form = fmean(map(in_scale, tunes)), fmean(map(form, tunes))
        # Drums alone have only a rhythm; and tunes may be too short for a form.
        self._names = ["melody", "rhythm", "chords", "scale", "form", "new"]
        if not self._scale:
            self._names = ["rhythm"]
        elif self._form < LEAST_FORM:
            self._names.remove("form")
        self._runs = {run for tune in tunes for run in runs(tune)}

    def figures(self, tunes: Sequence[Tune]) -> dict[str, float]:
        """What tunes have in common with the corpus.

        Returns:
            `melody`, `rhythm`, `chords`: the overlap with the corpus, at most 1.  `scale`, `form`:
            relative to the corpus, where 1 is right.  `new`: the part of the runs of notes that
            the corpus does not have.  Figures that the corpus itself has none of are left out.
        """
        judged = [tune for tune in tunes if len(tune.notes) >= LEAST_NOTES]
        if not judged:
            return dict.fromkeys(self._names, 0.0)
        own = [measure(judged) for measure in (intervals, lengths, places, chords)]
        steps, long, where, together = map(overlap, own, self._known)
        found = [run for tune in judged for run in set(runs(tune))]
        new = sum(run not in self._runs for run in found) / len(found) if found else 0.0
        figures = {
            "melody": steps,
            "rhythm": (long + where) / 2,
            "chords": together,
            "scale": fmean(map(in_scale, judged)) / max(self._scale, TINY),
            "form": fmean(map(form, judged)) / max(self._form, TINY),
            "new": new,
        }
        return {name: figures[name] for name in self._names}


@dataclass(frozen=True, kw_only=True)
class TuneVerdict(Verdict):
    """The result of comparing free runs with the corpus; the first run is the preview."""

    tune: Tune
    corpus: Tune

    def score(self, nats_per_step: float) -> float:
        """As in `Verdict`: the loss, a little more the farther the free runs are."""
        return nats_per_step * (1 + WEIGHT * (self.distance or 0.0))

    def save(self, folder: Path, stem: str) -> Path:
        """As in `Verdict`: the tune as MIDI and as WAV, and a PNG of its piano roll below one of
        the corpus."""
        from charrnn.media.notes.writing import write

        folder.mkdir(exist_ok=True)
        path = folder / f"{stem}.mid"
        for target in (path, path.with_suffix(".wav")):
            with replacing(target) as temporary, open(temporary, "wb+") as stream:
                write(self.tune, stream, target)
        self.draw(path.with_suffix(".png"))
        return path

    def draw(self, path: Path) -> None:
        """As in `Verdict`: piano rolls."""
        from charrnn.media.notes.picture import draw

        draw(path, [("corpus", self.corpus), ("free run", self.tune)])


class TuneCritic(Critic):
    """Compares free runs with the corpus, and learns how much more often bars must come back than
    the network expects, so that as much of a tune comes back as in the corpus.

    Args:
        codec: of the model.
        corpus: its steps, (N,).
    """

    num = RUNS
    compares: ClassVar[bool] = True
    score = "loss and distance from the corpus"

    def __init__(self, codec: NotesCodec, corpus: Steps) -> None:
        self._codec = codec
        tunes = codec.decode(np.asarray(corpus[:REFERENCE]).tolist())
        self._listener = Listener(tunes)
        self._corpus = next((t for t in tunes if len(t.notes) >= LEAST_NOTES), tunes[0])

    def _repeats(self, form: float) -> float:
        """The codec's `repeats`, after free runs of this form relative to the corpus."""
        added = -PER_FOLD * math.log(max(form, TINY))
        added = min(MOST_ADDED, max(-MOST_ADDED, added))
        return min(MOST_LEARNT, max(0.0, self._codec.repeats + added))

    def look(self, drawn: Iterable[Iterator[Drawn]], settings: Any) -> TuneVerdict:
        """As in `Critic`."""
        tunes = []
        for sequence in drawn:
            steps = [step for step, _ in islice(sequence, MOST_EVENTS)]
            tunes += self._codec.decode(steps)[:1]
        figures = self._listener.figures(tunes)
        learnt = None
        can_repeat = "form" in figures and self._codec.values(BACK)
        is_judged = any(len(tune.notes) >= LEAST_NOTES for tune in tunes)
        if settings.repeats is None and can_repeat and is_judged:
            learnt = self._codec = self._codec.with_repeats(self._repeats(figures["form"]))
        shortfalls = [1 - min(1.0, figures[name]) for name in figures if name != "new"]
        return TuneVerdict(
            distance=fmean(shortfalls),
            figures=figures,
            detail="free runs " + ", ".join(f"{k} {v:.2f}" for k, v in figures.items()),
            learnt=learnt,
            tune=tunes[0],
            corpus=self._corpus,
        )
