"""The codec of sound: converts sound to spectrogram frames and back.

By default a frame is the log magnitude, with a floor, projected onto the principal components of
the training part.  Bins are weighted by the square root of their usual magnitude, and components
are divided by the square root of their standard deviation (half whitening), so that errors in loud
bins that vary count more than inaudible ones.  The part of a frame that the components leave out is
replaced by noise with the same standard deviation.

Without components a frame consists of the raw magnitudes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError, ConfigError, SamplingError
from charrnn.media.codec import Codec, Prime, refuse
from charrnn.media.product import Drawn
from charrnn.media.report import Reader, Report
from charrnn.media.sound.phase import ROUNDS, PhaseStream
from charrnn.media.sound.recordings import Recordings
from charrnn.media.sound.soundfiles import FORMATS
from charrnn.media.sound.stft import Samples, Stft
from charrnn.media.sources import Sources
from charrnn.media.steps import Continuous

if TYPE_CHECKING:
    from charrnn.media.sound.judging import SoundCritic
    from charrnn.media.sound.writing import SoundSample

Array = NDArray[np.float32]
Frames = NDArray[np.float32]  # (N, F)
Arrays = dict[str, Array]

MAGNITUDE_FLOOR = 1e-4  # of a full-scale sine: -80 dB
GAP_S, GAP = 0.25, 0.25  # silence between two recordings: at most, and relative to their length
STARTS, START = 16, 32  # number of excerpts that a sample can continue, and frames in each
LENGTH_S = 10.0  # default length of a sample
MAX_LENGTH_S = 24 * 3600.0
# Ranges allowed in a checkpoint.
LIMITS = {
    "rate": (8_000, 48_000),
    "n_fft": (64, 8_192),
    "hop": (16, 4_096),
    "features": (1, 4_097),
}
FARTHEST, NEAREST = 1e5, 1e-8  # largest number in any array; smallest weight or scale
LOUDEST = 1e2  # times a full-scale sine: sampled magnitudes are limited to this


class SpectrogramCodec(Codec):
    """Converts sound to frames of F features each, and back.

    Args:
        rate: samples per second.
        stft: the transform.
        arrays: `mean`, (bins,); `remainder`, (bins,), the standard deviation of what the features
            leave out; `starts`, (S, P, F), excerpts that samples without a prime continue.  With
            principal components also `basis`, (F, bins), orthonormal, `weight`, (bins,), and
            `scale`, (F,).  Without a basis the features are magnitudes.
    """

    name = "audio"
    unit = "frame"
    has_pictures = True
    suffixes = tuple(FORMATS)
    arrays: Arrays

    def __init__(self, rate: int, stft: Stft, arrays: Arrays) -> None:
        self.rate, self.stft, self.arrays = rate, stft, arrays
        basis = arrays.get("basis")
        self.step = Continuous(stft.bins if basis is None else len(basis))
        self._analysis = self._synthesis = None
        if basis is not None:
            self._analysis = (basis * arrays["weight"]).T / arrays["scale"]  # (bins, F)
            self._synthesis = basis * arrays["scale"][:, np.newaxis] / arrays["weight"]  # (F, bins)

    @property
    def steps_per_s(self) -> float:
        """Frames per second."""
        return self.rate / self.stft.hop

    def features(self, raw: Frames) -> Frames:
        """Features, (n, F), of raw frames, (n, bins)."""
        if self._analysis is None:
            return raw
        features: Frames = (raw - self.arrays["mean"]) @ self._analysis
        return features

    def magnitudes(self, features: Frames, random: np.random.Generator | None = None) -> Frames:
        """Magnitudes, (n, bins), of features, (n, F).

        Args:
            features: the output of the network.
            random: generates the noise that replaces what the features leave out; None: no noise.
        """
        most = np.float32(LOUDEST * self.stft.full_scale)
        if self._synthesis is None:
            return np.clip(features, 0, most)
        raw = features @ self._synthesis + self.arrays["mean"]
        if random is not None:
            raw += self.arrays["remainder"] * random.standard_normal(raw.shape, np.float32)
        return np.clip(self.loudness(np.minimum(raw, np.float32(np.log(LOUDEST)))), 0, most)

    def loudness(self, raw: Frames) -> Frames:
        """The magnitudes of raw frames, (n, bins)."""
        if self.is_linear:
            return raw
        loudness: Frames = (np.exp(raw) - np.float32(MAGNITUDE_FLOOR)) * np.float32(
            self.stft.full_scale
        )
        return loudness

    def decoder(self, seed: int = 0, rounds: int = ROUNDS) -> SoundDecoder:
        """A decoder for a stream of features.

        Args:
            seed: for the noise that replaces what the features leave out, and for random phases.
            rounds: iterations of the Griffin-Lim algorithm.
        """
        return SoundDecoder(self, seed, rounds)

    def reader(self, sources: Sources, settings: Any) -> SoundReader:
        """As in `Codec`."""
        return SoundReader(self, sources)

    def start(self, random: np.random.Generator) -> Frames:
        """As in `Codec`: one of the stored excerpts of the corpus."""
        starts = self.arrays["starts"]
        start: Frames = starts[random.integers(len(starts))]
        return start

    def steps_in(self, length: float | None) -> int:
        """As in `Codec`; `length` is in seconds, 10 by default."""
        return -(-self.samples_in(length) // self.stft.hop)

    def samples_in(self, length: float | None) -> int:
        """Convert a length in seconds to samples of sound.

        Raises:
            SamplingError: it is more than a day, or negative.
        """
        seconds = LENGTH_S if length is None else length
        if not 0 <= seconds <= MAX_LENGTH_S:
            raise SamplingError(f"--length {seconds:g}: must be from 0 to {MAX_LENGTH_S:g} seconds")
        return round(seconds * self.rate)

    def sample(
        self,
        drawn: Iterator[Drawn],
        prime: Prime,
        length: float | None,
        settings: Any,
        options: Any,
    ) -> SoundSample:
        """As in `Codec`."""
        from charrnn.media.sound.writing import SoundSample

        return SoundSample(self, drawn, prime, length, settings, options)

    def critic(self, corpus: Frames) -> SoundCritic:
        """As in `Codec`."""
        from charrnn.media.sound.judging import SoundCritic

        return SoundCritic(self, corpus)

    def draw(self, path: Path, panels: Sequence[tuple[str, Frames]]) -> None:
        """As in `Codec`: spectrograms."""
        from charrnn.media.sound.picture import draw

        draw(path, [(name, self.magnitudes(steps), self.rate) for name, steps in panels])

    def seconds(self, steps: int) -> float:
        """As in `Codec`."""
        return steps / self.steps_per_s

    def describe(self) -> str:
        """As in `Codec`."""
        kind = "raw magnitudes" if self.is_linear else "PCA components of the log magnitude"
        return (
            f"{self.step.size} {kind}; sample rate {self.rate:,} Hz, FFT size {self.stft.n_fft}, "
            f"hop {self.stft.hop}"
        )

    def check(self, config: Any) -> None:
        """As in `Codec`."""
        settings = config.codec_settings
        refuse(settings.sample_rate, self.rate, "data.sample_rate", self)
        refuse(settings.n_fft, self.stft.n_fft, "data.n_fft", self)
        refuse(settings.hop_length, self.stft.hop, "data.hop_length", self)

    @property
    def is_linear(self) -> bool:
        """Whether frames are raw magnitudes."""
        return self._analysis is None

    def to_dict(self) -> dict[str, Any]:
        """As in `Codec`; the arrays are stored separately."""
        return {
            "name": self.name,
            "rate": self.rate,
            "n_fft": self.stft.n_fft,
            "hop": self.stft.hop,
            "features": self.step.size,
            "linear": self.is_linear,
        }

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> SpectrogramCodec:
        """Rebuild a codec from a checkpoint.

        Raises:
            CheckpointError: the values are invalid or inconsistent.
        """
        sizes = []
        for name, (least, most) in LIMITS.items():
            number = values.get(name)
            if type(number) is not int or not least <= number <= most:
                raise CheckpointError(f"the audio codec's {name} is {number!r}")
            sizes.append(number)
        rate, n_fft, hop, size = sizes
        try:
            stft = Stft(n_fft, hop)
        except ConfigError as error:
            raise CheckpointError(f"the audio codec is broken: {error}") from None
        bins = stft.bins
        expected: dict[str, tuple[int, ...]] = {"mean": (bins,), "remainder": (bins,)}
        if values.get("linear") is not True:
            expected |= {"basis": (size, bins), "weight": (bins,), "scale": (size,)}
        elif size != bins:
            raise CheckpointError(f"the audio codec has {size} features, but {bins} bins")
        starts = arrays.get("starts", np.zeros(0)).shape
        if len(starts) != 3 or 0 in starts or starts[0] > STARTS or starts[1] > START:
            raise CheckpointError(f"the audio codec has starts of shape {starts}")
        expected["starts"] = (starts[0], starts[1], size)
        for name in sorted(expected.keys() | arrays.keys()):
            found = arrays[name].shape if name in arrays else "missing"
            if found != expected.get(name):
                raise CheckpointError(
                    f"the audio codec's {name} is {found}, expected {expected.get(name, 'none')}"
                )
            if arrays[name].dtype != np.float32:
                raise CheckpointError(f"the audio codec's {name} is {arrays[name].dtype}")
            if not np.isfinite(arrays[name]).all():
                raise CheckpointError(f"the audio codec's {name} has numbers that are not finite")
        if any(np.abs(array).max() > FARTHEST for array in arrays.values()):
            raise CheckpointError(f"the audio codec has numbers above {FARTHEST:g}")
        if any(arrays[name].min() < NEAREST for name in ("weight", "scale") if name in arrays):
            raise CheckpointError(f"the audio codec has a weight or scale below {NEAREST:g}")
        return cls(rate, stft, dict(arrays))


class SoundReader(Reader):
    """Reads recordings one after the other, with silence between them, as features; measures how
    much the features leave out."""

    codec: SpectrogramCodec

    def __init__(self, codec: SpectrogramCodec, sources: Sources) -> None:
        super().__init__(codec)
        self._sources = sources
        self._missing = self._whole = 0.0
        self._notes: list[str] = []

    def __iter__(self) -> Iterator[Frames]:
        codec = self.codec
        for recording in Recordings(self._sources, codec.rate, self._notes):
            if self._whole:
                gap = silence(gap_frames([], codec.rate, codec.stft), codec.stft, codec.is_linear)
                yield codec.features(gap)
            for block in raw_frames(recording.sound(), codec.stft, linear=codec.is_linear):
                features = codec.features(block)
                magnitudes, kept = codec.loudness(block), codec.magnitudes(features)
                self._missing += _energy(magnitudes - kept)
                self._whole += _energy(magnitudes)
                yield features

    @property
    def codec_db(self) -> float:
        """Spectral convergence of the codec in dB: the norm of what the features leave out divided
        by that of the magnitudes; lower is better."""
        return 10 * float(np.log10(max(self._missing, 1e-30) / max(self._whole, 1e-30)))

    def report(self, steps: Frames, predicted: int, nats_per_step: float | None) -> Report:
        """As in `Reader`."""
        report = Report(notes=list(self._notes))
        seconds = predicted / self.codec.steps_per_s
        report.add("steps", predicted, "frames", f"{predicted:,}, {seconds:.1f} s")
        if nats_per_step is not None:
            report.add("nats_per_step", nats_per_step, "nats per frame", f"{nats_per_step:.2f}")
        report.values["codec_db"] = self.codec_db
        if not self.codec.is_linear:
            row = f"{self.codec_db:.1f} dB (spectral convergence of the PCA components)"
            report.rows.append(("codec loss", row))
        return report


def _energy(magnitudes: Frames) -> float:
    return float(np.sum(np.square(magnitudes, dtype=np.float64)))


class SoundDecoder:
    """Converts frames of features to sound, in blocks."""

    def __init__(self, codec: SpectrogramCodec, seed: int, rounds: int) -> None:
        self._codec = codec
        self._random = np.random.default_rng([seed, 1])
        self._phases = PhaseStream(codec.stft, seed, rounds)

    def push(self, features: Frames) -> Samples:
        """Add frames, (n, F); return the sound that is final by now, (m,)."""
        return self._phases.push(self._codec.magnitudes(features, self._random))

    def flush(self) -> Samples:
        """The rest of the sound; the total length is one hop for each frame."""
        return self._phases.flush()


def raw_frames(sound: Iterable[Samples], stft: Stft, *, linear: bool = False) -> Iterator[Frames]:
    """Raw frames, (n, bins), of a sound in blocks.

    They are log magnitudes relative to full scale, with a floor; if `linear`, plain magnitudes.
    """
    rest = np.zeros(stft.n_fft // 2, np.float32)
    for block in chain(sound, [rest]):  # as much silence after the sound as before it
        rest = np.concatenate([rest, block])
        count = (len(rest) - stft.n_fft) // stft.hop + 1
        if count > 0:
            whole = rest[: stft.n_fft + (count - 1) * stft.hop]
            loudness = np.abs(stft.frames(whole))
            if not linear:
                loudness = np.log(
                    loudness / np.float32(stft.full_scale) + np.float32(MAGNITUDE_FLOOR)
                )
            yield loudness
            rest = rest[count * stft.hop :]


def silence(count: int, stft: Stft, linear: bool) -> Frames:
    """`count` raw frames of silence, (count, bins)."""
    return np.full((count, stft.bins), 0 if linear else np.log(MAGNITUDE_FLOOR), np.float32)


def gap_frames(frames: Sequence[int], rate: int, stft: Stft) -> int:
    """The length of the silence between two recordings, in frames.

    Args:
        frames: the lengths of the recordings; empty: unknown.
        rate: samples per second.
        stft: the transform.
    """
    most = max(1, round(GAP_S * rate / stft.hop))
    return min(most, max(1, round(GAP * float(np.median(frames))))) if frames else most
