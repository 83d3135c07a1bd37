"""Text as words, punctuation marks and white space; decoding restores it exactly."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError, SamplingError
from charrnn.media.codec import Piece, Prime, first_of
from charrnn.media.text.codec import (
    CODE_POINTS,
    NAMED,
    Steps,
    TextCodec,
    TextLearner,
    common,
)
from charrnn.media.text.reading import MARK, Reading, TextFiles
from charrnn.media.text.tokens import (
    GLUE,
    UNK,
    Numbers,
    implies_space,
    is_word,
    tokens,
    whole_words,
)

_COPY = 1 << 22  # steps that are renumbered at a time


class WordCodec(TextCodec):
    """One step is one word, mark or white-space character.

    Args:
        words: the vocabulary, with UNK at 0.
        spelling: counts of each character in the list of different words of the corpus, and of ""
            for the end of a word.  This character model gives the cost of a word that UNK replaces.
        rare: fraction of the corpus's steps that became UNK.
        extra: nats for spelling these words, as a mean over all steps.
        start: as in `TextCodec`.
        reading: as in `TextCodec`.
        characters_per_step: as in `TextCodec`.
    """

    name = "word"
    unit = "word"
    joint = " "
    listed = 40

    def __init__(
        self,
        words: Sequence[str],
        spelling: Mapping[str, int],
        rare: float = 0.0,
        extra: float = 0.0,
        start: str = "",
        reading: Reading | None = None,
        characters_per_step: float = 1.0,
    ) -> None:
        super().__init__(words, start, reading, characters_per_step)
        self.remark = f"{rare:.1%} of the corpus is rare and read as {UNK}" if rare else ""
        self.spelling, self.rare, self._extra = dict(spelling), rare, extra

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        """Word -> step; built when it is first needed."""
        return {word: step for step, word in enumerate(self.symbols)}

    def _encode(self, text: str) -> tuple[Steps, list[str]]:
        """Unknown words are read as UNK, step 0."""
        return self._looked_up(list(tokens(text)))

    def _looked_up(self, found: list[str]) -> tuple[Steps, list[str]]:
        steps = np.fromiter((self._index.get(token, 0) for token in found), np.int64, len(found))
        return steps, [found[place] for place in np.flatnonzero(steps == 0).tolist()]

    def encoded(self, blocks: Iterable[str], unknown: dict[str, int]) -> Iterator[Steps]:
        """As in `TextCodec`; a word that spans two blocks is not split."""
        for found in _streamed(blocks):
            steps, lacking = self._looked_up(found)
            for word in lacking:
                unknown[word] = unknown.get(word, 0) + 1
            yield steps

    def decoder(self) -> WordDecoder:
        """A decoder for a stream of steps."""
        return WordDecoder(self.symbols, self.end, self.reading.between)

    def primed(self, text: str) -> tuple[Steps, WordDecoder]:
        """As in `TextCodec`; a space at the end of a prime is the implied space before the next
        word."""
        text = self.reading.normalized(text)
        found = list(tokens(text))
        decoder = self.decoder()
        if found[-1:] == [" "] and len(found) > 1 and implies_space(found[-2]):
            found.pop()
            decoder.spaced = True
        steps, _ = self._looked_up(found)
        decoder.before = found[-1] if found else ""
        return self._with_beginning(steps), decoder

    def total_nats(self, nats: float, unknown: Mapping[str, int]) -> float:
        """As in `TextCodec`: adds the spelling of the unknown words."""
        total = sum(self.spelling.values())
        return nats + sum(
            count * spelling_nats(word, self.spelling, total) for word, count in unknown.items()
        )

    @property
    def extra_nats_per_step(self) -> float:
        """As in `TextCodec`: nats for spelling unknown words."""
        return self._extra

    def encode_text(self, text: str) -> tuple[Steps, list[Piece]]:
        """As in `Codec`; a piece is a word, a mark or white space, with the space before it."""
        found = list(tokens(self.reading.normalized(text)))
        steps, _ = self._looked_up(found)
        total = sum(self.spelling.values())
        pieces: list[Piece] = []
        before, taken = "", 0
        for token in found:
            taken += 1
            if token != GLUE:
                space = " " if is_word(token) and implies_space(before) else ""
                is_known = token in self._index
                nats = 0.0 if is_known else spelling_nats(token, self.spelling, total)
                pieces.append(Piece(space + token, taken, nats))
                taken = 0
            before = token
        return steps, pieces

    def unknown_note(self, unknown: Mapping[str, int]) -> str:
        """As in `TextCodec`."""
        total, example = sum(unknown.values()), next(iter(unknown))
        return (
            f"{total:,} words are not in the vocabulary ({len(unknown):,} different, e.g. "
            f"{example!r}) and read as {UNK}; bits per character include their spelling"
        )

    def warnings(self, prime: Prime, settings: Any, options: Any) -> list[str]:
        """As in `Codec`."""
        found = list(prime.notices)
        if unknown := self.encode(prime.text)[1]:
            named = first_of(unknown, NAMED, " ")
            found.append(f"warning: not in the vocabulary, read as {UNK}: {named}")
        if never := self.encode(options.stop)[1]:
            named = first_of(never, NAMED, " ")
            found.append(f"warning: --stop may never match, not in the vocabulary: {named}")
        return found

    def never(self, settings: Any) -> Steps:
        """As in `TextCodec`.

        Raises:
            SamplingError: nothing is left to sample, or spaces are not allowed.
        """
        if " " in settings.forbid or (settings.allow and " " not in settings.allow):
            raise SamplingError(
                "a word model writes spaces between words: --allow must contain a space, and "
                "--forbid must not"
            )
        steps = super().never(dataclasses.replace(settings, unk=False))
        return np.setdiff1d(steps, 0) if settings.unk else np.union1d(steps, 0)

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold, for `from_dict`."""
        return super().to_dict() | {
            "words": list(self.symbols),
            "spelling": self.spelling,
            "rare": self.rare,
            "extra": self._extra,
        }

    @classmethod
    def learner(cls, files: TextFiles, reading: Reading, settings: Any) -> WordLearner:
        """As in `TextCodec`."""
        return WordLearner(files, reading, settings.vocab_size, settings.min_count)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WordCodec:
        """Rebuild a codec from a checkpoint."""
        words, spelling = values.get("words"), values.get("spelling")
        rare, extra = values.get("rare"), values.get("extra")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise CheckpointError("the word codec has no words")
        shared = common(values, words)
        if words[0] != UNK or GLUE not in words:
            raise CheckpointError("the word codec lacks its special words")
        if not isinstance(spelling, dict) or not all(
            type(n) is int and 0 <= n < 2**53 for n in spelling.values()
        ):
            raise CheckpointError("the word codec has no spelling")
        if not (isinstance(rare, float | int) and 0 <= rare <= 1):
            raise CheckpointError(f"the word codec's fraction of rare words is {rare!r}")
        if not (isinstance(extra, float | int) and 0 <= extra < 1e9):
            raise CheckpointError(f"the word codec needs {extra!r} nats per step for spelling")
        return cls(words, spelling, float(rare), float(extra), **shared)


def spelling_nats(word: str, spelling: Mapping[str, int], total: int) -> float:
    """Nats for spelling a word and its end, from the relative frequency of each character.

    Args:
        word: the word.
        spelling: counts of characters.
        total: their sum.  One more count is divided equally among all code points, for characters
            that never occurred.
    """
    total += 1
    known = (math.log(total / spelling[c]) for c in ("", *word) if spelling.get(c))
    new = sum(not spelling.get(c) for c in ("", *word))
    return math.fsum(known) + new * (math.log(total) + math.log(CODE_POINTS))


class WordDecoder:
    """Turns steps into text, and adds the implied spaces between tokens.

    Attributes:
        before: the previous token.
        spaced: whether the next implied space has already been written.
    """

    def __init__(self, words: Sequence[str], end: int | None, between: str) -> None:
        self._words, self._end, self._between = words, end, between
        self.before, self.spaced = "", False

    def push(self, step: int) -> str:
        """The text of this step, with the implied space before it."""
        token = self._words[step]
        space = " " if not self.spaced and is_word(token) and implies_space(self.before) else ""
        self.before, self.spaced = token, False
        return self._between if step == self._end else space + token

    def flush(self) -> str:
        """Nothing is ever held back."""
        return ""


class WordLearner(TextLearner):
    """The `Learner` of words.

    The first pass numbers words in the order of their first occurrence; the second pass keeps only
    the frequent ones and renumbers them.

    Args:
        files: the text.
        reading: how it was prepared.
        vocab_size: maximum size of the vocabulary, V.
        min_count: minimum number of occurrences of a word.
    """

    has_second_pass: ClassVar[bool] = True

    def __init__(self, files: TextFiles, reading: Reading, vocab_size: int, min_count: int) -> None:
        super().__init__(files, reading)
        self._most, self._least = vocab_size, min_count
        self._index: dict[str, int] = {UNK: 0, GLUE: 1}
        if reading.has_documents:
            self._index[MARK] = 2
        self._special = len(self._index)
        self._numbers = Numbers(self._index)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._characters = 0

    def _encoded(self, blocks: Iterator[str]) -> Iterator[Steps]:
        is_spaced = False
        for text in whole_words(self._counted(blocks)):
            steps, is_spaced = self._numbers.of(text, is_spaced=is_spaced)
            counts = np.bincount(steps, minlength=len(self._index))
            counts[: len(self._counts)] += self._counts
            self._counts = counts
            yield steps

    def _counted(self, blocks: Iterator[str]) -> Iterator[str]:
        for text in blocks:
            self._characters += len(text)
            yield text

    def learnt(self) -> dict[str, Any]:
        """As in `Learner`."""
        counts = self._counts.tolist()
        own = {"words": list(self._index), "counts": counts, "characters": self._characters}
        return super().learnt() | own

    def join(self, parts: Iterable[Any]) -> list[NDArray[Any] | None]:
        """As in `Learner`: the tables lead to the numbering of the codec, past `second_pass`."""
        tables, final = super().join(parts), self.table
        return [table if table is None else final[table] for table in tables]

    def _join(self, part: Mapping[str, Any]) -> NDArray[Any]:
        """As in `TextLearner`: words that are new to the corpus get the next steps."""
        index = self._index
        table = np.array([index.setdefault(word, len(index)) for word in part["words"]])
        counts = np.zeros(len(index), np.int64)
        counts[: len(self._counts)] = self._counts
        counts[table[: len(part["counts"])]] += np.array(part["counts"], np.int64)
        self._counts = counts
        self._characters += part["characters"]
        return table

    def _kept(self) -> NDArray[np.int64]:
        """The first-pass steps that the codec keeps, in its order: special ones, then by count."""
        counts = self._counts[self._special :]
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] >= self._least][: self._most - self._special]
        return np.concatenate([np.arange(self._special), order + self._special])

    def second_pass(self, steps: Steps) -> Iterator[Steps]:
        """The steps in the numbering of the codec."""
        table = self.table
        for start in range(0, len(steps), _COPY):
            yield table[steps[start : start + _COPY]]

    @property
    def table(self) -> Steps:
        """Maps steps of the first pass to steps of the codec."""
        kept = self._kept()
        table = np.zeros(len(self._index), np.int64)
        table[kept] = np.arange(len(kept))
        return table

    @property
    def codec(self) -> WordCodec:
        """The codec learnt from the corpus."""
        words, table = list(self._index), self.table
        kept = [words[step] for step in self._kept().tolist()]
        own = words[self._special :]
        spelling = Counter(character for word in own for character in word)
        spelling[""] = len(own)
        rare = np.flatnonzero(table == 0)[1:].tolist()
        total = max(1, int(self._counts.sum()))
        letters = spelling.total()
        nats = (
            int(self._counts[step]) * spelling_nats(words[step], spelling, letters) for step in rare
        )
        return WordCodec(
            kept,
            spelling,
            int(self._counts[rare].sum()) / total,
            math.fsum(nats) / total,
            self._starts.start,
            self._reading,
            max(1, self._characters) / total,
        )


def _streamed(blocks: Iterable[str]) -> Iterator[list[str]]:
    """The tokens of a stream in lists, each of which ends before white space."""
    before = ""
    for text in whole_words(blocks):
        found = list(tokens(text, before))
        before = found[-1]
        yield found
