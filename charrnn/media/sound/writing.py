"""A sample of sound, decoded in blocks and written to a file, a pipe or an array."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import UsageError
from charrnn.media.codec import ENDLESS, Prime
from charrnn.media.product import Drawn, Sample
from charrnn.media.sound.judging import TroubleMonitor
from charrnn.media.sound.soundfiles import write_sound
from charrnn.media.sound.stft import Samples

if TYPE_CHECKING:
    from charrnn.media.sound.codec import SoundCodec

BITS = 16


class SoundSample(Sample):
    """Mono sound; iterate for blocks of samples, (n,), from -1 to 1, while they are decoded.

    Args:
        codec: the codec of the model.
        drawn: the sampled steps.
        prime: what they continue.
        length: in seconds, without the prime; infinity: until nobody reads any more.
        settings: `SoundSettings`.
        options: `SoundOptions`.

    Attributes:
        rate: samples per second.
        samples: the total length in samples; ENDLESS: there is no end.

    Raises:
        UsageError: options contradict each other.
        SamplingError: the length is not allowed.
    """

    def __init__(
        self,
        codec: SoundCodec,
        drawn: Iterator[Drawn],
        prime: Prime,
        length: float | None,
        settings: Any,
        options: Any,
    ) -> None:
        super().__init__()
        if options.include_prime and not len(prime.steps):
            raise UsageError("--include-prime has no effect without --prime")
        if options.bits not in (None, 16, 24):
            raise UsageError(f"--bits must be 16 or 24, not {options.bits}")
        begin = prime.steps if options.include_prime else prime.steps[:0]
        self.rate = codec.rate
        self.samples = min(len(begin) * codec.hop + codec.samples_in(length), ENDLESS)
        self._codec, self._bits, self._rounds = codec, options.bits, settings.griffin_lim
        count = -(-self.samples // codec.hop)
        self._drawn = islice(chain(begin, (step for step, _ in drawn)), count)
        self._monitor = TroubleMonitor(codec.rate)

    def __repr__(self) -> str:
        seconds = self.seconds
        length = "without end" if seconds is None else f"{seconds:.2f} s"
        return f"<SoundSample, {length} at {self.rate} Hz, seed {self.seed}>"

    @property
    def seconds(self) -> float | None:
        """Its whole length; None: there is no end."""
        return self.samples / self.rate if self.samples < ENDLESS else None

    def pieces(self) -> Iterator[Samples]:
        """As in `Sample`."""
        codec, left = self._codec, self.samples
        decoder = codec.decoder(self.seed, self._rounds)
        while block := list(islice(self._drawn, codec.block)):
            steps = np.array(block)
            self.steps += len(block)
            if self.keep_steps:
                self.kept_steps.append(steps)
            sound = np.clip(decoder.push(steps), -1, 1)
            left -= len(sound)
            if self.samples < ENDLESS:
                self._monitor.add(sound)
            yield sound
        rest = np.clip(decoder.flush()[:left], -1, 1)
        self._monitor.add(rest)
        yield rest

    @property
    def sound(self) -> Samples:
        """The whole sound, (N,), float32, at the sample rate `rate`."""
        return np.concatenate([np.zeros(0, np.float32), *self])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.sound, dtype)

    def __len__(self) -> int:
        return self.samples

    @property
    def complaint(self) -> str:
        """As in `Sample`, e.g. that the sound is silent or repeats itself."""
        return self._monitor.trouble()

    def to_dict(self) -> dict[str, Any]:
        """As in `Sample`."""
        return super().to_dict() | {"seconds": self.seconds, "trouble": self.complaint or None}

    def describe(self) -> str:
        """As in `Sample`."""
        return "without end" if self.seconds is None else f"{self.seconds:.1f} s"

    def save(self, path: Path | str) -> None:
        """As in `Sample`; the extension sets the format: .wav, .flac or .ogg."""
        if self._bits is not None and Path(path).suffix.lower() == ".ogg":
            raise UsageError("--bits has no effect on .ogg")
        super().save(path)

    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        """As in `Sample`; a pipe gets WAV."""
        write_sound(self, stream, path, self.rate, self.samples, self._bits or BITS)
