"""The web page of a model of sound: it plays what the network makes, and shows its spectrogram."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.media.sound.bands import mel_bank
from charrnn.media.sound.codec import LENGTH_S
from charrnn.media.sound.phase import AHEAD
from charrnn.media.sound.picture import LOWEST_HZ, RANGE_DB
from charrnn.media.sound.spectrogram import RAYLEIGH
from charrnn.media.web import WebPage

if TYPE_CHECKING:
    from charrnn.media.sound.spectrogram import SpectrogramCodec

# Rounds of the Griffin-Lim algorithm, if frames are not more work than those of the defaults.  A
# 2x256 model then makes sound 4 times as fast as it plays on a server's core, or 2 on a busy one.
ROUNDS = 32
USUAL_WORK = 22_050 / 512 * 2048  # numbers a second that are transformed, with the defaults
BLOCK = 16  # frames that become sound at a time; as exact as the program's 64 (to 0.4 dB)
ROWS = 160  # of the picture
COLUMNS_PER_S = 60  # of the picture, at most


def web_page(codec: SpectrogramCodec, settings: Any) -> WebPage:
    """As `Codec.web_page`."""
    stft, envelope = codec.stft, codec.envelope
    stride = max(1, round(codec.steps_per_s / COLUMNS_PER_S))
    data = {
        "codec": {
            "rate": codec.rate,
            "n_fft": stft.n_fft,
            "hop": stft.hop,
            "bins": stft.bins,
            "bands": codec.bank.shape[1],
            "envelope": envelope
            and {
                "hop": envelope.stft.hop,
                "first": envelope.first,
                "full_scale": envelope.stft.full_scale,
            },
            "is_linear": codec.is_linear,
            "full_scale": stft.full_scale,
            "usual": usual_log(stft.window),
            "heard_noise": codec.heard_noise[0],  # unless there is the array `kept`
            "turn": codec.period and 2 * math.pi / codec.period,  # angle of positions, per frame
            "start": codec.arrays["starts"].shape[1],
            "rounds": min(settings.griffin_lim, rounds_for(codec)),
            "block": BLOCK,
            "ahead": AHEAD,
            "rows": [round(edge, 3) for edge in _rows(codec).tolist()],
            "range_db": RANGE_DB,
            "stride": stride,
        },
        "lowest_hz": LOWEST_HZ,
        "length": LENGTH_S,
    }
    note = (
        "A small neural network invents the sound, frame by frame of its spectrogram; it knows "
        "nothing but the recordings that it has learnt from."
    )
    return WebPage(
        folder=Path(__file__).resolve().parent / "web",
        style="sound.css",
        scripts=("picture.js", "speaker.js", "sound.js"),
        worker=("fft.js", "spectrum.js", "envelope.js", "phases.js", "frames.js"),
        data=data,
        note=note,
        arrays=_arrays(codec),
        draws_symbols=False,
    )


def rounds_for(codec: SpectrogramCodec) -> int:
    """The rounds of the Griffin-Lim algorithm for which there is time."""
    return max(2, round(ROUNDS * min(1.0, USUAL_WORK / (codec.steps_per_s * codec.stft.n_fft))))


def usual_log(window: NDArray[np.float32]) -> float:
    """The mean log magnitude of white noise of variance 1."""
    return (math.log(float(np.sum(np.square(window)))) - np.euler_gamma) / 2


def _rows(codec: SpectrogramCodec) -> NDArray[np.float64]:
    """The edges of the rows of the picture, (ROWS + 1,), in bins, as equally wide in octaves."""
    return np.geomspace(LOWEST_HZ / codec.rate * codec.stft.n_fft, codec.stft.bins - 1, ROWS + 1)


def shares(bank: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The lower of the two bands of each bin, and its share in that, (bins,)."""
    low = (bank > 0).argmax(1)
    return {"low": low, "share": bank[np.arange(len(bank)), low]}


def _arrays(codec: SpectrogramCodec) -> dict[str, NDArray[Any]]:
    """What the page needs of the codec's arrays, multiplied out as far as possible.

    In int8 this costs little with the scales of bins: a recording through the codec and back is
    wrong by -30.4 dB instead of -30.9; with those of components by -30.0.
    """
    arrays, bins = codec.arrays, codec.stft.bins
    starts = arrays["starts"]
    found = {"starts": starts.reshape(-1, starts.shape[2]), "mean": arrays["mean"]}
    if codec.is_linear:
        return found
    deviation = arrays["remainder"][:bins]
    if codec.bank.size:
        deviation = deviation * np.minimum(1, deviation / RAYLEIGH) / np.float32(RAYLEIGH)
        found |= shares(codec.bank)
    if codec.envelope:
        whole = mel_bank(codec.rate, codec.envelope.stft, codec.bank.shape[1])
        found |= {f"short_{name}": array for name, array in shares(whole).items()}
    if codec.kept is not None:
        found["kept"] = np.ascontiguousarray(codec.kept.T)
    synthesis = arrays["basis"] * arrays["scale"][:, np.newaxis] / arrays["weight"]
    return found | {"deviation": deviation, "synthesis": np.ascontiguousarray(synthesis.T)}
