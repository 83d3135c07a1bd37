"""Compares sound with a recording by ear of a machine: can a classifier tell them apart, and do
tempo, beat and notes agree?

Needs librosa and scikit-learn, which it brings: the extra `analysis`.
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
        found[f"{seconds:g} s"] = _area(_windows(a, length), _windows(b, length))
    return found


def _log_mel(sound: Samples, rate: int) -> Array:
    """The log power of mel bands, (T, BANDS)."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=sound, sr=rate, n_fft=N_FFT, hop_length=HOP, n_mels=BANDS, center=False
    ).T
    logs: Array = np.log(power / (power.mean() + 1e-12) + QUIET)
    return logs


def _windows(frames: Array, length: int) -> Array:
    """What describes each window, (n, features), of frames, (T, BANDS)."""
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


def compared(sample: Samples, coded: Samples, real: Samples, rate: int) -> dict[str, Any]:
    """All figures.

    Args:
        sample: drawn from the model.
        coded: the recording through the codec and back, which is what the model can reach.
        real: the recording.
        rate: samples per second.
    """
    (tempo, strength), (own_tempo, own_strength) = beat(real, rate), beat(sample, rate)
    notes = np.minimum(chroma(real, rate), chroma(sample, rate)).sum()
    return {
        "told_apart": {
            "codec": told_apart(coded, real, rate),
            "sample": told_apart(sample, real, rate),
        },
        "tempo": {"recording": tempo, "sample": own_tempo},
        "beat": {"recording": strength, "sample": own_strength},
        "chroma": float(notes),
    }
