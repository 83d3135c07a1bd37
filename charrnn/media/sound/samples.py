"""The codec of raw audio: one step is one sample of sound, in 256 levels.

The levels are those of mu-law companding (ITU-T G.711, mu = 255), finer for quiet sound, as in
WaveNet (van den Oord et al. 2016, https://arxiv.org/abs/1609.03499).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError
from charrnn.media.codec import refuse
from charrnn.media.medium import Learner
from charrnn.media.report import Report, losses
from charrnn.media.sound.codec import SoundCodec, SoundReader
from charrnn.media.sound.recordings import Recordings
from charrnn.media.sound.stft import Frames, Samples, Stft
from charrnn.media.sources import Sources
from charrnn.media.steps import Discrete

Levels = NDArray[np.uint8]  # (N,)

LEVELS = 256
MU = LEVELS - 1
SILENCE = LEVELS // 2
RATES = (8_000, 48_000)  # allowed in a checkpoint, in Hz


class SamplesCodec(SoundCodec):
    """Converts sound to levels, and back.

    Args:
        rate: samples per second.
    """

    name = "samples"
    unit = "audio sample"
    hop = 1
    block: ClassVar[int] = 1024
    runs: ClassVar[int] = 1
    run_s: ClassVar[float] = 2.0  # a second of it takes most of a second
    chosen_by_loss: ClassVar[bool] = True

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.step = Discrete(LEVELS)
        self.symbols = [f"{level:+.5f}" for level in AMPLITUDES.tolist()]
        self._stft = Stft()
        self.heard_hop = self._stft.hop

    def encoded(self, sound: Iterable[Samples]) -> Iterator[Levels]:
        """As in `SoundCodec`; beyond full scale it is cut off."""
        for block in sound:
            yield levels_of(block)

    def decoder(self, seed: int = 0, rounds: int = 0) -> SamplesDecoder:
        """As in `SoundCodec`; nothing in it is random."""
        return SamplesDecoder()

    def heard(self, steps: NDArray[Any]) -> Frames:
        """As in `SoundCodec`: nothing is left out.  There are at least two frames."""
        return self._stft.magnitudes(AMPLITUDES[steps])

    def reader(self, sources: Sources, settings: Any) -> SamplesReader:
        """As in `Codec`."""
        return SamplesReader(self, sources)

    def start(self, random: np.random.Generator) -> Levels:
        """As in `Codec`: silence."""
        return np.full(1, SILENCE, np.uint8)

    def inherited(self) -> dict[str, Any]:
        """As in `Codec`: the sample rate."""
        return {"sample_rate": self.rate}

    def describe(self) -> str:
        """As in `Codec`."""
        return f"{LEVELS} levels (mu-law), sample rate {self.rate:,} Hz"

    def check(self, config: Any) -> None:
        """As in `Codec`."""
        refuse(config.codec_settings.sample_rate, self.rate, "data.sample_rate", self)

    def to_dict(self) -> dict[str, Any]:
        """As in `Codec`."""
        return {"name": self.name, "rate": self.rate}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SamplesCodec:
        """Rebuild a codec from a checkpoint.

        Raises:
            CheckpointError: the sample rate is missing or impossible.
        """
        rate = values.get("rate")
        if type(rate) is not int or not RATES[0] <= rate <= RATES[1]:
            raise CheckpointError(f"the samples codec's rate is {rate!r:.40}")
        return cls(rate)


class SamplesDecoder:
    """Converts levels to sound."""

    def push(self, steps: NDArray[Any]) -> Samples:
        """As in `Decoder`."""
        sound: Samples = AMPLITUDES[steps]
        return sound

    def flush(self) -> Samples:
        """As in `Decoder`: there is no rest."""
        return np.zeros(0, np.float32)


class SamplesReader(SoundReader):
    """Reads recordings one after the other as levels."""

    def __iter__(self) -> Iterator[Levels]:
        for recording in Recordings(self._sources, self.codec.rate, self._notes):
            yield from self.codec.encoded(self._overheard(recording.sound()))

    def report(self, steps: Levels, predicted: int, nats_per_step: float | None) -> Report:
        """As in `Reader`."""
        report = losses(self.codec, predicted, nats_per_step)
        report.notes += self._notes
        report.rows.append(("duration", f"{self.codec.seconds(predicted):.1f} s"))
        return report


class SamplesLearner(Learner):
    """The `Learner` of levels, which have nothing to learn: it only reads the recordings.

    Args:
        sources: the recordings.
        rate: samples per second.
    """

    spreads: ClassVar[bool] = True

    def __init__(self, sources: Sources, rate: int) -> None:
        self._sources = sources
        self._notices: list[str] = []
        self._codec = SamplesCodec(rate)

    def __iter__(self) -> Iterator[Levels]:
        for recording in Recordings(self._sources, self._codec.rate, self._notices):
            yield from self._codec.encoded(recording.sound())

    @property
    def notices(self) -> tuple[str, ...]:
        """As in `Learner`."""
        return tuple(self._notices)

    @property
    def codec(self) -> SamplesCodec:
        """As in `Learner`."""
        return self._codec


def levels_of(sound: Samples) -> Levels:
    """The levels, (N,), of a sound from -1 to 1, (N,)."""
    companded = np.sign(sound) * np.log1p(MU * np.minimum(np.abs(sound), 1)) / np.log1p(MU)
    levels: Levels = np.clip((companded + 1) / 2 * LEVELS, 0, MU).astype(np.uint8)
    return levels


def _amplitudes() -> Samples:
    """The amplitude in the middle of each level, (LEVELS,)."""
    companded = (np.arange(LEVELS) + 0.5) / LEVELS * 2 - 1
    expanded = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(MU)) / MU
    amplitudes: Samples = expanded.astype(np.float32)
    return amplitudes


AMPLITUDES = _amplitudes()
