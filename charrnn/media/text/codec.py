"""The base class of the text codecs: text to steps and back, document boundaries, warnings."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError, CorpusError, SamplingError, UsageError
from charrnn.media.codec import Codec, Piece, Prime, first_of, refuse
from charrnn.media.medium import Learner
from charrnn.media.product import Drawn, Sample
from charrnn.media.sources import Sources
from charrnn.media.steps import Discrete
from charrnn.media.text.encoding import CONVERT, Decoded
from charrnn.media.text.reading import MARK, Reading, TextFiles, is_unicode, split

if TYPE_CHECKING:
    from charrnn.media.report import Passage
    from charrnn.media.text.scoring import TextReader
    from charrnn.media.text.writing import TextCritic, TextSample
    from charrnn.media.traits import Traits
    from charrnn.media.web import WebPage

Steps = NDArray[np.integer]
CODE_POINTS = 0x110000
MAX_SYMBOL = 256  # characters of a symbol; words are at most half as long
UNKNOWN = -1
PLAYED = (".mid", ".wav", ".flac", ".ogg")  # of a tune in ABC notation
NAMED = 10  # a warning lists at most this many characters or words
# What can precede the beginning of a text, best first: the end of a paragraph, a line, a word.
STARTS = ("\r\n\r\n", "\n\n", "\r\n", "\n", " ")


class Decoder(Protocol):
    """Turns steps into text, one at a time."""

    def push(self, step: int) -> str:
        """The text that this step completes; may be empty."""

    def flush(self) -> str:
        """The text still held back; an incomplete character is dropped."""


class TextLearner(Learner):
    """A `Learner` of a text codec.

    Args:
        files: the text.
        reading: how it was prepared.
    """

    can_join: ClassVar[bool] = True

    def __init__(self, files: TextFiles, reading: Reading) -> None:
        self._files, self._reading = files, reading
        self._starts = StartFinder()
        self._count = 0
        self.ends: list[int] = []

    def __iter__(self) -> Iterator[Steps]:
        for blocks in self._files:
            for steps in self._encoded(self._looked_at(blocks)):
                self._count += len(steps)
                yield steps
            self.ends.append(self._count)

    @abstractmethod
    def _encoded(self, blocks: Iterator[str]) -> Iterator[Steps]:
        """The steps of one file."""

    def _looked_at(self, blocks: Iterator[str]) -> Iterator[str]:
        for text in blocks:
            self._starts.look(text)
            yield text

    @property
    def notices(self) -> tuple[str, ...]:
        """As in `Learner`."""
        return self._files.notices

    def learnt(self) -> dict[str, Any]:
        """As in `Learner`."""
        return {"start": self._starts.rank, "ends": self.ends, "seen": self._files.seen()}

    def join(self, parts: Iterable[Any]) -> list[NDArray[Any] | None]:
        """As in `Learner`."""
        tables = []
        for part in parts:
            self._starts.rank = min(self._starts.rank, part["start"])
            self.ends += [self._count + end for end in part["ends"]]
            self._count = self.ends[-1] if self.ends else 0
            self._files.see(part["seen"])
            tables.append(self._join(part))
        self._files.refuse_none()
        return tables

    @abstractmethod
    def _join(self, part: Mapping[str, Any]) -> NDArray[Any] | None:
        """Join what the learner of this codec has added to `learnt`; the result is a table of
        `join`."""

    @property
    @abstractmethod
    def codec(self) -> TextCodec:
        """The codec learnt from the corpus."""


class TextCodec(Codec):
    """Converts text to steps and back.

    Args:
        symbols: the text of each step; MARK is the end of a document.
        start: the text that a sample without a prime continues, e.g. the end of a paragraph.
        reading: how the text was prepared.
        characters_per_step: mean over the corpus.
    """

    symbols: Sequence[str]
    primes_are_text: ClassVar[bool] = True
    joint: ClassVar[str] = ""  # text between the symbols that `describe` lists
    listed: ClassVar[int] = 10_000  # maximum number of symbols in that list

    def __init__(
        self,
        symbols: Sequence[str],
        start: str = "",
        reading: Reading | None = None,
        characters_per_step: float = 1.0,
    ) -> None:
        self.symbols = symbols
        self.reading = reading or Reading()
        self.step = Discrete(len(symbols))
        self.end = symbols.index(MARK) if self.reading.has_documents else None
        self.beginning = MARK if self.end is not None else start
        self.characters_per_step = characters_per_step
        if self.reading.documents in ("line", "record", "row", "tune"):
            self.separator = self.reading.between
        if self.reading.documents == "tune":
            self.converted = PLAYED

    @abstractmethod
    def _encode(self, text: str) -> tuple[Steps, list[str]]:
        """The steps of a normalised text, (N,), and the unknown symbols in it, in order."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """A decoder for a stream of steps."""

    def encode(self, text: str) -> tuple[Steps, tuple[str, ...]]:
        """Turn text into steps.

        Returns:
            The steps, (N,), and the symbols that are not in the vocabulary, without repeats, in
            order of appearance.
        """
        steps, unknown = self._encode(self.reading.normalized(text))
        return steps, tuple(dict.fromkeys(unknown))

    def encoded(self, blocks: Iterable[str], unknown: dict[str, int]) -> Iterator[Steps]:
        """Encode a stream prepared by `reading`; add counts of unknown symbols to `unknown`."""
        for text in blocks:
            steps, lacking = self._encode(text)
            for symbol in lacking:
                unknown[symbol] = unknown.get(symbol, 0) + 1
            yield steps

    def decode(self, steps: Iterable[int]) -> str:
        """Turn steps back into text; exact except for symbols unknown to `encode`."""
        decoder = self.decoder()
        return "".join([*(decoder.push(step) for step in steps), decoder.flush()])

    @classmethod
    @abstractmethod
    def learner(cls, files: TextFiles, reading: Reading, settings: Any) -> TextLearner:
        """The learner of this codec.

        Args:
            files: the text, from `files`.
            reading: how it was prepared.
            settings: `TextSettings`.
        """

    @classmethod
    def files(cls, sources: Sources, encoding: str, reading: Reading) -> TextFiles:
        """The text of files, prepared for this codec.

        Raises:
            ConfigError: this codec cannot use the encoding.
            CorpusError: a file cannot be read.
        """
        return TextFiles(Decoded(sources, encoding), reading)

    def primed(self, text: str) -> tuple[Steps, Decoder]:
        """The steps that the network reads to continue `text`, (N,), N at least 1, and a decoder
        for the steps that it then samples."""
        return self._with_beginning(self.encode(text)[0]), self.decoder()

    def _with_beginning(self, steps: Steps) -> Steps:
        """The steps of a prime; `beginning` is put first if it is empty or there are documents."""
        if not len(steps) or self.end is not None:
            steps = np.append(self._encode(self.beginning)[0], steps)
        return steps if len(steps) else np.zeros(1, np.int64)

    def start(self, random: np.random.Generator) -> Steps:
        """As in `Codec`: the steps of the end of a paragraph, a line or a document."""
        return self._with_beginning(np.zeros(0, np.int64))

    def prime(self, value: str = "", file: str | None = None, settings: Any = None) -> Prime:
        """As in `Codec`; `value` is the text itself."""
        text, notices = (value, ()) if file is None else _text_of(file)
        if not is_unicode(text):
            raise SamplingError("--prime is not UTF-8 text")
        text = self.reading.with_newlines(text)
        return Prime(self.primed(text)[0], text, notices)

    def _lines(self, file: str) -> Iterator[str]:
        """As in `Codec`: lines of text."""
        [(_, blocks)] = Decoded(Sources((file,)), remedy=CONVERT, at_once=True)
        decoder = io.IncrementalNewlineDecoder(None, translate=self.reading.newline == "lf")
        for line in split(map(decoder.decode, blocks), "\n"):
            yield line.rstrip("\r\n")

    def warnings(self, prime: Prime, settings: Any, options: Any) -> list[str]:
        """As in `Codec`."""
        found = super().warnings(prime, settings, options)
        if unknown := self.encode(prime.text)[1]:
            named = _named(unknown)
            found.append(f"warning: not in the vocabulary, left out of the prime: {named}")
        if never := self.encode(options.stop)[1]:
            named = _named(never)
            found.append(f"warning: --stop will never match, not in the vocabulary: {named}")
        return found

    def sample(
        self,
        drawn: Iterator[Drawn],
        prime: Prime,
        length: float | None,
        settings: Any,
        options: Any,
    ) -> TextSample:
        """As in `Codec`."""
        from charrnn.media.text.writing import TextSample

        decoder = self.primed(prime.text)[1]
        steps, stop = self.steps_in(length), self.reading.with_newlines(options.stop)
        about = (drawn, decoder, steps, stop, self.end, prime.text, options.finish)
        if self.reading.documents != "tune":
            return TextSample(*about)
        from charrnn.media.text.tunes import AbcSample

        return AbcSample(*about)

    def rejects(self, sample: Sample, options: Any) -> str:
        """As in `Codec`: tunes with a fault, if options are strict.

        Raises:
            UsageError: the model's documents are no tunes.
        """
        if not options.strict:
            return ""
        if self.reading.documents != "tune":
            raise UsageError("--strict is for models of tunes in ABC notation")
        return sample.complaint

    def may_stop(self, length: float | None, options: Any) -> bool:
        """As in `Codec`: with a stop text."""
        return bool(options.stop)

    def critic(self, corpus: Steps) -> TextCritic:
        """As in `Codec`: it only shows samples."""
        from charrnn.media.text.writing import TextCritic

        return TextCritic(self)

    def reader(self, sources: Sources, settings: Any) -> TextReader:
        """As in `Codec`."""
        from charrnn.media.text.scoring import TextReader

        return TextReader(self, self.files(sources, settings.encoding, self._reading_of(settings)))

    def _reading_of(self, settings: Any) -> Reading:
        """How files are prepared, with the field of a table that is given to evaluate."""
        if not settings.field:
            return self.reading
        return replace(self.reading, documents="row", field=settings.field)

    def passages(
        self, sources: Sources, settings: Any, by: str, notices: list[str]
    ) -> Iterator[Passage]:
        """As in `Codec`: also lines and documents, each of which follows `start`."""
        from charrnn.media.text.scoring import passages

        reading = self._reading_of(settings)
        if by == "line" and settings.field:
            raise UsageError("--by line: with --field each row is a document; use --by document")
        if by == "line":
            reading = replace(reading, documents="none", separator="", field="")
        if by == "document" and not reading.has_documents:
            raise UsageError(
                "--by document: this model was trained without --documents; use --by line or file"
            )
        return passages(self, self.files(sources, settings.encoding, reading), by, notices)

    def readable(self, text: str) -> str:
        """The text of a block of a stream, as people read it."""
        return text

    def encode_text(self, text: str) -> tuple[Steps, list[Piece]]:
        """As in `Codec`; a piece is a character."""
        text = self.reading.normalized(text)
        steps, unknown = self._encode(text)
        lacking = set(unknown)
        return steps, [Piece(character, int(character not in lacking)) for character in text]

    def characters_in(self, text: str) -> int:
        """The number of characters in a block of a stream."""
        return len(text)

    def total_nats(self, nats: float, unknown: Mapping[str, int]) -> float:
        """The nats of a text, given those of its steps and the counts of unknown symbols."""
        return nats

    def unknown_note(self, unknown: Mapping[str, int]) -> str:
        """A note for the user about the unknown symbols in a text."""
        total, example = sum(unknown.values()), next(iter(unknown))
        return (
            f"warning: left out {total:,} character{'s' * (total > 1)} that "
            f"{'are' if total > 1 else 'is'} not in the vocabulary "
            f"({len(unknown):,} different, e.g. {example!r})"
        )

    @property
    def extra_nats_per_step(self) -> float:
        """What `total_nats` adds, as a mean over the corpus."""
        return 0.0

    def bits_per_character(self, nats_per_step: float) -> float:
        """As in `Codec`, using means over the corpus; comparable between codecs."""
        nats = nats_per_step + self.extra_nats_per_step
        return float(nats / np.log(2) / self.characters_per_step)

    def loss_detail(self, nats_per_step: float) -> str:
        """As in `Codec`."""
        return f"{self.bits_per_character(nats_per_step):.3f} bits per character"

    def describe(self) -> str:
        """As in `Codec`: the vocabulary, or the beginning of a long one."""
        documents = f", each {self.reading.documents} a document" if self.end is not None else ""
        about = f"{self.step.size}{documents}"
        if not self.listed:
            return about
        listed = self.joint.join(map(symbol_label, self.symbols[: self.listed]))
        return f"{about}: {listed}{' ...' if len(self.symbols) > self.listed else ''}"

    def symbol_label(self, symbol: str) -> str:
        """As in `Codec`."""
        return symbol_label(symbol)

    def shown(self, steps: Steps) -> str:
        """As in `Codec`: the text."""
        return self.decode(steps.tolist())

    def traits(self, steps: Steps) -> Traits:
        """As in `Codec`."""
        from charrnn.media.text.traits import traits_of

        return traits_of(self, steps)

    def web_page(self, settings: Any) -> WebPage:
        """As in `Codec`."""
        from charrnn.media.text.webpage import web_page

        return web_page(self, settings)

    def inherited(self) -> dict[str, Any]:
        """As in `Codec`."""
        values = {"normalize": self.reading.normalize, "newline": self.reading.newline}
        if self.reading.has_documents:
            values["documents"] = self.reading.documents
            values |= {"separator": self.reading.separator} if self.reading.separator else {}
            values |= {"field": self.reading.field} if self.reading.field else {}
        return values

    def notices(self, documents: int | None) -> tuple[str, ...]:
        """As in `Codec`."""
        if documents != 1 or self.reading.documents == "file":
            return ()
        return (f"the whole corpus is one {self.reading.documents}; is --documents right?",)

    def check(self, config: Any) -> None:
        """As in `Codec`."""
        settings = config.codec_settings
        refuse(settings.documents, self.reading.documents, "data.documents", self)
        refuse(settings.normalize, self.reading.normalize, "data.normalize", self)
        self.never(settings)

    def never(self, settings: Any) -> Steps:
        """The steps that would write a forbidden character, or one that is not allowed, (n,).

        The end of a document is never among them.

        Args:
            settings: `TextSettings`.

        Raises:
            SamplingError: nothing is left to sample, or this codec cannot apply the settings.
        """
        allow, forbid = settings.allow, settings.forbid
        if settings.unk:
            raise SamplingError("--unk is for models of words")
        if not allow and not forbid:
            return np.zeros(0, np.int64)
        texts = ["" if step == self.end else text for step, text in enumerate(self.symbols)]
        allowed, forbidden = set(allow), set(forbid)
        may = [
            forbidden.isdisjoint(text) and (not allow or allowed.issuperset(text)) for text in texts
        ]
        if not any(text for text, this in zip(texts, may, strict=True) if this):
            raise SamplingError("--allow and --forbid leave nothing to write with this model")
        return np.flatnonzero(~np.array(may))

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold, for `from_dict`."""
        return {
            "name": self.name,
            "start": "" if self.end is not None else self.beginning,
            "characters_per_step": self.characters_per_step,
            **self.reading.to_dict(),
        }

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextCodec:
        """Rebuild a codec from a checkpoint.

        Raises:
            CheckpointError: the values are invalid or inconsistent.
        """


def common(values: Mapping[str, Any], symbols: Sequence[str]) -> dict[str, Any]:
    """Check values from a checkpoint; return the arguments that all text codecs share.

    Raises:
        CheckpointError: a symbol occurs twice, or a value is invalid.
    """
    name, reading = values.get("name"), Reading.from_dict(values)
    start, per_step = values.get("start", ""), values.get("characters_per_step", 1.0)
    if not symbols:
        raise CheckpointError(f"the {name} codec has an empty vocabulary")
    if len(set(symbols)) != len(symbols):
        raise CheckpointError(f"the {name} codec has a symbol twice")
    if reading.has_documents and MARK not in symbols:
        raise CheckpointError(f"the {name} codec's documents contradict its vocabulary")
    if any(len(symbol) > MAX_SYMBOL for symbol in symbols):
        raise CheckpointError(f"the {name} codec has a symbol of more than {MAX_SYMBOL} characters")
    if not is_unicode("".join(symbols)):
        raise CheckpointError(f"the {name} codec has a symbol that is not Unicode text")
    if start not in ("", *STARTS, symbols[0]):
        raise CheckpointError(f"the {name} codec has an invalid start")
    if not (isinstance(per_step, float | int) and 0.1 < per_step < 1e6):
        raise CheckpointError(f"the {name} codec has {per_step!r:.40} characters per step")
    return {"start": start, "reading": reading, "characters_per_step": float(per_step)}


def symbol_label(symbol: str) -> str:
    """A symbol of a vocabulary in readable form."""
    if symbol in (MARK, ""):
        return "<end>" if symbol else "<no space>"
    if symbol == " ":
        return "␣"
    return symbol if symbol.isprintable() else repr(symbol)[1:-1]


class StartFinder:
    """Finds the best of STARTS that occurs in a text."""

    def __init__(self) -> None:
        self.rank = len(STARTS)

    def look(self, text: str) -> None:
        """Search a block."""
        for rank, start in enumerate(STARTS[: self.rank]):
            if start in text:
                self.rank = rank
                return

    @property
    def start(self) -> str:
        """The best one so far; "": none."""
        return "".join(STARTS[self.rank : self.rank + 1])


def points(text: str) -> NDArray[np.uint32]:
    """The code points of a text, (N,)."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")


def _text_of(file: str) -> tuple[str, tuple[str, ...]]:
    """The text of a file, or of standard input, and notices about it."""
    try:
        decoded = Decoded(Sources((file,)), remedy=CONVERT)
        return "".join(chain.from_iterable(blocks for _, blocks in decoded)), decoded.notices
    except CorpusError as error:
        raise SamplingError(str(error)) from None


def _named(characters: Sequence[str]) -> str:
    return first_of([f"{c!r} (U+{ord(c):04X})" for c in characters], NAMED)
