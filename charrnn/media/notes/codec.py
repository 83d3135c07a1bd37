"""The codec of notes: tunes to events and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError, SamplingError
from charrnn.media.codec import Codec, Prime, Rules, whole_steps
from charrnn.media.notes import events
from charrnn.media.notes.events import Constants, Decoder, Event
from charrnn.media.notes.grammar import TuneRules, Vocabulary
from charrnn.media.notes.settings import MOST_REPEATS, NotesSettings
from charrnn.media.notes.tune import (
    IN_SECONDS,
    LENGTH,
    MAX_BARS,
    ONSET,
    PART,
    PITCH,
    VELOCITY,
    Part,
    Tune,
    bars_of,
    distance,
    one_at_a_time,
)
from charrnn.media.product import Drawn
from charrnn.media.steps import Discrete

if TYPE_CHECKING:
    from charrnn.media.notes.judging import TuneCritic
    from charrnn.media.notes.reading import TuneReader
    from charrnn.media.notes.writing import TuneSample
    from charrnn.media.sources import Sources
    from charrnn.media.traits import Traits
    from charrnn.media.web import WebPage

Steps = NDArray[np.integer]
MAX_EVENTS = 20_000  # of a sample
MAX_SYMBOLS = 16_384  # there are not so many events
SUFFIXES = (".mid", ".wav", ".flac", ".ogg", ".abc")


class NotesCodec(Codec):
    """Converts tunes to events and back.

    Args:
        symbols: the events, as text; the first is the end of a tune.
        constants: what never varies in the corpus.
        repeats: is added to the log odds of a bar that equals an earlier one over a new one.
        most_backs: how many bars in a row may equal earlier ones; None: any number.

    Attributes:
        events: the event of each step.
        step_of: the step of each event.
    """

    name = "notes"
    unit = "event"
    symbols: Sequence[str]
    has_pictures = True
    suffixes = SUFFIXES
    end = 0

    def __init__(
        self,
        symbols: Sequence[str],
        constants: Constants,
        repeats: float = 0.0,
        most_backs: int | None = None,
    ) -> None:
        self.symbols, self.repeats, self.most_backs = symbols, repeats, most_backs
        self.step = Discrete(len(symbols))
        self.constants = constants
        self.events = list(map(events.parsed, symbols))
        self.step_of = {event: step for step, event in enumerate(self.events)}
        self._vocabulary = Vocabulary(self.events, constants, most_backs)

    @classmethod
    def of(cls, tunes: Iterable[Iterable[Event]], constants: Constants) -> NotesCodec:
        """The codec of a corpus: its events in the order of their kinds and values.

        As many bars in a row may equal earlier ones as do in 99 of 100 places of the corpus:
        otherwise a sample now and then repeats a few bars for ever.
        """
        found: set[Event] = set()
        runs: list[int] = []
        for tune in tunes:
            tune = list(tune)
            found.update(tune)
            bars = [event.kind for event in tune if event.kind in (events.BAR, events.BACK)]
            runs += [len(list(run)) for kind, run in groupby(bars) if kind == events.BACK]
        usual = sorted(runs)[len(runs) * 99 // 100] if runs else None
        order = sorted(found, key=lambda event: (events.KINDS.index(event.kind), event.value))
        return cls(["end", *map(str, order)], constants, most_backs=usual)

    @property
    def in_seconds(self) -> bool:
        """Whether the grid counts hundredths of a second, for performances."""
        return Event(events.BAR, IN_SECONDS) in self.step_of

    def rules(self, settings: NotesSettings | None = None) -> Rules:
        """As in `Codec`: the grammar of a tune."""
        return TuneRules(self._vocabulary, self.repeats_for(settings))

    def repeats_for(self, settings: NotesSettings | None) -> float:
        """What is added to the log odds of a bar that equals an earlier one over a new one."""
        given = None if settings is None else settings.repeats
        return self.repeats if given is None else given

    def with_repeats(self, repeats: float) -> NotesCodec:
        """The same codec with other `repeats`."""
        return NotesCodec(self.symbols, self.constants, repeats, self.most_backs)

    def values(self, kind: str) -> list[Any]:
        """The values of the events of a kind, in order."""
        return [event.value for event in self.events if event.kind == kind]

    def encode(self, tune: Tune) -> Steps:
        """The steps of a tune, (n,), with its end.

        Args:
            tune: the result of `fitted`.
        """
        found = events.encode(tune, self.constants, set(self.values(events.BACK)))
        steps = [self.step_of[event] for event in found if event in self.step_of]
        return np.array([*steps, 0], np.int64)

    def decode(self, steps: Iterable[int]) -> list[Tune]:
        """The tunes that these steps consist of; the last one may lack its end."""
        tunes, decoder, is_new = [], Decoder(self.constants), True
        for step in steps:
            if step == self.end:
                tunes += [] if is_new else [decoder.tune()]
                decoder, is_new = Decoder(self.constants), True
            else:
                decoder.push(self.events[step])
                is_new = False
        return tunes + ([] if is_new else [decoder.tune()])

    def fitted(self, tune: Tune) -> Tune:
        """A copy of a tune with only what the vocabulary has.

        What it lacks is replaced by the nearest that it has; notes whose pitch it lacks, and drums
        if it has none, are left out.  All this is counted in `losses` of the copy.
        """
        notes, losses = tune.notes.copy(), replace(tune.losses)
        known_parts = self.values(events.PART_KIND) or [self.constants.part or Part(0)]
        parts = [min(known_parts, key=partial(distance, part)) for part in tune.parts]
        is_same = np.array([new == old for new, old in zip(parts, tune.parts, strict=True)], bool)
        is_possible = np.array(
            [new.is_drum == old.is_drum for new, old in zip(parts, tune.parts, strict=True)], bool
        )
        known = np.where(
            tune.is_drum,
            np.isin(notes[:, PITCH], self.values(events.DRUM)),
            np.isin(notes[:, PITCH], self.values(events.NOTE)),
        )
        known &= is_possible[notes[:, PART]]
        losses.left_out += int((~known).sum())
        notes = notes[known]
        losses.other_part += int((~is_same[notes[:, PART]]).sum())
        lengths = np.array(self.values(events.LENGTH_KIND) or [1])
        nearest = _nearest(notes[:, LENGTH], lengths)
        losses.moved += int((nearest != notes[:, LENGTH]).sum())
        notes[:, LENGTH] = nearest
        if levels := self.values(events.VELOCITY_KIND):
            own = _nearest(notes[:, VELOCITY] // events.LOUDNESS, np.array(levels))
            notes[:, VELOCITY] = events.velocity_of(own)
        bars = tune.bars
        if unknown := {bar.metre for bar in bars} - set(self.values(events.BAR)):
            metre = next((b.metre for b in bars if b.metre not in unknown), None)
            metre = metre or self.values(events.BAR)[-1]
            bars = bars_of([(0, metre)], bars[-1].begin + bars[-1].length, tune.per_quarter)
            losses.moved += len(notes)
        begins = np.array([bar.begin for bar in bars] or [0])
        own_bar = np.searchsorted(begins, notes[:, ONSET], "right") - 1
        places = notes[:, ONSET] - begins[own_bar]
        nearest = _nearest(places, np.array(self.values(events.AT) or [0]))
        losses.moved += int((nearest != places).sum())
        notes[:, ONSET] = begins[own_bar] + nearest
        tempos = tune.tempos
        if levels := self.values(events.TEMPO_KIND):
            own = _nearest(np.array([events.tempo_level(t) for _, t in tempos]), np.array(levels))
            tempos = [(at, events.tempo_of(k)) for (at, _), k in zip(tempos, own, strict=True)]
        order = sorted(set(parts))
        notes[:, PART] = np.array([order.index(part) for part in parts] or [0])[notes[:, PART]]
        notes = one_at_a_time(notes, losses)
        return Tune(notes, order, bars, tempos, tune.per_quarter, losses)

    def reader(self, sources: Sources, settings: Any) -> TuneReader:
        """As in `Codec`."""
        from charrnn.media.notes.reading import TuneReader

        return TuneReader(self, sources)

    def sample(
        self,
        drawn: Iterator[Drawn],
        prime: Prime,
        length: float | None,
        settings: Any,
        options: Any,
    ) -> TuneSample:
        """As in `Codec`."""
        from charrnn.media.notes.writing import TuneSample

        return TuneSample(self, drawn, prime, self.bars_in(length), options)

    def may_stop(self, length: float | None, options: Any) -> bool:
        """As in `Codec`: after so many bars."""
        return length is not None

    def start(self, random: np.random.Generator) -> Steps:
        """As in `Codec`: the end of another tune."""
        return np.array([self.end], np.int64)

    def prime(self, value: str = "", file: str | None = None, settings: Any = None) -> Prime:
        """As in `Codec`: the first tune of a file, without its end."""
        from charrnn.media import medium_of
        from charrnn.media.notes.reading import TuneReader
        from charrnn.media.sources import find, source_label

        name = file or value
        if not name:
            return super().prime()
        reader = TuneReader(self, find((name,), (medium_of(self.name),), self.name))
        start, *tunes = reader
        notices = reader.notices
        if not reader.notes:
            raise SamplingError(f"{source_label(name)}: has no notes that this model knows")
        if len(tunes) > 1:
            notices += (f"{source_label(name)}: only the first tune is continued",)
        # It may be a whole tune, after which the model would end at once.
        return Prime(np.concatenate([start, tunes[0][:-1]]), notices=notices, least=1)

    def warnings(self, prime: Prime, settings: Any, options: Any) -> list[str]:
        """As in `Codec`."""
        found = super().warnings(prime, settings, options)
        if settings.repeats and not self.values(events.BACK):
            found.append(
                "warning: --repeats has no effect: in what this model learnt no bar equals an "
                "earlier one"
            )
        return found

    def steps_in(self, length: float | None) -> int:
        """As in `Codec`; `length` is in bars, at most to the end of the tune by default."""
        return 0 if self.bars_in(length) == 0 else MAX_EVENTS

    def bars_in(self, length: float | None) -> int:
        """The maximum number of bars.

        Raises:
            SamplingError: there are too many, or it is not a whole number.
        """
        bars = whole_steps(MAX_BARS if length is None else length, "bar")
        if bars > MAX_BARS:
            raise SamplingError(f"--length {length:,g}: must be at most {MAX_BARS:,} bars")
        return bars

    def critic(self, corpus: Steps) -> TuneCritic:
        """As in `Codec`."""
        from charrnn.media.notes.judging import TuneCritic

        return TuneCritic(self, corpus)

    def draw(self, path: Path, panels: Sequence[tuple[str, Steps]]) -> None:
        """As in `Codec`: piano rolls."""
        from charrnn.media.notes.picture import draw

        tunes = [(name, self.decode(steps.tolist())) for name, steps in panels]
        draw(path, [(name, found[0]) for name, found in tunes if found])

    def traits(self, steps: Steps) -> Traits:
        """As in `Codec`."""
        from charrnn.media.notes.traits import traits_of

        return traits_of(self, steps)

    def web_page(self, settings: Any) -> WebPage:
        """As in `Codec`."""
        from charrnn.media.notes.webpage import web_page

        return web_page(self, settings)

    def describe(self) -> str:
        """As in `Codec`: how many events of each kind."""
        counts = [(kind, len(self.values(kind))) for kind in events.KINDS[1:]]
        listed = ", ".join(f"{kind} {count}" for kind, count in counts if count)
        grid = "10 ms" if self.in_seconds else "12 to the quarter"
        weighed = f", repeats {self.repeats:.2f}" if self.repeats else ""
        return f"{self.step.size} events ({listed}), grid {grid}{weighed}"

    def to_dict(self) -> dict[str, Any]:
        """As in `Codec`."""
        part = self.constants.part
        return {
            "name": self.name,
            "events": list(self.symbols),
            "part": None if part is None else str(Event(events.PART_KIND, part)),
            "velocity": self.constants.velocity,
            "tempo": self.constants.tempo,
            "one_metre": self.constants.has_one_metre,
            "repeats": self.repeats,
            "most_backs": self.most_backs,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NotesCodec:
        """Rebuild a codec from a checkpoint.

        Raises:
            CheckpointError: the values are invalid or inconsistent.
        """
        symbols = values.get("events")
        part, velocity, tempo = (values.get(name) for name in ("part", "velocity", "tempo"))
        try:
            if not isinstance(symbols, list) or not 2 <= len(symbols) <= MAX_SYMBOLS:
                raise ValueError(f"its events are no list of 2 to {MAX_SYMBOLS:,}")
            found = [events.parsed(symbol) for symbol in map(_text, symbols)]
            kinds = [event.kind for event in found]
            if len(set(found)) != len(found) or kinds.index(events.END) or events.BAR not in kinds:
                raise ValueError("its events lack an end or a bar, or one is there twice")
            constant = None if part is None else events.parsed(_text(part)).value
            if (constant is None) == (events.PART_KIND not in kinds):
                raise ValueError("its parts are not given once")
            if constant is not None and not isinstance(constant, Part):
                raise ValueError("its part is none")
            if velocity is not None and (type(velocity) is not int or not 0 < velocity < 128):
                raise ValueError(f"its velocity is {velocity!r:.40}")
            if tempo is not None and not (isinstance(tempo, float) and 1 <= tempo <= 6000):
                raise ValueError(f"its tempo is {tempo!r:.40}")
            if not isinstance(has_one_metre := values.get("one_metre"), bool):
                raise ValueError(f"its one_metre is {has_one_metre!r:.40}")
            repeats = values.get("repeats", 0.0)
            if not (isinstance(repeats, float) and abs(repeats) <= MOST_REPEATS):
                raise ValueError(f"its repeats is {repeats!r:.40}")
            most_backs = values.get("most_backs")
            if most_backs is not None and (type(most_backs) is not int or most_backs < 1):
                raise ValueError(f"its most_backs is {most_backs!r:.40}")
        except ValueError as error:
            raise CheckpointError(f"the notes codec is broken: {error}") from None
        return cls(
            symbols, Constants(constant, velocity, tempo, has_one_metre), repeats, most_backs
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not text")
    return value


def _nearest(values: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each value, (n,), the nearest of those that are known, (k,), which are in order."""
    places = np.clip(np.searchsorted(known, values), 1, max(1, len(known) - 1))
    below, above = known[places - 1], known[np.minimum(places, len(known) - 1)]
    return np.asarray(np.where(values - below <= above - values, below, above))
