"""The codec of sound: converts sound to spectrogram frames and back.

By default a raw frame is the log magnitude of each bin, with a floor, the level of each of 32 mel
bands, and those of the bands from 600 Hz on in short frames (see `envelope`).  It is projected
onto the principal components of the training part.  Bins are weighted by the square root of their
usual magnitude, and components are divided by the square root of their standard deviation (half
whitening), so that errors in loud bins that vary count more than inaudible ones.  Bands are
weighted so much that the components keep them almost exactly.

After the components a frame has its position in the training part, which is read as a circle: the
cosine and the sine of an angle.  Where two passages are alike, it tells the network which of them
this is, and it goes on in samples as it does in the recording.  Input noise blurs it in training.
What is held out goes on after the circle, so it has the positions of the beginning.

What the components leave out of the bins is replaced by noise: the log magnitudes of white noise,
which change from bin to bin and from frame to frame as those of a sound do.  Then every band is
brought to its level, and the sound to the levels in short frames.

Without components a frame consists of the raw magnitudes.  Codecs of earlier versions have no
position, no short frames, or not even bands, and independent noise in every bin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError, ConfigError
from charrnn.media.codec import Codec, refuse
from charrnn.media.report import Report
from charrnn.media.sound.bands import (
    BREAK_HZ,
    FLOOR,
    LEAST,
    LOUDEST,
    gains,
    levels,
    mel_bank,
    mel_centres,
)
from charrnn.media.sound.codec import SoundCodec, SoundReader
from charrnn.media.sound.envelope import Envelope, EnvelopeStream
from charrnn.media.sound.phase import ROUNDS, PhaseStream
from charrnn.media.sound.recordings import Recording, Recordings
from charrnn.media.sound.stft import Frames, Samples, Stft
from charrnn.media.sources import Sources
from charrnn.media.steps import Continuous

if TYPE_CHECKING:
    from charrnn.media.web import WebPage

Array = NDArray[np.float32]
Arrays = dict[str, Array]

BANDS, MOST_BANDS = 32, 256
RAYLEIGH = math.pi / 24**0.5  # standard deviation of the log magnitude of white noise
LEVELLED = 3  # rounds in which the bands are brought to their levels, since they overlap
GAP_S, GAP = 0.25, 0.25  # silence between two recordings: at most, and relative to their length
POSITION = 2  # numbers that tell it
FACTORS = 10  # mel bands for which there is a factor of the noise that is heard
LEAST_HEARD, MOST_HEARD = 0.25, 1.5
MATCHING = 1.5  # a factor is divided by the relative change in its band to this power
SOUGHT = 512  # frames in which an excerpt is looked for
STARTS, START = 16, 32  # number of excerpts that a sample can continue, and frames in each
# Ranges allowed in a checkpoint.
LIMITS = {
    "rate": (8_000, 48_000),
    "n_fft": (64, 8_192),
    "hop": (16, 4_096),
}
LONGEST = 1 << 40  # period
FARTHEST, NEAREST = 1e5, 1e-8  # largest number in any array; smallest weight or scale


class SpectrogramCodec(SoundCodec):
    """Converts sound to frames of F features each, and back.

    Args:
        rate: samples per second.
        stft: the transform.
        arrays: `mean`, (D,), D the numbers in a raw frame; `remainder`, (D,), the standard
            deviation of what the features leave out; `starts`, (S, P, F), excerpts that samples
            without a prime continue.  With principal components also `basis`, (F, D), orthonormal,
            `weight`, (D,), and `scale`, (F,).  Without a basis the features are magnitudes.
        envelope: that a raw frame has at its end, if it has one.
        heard_noise: by what factor the noise of the network is heard; one number, or FACTORS of
            them for mel bands, from low to high.
        period: frames in the circle of positions; 0: frames have none.
    """

    name = "audio"
    unit = "frame"
    block: ClassVar[int] = 16
    runs: ClassVar[int] = 8  # a few may be good by chance
    run_s: ClassVar[float] = 10.0
    chosen_by_loss: ClassVar[bool] = False
    arrays: Arrays

    def __init__(
        self,
        rate: int,
        stft: Stft,
        arrays: Arrays,
        envelope: Envelope | None = None,
        heard_noise: tuple[float, ...] = (1.0,),
        period: int = 0,
    ) -> None:
        self.rate, self.stft, self.arrays, self.envelope = rate, stft, arrays, envelope
        self.hop = self.heard_hop = stft.hop
        self.heard_noise, self.period = heard_noise, period
        basis = arrays.get("basis")
        self.components = stft.bins if basis is None else len(basis)
        conditions = POSITION if period else 0
        self.step = Continuous(self.components + conditions, conditions)
        others = envelope.width if envelope else 0
        self.bank = mel_bank(rate, stft, len(arrays["mean"]) - stft.bins - others)
        self._analysis = self._synthesis = None
        if basis is not None:
            self._analysis = (basis * arrays["weight"]).T / arrays["scale"]  # (D, F)
            self._synthesis = basis * arrays["scale"][:, np.newaxis] / arrays["weight"]  # (F, D)
        self.kept = self._kept()

    def encoded(self, sound: Iterable[Samples]) -> Iterator[Frames]:
        """As in `SoundCodec`."""
        yield from self.placed(map(self.features, self.raw_frames(sound)))

    def heard(self, steps: Frames) -> Frames:
        """As in `SoundCodec`: the magnitudes of long frames, before the sound of them is brought to
        its envelope, without noise for what the steps leave out."""
        return self.magnitudes(np.asarray(steps)) / self.stft.full_scale

    def kept_noise(self, noise: Array) -> Array:
        """As in `Codec`: `heard_noise` of it."""
        if self.kept is None:
            return np.float32(self.heard_noise[0]) * noise
        kept = np.zeros_like(noise)
        kept[: self.components] = noise[: self.components] @ self.kept
        return kept

    def matched(self, changes: NDArray[np.float64]) -> SpectrogramCodec | None:
        """As in `SoundCodec`: where samples change more than the recording, less of the noise of
        the network is heard, and where they change less, more of it."""
        if self.is_linear or not self.bank.size:
            return None
        smooth = np.convolve(np.pad(changes, 2, mode="edge"), np.full(5, 0.2), "valid")
        own = np.interp(
            mel_centres(self.rate, FACTORS), mel_centres(self.rate, len(changes)), smooth
        )
        factors = np.array(self.heard_noise) * np.clip(own, 0.5, 2) ** -MATCHING
        heard = tuple(np.clip(factors, LEAST_HEARD, MOST_HEARD).round(4).tolist())
        return SpectrogramCodec(
            self.rate, self.stft, self.arrays, self.envelope, heard, self.period
        )

    def _kept(self) -> Array | None:
        """The matrix, (components, components), by which noise is multiplied; None: a number."""
        if len(self.heard_noise) == 1 or self._synthesis is None or self._analysis is None:
            return None
        bands = mel_centres(self.rate, self.bank.shape[1])
        places = [np.arange(self.stft.bins) * self.rate / self.stft.n_fft, bands]
        if self.envelope:
            places.append(np.tile(bands[self.envelope.first :], self.envelope.count))
        mels = np.log1p(np.concatenate(places) / BREAK_HZ)  # of the numbers in a raw frame
        centres = np.log1p(mel_centres(self.rate, FACTORS) / BREAK_HZ)
        factors = np.interp(mels, centres, self.heard_noise).astype(np.float32)
        kept: Array = (self._synthesis * factors) @ self._analysis
        return kept

    def raw_frames(self, sound: Iterable[Samples]) -> Iterator[Frames]:
        """Raw frames, (n, D), of a sound in blocks; see `raw_frames`."""
        return raw_frames(sound, self.stft, self.bank, self.envelope, linear=self.is_linear)

    def features(self, raw: Frames) -> Frames:
        """Features without a position, (n, components), of raw frames, (n, D)."""
        if self._analysis is None:
            return raw
        features: Frames = (raw - self.arrays["mean"]) @ self._analysis
        return features

    def placed(self, blocks: Iterable[Frames], place: int | None = None) -> Iterator[Frames]:
        """Features with a position, (n, F) each, as far as this codec has positions.

        Args:
            blocks: successive features without one, (n, components) each.
            place: of the first frame, in frames; None: unknown, so that one of the excerpts in
                `starts` that is most similar to a part of the first block decides.
        """
        for block in blocks:
            if place is None:
                place = self._similar(block)
            yield np.concatenate([block, self._positions(place, len(block))], 1)
            place += len(block)

    def conditions(self, read: Frames) -> Iterator[Frames]:
        """As in `Codec`: the position."""
        after = self._place(read[-1]) + 1 if self.period else 0
        return (self._positions(place, 1)[0] for place in count(after))

    def _positions(self, place: float, count: int) -> Frames:
        """The numbers that tell the position, (count, POSITION), from a place on; (count, 0)
        without positions."""
        if not self.period:
            return np.zeros((count, 0), np.float32)
        angles = 2 * np.pi / self.period * (place + np.arange(count))
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)

    def place_s(self, steps: Frames) -> float | None:
        """As in `SoundCodec`."""
        return self._place(steps[0]) % self.period / self.steps_per_s if self.period else None

    def _place(self, frame: Array) -> float:
        """The place, in frames, of a frame, (F,)."""
        return math.atan2(frame[-1], frame[-2]) / (2 * math.pi) * self.period

    def _similar(self, features: Frames) -> int:
        """The place of features, (n, components), of which a part is most similar to an excerpt in
        `starts`; 0 without positions."""
        if not self.period:
            return 0
        features = features[:SOUGHT]
        length = min(len(features), self.arrays["starts"].shape[1])
        starts = self.arrays["starts"][:, :length]
        parts = np.lib.stride_tricks.sliding_window_view(features, length, 0)  # (n', F, P)
        distances = [
            [np.square(part.T - start[:, : self.components]).sum() for part in parts]
            for start in starts
        ]
        start, offset = np.unravel_index(np.argmin(distances), np.shape(distances))
        return round(self._place(starts[start, 0])) - int(offset)

    def magnitudes(self, features: Frames, noise: Noise | None = None) -> Frames:
        """Magnitudes, (n, bins), of features, (n, F), with or without a position.

        Args:
            features: the output of the network.
            noise: replaces what the features leave out; None: nothing does.
        """
        stft = self.stft
        most = np.float32(LOUDEST * stft.full_scale)
        if self._synthesis is None:
            return np.clip(features, 0, most)
        width = stft.bins + self.bank.shape[1]
        components = features[:, : self.components]
        raw = components @ self._synthesis[:, :width] + self.arrays["mean"][:width]
        raw, wanted = raw[:, : stft.bins], raw[:, stft.bins :]
        if noise is not None:
            raw += noise.take(len(raw))
        magnitudes = self.loudness(np.minimum(raw, np.float32(np.log(LOUDEST))))
        if wanted.shape[1]:
            scale = np.float32(stft.full_scale)
            magnitudes = np.maximum(magnitudes, LEAST * scale)
            for _ in range(LEVELLED):
                magnitudes = magnitudes * gains(magnitudes / scale, wanted, self.bank)
        return np.clip(magnitudes, 0, most)

    def envelope_of(self, features: Frames) -> Frames:
        """Log levels, (n, envelope.width), of features, (n, F), with or without a position."""
        assert self.envelope is not None
        assert self._synthesis is not None
        width = self.envelope.width
        components = features[:, : self.components]
        wanted: Frames = components @ self._synthesis[:, -width:] + self.arrays["mean"][-width:]
        return wanted

    def noise(self, random: np.random.Generator) -> Noise:
        """The noise that replaces what the features leave out."""
        return Noise(self, random)

    def silence(self, count: int) -> Frames:
        """`count` raw frames of silence, (count, D)."""
        quiet = 0 if self.is_linear else np.log(FLOOR)
        return np.full((count, len(self.arrays["mean"])), quiet, np.float32)

    def loudness(self, raw: Frames) -> Frames:
        """The magnitudes, (n, bins), of raw frames, (n, D)."""
        if self.is_linear:
            return raw
        floor, scale = np.float32(FLOOR), np.float32(self.stft.full_scale)
        loudness: Frames = (np.exp(raw[:, : self.stft.bins]) - floor) * scale
        return loudness

    def decoder(self, seed: int = 0, rounds: int = ROUNDS) -> SpectrogramDecoder:
        """A decoder for a stream of features.

        Args:
            seed: for the noise that replaces what the features leave out, and for random phases.
            rounds: iterations of the Griffin-Lim algorithm.
        """
        return SpectrogramDecoder(self, seed, rounds)

    def reader(self, sources: Sources, settings: Any) -> SpectrogramReader:
        """As in `Codec`."""
        return SpectrogramReader(self, sources)

    def start(self, random: np.random.Generator) -> Frames:
        """As in `Codec`: one of the stored excerpts of the corpus."""
        starts = self.arrays["starts"]
        start: Frames = starts[random.integers(len(starts))]
        return start

    def web_page(self, settings: Any) -> WebPage:
        """As in `Codec`."""
        from charrnn.media.sound.webpage import web_page

        return web_page(self, settings)

    def describe(self) -> str:
        """As in `Codec`."""
        kind = "raw magnitudes" if self.is_linear else "PCA components of the log magnitude"
        kind += " and envelope" if self.envelope else ""
        kind += ", and the position" if self.period else ""
        return (
            f"{self.components} {kind}; sample rate {self.rate:,} Hz, FFT size {self.stft.n_fft}, "
            f"hop {self.stft.hop}"
        )

    def encodes_like(self, other: Codec) -> bool:
        """As in `Codec`: what is heard of the noise is another matter."""
        own, its = (codec.to_dict() | {"heard_noise": 0} for codec in (self, other))
        return own == its

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
        values = {
            "name": self.name,
            "rate": self.rate,
            "n_fft": self.stft.n_fft,
            "hop": self.stft.hop,
            "features": self.step.size,
            "linear": self.is_linear,
        }
        # What models of earlier versions do not have.
        others: dict[str, Any] = {
            "bands": self.bank.shape[1],
            "envelope": self.envelope is not None,
            "heard_noise": self.heard_noise[0] if len(self.heard_noise) == 1 else self.heard_noise,
            "period": self.period,
        }
        without = {"bands": 0, "envelope": False, "heard_noise": 1.0, "period": 0}
        return values | {name: v for name, v in others.items() if v != without[name]}

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
        rate, n_fft, hop = sizes
        try:
            stft = Stft(n_fft, hop)
        except ConfigError as error:
            raise CheckpointError(f"the audio codec is broken: {error}") from None
        bands = values.get("bands", 0)
        if type(bands) is not int or not 0 <= bands <= MOST_BANDS:
            raise CheckpointError(f"the audio codec's bands is {bands!r}")
        envelope = None
        if (has_envelope := values.get("envelope", False)) is not False:
            envelope = Envelope.for_frames(rate, stft, bands)
            if has_envelope is not True or envelope is None:
                raise CheckpointError(f"the audio codec's envelope is {has_envelope!r}")
        heard_noise = values.get("heard_noise", 1.0)
        heard = tuple(heard_noise) if isinstance(heard_noise, list | tuple) else (heard_noise,)
        if len(heard) not in (1, FACTORS) or not all(
            type(share) in (int, float) and 0 <= share <= MOST_HEARD for share in heard
        ):
            raise CheckpointError(f"the audio codec's heard_noise is {heard_noise!r:.100}")
        period = values.get("period", 0)
        if type(period) is not int or not 0 <= period <= LONGEST:
            raise CheckpointError(f"the audio codec's period is {period!r}")
        width = stft.bins + bands + (envelope.width if envelope else 0)
        position = POSITION if period else 0
        size = values.get("features")
        if type(size) is not int or not 1 <= size - position <= width:
            raise CheckpointError(f"the audio codec's features is {size!r}")
        expected: dict[str, tuple[int, ...]] = {"mean": (width,), "remainder": (width,)}
        if values.get("linear") is not True:
            components = size - position
            expected |= {"basis": (components, width), "scale": (components,), "weight": (width,)}
        elif bands or period or size != width:
            raise CheckpointError(
                f"the audio codec has {size} features, but {stft.bins} bins and {bands} bands"
            )
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
        return cls(rate, stft, dict(arrays), envelope, tuple(map(float, heard)), period)


class SpectrogramReader(SoundReader):
    """Reads recordings one after the other, with silence between them, as features; measures how
    much the features leave out."""

    codec: SpectrogramCodec

    def __init__(self, codec: SpectrogramCodec, sources: Sources) -> None:
        super().__init__(codec, sources)
        self._missing = self._whole = 0.0

    def __iter__(self) -> Iterator[Frames]:
        codec = self.codec
        for recording in Recordings(self._sources, codec.rate, self._notes):
            if self._whole:
                silence = codec.silence(gap_frames([], codec.rate, codec.stft))
                yield from codec.placed([codec.features(silence)])
            yield from codec.placed(self._measured(recording))

    def _measured(self, recording: Recording) -> Iterator[Frames]:
        """The features of a recording without a position, in blocks; measures what they leave
        out."""
        codec = self.codec
        for block in codec.raw_frames(self._overheard(recording.sound())):
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


class SpectrogramDecoder:
    """Converts frames of features to sound, in blocks."""

    def __init__(self, codec: SpectrogramCodec, seed: int, rounds: int) -> None:
        self._codec = codec
        self._shaped = EnvelopeStream(codec.envelope) if codec.envelope else None
        self._noise = codec.noise(np.random.default_rng([seed, 1]))
        self._phases = PhaseStream(codec.stft, seed, rounds)

    def push(self, features: Frames) -> Samples:
        """Add frames, (n, F); return the sound that is final by now, (m,)."""
        sound = self._phases.push(self._codec.magnitudes(features, self._noise))
        if self._shaped:
            sound = self._shaped.push(sound, self._codec.envelope_of(features))
        return sound

    def flush(self) -> Samples:
        """The rest of the sound; the total length is one hop for each frame."""
        sound = self._phases.flush()
        return self._shaped.flush(sound) if self._shaped else sound


class Noise:
    """The noise that replaces what the features leave out, frame by frame.

    Args:
        codec: of the features.
        random: generates it.
    """

    def __init__(self, codec: SpectrogramCodec, random: np.random.Generator) -> None:
        self._stft, self._random = codec.stft, random
        self._deviation = codec.arrays["remainder"][: codec.stft.bins]
        self._is_white = codec.bank.size > 0
        self._rest = np.zeros(0, np.float32)  # samples that the next frames cover, too
        if self._is_white:
            # What is left out of a bin that is no noise varies less, and noise would blur it.
            self._deviation = self._deviation * np.minimum(1, self._deviation / RAYLEIGH)
            self._rest = random.standard_normal(self._stft.n_fft - self._stft.hop, np.float32)

    def take(self, count: int) -> Frames:
        """What is added to the next raw frames, (count, bins)."""
        stft, random = self._stft, self._random
        if not self._is_white:
            return self._deviation * random.standard_normal((count, stft.bins), np.float32)
        sound = np.concatenate([self._rest, random.standard_normal(count * stft.hop, np.float32)])
        self._rest = sound[count * stft.hop :]
        power = float(np.sum(np.square(stft.window)))
        usual = (math.log(power) - np.euler_gamma) / 2  # mean log magnitude of a complex normal
        logs = np.log(np.abs(stft.frames(sound)) + np.float32(1e-9)) - np.float32(usual)
        noise: Frames = logs * (self._deviation / np.float32(RAYLEIGH))
        return noise


def raw_frames(
    sound: Iterable[Samples],
    stft: Stft,
    bank: NDArray[np.float32],
    envelope: Envelope | None = None,
    *,
    linear: bool = False,
) -> Iterator[Frames]:
    """Raw frames, (n, D), of a sound in blocks: the bins, then the bands, then the envelope.

    They are log magnitudes relative to full scale, with a floor; if `linear`, plain magnitudes.

    Args:
        sound: in blocks.
        stft: the transform.
        bank: of the bands, as from `mel_bank`.
        envelope: if frames have one.
        linear: there are neither bands nor an envelope then.
    """
    rest = np.zeros(stft.n_fft // 2, np.float32)
    for block in chain(sound, [rest]):  # as much silence after the sound as before it
        rest = np.concatenate([rest, block])
        count = (len(rest) - stft.n_fft) // stft.hop + 1
        if count > 0:
            loudness = np.abs(stft.frames(rest[: stft.n_fft + (count - 1) * stft.hop]))
            if not linear:
                loudness /= np.float32(stft.full_scale)
                parts = [np.log(loudness + np.float32(FLOOR)), levels(loudness, bank)]
                if envelope:
                    begin = stft.n_fft // 2 - envelope.stft.hop  # where the first short frame does
                    parts.append(envelope.of(rest[begin : stft.n_fft // 2 + count * stft.hop]))
                loudness = np.concatenate(parts, 1)
            yield loudness
            rest = rest[count * stft.hop :]


def gap_frames(frames: Sequence[int], rate: int, stft: Stft) -> int:
    """The length of the silence between two recordings, in frames.

    Args:
        frames: the lengths of the recordings; empty: unknown.
        rate: samples per second.
        stft: the transform.
    """
    most = max(1, round(GAP_S * rate / stft.hop))
    return min(most, max(1, round(GAP * float(np.median(frames))))) if frames else most
