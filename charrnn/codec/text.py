"""Text by characters: Unicode code points to steps and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.codec.steps import Discrete
from charrnn.errors import CheckpointError

_CODE_POINTS = 0x110000
_UNKNOWN = -1
# Where a text may begin, the best first: after a paragraph, a line, a word.
STARTS = ("\r\n\r\n", "\n\n", "\r\n", "\n", " ")


class CharCodec:
    """One step is one code point; the vocabulary is the characters of the corpus.

    Args:
        characters: the vocabulary; a character's place in it is its step.
        start: what a text without a prime is begun after, as if at the beginning of a paragraph.
    """

    name = "char"
    unit = "character"

    def __init__(self, characters: str, start: str = "") -> None:
        self.characters = characters
        self.start = start or characters[:1]
        self.step = Discrete(len(characters))
        self._table = np.full(_CODE_POINTS, _UNKNOWN, dtype=np.int32)
        self._table[_points(characters)] = np.arange(len(characters), dtype=np.int32)

    def encode(self, text: str) -> tuple[NDArray[np.integer], str]:
        """Turn text into steps.

        Returns:
            The steps, (N,), and the characters that the vocabulary lacks, each once, in order
            of appearance; these have no step and are left out.
        """
        points = _points(text)
        steps = self._table[points]
        known = steps != _UNKNOWN
        if known.all():
            return steps, ""
        unknown = "".join(dict.fromkeys(map(chr, points[~known].tolist())))
        return steps[known], unknown

    def encoded(
        self, blocks: Iterable[str], unknown: dict[str, int]
    ) -> Iterator[NDArray[np.integer]]:
        """Encode a stream; `unknown` gathers how often each unknown character was met."""
        for text in blocks:
            steps, lacking = self.encode(text)
            for character in lacking:
                unknown[character] = unknown.get(character, 0) + text.count(character)
            yield steps

    def decode(self, steps: Iterable[int]) -> str:
        """Turn steps back into text; exact for all that `encode` knew."""
        return "".join(self.characters[step] for step in steps)

    def decoder(self) -> CharDecoder:
        """A decoder for a stream of steps."""
        return CharDecoder(self.characters)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON and for `from_dict`."""
        return {"name": self.name, "characters": self.characters, "start": self.start}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CharCodec:
        """Rebuild a codec from a checkpoint.

        Raises:
            CheckpointError: no characters, or one that stands twice.
        """
        characters = values.get("characters")
        if not isinstance(characters, str) or not characters:
            raise CheckpointError("the char codec has no characters")
        if len(set(characters)) != len(characters):
            raise CheckpointError("the char codec has a character twice")
        start = values.get("start", "")
        if not isinstance(start, str) or not set(start) <= set(characters):
            raise CheckpointError("the char codec has a start that it cannot read")
        return cls(characters, start)


class CharDecoder:
    """Turns one step after the other into text (`push`), and gives what is left (`flush`)."""

    def __init__(self, characters: str) -> None:
        self._characters = characters

    def push(self, step: int) -> str:
        """The text that this step completes."""
        return self._characters[step]

    def flush(self) -> str:
        """The text still held back: a character is never held back."""
        return ""


class CharLearner:
    """Encodes a stream of text while it learns the vocabulary: one pass, flat memory.

    Iterate over it for blocks of steps; afterwards `codec` is the codec that made them.
    """

    def __init__(self, blocks: Iterable[str]) -> None:
        self._blocks = blocks
        self._table = np.full(_CODE_POINTS, _UNKNOWN, dtype=np.int32)
        self._characters: list[str] = []
        self._start = len(STARTS)  # the best of them that was met so far

    def __iter__(self) -> Iterator[NDArray[np.integer]]:
        for text in self._blocks:
            for rank, start in enumerate(STARTS[: self._start]):
                if start in text:
                    self._start = rank
                    break
            points = _points(text)
            steps = self._table[points]
            unknown = steps == _UNKNOWN
            if unknown.any():
                new = np.unique(points[unknown])
                first = len(self._characters)
                self._table[new] = np.arange(first, first + len(new), dtype=np.int32)
                self._characters += map(chr, new.tolist())
                steps = self._table[points]
            yield steps

    @property
    def codec(self) -> CharCodec:
        """The codec of all that was read so far."""
        return CharCodec("".join(self._characters), "".join(STARTS[self._start : self._start + 1]))


def _points(text: str) -> NDArray[np.uint32]:
    """The code points of a text, (N,)."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
