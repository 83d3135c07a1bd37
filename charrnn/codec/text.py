"""What the codecs of text have in common: steps to text and back, and the ends of documents."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.codec.reading import MARK, Reading, is_unicode
from charrnn.codec.steps import Discrete
from charrnn.errors import CheckpointError, SamplingError

Steps = NDArray[np.integer]
CODE_POINTS = 0x110000
LONGEST = 256  # characters of a symbol, which of words are at most half as many
UNKNOWN = -1
# Where a text may begin, the best first: after a paragraph, a line, a word.
STARTS = ("\r\n\r\n", "\n\n", "\r\n", "\n", " ")


class Decoder(Protocol):
    """Turns one step after the other into text."""

    def push(self, step: int) -> str:
        """The text that this step completes; it may be empty."""

    def flush(self) -> str:
        """The text still held back; half a character is dropped."""


class Learner(abc.ABC):
    """Encodes a stream of text while it learns the codec: one pass, flat memory.

    Iterate over it for blocks of steps; afterwards `codec` is what they were made with, once
    `settle` has gone over them where `settles` says that it must.
    """

    settles: ClassVar[bool] = False
    val_fraction: float | None = None  # what is held out, where the codec has a say in it

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Steps]: ...

    def settle(self, steps: Steps) -> Iterator[Steps]:
        """What is to stand in the corpus instead of these steps, in blocks."""
        yield steps

    @property
    @abc.abstractmethod
    def codec(self) -> TextCodec:
        """The codec of all that was read."""


class TextCodec(abc.ABC):
    """Text to steps and back.

    Args:
        symbols: what the steps stand for, in their order; the MARK is the end of a document.
        start: what a text without a prime is begun after, as if at the beginning of a paragraph.
        reading: what was done to the text before.
        characters_per_step: mean over the corpus.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    medium: ClassVar[Literal["text"]] = "text"
    arrays: ClassVar[Mapping[str, NDArray[Any]]] = {}  # that a checkpoint keeps beside `to_dict`

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
        self.start = MARK if self.end is not None else start
        self.characters_per_step = characters_per_step

    @abc.abstractmethod
    def _encode(self, text: str) -> tuple[Steps, list[str]]:
        """Turn text, normalised, into steps; with it everything that is not known, as it came."""

    @abc.abstractmethod
    def decoder(self) -> Decoder:
        """A decoder for a stream of steps."""

    def encode(self, text: str) -> tuple[Steps, tuple[str, ...]]:
        """Turn text into steps.

        Returns:
            The steps, (N,), and what the vocabulary lacks, each once, in order of appearance.
        """
        steps, unknown = self._encode(self.reading.normalized(text))
        return steps, tuple(dict.fromkeys(unknown))

    def encoded(self, blocks: Iterable[str], unknown: dict[str, int]) -> Iterator[Steps]:
        """Encode a stream that `reading` has prepared; `unknown` counts what is not known."""
        for text in blocks:
            steps, lacking = self._encode(text)
            for symbol in lacking:
                unknown[symbol] = unknown.get(symbol, 0) + 1
            yield steps

    def decode(self, steps: Iterable[int]) -> str:
        """Turn steps back into text; exact for all that `encode` knew."""
        decoder = self.decoder()
        return "".join([*(decoder.push(step) for step in steps), decoder.flush()])

    def primed(self, text: str) -> tuple[Steps, Decoder]:
        """What the network reads before it goes on after `text`, (N,), N at least 1, and the
        decoder of what it then writes."""
        return self._begun(self.encode(text)[0]), self.decoder()

    def _begun(self, steps: Steps) -> Steps:
        """A prime's steps with what a text begins after, where it has no prime or is a document."""
        if not len(steps) or self.end is not None:
            steps = np.append(self._encode(self.start)[0], steps)
        return steps if len(steps) else np.zeros(1, np.int64)

    def characters_in(self, text: str) -> int:
        """How many characters a block of a stream has."""
        return len(text)

    def surprise(self, nats: float, unknown: Mapping[str, int]) -> float:
        """Nats of a text, given those of its steps and what was unknown in it."""
        return nats

    @property
    def extra_nats_per_step(self) -> float:
        """What `surprise` adds, as a mean over the corpus."""
        return 0.0

    @property
    def remark(self) -> str:
        """What a user should know of this vocabulary; may be empty."""
        return ""

    def bits_per_character(self, nats_per_step: float) -> float:
        """A loss in steps as one in characters, by the means over the corpus: so that models
        compare whatever their steps are."""
        nats = nats_per_step + self.extra_nats_per_step
        return float(nats / np.log(2) / self.characters_per_step)

    def never(self, allow: str = "", forbid: str = "", unk: bool = False) -> Steps:
        """The steps that may not be drawn: those that write what is forbidden, or what is not
        allowed.  The end of a document may always.

        Args:
            allow: characters that may be written; empty: all.
            forbid: characters that may not.
            unk: whether a word model may write <unk>.

        Raises:
            SamplingError: nothing is left to draw, or this codec cannot promise it.
        """
        if unk and self.unit != "word":
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
        """Plain values, fit for JSON and for `from_dict`."""
        return {
            "name": self.name,
            "start": "" if self.end is not None else self.start,
            "characters_per_step": self.characters_per_step,
            **self.reading.to_dict(),
        }

    @classmethod
    @abc.abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextCodec:
        """Rebuild a codec from a checkpoint.

        Raises:
            CheckpointError: it contradicts itself.
        """


def common(values: Mapping[str, Any], symbols: Sequence[str]) -> dict[str, Any]:
    """The arguments that all codecs share, from a checkpoint.

    Raises:
        CheckpointError: a symbol that stands twice, or a value of the wrong kind.
    """
    name, reading = values.get("name"), Reading.from_dict(values)
    start, per_step = values.get("start", ""), values.get("characters_per_step", 1.0)
    if not symbols:
        raise CheckpointError(f"the {name} codec has an empty vocabulary")
    if len(set(symbols)) != len(symbols):
        raise CheckpointError(f"the {name} codec has a symbol twice")
    if reading.has_documents and MARK not in symbols:
        raise CheckpointError(f"the {name} codec's documents contradict its vocabulary")
    if any(len(symbol) > LONGEST for symbol in symbols):
        raise CheckpointError(f"the {name} codec has a symbol of more than {LONGEST} characters")
    if not is_unicode("".join(symbols)):
        raise CheckpointError(f"the {name} codec has a symbol that is no Unicode text")
    if start not in ("", *STARTS, symbols[0]):
        raise CheckpointError(f"the {name} codec has a start that no text has")
    if not (isinstance(per_step, float | int) and 0.1 < per_step < 1e6):
        raise CheckpointError(f"the {name} codec has {per_step!r:.40} characters a step")
    return {"start": start, "reading": reading, "characters_per_step": float(per_step)}


def shown(symbol: str) -> str:
    """A symbol of a vocabulary as people can read it."""
    if symbol in (MARK, ""):
        return "<end>" if symbol else "<no space>"
    if symbol == " ":
        return "␣"
    return symbol if symbol.isprintable() else repr(symbol)[1:-1]


class Opening:
    """Finds where a text may begin: the best of STARTS that occurs in it."""

    def __init__(self) -> None:
        self._rank = len(STARTS)

    def look(self, text: str) -> None:
        """Look through a block."""
        for rank, start in enumerate(STARTS[: self._rank]):
            if start in text:
                self._rank = rank
                return

    @property
    def start(self) -> str:
        """The best one so far; empty: none."""
        return "".join(STARTS[self._rank : self._rank + 1])


def points(text: str) -> NDArray[np.uint32]:
    """The code points of a text, (N,)."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
