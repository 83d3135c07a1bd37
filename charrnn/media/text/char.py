"""Text as characters: each Unicode code point is a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

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

    def _encoded(self, blocks: Iterator[str]) -> Iterator[Steps]:
        for text in blocks:
            there = points(text)
            steps = self._table[there]
            unknown = steps == UNKNOWN
            if unknown.any():
                new = np.unique(there[unknown])
                first = len(self._characters)
                self._table[new] = np.arange(first, first + len(new), dtype=np.int32)
                self._characters += map(chr, new.tolist())
                steps = self._table[there]
            yield steps

    @property
    def codec(self) -> CharCodec:
        """The codec learnt from the corpus."""
        # MARK has its place only where there are documents.
        extra = self._reading.normalized(self._extra).replace(MARK, "")
        characters = "".join(dict.fromkeys([*self._characters, *extra]))
        if self._reading.has_documents and MARK not in characters:
            characters += MARK  # a corpus without a single document
        return CharCodec(characters, self._starts.start, self._reading)
