"""A sample of sound, decoded in blocks and written to a file, a pipe or an array."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import UsageError
from charrnn.media.codec import Prime
from charrnn.media.product import Drawn, Sample
from charrnn.media.sound.judging import bands, trouble
from charrnn.media.sound.soundfiles import write_sound
from charrnn.media.sound.stft import Samples

if TYPE_CHECKING:
    from charrnn.media.sound.spectrogram import SpectrogramCodec

BITS = 16
BLOCK_STEPS = 16  # frames sampled and decoded at a time


class SoundSample(Sample):
    """Mono sound; iterate for blocks of samples, (n,), from -1 to 1, while they are decoded.

    Args:
        codec: the codec of the model.
        drawn: the sampled frames.
        prime: what they continue.
        length: in seconds, without the prime.
        settings: `SoundSettings`.
        options: `SoundOptions`.

    Attributes:
        rate: samples per second.
        samples: the total length in samples.

    Raises:
        UsageError: options contradict each other.
        SamplingError: the length is not allowed.
    """

    def __init__(
        self,
        codec: SpectrogramCodec,
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
        self.samples = len(begin) * codec.stft.hop + codec.samples_in(length)
        self._codec, self._bits, self._rounds = codec, options.bits, settings.griffin_lim
        count = -(-self.samples // codec.stft.hop)
        self._frames = islice(chain(begin, (step for step, _ in drawn)), count)
        self._bands: list[NDArray[np.float64]] = []

    def __repr__(self) -> str:
        return (
            f"<SoundSample, {self.samples / self.rate:.2f} s at {self.rate} Hz, seed {self.seed}>"
        )

    def pieces(self) -> Iterator[Samples]:
        """As in `Sample`."""
        codec, left = self._codec, self.samples
        decoder = codec.decoder(self.seed, self._rounds)
        while block := list(islice(self._frames, BLOCK_STEPS)):
            frames = np.stack(block)
            self.steps += len(block)
            if self.keep_steps:
                self.kept_steps.append(frames)
            self._bands.append(bands(codec.magnitudes(frames) / codec.stft.full_scale, codec.rate))
            sound = decoder.push(frames)
            left -= len(sound)
            yield np.clip(sound, -1, 1)
        yield np.clip(decoder.flush()[:left], -1, 1)

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
        if not self._bands:
            return ""
        return trouble(np.concatenate(self._bands), self._codec.steps_per_s)

    def to_dict(self) -> dict[str, Any]:
        """As in `Sample`."""
        seconds, complaint = self.samples / self.rate, self.complaint or None
        return super().to_dict() | {"seconds": seconds, "trouble": complaint}

    def describe(self) -> str:
        """As in `Sample`."""
        return f"{self.samples / self.rate:.1f} s"

    def save(self, path: Path | str) -> None:
        """As in `Sample`; the extension sets the format: .wav, .flac or .ogg."""
        if self._bits is not None and Path(path).suffix.lower() == ".ogg":
            raise UsageError("--bits has no effect on .ogg")
        super().save(path)

    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        """As in `Sample`; a pipe gets WAV."""
        write_sound(self, stream, path, self.rate, self.samples, self._bits or BITS)
