"""What the codecs of sound have in common: the length of a sample, judging, and comparing."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import SamplingError
from charrnn.media.codec import ENDLESS, Codec, Prime
from charrnn.media.product import Drawn
from charrnn.media.report import Reader, Report
from charrnn.media.sound.soundfiles import FORMATS
from charrnn.media.sound.stft import Frames, Samples, Stft
from charrnn.media.sources import Sources

if TYPE_CHECKING:
    from charrnn.media.sound.judging import SoundCritic
    from charrnn.media.sound.writing import SoundSample
    from charrnn.media.traits import Traits

Steps = NDArray[Any]  # (N,) unsigned integers or (N, F) floats

LISTENED_S = 0.046  # length of frames: about as short as differences in time that are heard
LISTENED_ROUNDS = 2  # of Griffin-Lim
LENGTH_S = 10.0  # default length of a sample
MAX_LENGTH_S = 24 * 3600.0


class Decoder(Protocol):
    """Converts steps to sound, in blocks."""

    def push(self, steps: Steps) -> Samples:
        """Add steps, (n,) or (n, F); return the sound that is final by now, (m,)."""

    def flush(self) -> Samples:
        """The rest of the sound; the total length is one hop for each step."""


class SoundCodec(Codec):
    """Converts sound to steps and back.

    Attributes:
        rate: samples of sound per second.
        hop: samples of sound per step.
        heard_hop: samples of sound per frame of `heard`.
        block: the number of steps that are drawn and decoded at a time.
        runs: how many free runs are judged at each evaluation of a training run.
        run_s: their length in seconds.
        chosen_by_loss: whether the best model is the one with the lowest loss, not the one whose
            free runs are most like the recording.
    """

    has_pictures = True
    suffixes = tuple(FORMATS)
    rate: int
    hop: int
    heard_hop: int
    block: ClassVar[int]
    runs: ClassVar[int]
    run_s: ClassVar[float]
    chosen_by_loss: ClassVar[bool]

    @property
    def steps_per_s(self) -> float:
        """Steps per second."""
        return self.rate / self.hop

    @property
    def heard_per_s(self) -> float:
        """Frames of `heard` per second."""
        return self.rate / self.heard_hop

    @abstractmethod
    def encoded(self, sound: Iterable[Samples]) -> Iterator[Steps]:
        """The steps of a sound in blocks, (n,) each."""

    @abstractmethod
    def decoder(self, seed: int = 0, rounds: int = 0) -> Decoder:
        """A decoder for a stream of steps.

        Args:
            seed: of what is random in it.
            rounds: iterations of the Griffin-Lim algorithm, if there are any.
        """

    @abstractmethod
    def heard(self, steps: Steps) -> Frames:
        """Magnitudes of steps, (N,) or (N, F), relative to full scale, (n, bins)."""

    def listened(self, steps: Steps) -> Frames:
        """Magnitudes of the sound that is made of steps, relative to full scale, (n, bins), n at
        least 2; see `listened_per_s`.  Few rounds of the search for phases are enough for this."""
        return self._listened.magnitudes(self.decoded(steps, LISTENED_ROUNDS))

    @property
    def listened_per_s(self) -> float:
        """Frames of `listened` per second."""
        return self.rate / self._listened.hop

    @property
    def _listened(self) -> Stft:
        size = 2 ** round(math.log2(LISTENED_S * self.rate))
        return Stft(size, size // 4)

    def place_s(self, steps: Steps) -> float | None:
        """Where in the recordings steps begin, in seconds; None: unknown."""
        return None

    def matched(self, changes: NDArray[np.float64]) -> SoundCodec | None:
        """This codec with noise in samples that suits the recording better; None: it can't be
        changed.

        Args:
            changes: from frame to frame of samples in mel bands, relative to the recording, as from
                `judging.Listener.changes`.
        """
        return None

    def decoded(self, steps: Steps, rounds: int) -> Samples:
        """The sound of steps; `rounds` as for `decoder`."""
        decoder = self.decoder(rounds=rounds)
        return np.concatenate([decoder.push(steps), decoder.flush()])

    def steps_in(self, length: float | None) -> int:
        """As in `Codec`; `length` is in seconds, 10 by default."""
        return -(-self.samples_in(length) // self.hop)

    def samples_in(self, length: float | None) -> int:
        """Convert a length in seconds to samples of sound; ENDLESS if it is infinite.

        Raises:
            SamplingError: it is more than a day, or negative.
        """
        seconds = LENGTH_S if length is None else length
        if seconds == math.inf:
            return ENDLESS
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

    def critic(self, corpus: Steps) -> SoundCritic:
        """As in `Codec`."""
        from charrnn.media.sound.judging import SoundCritic

        return SoundCritic(self, corpus)

    def draw(self, path: Path, panels: Sequence[tuple[str, Steps]]) -> None:
        """As in `Codec`: spectrograms."""
        from charrnn.media.sound.picture import draw

        draw(path, [(name, self.heard(steps), self.rate) for name, steps in panels])

    def seconds(self, steps: int) -> float:
        """As in `Codec`."""
        return steps / self.steps_per_s

    def traits(self, steps: Steps) -> Traits:
        """As in `Codec`."""
        from charrnn.media.sound.traits import traits_of

        return traits_of(self, steps)

    def notices(self, documents: int | None) -> tuple[str, ...]:
        """As in `Codec`: what `evaluate` needs to compare samples with the recording."""
        from charrnn.media.sound import analysis

        return () if analysis.is_possible() else (analysis.MISSING,)


class SoundReader(Reader):
    """Reads recordings, and compares samples with them."""

    codec: SoundCodec

    def __init__(self, codec: SoundCodec, sources: Sources) -> None:
        super().__init__(codec)
        self._sources = sources
        self._notes: list[str] = []
        self._heard: list[Samples] = []  # the beginning of the sound, for `listen`

    def _overheard(self, sound: Iterable[Samples]) -> Iterator[Samples]:
        """The same sound; keeps its beginning."""
        from charrnn.media.sound.analysis import MOST_S

        for block in sound:
            left = round(MOST_S * self.codec.rate) - sum(map(len, self._heard))
            if left > 0:
                self._heard.append(block[:left])
            yield block

    def listen(self, drawn: Iterator[Drawn], report: Report, settings: Any) -> None:
        """As in `Reader`: how well a sample, and the recording through the codec and back, can be
        told from the recording; and tones, tempo, beat and notes."""
        from charrnn.media.sound import analysis

        codec = self.codec
        if not analysis.is_possible():
            report.notes.append(analysis.MISSING)
            return
        real = np.concatenate(self._heard)
        if len(real) < analysis.LEAST_S * codec.rate:
            report.notes.append(
                f"too short to compare a sample with: {len(real) / codec.rate:.1f} s, where "
                f"{analysis.LEAST_S:g} are needed"
            )
            return
        made = np.array([step for step, _ in islice(drawn, len(real) // codec.hop)])
        heard = np.concatenate(list(codec.encoded([real])))
        sample, coded = (codec.decoded(part, settings.griffin_lim) for part in (made, heard))
        found = analysis.compared(sample, coded[: len(real)], real, codec.rate)
        report.values |= found
        told, tempo, beat = found["told_apart"], found["tempo"], found["beat"]
        for length in told["codec"]:
            row = f"sample {told['sample'][length]:.2f}, codec alone {told['codec'][length]:.2f}"
            report.rows.append((f"told apart, {length}", f"{row} (0.5: no, 1: always)"))
        if tones := found["tones"]:
            row = f"sample {tones['sample']:.2f}, codec alone {tones['codec']:.2f}"
            report.rows.append(("tones", f"{row} of the recording's (0: noise)"))
        for label, pair, digits in (("tempo", tempo, 0), ("beat strength", beat, 2)):
            row = f"sample {pair['sample']:.{digits}f}, recording {pair['recording']:.{digits}f}"
            report.rows.append((label, row))
        report.rows.append(("notes in common", f"{found['chroma']:.2f} of 1 (chroma)"))
