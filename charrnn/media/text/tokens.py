"""Text to tokens: words, punctuation marks and white space.

Between two words, or between a mark such as a comma and a word, there is usually one space.  This
space is implied and has no token.  If it is missing, there is a GLUE token instead; all other white
space has one token per character.  So most sentences need one token for each word and each mark.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

UNK = "<unk>"  # replaces every word that is not in the vocabulary
GLUE = ""  # the implied space is missing here
_MOST = 64  # characters of a word; longer ones are split
_HELD = 1 << 16  # wait for white space for at most this many characters
_CLOSING = frozenset(",.;:!?)]…")
# Chinese and Japanese text has no spaces: each character is a step, like a mark.
_SINGLE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = "\u0300-\u200f\u2070-\U0010ffff"  # includes all marks and joiners, which continue a word
_KNOWN = 1 << 20  # pieces of text whose steps are remembered
# Kinds of pieces; a space is implied between all but the first and a word.
_OTHER, _CLOSING_MARK, _WORD, _SPACED_WORD = range(4)


@functools.cache
def _piece() -> re.Pattern[str]:
    """A regular expression for a word with the space before it, or any other single character.

    A word may contain an apostrophe, combining marks and joiners.  The first alternative finds
    words without marks, which the second would, too, but ten times as slowly.
    """
    numbers = range(0x300, 0x20000)
    marks = "".join(c for c in map(chr, numbers) if unicodedata.category(c).startswith("M"))
    letter = rf"[^\W{_SINGLE}]"
    letters = rf"{letter}{{1,{_MOST + 1}}}+"
    more = rf"(?:{letter}|[{marks}\u200c\u200d]){{0,{_MOST}}}"
    plain = rf" ?{letters}(?:['’]{letters})?+(?![\w{_MARKS}])"
    return re.compile(rf"{plain}| ?{letter}{more}(?:['’]{letter}{more})?|.", re.DOTALL)


# The same for ASCII text, twice as fast.
_ASCII = re.compile(r" ?\w{1,N}(?:'\w{1,N})?|.".replace("N", f"{_MOST + 1}"), re.ASCII | re.DOTALL)


def _pieces(text: str) -> list[str]:
    """The words of a text, each with the space before it, and the other characters."""
    found: list[str] = (_ASCII if text.isascii() else _piece()).findall(text)
    return found


@functools.lru_cache(1 << 16)
def _kind(piece: str) -> int:
    """The kind of a piece."""
    if is_word(piece.removeprefix(" ")):
        return _SPACED_WORD if piece[0] == " " else _WORD
    return _CLOSING_MARK if piece in _CLOSING else _OTHER


def tokens(text: str, before: str = "") -> Iterator[str]:
    """The tokens of a text that follows the token `before`."""
    is_spaced = implies_space(before)
    for piece in _pieces(text):
        kind = _kind(piece)
        if kind == _WORD and is_spaced:
            yield GLUE
        if kind == _SPACED_WORD and not is_spaced:
            yield " "
        is_spaced = kind != _OTHER
        yield piece[1:] if kind == _SPACED_WORD else piece


def implies_space(before: str) -> bool:
    """Whether a space is implied between this token and a word after it."""
    return before in _CLOSING or is_word(before)


def is_word(token: str) -> bool:
    """Whether a token is a word."""
    return token == UNK or re.match(rf"[^\W{_SINGLE}]", token) is not None


class Numbers(dict[str, int]):
    """Numbers the tokens of a text in the order of their first occurrence; five times as fast as
    one by one.

    Its items are the pieces that it has seen: 4 * the number of the word or character + the kind.

    Args:
        index: the numbers of tokens, GLUE among them; new tokens are added.
    """

    def __init__(self, index: dict[str, int]) -> None:
        self.index = index

    def __missing__(self, piece: str) -> int:
        if len(self) >= _KNOWN:
            self.clear()
        kind, index = _kind(piece), self.index
        token = piece[1:] if kind == _SPACED_WORD else piece
        self[piece] = value = 4 * index.setdefault(token, len(index)) + kind
        return value

    def of(self, text: str, *, is_spaced: bool) -> tuple[NDArray[np.int64], bool]:
        """The numbers of the `tokens` of a text.

        Args:
            text: not empty.
            is_spaced: whether a space is implied between what precedes it and a word.

        Returns:
            The numbers, (N,), and whether a space is implied between the text and a word.
        """
        index, before = self.index, len(self.index)
        has_space = " " in index
        pieces = _pieces(text)
        values = np.fromiter(map(self.__getitem__, pieces), np.int64, len(pieces))
        numbers, kinds = values >> 2, values & 3
        spaced = np.append(is_spaced, kinds[:-1] != _OTHER)
        spaces = ~spaced & (kinds == _SPACED_WORD)
        if not has_space and spaces.any():  # once: its number is between those of the pieces
            for token in list(index)[before:]:
                del index[token]
            self.clear()
            for token in tokens(text, "." if is_spaced else ""):
                index.setdefault(token, len(index))
            return self.of(text, is_spaced=is_spaced)
        places = np.flatnonzero(spaces | (spaced & (kinds == _WORD)))
        between = np.where(spaces[places], index.get(" ", 0), index[GLUE])
        return np.insert(numbers, places, between), bool(kinds[-1] != _OTHER)


def whole_words(blocks: Iterable[str]) -> Iterator[str]:
    """The text of a stream in blocks, none of which is empty, and which end before white space."""
    rest = ""
    for block in blocks:
        rest += block
        cut = max(rest.rfind(" "), rest.rfind("\n"))
        if cut <= 0 and len(rest) > _HELD:
            cut = len(rest)
        if cut > 0:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest
