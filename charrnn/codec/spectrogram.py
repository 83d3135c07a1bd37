"""Sound as frames of a spectrogram, and back.

The default frame is the log magnitude, with a floor, in its principal components: those of the
training part, so that a few numbers say what is heard and none says what another has said.  Bins
are weighted by the square root of their usual magnitude, and components are divided by the square
root of their deviation and not by all of it: an error in what is loud and moves counts more than
one in what is not heard.  What the components leave out comes back as noise of the deviation that
it had.

The plain frame is the magnitude as it is, all bins of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from charrnn.codec import audio
from charrnn.codec.phase import ROUNDS, PhaseStream
from charrnn.codec.sources import Sources
from charrnn.codec.steps import Continuous
from charrnn.codec.stft import Samples, Stft
from charrnn.errors import CheckpointError, ConfigError

Array = NDArray[np.float32]
Frames = NDArray[np.float32]  # (N, F)
Arrays = dict[str, Array]
Part = tuple[int, int, int]  # of a recording: which, and where it begins and ends

FLOOR = 1e-4  # of a full-scale sine: -80 dB
GAP_S = 0.25  # of silence between two recordings
BLOCK = 4096  # frames that are worked on at a time
STARTS, START = 16, 32  # places to begin a sample after, and frames of each
WEIGHT = 0.5  # the power of a bin's usual magnitude that weights it
RANK = 1e-7  # of the largest variance: what is less is rounding
# What a checkpoint may say.
LIMITS = {
    "rate": (8_000, 48_000),
    "n_fft": (64, 8_192),
    "hop": (16, 4_096),
    "features": (1, 4_097),
}
FARTHEST, NEAREST = 1e5, 1e-8
LOUDEST = 1e2  # times a full-scale sine: what a model may ask for


class SpectrogramCodec:
    """Frames of features, F numbers each, to sound and back.

    Args:
        rate: samples a second.
        stft: the transform.
        arrays: `mean`, (bins,); `remainder`, (bins,), the deviation of what the features leave out;
            `starts`, (S, P, F), features to begin a sample after; and of principal components
            `basis`, (F, bins), orthonormal, `weight`, (bins,), and `scale`, (F,).  Without a basis
            the features are magnitudes.
    """

    name: ClassVar[str] = "audio"
    unit: ClassVar[str] = "frame"
    medium: ClassVar[Literal["sound"]] = "sound"
    remark: ClassVar[str] = ""
    end: ClassVar[None] = None

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
        """Frames a second."""
        return self.rate / self.stft.hop

    def features(self, raw: Frames) -> Frames:
        """Features, (n, F), of frames as `raw` gives them, (n, bins)."""
        if self._analysis is None:
            return raw
        features: Frames = (raw - self.arrays["mean"]) @ self._analysis
        return features

    def magnitudes(self, features: Frames, random: np.random.Generator | None = None) -> Frames:
        """Magnitudes, (n, bins), of features, (n, F).

        Args:
            features: as the network gives them.
            random: draws what the features leave out; None: it stays out.
        """
        most = np.float32(LOUDEST * self.stft.full_scale)
        if self._synthesis is None:
            return np.clip(features, 0, most)
        raw = features @ self._synthesis + self.arrays["mean"]
        if random is not None:
            raw += self.arrays["remainder"] * random.standard_normal(raw.shape, np.float32)
        return np.clip(self.loudness(np.minimum(raw, np.float32(np.log(LOUDEST)))), 0, most)

    def encode(self, sources: Sources, loss: Loss | None = None) -> Iterator[Frames]:
        """The features of recordings, one after the other with silence between, in blocks.

        Args:
            sources: the recordings.
            loss: told what the features leave out.

        Raises:
            CorpusError: a recording that cannot be read.
        """
        for index, name in enumerate(sources.files):
            if index:
                yield self.features(_silence(self.rate, self.stft, self.is_linear))
            for block in _recorded(name, self.rate, self.stft, self.is_linear):
                features = self.features(block)
                if loss is not None:
                    loss.add(self.loudness(block), self.magnitudes(features))
                yield features

    def loudness(self, raw: Frames) -> Frames:
        """The magnitudes of raw frames, (n, bins)."""
        if self.is_linear:
            return raw
        loudness: Frames = (np.exp(raw) - np.float32(FLOOR)) * np.float32(self.stft.full_scale)
        return loudness

    def decoder(self, seed: int = 0, rounds: int = ROUNDS) -> SoundDecoder:
        """A decoder for a stream of features.

        Args:
            seed: of what the features leave out.
            rounds: of the Griffin-Lim algorithm.
        """
        return SoundDecoder(self, seed, rounds)

    @property
    def is_linear(self) -> bool:
        """Whether a frame is the magnitude as it is."""
        return self._analysis is None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; the arrays travel apart."""
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
            CheckpointError: it contradicts itself.
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
        wanted: dict[str, tuple[int, ...]] = {"mean": (bins,), "remainder": (bins,)}
        if values.get("linear") is not True:
            wanted |= {"basis": (size, bins), "weight": (bins,), "scale": (size,)}
        elif size != bins:
            raise CheckpointError(f"the audio codec has {size} features of {bins} bins")
        starts = arrays.get("starts", np.zeros(0)).shape
        if len(starts) != 3 or 0 in starts or starts[0] > STARTS or starts[1] > START:
            raise CheckpointError(f"the audio codec has starts of shape {starts}")
        wanted["starts"] = (starts[0], starts[1], size)
        for name in sorted(wanted.keys() | arrays.keys()):
            found = arrays[name].shape if name in arrays else "missing"
            if found != wanted.get(name):
                raise CheckpointError(
                    f"the audio codec's {name} is {found}, not {wanted.get(name, 'there')}"
                )
            if arrays[name].dtype != np.float32:
                raise CheckpointError(f"the audio codec's {name} is {arrays[name].dtype}")
            if not np.isfinite(arrays[name]).all():
                raise CheckpointError(f"the audio codec's {name} is not of finite numbers")
        if any(np.abs(array).max() > FARTHEST for array in arrays.values()):
            raise CheckpointError("the audio codec has numbers that no sound has")
        if any(arrays[name].min() < NEAREST for name in ("weight", "scale") if name in arrays):
            raise CheckpointError("the audio codec divides by next to nothing")
        return cls(rate, stft, dict(arrays))


class Loss:
    """What the features of frames leave out: their spectral convergence."""

    def __init__(self) -> None:
        self._missing = self._whole = 0.0

    def add(self, magnitudes: Frames, heard: Frames) -> None:
        """Count frames, (n, bins), and what came back of them."""
        self._missing += float(np.sum(np.square(magnitudes - heard, dtype=np.float64)))
        self._whole += float(np.sum(np.square(magnitudes, dtype=np.float64)))

    @property
    def decibels(self) -> float:
        """The norm of the difference over that of the magnitudes; the lower the better."""
        return 10 * float(np.log10(max(self._missing, 1e-30) / max(self._whole, 1e-30)))


class SoundDecoder:
    """Turns frames of features into sound, block by block."""

    def __init__(self, codec: SpectrogramCodec, seed: int, rounds: int) -> None:
        self._codec = codec
        self._random = np.random.default_rng([seed, 1])
        self._phases = PhaseStream(codec.stft, seed, rounds)

    def push(self, features: Frames) -> Samples:
        """The sound, (m,), that frames, (n, F), make certain."""
        return self._phases.push(self._codec.magnitudes(features, self._random))

    def flush(self) -> Samples:
        """The rest of the sound: all together it is a hop for each frame."""
        return self._phases.flush()


def raw_frames(sound: Iterable[Samples], stft: Stft, *, linear: bool = False) -> Iterator[Frames]:
    """Log magnitudes of full scale with a floor, or magnitudes as they are, (n, bins), of a sound
    in blocks."""
    rest = np.zeros(stft.n_fft // 2, np.float32)
    for block in chain(sound, [rest]):  # as much silence behind it as before it
        rest = np.concatenate([rest, block])
        count = (len(rest) - stft.n_fft) // stft.hop + 1
        if count > 0:
            whole = rest[: stft.n_fft + (count - 1) * stft.hop]
            loudness = np.abs(stft.frames(whole))
            if not linear:
                loudness = np.log(loudness / np.float32(stft.full_scale) + np.float32(FLOOR))
            yield loudness
            rest = rest[count * stft.hop :]


def _recorded(name: str, rate: int, stft: Stft, linear: bool) -> Iterator[Frames]:
    """The raw frames of a recording, in blocks."""
    return raw_frames(audio.recording(name).sound(rate), stft, linear=linear)


def _silence(rate: int, stft: Stft, linear: bool) -> Frames:
    """What stands between two recordings."""
    count = round(GAP_S * rate / stft.hop)
    return np.full((count, stft.bins), 0 if linear else np.log(FLOOR), np.float32)


class SpectrogramLearner:
    """Encodes recordings while it learns the codec.

    Iterate over it for raw frames; `settle` then makes of them what stands in the corpus, and
    afterwards `codec` is what they were made with.

    Args:
        sources: the recordings.
        rate: samples a second.
        stft: the transform.
        components: F; 0: magnitudes as they are.
        val_fraction: share of each recording, its end, that is held out; once the corpus is
            settled, the share of it that is.
    """

    def __init__(
        self, sources: Sources, rate: int, stft: Stft, components: int, val_fraction: float
    ) -> None:
        if components > stft.bins:
            raise ConfigError(f"--components must be at most {stft.bins}, the bins of a frame")
        self._sources, self._rate, self._stft = sources, rate, stft
        self._components, self.val_fraction = components, val_fraction
        self._counts: list[int] = []  # frames of each recording
        self._codec: SpectrogramCodec | None = None

    def __iter__(self) -> Iterator[Frames]:
        for name in self._sources.files:
            self._counts.append(0)
            for block in _recorded(name, self._rate, self._stft, not self._components):
                self._counts[-1] += len(block)
                yield block

    settles: ClassVar[bool] = True

    def settle(self, raw: Frames) -> Iterator[Frames]:
        """The corpus in blocks of features: what is learnt from of each recording, then what is
        held out of each, with silence where one does not go on as the other ends.

        Args:
            raw: all raw frames, (N, bins).
        """
        learnt, held = self._parts()
        spans = [(begin, end) for _, begin, end in learnt]
        arrays = _fit(raw, spans, self._components)
        self._codec = codec = SpectrogramCodec(self._rate, self._stft, arrays)
        arrays["starts"] = _starts(codec, raw, spans)
        silence = codec.features(_silence(self._rate, self._stft, codec.is_linear))
        count = before = 0
        last: Part | None = None
        for number, part in enumerate(learnt + held):
            before = count if number == len(learnt) else before
            recording, begin, end = part
            if last is not None and (last[0], last[2]) != (recording, begin):
                count += len(silence)
                yield silence
            for block in _rows(raw, begin, end):
                count += len(block)
                yield codec.features(block)
            last = part
        self.val_fraction = (count - before) / count

    def _parts(self) -> tuple[list[Part], list[Part]]:
        """What is learnt from of each recording, and what is held out: its end, or where all are
        too short for that, the last recordings."""
        bounds = np.cumsum([0, *self._counts]).tolist()
        whole = list(enumerate(pairwise(bounds)))
        learnt, held = [], []
        for recording, (begin, end) in whole:
            cut = end - round((end - begin) * self.val_fraction)
            learnt.append((recording, begin, cut))
            held.append((recording, cut, end))
        if all(begin == end for _, begin, end in held):
            count = max(1, round(len(whole) * self.val_fraction))
            parts = [(recording, begin, end) for recording, (begin, end) in whole]
            if len(parts) == 1:
                recording, begin, end = parts[0]
                cut = max(begin + 1, end - 2)
                return [(recording, begin, cut)], [(recording, cut, end)]
            learnt, held = parts[:-count], parts[-count:]
        return [p for p in learnt if p[1] < p[2]], [p for p in held if p[1] < p[2]]

    @property
    def codec(self) -> SpectrogramCodec:
        """The codec, once `settle` has been walked through."""
        assert self._codec is not None
        return self._codec


def _rows(raw: Frames, begin: int, end: int) -> Iterator[Frames]:
    """Rows in blocks; each through a memory map of its own, for in one that stays all that was
    read would count as this process's memory."""
    for start in range(begin, end, BLOCK):
        rows: NDArray[Any] = raw
        if isinstance(raw, np.memmap) and raw.filename is not None:
            rows = np.memmap(raw.filename, raw.dtype, "r", raw.offset, raw.shape)
        yield np.array(rows[start : min(end, start + BLOCK)])


def _fit(raw: Frames, parts: list[tuple[int, int]], components: int) -> Arrays:
    """What the features of these parts need to know of their frames."""
    bins = raw.shape[1]
    if not components:
        return {"mean": np.zeros(bins, np.float32), "remainder": np.zeros(bins, np.float32)}
    count, total, power = 0, np.zeros(bins), np.zeros(bins)
    products = np.zeros((bins, bins))
    for begin, end in parts:
        for rows in _rows(raw, begin, end):
            block = rows.astype(np.float64)
            count += len(block)
            total += block.sum(0)
            power += np.square(np.exp(block) - FLOOR).sum(0)
            products += block.T @ block
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    weight = (np.sqrt(power / count) + FLOOR) ** WEIGHT
    weighted = covariance * np.outer(weight, weight)
    wanted = max(1, min(components, count - 1))
    variances, vectors = scipy.linalg.eigh(weighted, subset_by_index=(bins - wanted, bins - 1))
    variances, basis = variances[::-1], vectors.T[::-1]
    variances = np.maximum(variances, RANK)
    is_there = variances >= max(RANK * variances[0], RANK)
    is_there[1:] &= variances[1:] > RANK
    variances, basis = variances[is_there], basis[is_there]
    kept = np.sum(np.square(basis) * variances[:, np.newaxis], 0) / np.square(weight)
    deviations = np.sqrt(variances)
    arrays = {
        "mean": mean,
        "weight": weight,
        "basis": basis,
        "scale": np.sqrt(deviations * deviations[0]),
        "remainder": np.sqrt(np.maximum(np.diag(covariance) - kept, 0)),
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _starts(codec: SpectrogramCodec, raw: Frames, parts: list[tuple[int, int]]) -> Array:
    """Features to begin a sample after, (S, P, F), from all over the parts, but none from where
    they are quieter than usual."""
    length = min(START, max(end - begin for begin, end in parts))
    found = [range(begin, end - length + 1, max(1, length // 4)) for begin, end in parts]
    places = np.concatenate([np.array(places, int) for places in found])
    loudness = np.concatenate([rows.mean(1) for rows in _rows(raw, 0, len(raw))])
    loudness = np.array([loudness[place : place + length].mean() for place in places])
    places = places[loudness >= np.median(loudness)]
    chosen = places[np.linspace(0, len(places) - 1, min(STARTS, len(places))).astype(int)]
    return np.stack([codec.features(raw[place : place + length]) for place in chosen])
