"""Compares sound with a recording by ear of a machine: can a classifier tell them apart, do tones
stand out as much, and do tempo, beat and notes agree?

Needs librosa and scikit-learn, which it brings: the extra `analysis`; only `described` does not.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.media.sound.stft import Samples

NEEDED = ("librosa", "sklearn")
MISSING = (
    "install librosa to be told how well samples can be told from the recording, and whether "
    "tempo, beat and notes agree: pip install librosa"
)
N_FFT, HOP, BANDS = 1024, 256, 40
ONSET_HOP = 512  # samples between values of the onset strength
WINDOWS_S = (0.2, 1.0)  # lengths of what is told apart
LEAST_S, MOST_S = 10.0, 30.0  # of sound that is compared
FOLDS = 5
MODULATIONS = 4  # the slowest changes of a band in a window
PENALTY = 0.05  # inverse strength of the classifier's regularisation
QUIET = 1e-5  # added to the power, relative to its mean
TONE_S = 0.19  # a frame in which tones are looked for: long, so that a tone must last
LOWEST_HZ, HIGHEST_HZ = 80.0, 2000.0
NEIGHBOURS = 15  # bins, among which a tone stands out
SILENT = 1e-3  # frames below this fraction of the loudest one's power have no tones
LEAST_TONES = 0.1  # nats above noise: a recording below has no tones to compare with

Array = NDArray[np.float64]


def is_possible() -> bool:
    """Whether the libraries are installed."""
    return all(find_spec(name) is not None for name in NEEDED)


def told_apart(made: Samples, real: Samples, rate: int) -> dict[str, float]:
    """How well a classifier tells windows of two sounds apart, by the length of the windows.

    The two are matched in level and mean spectrum beforehand.  Logistic regression learns on four
    fifths of each and judges the last fifth, in turn (a two-sample test by classifier, Lopez-Paz
    and Oquab 2017).

    Returns:
        The area under the ROC curve: 0.5, it cannot tell; 1, it always can.
    """
    a, b = (_log_mel(sound, rate) for sound in (made, real))
    a = a - a.mean(0) + b.mean(0)
    found = {}
    for seconds in WINDOWS_S:
        length = round(seconds * rate / HOP)
        found[f"{seconds:g} s"] = _area(described(a, length), described(b, length))
    return found


def _log_mel(sound: Samples, rate: int) -> Array:
    """The log power of mel bands, (T, BANDS)."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=sound, sr=rate, n_fft=N_FFT, hop_length=HOP, n_mels=BANDS, center=False
    ).T
    logs: Array = np.log(power / (power.mean() + 1e-12) + QUIET)
    return logs


def described(frames: Array, length: int) -> Array:
    """What describes each window of `length` frames, (n, features): level, deviation, change and
    slow modulation of each band; of frames, (T, bands)."""
    count = len(frames) // length
    cut = frames[: count * length].reshape(count, length, -1)
    changes = np.abs(np.diff(cut, axis=1))
    slow = np.abs(np.fft.rfft(cut - cut.mean(1, keepdims=True), axis=1))[:, 1 : 1 + MODULATIONS]
    parts = cut.mean(1), cut.std(1), changes.mean(1), changes.max(1), slow.reshape(count, -1)
    return np.concatenate(parts, 1)


def _area(a: Array, b: Array) -> float:
    """The area under the ROC curve of telling windows a, (n, features), from b."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = np.repeat([1, 0], [len(a), len(b)])
    folds = np.concatenate([np.arange(len(part)) * FOLDS // len(part) for part in (a, b)])
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=PENALTY, max_iter=500, class_weight="balanced")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged quite
        scores = cross_val_predict(
            model,
            np.concatenate([a, b]),
            labels,
            cv=PredefinedSplit(folds),
            method="decision_function",
        )
    return float(roc_auc_score(labels, scores))


def beat(sound: Samples, rate: int) -> tuple[float, float]:
    """Tempo in beats per minute, and the strength of the beat from 0 to 1: how much the onsets
    resemble those one beat earlier."""
    import librosa

    onsets = librosa.onset.onset_strength(y=sound, sr=rate, hop_length=ONSET_HOP)
    tempo = float(librosa.feature.tempo(onset_envelope=onsets, sr=rate, hop_length=ONSET_HOP)[0])
    lag = max(1, round(60 / tempo * rate / ONSET_HOP))
    centred = onsets - onsets.mean()
    power = float(centred @ centred)
    alike = float(centred[lag:] @ centred[:-lag]) / power if power else 0.0
    return tempo, max(0.0, alike)


def chroma(sound: Samples, rate: int) -> Array:
    """The strength of each of the twelve pitch classes, (12,), which adds up to 1."""
    import librosa

    found = librosa.feature.chroma_stft(y=sound, sr=rate, tuning=0.0, norm=None).mean(1)
    strengths: Array = found / max(float(found.sum()), 1e-12)
    return strengths


def tones(sound: Samples, rate: int) -> float:
    """How far tones stand out, in nats: the spectral flatness of neighbouring bins (the logarithm
    of the arithmetic over the geometric mean of their power), weighted by their power.

    White noise has about 0.5, an orchestra 2.4.
    """
    size = 1 << round(np.log2(TONE_S * rate))
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[:: size // 2]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)))
    low, high = (round(edge * size / rate) for edge in (LOWEST_HZ, HIGHEST_HZ))
    power = power[:, low : high - (high - low) % NEIGHBOURS]
    loudness = power.sum(1)
    if not loudness.any():
        return 0.0
    power = power[loudness > SILENT * loudness.max()]
    groups = power.reshape(len(power), -1, NEIGHBOURS) + 1e-12 * power.max()
    means = groups.mean(2)
    flatness = np.log(means) - np.log(groups).mean(2)
    return float(np.average(flatness, weights=means))


def compared(sample: Samples, coded: Samples, real: Samples, rate: int) -> dict[str, Any]:
    """All figures.  `tones` are relative to those of the recording, where 0 is noise; None: the
    recording has hardly any.

    Args:
        sample: drawn from the model.
        coded: the recording through the codec and back, which is what the model can reach.
        real: the recording.
        rate: samples per second.
    """
    parts = {"codec": coded, "sample": sample}
    (tempo, strength), (own_tempo, own_strength) = beat(real, rate), beat(sample, rate)
    notes = np.minimum(chroma(real, rate), chroma(sample, rate)).sum()
    noise = tones(np.random.default_rng(0).standard_normal(len(real)).astype(np.float32), rate)
    most = tones(real, rate) - noise
    shares = None
    if most > LEAST_TONES:
        shares = {name: (tones(sound, rate) - noise) / most for name, sound in parts.items()}
    return {
        "told_apart": {name: told_apart(sound, real, rate) for name, sound in parts.items()},
        "tempo": {"recording": tempo, "sample": own_tempo},
        "beat": {"recording": strength, "sample": own_strength},
        "chroma": float(notes),
        "tones": shares,
    }
