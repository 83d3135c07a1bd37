"""Text by words, marks and white space, such that decoding gives it back to the letter.

A word after another, or after a mark such as a comma, usually follows a single space.  That space
is no step of its own: it is implied.  Where it is missing stands GLUE, and any other white space
is a step for each character.  So most sentences take one step for each word and each mark.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.codec.reading import MARK, Reading
from charrnn.codec.text import CODE_POINTS, Learner, Opening, Steps, TextCodec, common
from charrnn.errors import CheckpointError, SamplingError

UNK = "<unk>"  # stands for every word that is not in the vocabulary
GLUE = ""  # no space here, though one would be implied
_MOST = 64  # characters of a word; what is longer is cut
_COPY = 1 << 22  # steps that are numbered anew at a time
_HELD = 1 << 16  # characters without white space that are waited for
_CLOSING = frozenset(",.;:!?)]…")
# Chinese and Japanese have no spaces: each of their characters is a step, like a mark.
_SINGLE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


@functools.cache
def _token() -> re.Pattern[str]:
    """A word and the space before it, or any other character.

    A word may have an apostrophe in it, and marks that combine with its letters or join them.
    """
    numbers = range(0x300, 0x20000)
    marks = "".join(c for c in map(chr, numbers) if unicodedata.category(c).startswith("M"))
    letter = rf"[^\W{_SINGLE}]"
    more = rf"(?:{letter}|[{marks}\u200c\u200d]){{0,{_MOST}}}"
    return re.compile(rf"( ?)({letter}{more}(?:['’]{letter}{more})?)|(.)", re.DOTALL)


def tokens(text: str, before: str = "") -> Iterator[str]:
    """The tokens of a text that goes on after the token `before`."""
    for match in _token().finditer(text):
        space, word, other = match.groups()
        if word is None:
            before = other
            yield other
            continue
        if _spaces(before):
            if not space:
                yield GLUE
        elif space:
            yield space
        before = word
        yield word


def _spaces(before: str) -> bool:
    """Whether a space is implied between this token and a word after it."""
    return before in _CLOSING or _is_word(before)


def _is_word(token: str) -> bool:
    return token == UNK or re.match(rf"[^\W{_SINGLE}]", token) is not None


class WordCodec(TextCodec):
    """One step is one word, mark or white-space character.

    Args:
        words: the vocabulary, with UNK at 0.
        spelling: how often each character occurs in the corpus's different words, and "" for
            their ends: a model of characters that says what UNK leaves unsaid.
        rare: share of the corpus's steps that became UNK.
        extra: nats of their spelling, as a mean over all steps.
        start: as in `TextCodec`.
        reading: as in `TextCodec`.
        characters_per_step: as in `TextCodec`.
    """

    name = "word"
    unit = "word"

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
        self.spelling, self.rare, self._extra = dict(spelling), rare, extra

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        """The steps of the words, once there is something to read."""
        return {word: step for step, word in enumerate(self.symbols)}

    def _encode(self, text: str) -> tuple[Steps, list[str]]:
        """Unknown words are read as UNK, step 0."""
        return self._looked_up(list(tokens(text)))

    def _looked_up(self, found: list[str]) -> tuple[Steps, list[str]]:
        steps = np.fromiter((self._index.get(token, 0) for token in found), np.int64, len(found))
        return steps, [found[place] for place in np.flatnonzero(steps == 0).tolist()]

    def encoded(self, blocks: Iterable[str], unknown: dict[str, int]) -> Iterator[Steps]:
        """As in `TextCodec`; a word that spans two blocks stays whole."""
        for found in _streamed(blocks):
            steps, lacking = self._looked_up(found)
            for word in lacking:
                unknown[word] = unknown.get(word, 0) + 1
            yield steps

    def decoder(self) -> WordDecoder:
        """A decoder for a stream of steps."""
        return WordDecoder(self.symbols, self.end, self.reading.between)

    def primed(self, text: str) -> tuple[Steps, WordDecoder]:
        """As in `TextCodec`.  The space at the end of a prime is the one that the next word
        would bring along."""
        text = self.reading.normalized(text)
        found = list(tokens(text))
        decoder = self.decoder()
        if found[-1:] == [" "] and len(found) > 1 and _spaces(found[-2]):
            found.pop()
            decoder.spaced = True
        steps, _ = self._looked_up(found)
        decoder.before = found[-1] if found else ""
        return self._begun(steps), decoder

    def surprise(self, nats: float, unknown: Mapping[str, int]) -> float:
        """Nats with the spelling of the unknown words."""
        total = sum(self.spelling.values())
        return nats + sum(
            count * spelling_nats(word, self.spelling, total) for word, count in unknown.items()
        )

    @property
    def extra_nats_per_step(self) -> float:
        """The mean spelling of an unknown word, times how often one occurs."""
        return self._extra

    @property
    def remark(self) -> str:
        """How much of the corpus is not in the vocabulary."""
        return f"{self.rare:.1%} of the corpus is rare and read as {UNK}" if self.rare else ""

    def never(self, allow: str = "", forbid: str = "", unk: bool = False) -> Steps:
        """As in `TextCodec`.

        Raises:
            SamplingError: nothing is left, or spaces are not allowed.
        """
        if " " in forbid or (allow and " " not in allow):
            raise SamplingError(
                "a word model writes spaces between words: --allow must have a space in it, and "
                "--forbid none"
            )
        steps = super().never(allow, forbid, unk)
        return np.setdiff1d(steps, 0) if unk else np.union1d(steps, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON and for `from_dict`."""
        return super().to_dict() | {
            "words": list(self.symbols),
            "spelling": self.spelling,
            "rare": self.rare,
            "extra": self._extra,
        }

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
            raise CheckpointError(f"the word codec has a share of rare words of {rare!r}")
        if not (isinstance(extra, float | int) and 0 <= extra < 1e9):
            raise CheckpointError(f"the word codec spells with {extra!r} nats a step")
        return cls(words, spelling, float(rare), float(extra), **shared)


def spelling_nats(word: str, spelling: Mapping[str, int], total: int) -> float:
    """Nats of a word and its end, character by character, by how often each occurs of `total`; a
    character that never did shares one count with all of its kind."""
    total += 1
    known = (math.log(total / spelling[c]) for c in ("", *word) if spelling.get(c))
    new = sum(not spelling.get(c) for c in ("", *word))
    return math.fsum(known) + new * (math.log(total) + math.log(CODE_POINTS))


class WordDecoder:
    """Writes the implied spaces between the tokens.

    Attributes:
        before: the token that was written last.
        spaced: whether the next implied space is there already.
    """

    def __init__(self, words: Sequence[str], end: int | None, between: str) -> None:
        self._words, self._end, self._between = words, end, between
        self.before, self.spaced = "", False

    def push(self, step: int) -> str:
        """The text of this step, with the space before it that is implied."""
        token = self._words[step]
        space = " " if not self.spaced and _is_word(token) and _spaces(self.before) else ""
        self.before, self.spaced = token, False
        return self._between if step == self._end else space + token

    def flush(self) -> str:
        """Nothing is ever held back."""
        return ""


class WordLearner(Learner):
    """Gives words their steps as they are met, and keeps the frequent ones in the end.

    Args:
        blocks: the text.
        reading: what was done to it.
        vocab_size: V at most.
        min_count: times a word has to occur.
    """

    settles: ClassVar[bool] = True

    def __init__(
        self, blocks: Iterable[str], reading: Reading, vocab_size: int, min_count: int
    ) -> None:
        self._blocks, self._reading = blocks, reading
        self._most, self._least = vocab_size, min_count
        self._index: dict[str, int] = {UNK: 0, GLUE: 1}
        if reading.has_documents:
            self._index[MARK] = 2
        self._special = len(self._index)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._opening = Opening()
        self._characters = 0

    def __iter__(self) -> Iterator[Steps]:
        index = self._index
        for found in _streamed(self._watched()):
            steps = np.fromiter(
                (index.setdefault(token, len(index)) for token in found), np.int64, len(found)
            )
            counts = np.bincount(steps, minlength=len(index))
            counts[: len(self._counts)] += self._counts
            self._counts = counts
            yield steps

    def _watched(self) -> Iterator[str]:
        for text in self._blocks:
            self._opening.look(text)
            self._characters += len(text)
            yield text

    def _kept(self) -> NDArray[np.int64]:
        """The learner's steps that the codec keeps, in its order: special ones, then by count."""
        counts = self._counts[self._special :]
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] >= self._least][: self._most - self._special]
        return np.concatenate([np.arange(self._special), order + self._special])

    def settle(self, steps: Steps) -> Iterator[Steps]:
        """The steps as the codec numbers them."""
        table = self.table
        for start in range(0, len(steps), _COPY):
            yield table[steps[start : start + _COPY]]

    @property
    def table(self) -> Steps:
        """From the learner's steps to the codec's."""
        kept = self._kept()
        table = np.zeros(len(self._index), np.int64)
        table[kept] = np.arange(len(kept))
        return table

    @property
    def codec(self) -> WordCodec:
        """The codec of all that was read."""
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
            self._opening.start,
            self._reading,
            max(1, self._characters) / total,
        )


def _streamed(blocks: Iterable[str]) -> Iterator[list[str]]:
    """The tokens of a stream, a block at a time, cut where white space begins."""
    rest, before = "", ""
    for block in blocks:
        rest += block
        cut = max(rest.rfind(" "), rest.rfind("\n"))
        if cut <= 0 and len(rest) > _HELD:
            cut = len(rest)
        if cut > 0:
            found = list(tokens(rest[:cut], before))
            before, rest = found[-1], rest[cut:]
            yield found
    if rest:
        yield list(tokens(rest, before))
