"""Text as characters: each Unicode code point is a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError
from charrnn.media.text.codec import (
    CODE_POINTS,
    UNKNOWN,
    Steps,
    TextCodec,
    TextLearner,
    common,
    points,
)
from charrnn.media.text.reading import MARK, Reading, TextFiles

AT_ONCE = 1 << 16  # characters whose steps are looked up


class CharCodec(TextCodec):
    """One step is one code point; the vocabulary consists of the characters of the corpus.

    Args:
        characters: the vocabulary; the index of a character is its step.
        start: as in `TextCodec`.
        reading: as in `TextCodec`.
        characters_per_step: as in `TextCodec`.
    """

    name = "char"
    unit = "character"

    def __init__(
        self,
        characters: str,
        start: str = "",
        reading: Reading | None = None,
        characters_per_step: float = 1.0,
    ) -> None:
        super().__init__(characters, start or characters[:1], reading, characters_per_step)
        self._table = np.full(CODE_POINTS, UNKNOWN, dtype=np.int32)
        self._table[points(characters)] = np.arange(len(characters), dtype=np.int32)

    def _encode(self, text: str) -> tuple[Steps, list[str]]:
        """As in `TextCodec`; unknown characters are left out."""
        there = points(text)
        steps = self._table[there]
        known = steps != UNKNOWN
        if known.all():
            return steps, []
        return steps[known], list(map(chr, there[~known].tolist()))

    def decoder(self) -> CharDecoder:
        """A decoder for a stream of steps."""
        texts = list(self.symbols)
        if self.end is not None:
            texts[self.end] = self.reading.between
        return CharDecoder(texts)

    def loss_detail(self, nats_per_step: float) -> str:
        """As in `Codec`: nothing, since the loss is already per character."""
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold, for `from_dict`."""
        return super().to_dict() | {"characters": "".join(self.symbols)}

    @classmethod
    def learner(cls, files: TextFiles, reading: Reading, settings: Any) -> CharLearner:
        """As in `TextCodec`."""
        return CharLearner(files, reading, settings.extra_characters)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CharCodec:
        """Rebuild a codec from a checkpoint."""
        characters = values.get("characters")
        if not isinstance(characters, str):
            raise CheckpointError("the char codec has no characters")
        shared = common(values, characters)
        if not set(shared["start"]) <= set(characters):
            raise CheckpointError("the char codec's start is not in its vocabulary")
        return cls(characters, **shared)


class CharDecoder:
    """Looks up the text of each step."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def push(self, step: int) -> str:
        """The text of this step."""
        return self._texts[step]

    def flush(self) -> str:
        """Nothing is ever held back."""
        return ""


class CharLearner(TextLearner):
    """The `Learner` of characters: numbers them in the order of their first occurrence.

    Args:
        files: as in `TextLearner`.
        reading: as in `TextLearner`.
        extra: characters to add to the vocabulary.
    """

    def __init__(self, files: TextFiles, reading: Reading, extra: str) -> None:
        super().__init__(files, reading)
        self._extra = extra
        self._table = np.full(CODE_POINTS, UNKNOWN, dtype=np.int32)
        self._characters: list[str] = []
        # For text in Latin-1: the characters that have a step, and the steps of all 256.
        self._known, self._steps = b"", bytes(256)
        self._fits = True  # whether these steps are below 256

    def _encoded(self, blocks: Iterator[str]) -> Iterator[Steps]:
        for text in blocks:
            try:
                steps = self._of_latin_1(text.encode("latin-1")) if self._fits else None
            except UnicodeEncodeError:
                steps = None
            yield self._of_any(text) if steps is None else steps

    def _of_latin_1(self, text: bytes) -> Steps | None:
        """The steps of ASCII or Latin-1 text, (N,), three times as fast as `_of_any`; None: a step
        does not fit into a byte."""
        if new := text.translate(None, delete=self._known):
            self._number(np.unique(np.frombuffer(new, np.uint8)))
        return np.frombuffer(text.translate(self._steps), np.uint8) if self._fits else None

    def _of_any(self, text: str) -> Steps:
        """The steps of any text, (N,)."""
        there = points(text)
        steps = self._looked_up(there)
        if steps.min(initial=0) == UNKNOWN:
            self._number(np.unique(there[steps == UNKNOWN]))
            steps = self._looked_up(there)
        return steps

    def _looked_up(self, there: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The steps of code points, (N,), which are all in the table, so that "clip", which is
        faster, changes none.  A few at a time, since NumPy makes wide copies of them."""
        steps = np.empty(len(there), np.int32)
        for i in range(0, len(there), AT_ONCE):
            some = slice(i, i + AT_ONCE)
            self._table.take(there[some], mode="clip", out=steps[some])
        return steps

    def _number(self, new: NDArray[np.integer]) -> None:
        """Give the next steps to characters, (n,), which are code points."""
        first = len(self._characters)
        self._table[new] = np.arange(first, first + len(new), dtype=np.int32)
        self._characters += map(chr, new.tolist())
        narrow = self._table[:256]
        self._known = bytes(np.flatnonzero(narrow != UNKNOWN).tolist())
        self._steps, self._fits = narrow.astype(np.uint8).tobytes(), narrow.max() < 256

    def learnt(self) -> dict[str, Any]:
        """As in `Learner`."""
        return super().learnt() | {"characters": "".join(self._characters)}

    def _join(self, part: Mapping[str, Any]) -> NDArray[Any]:
        """As in `TextLearner`: characters that are new to the corpus get the next steps."""
        there = points(part["characters"])
        self._number(there[self._table[there] == UNKNOWN])
        return self._table[there]

    @property
    def codec(self) -> CharCodec:
        """The codec learnt from the corpus."""
        # MARK has its place only where there are documents.
        extra = self._reading.normalized(self._extra).replace(MARK, "")
        characters = "".join(dict.fromkeys([*self._characters, *extra]))
        if self._reading.has_documents and MARK not in characters:
            characters += MARK  # a corpus without a single document
        return CharCodec(characters, self._starts.start, self._reading)
