"""A sample of notes, written as a MIDI file or rendered as sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from charrnn.errors import SamplingError, UsageError
from charrnn.media.codec import Prime
from charrnn.media.notes import events
from charrnn.media.notes.events import Decoder
from charrnn.media.notes.tune import PART, Losses, Notes, Tune, one_at_a_time
from charrnn.media.product import Drawn, Sample

if TYPE_CHECKING:
    from charrnn.media.notes.codec import NotesCodec

MOST_VOICES = 2  # of a tune that is written in ABC notation


class TuneSample(Sample):
    """A tune; iterate for the notes of each bar, (n, 5), as in `tune.COLUMNS`.

    Args:
        codec: the codec of the model.
        drawn: the sampled events.
        prime: what they continue.
        bars: the maximum number of bars, without the prime.
        options: `NotesOptions`.

    Raises:
        UsageError: options contradict each other.
    """

    def __init__(
        self, codec: NotesCodec, drawn: Iterator[Drawn], prime: Prime, bars: int, options: Any
    ) -> None:
        super().__init__()
        primed = prime.steps.tolist()
        if options.include_prime and not primed:
            raise UsageError("--include-prime has no effect without --prime")
        self._codec, self._drawn, self._bars = codec, drawn, bars
        self._decoder = Decoder(codec.constants)
        for step in primed:
            if step != codec.end:
                self._decoder.push(codec.events[step])
        self._primed = len(self._decoder.bars)
        self._first = 0 if options.include_prime else self._primed
        self._tune: Tune | None = None
        self._is_complete = False  # it ended by itself

    def __repr__(self) -> str:
        return f"<TuneSample, {len(self._decoder.bars) - self._first} bars, seed {self.seed}>"

    def pieces(self) -> Iterator[Notes]:
        """As in `Sample`."""
        codec, decoder = self._codec, self._decoder
        kept: list[int] = []
        done = self._first  # bars that have been yielded
        for drawn in self._drawn:
            kind = codec.events[drawn.step].kind
            begins = kind in (events.BAR, events.BACK, events.TEMPO_KIND)
            is_full = begins and len(decoder.bars) - self._primed >= self._bars
            if drawn.step == codec.end or is_full:
                self.stopped, self._is_complete = True, drawn.step == codec.end
                break
            self.steps += 1
            self.nats += drawn.nats
            kept.append(drawn.step)
            decoder.push(codec.events[drawn.step])
            if (complete := len(decoder.bars) - 1) > done:
                yield decoder.notes(done, complete)
                done = complete
            if self.steps >= codec.steps_in(None):
                break
        if self.keep_steps:
            self.kept_steps.append(np.array([codec.end, *kept, codec.end]))
        self._tune = self._whole()
        if done < len(decoder.bars):
            yield decoder.notes(done)

    def _whole(self) -> Tune:
        """The tune from its first bar on, as one instrument can play it."""
        tune, first = self._decoder.tune(), self._first
        begin = tune.bars[first].begin if first < len(tune.bars) else 0
        bars = [bar._replace(begin=bar.begin - begin) for bar in tune.bars[first:]]
        notes = tune.notes[tune.notes[:, 0] >= begin] if bars else tune.notes[:0]
        notes = notes - np.array([begin, 0, 0, 0, 0])
        earlier = [bpm for at, bpm in tune.tempos if at <= begin][-1:]
        later = [(at - begin, bpm) for at, bpm in tune.tempos if at > begin]
        tempos = [*((0, bpm) for bpm in earlier), *later]
        notes = one_at_a_time(notes, Losses())
        return Tune(notes, tune.parts, bars, tempos, tune.per_quarter)

    @property
    def tune(self) -> Tune:
        """The whole tune."""
        for _ in self:
            pass
        assert self._tune is not None
        return self._tune

    @property
    def complaint(self) -> str:
        """As in `Sample`."""
        is_cut = self.steps >= self._codec.steps_in(None) and not self.stopped
        return f"it is cut after {self.steps:,} events" if is_cut else ""

    def to_dict(self) -> dict[str, Any]:
        """As in `Sample`."""
        tune = self.tune
        return super().to_dict() | {
            "bars": len(tune.bars),
            "notes": len(tune.notes),
            "parts": len(tune.parts),
            "seconds": float(tune.seconds([tune.steps])[0]) if tune.bars else 0.0,
            "nats": self.nats,
            "nats_per_step": self.nats_per_step if self.steps else None,
            "complete": self._is_complete,
        }

    def describe(self) -> str:
        """As in `Sample`."""
        values = self.to_dict()
        return f"{values['bars']:,} bars, {values['notes']:,} notes, {values['seconds']:.1f} s"

    def _abc(self, path: Path) -> str:
        from charrnn.media.notes.abc_writing import to_abc

        tune = self.tune
        voices = len(set(tune.notes[:, PART].tolist()))
        if voices > MOST_VOICES or self._codec.in_seconds or tune.is_drum.any():
            what = "drums" if tune.is_drum.any() else f"{voices} parts"
            what = "a performance without bars" if self._codec.in_seconds else what
            raise SamplingError(
                f"{path}: ABC is for tunes of one or two voices, this is one of {what}; "
                "end the name in .mid"
            )
        return to_abc(tune, path.stem, self.index + 1)

    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        """As in `Sample`; a pipe gets WAV."""
        if path is not None and path.suffix.lower() == ".abc":
            stream.write(self._abc(path).encode())
        else:
            write(self.tune, stream, path)


def write(tune: Tune, stream: BinaryIO, path: Path | None) -> None:
    """Write a tune as MIDI, or play it; the arguments are those of `Sample.write`."""
    from charrnn.media.notes.midi import to_midi
    from charrnn.media.notes.synth import Renderer
    from charrnn.media.sound.soundfiles import write_sound

    if path is not None and path.suffix.lower() == ".mid":
        stream.write(to_midi(tune))
        return
    sound = Renderer(tune)
    write_sound(sound, stream, path, sound.rate, sound.samples)
