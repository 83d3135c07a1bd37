"""What people can name about a spectrogram: loudness, brightness, pitch, beat, ..."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.media.traits import Parts, Trait, Traits

if TYPE_CHECKING:
    from charrnn.media.sound.codec import SoundCodec, Steps

LOWEST_HZ, HIGHEST_HZ = 60.0, 1000.0  # of the strongest tone
SHORTEST_S, LONGEST_S = 0.3, 1.2  # of a beat
QUIET = 1e-6  # of full scale
Numbers = NDArray[np.float64]


def traits_of(codec: SoundCodec, steps: Steps) -> Traits:
    """The traits of steps, (N,) or (N, F); those within one frame of `heard` have the same."""
    magnitudes = codec.heard(np.asarray(steps)).astype(np.float64)
    frequencies = np.linspace(0, codec.rate / 2, magnitudes.shape[1])
    power = np.square(magnitudes) + QUIET**2
    loudness = 10 * np.log10(power.sum(1))
    flux = np.maximum(0, np.diff(np.log(magnitudes + 1e-4), axis=0, prepend=0)).mean(1)
    flux[:1] = 0
    tonal = (frequencies >= LOWEST_HZ) & (frequencies <= HIGHEST_HZ)
    bass = frequencies < 250
    numbers = [
        Trait("loudness", loudness),
        Trait("brightness", np.log((power @ frequencies) / power.sum(1) + 1)),
        Trait("bass", 10 * np.log10(power[:, bass].sum(1))),
        Trait("new sounds", flux),
    ]
    if tonal.any():
        strongest = frequencies[tonal][power[:, tonal].argmax(1)]
        numbers.append(Trait("strongest tone", 12 * np.log2(strongest / 440)))
    numbers += _beats(flux, codec.heard_per_s)
    time = np.arange(len(steps)) / codec.steps_per_s
    frames = np.minimum(np.arange(len(steps)) * codec.hop // codec.heard_hop, len(magnitudes) - 1)
    return Traits(
        [Trait(each.name, each.values[frames]) for each in numbers if np.ptp(each.values) > 0],
        parts=_seconds(time),
        time=time,
        time_unit="s",
    )


def _seconds(time: Numbers) -> list[Parts]:
    """Stretches of a second."""
    edges = np.searchsorted(time, np.arange(int(time[-1]) + 2)).tolist() if len(time) else []
    spans = [(a, b) for a, b in itertools.pairwise(edges) if b > a]
    texts = [f"{time[begin]:.0f} to {time[begin] + 1:.0f} s" for begin, _ in spans]
    return [Parts("seconds", spans, texts)] if len(spans) > 1 else []


def _beats(flux: Numbers, steps_per_s: float) -> list[Trait]:
    """A wave that has its peaks on the beat, and one between beats; the period is the one at which
    the flux repeats itself best."""
    centred = flux - flux.mean()
    least, most = round(SHORTEST_S * steps_per_s), round(LONGEST_S * steps_per_s)
    if least < 1 or len(flux) < 4 * most:
        return []
    scores = [float(centred[lag:] @ centred[:-lag]) for lag in range(least, most + 1)]
    period = least + int(np.argmax(scores))
    wave = np.exp(2j * np.pi * np.arange(len(flux)) / period)
    wave = wave * np.exp(-1j * np.angle(centred @ wave))
    return [Trait("beat", wave.real), Trait("between beats", wave.imag)]
