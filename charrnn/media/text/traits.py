"""What people can name about a text: places in line, word and sentence, quotes, brackets, ..."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.media.text.reading import MARK
from charrnn.media.traits import Kinds, Parts, Trait, Traits

if TYPE_CHECKING:
    from charrnn.media.text.codec import Steps, TextCodec

Numbers = NDArray[np.float64]
FARTHEST = 200.0  # places beyond this count as this: a trait should not be all about one long line
OPENING, CLOSING = "([{", ")]}"
VOWELS = frozenset("aeiouyäöüáéíóúàèìòùâêîôûæœåø")
KINDS = ("letter", "capital", "digit", "space", "line break", "punctuation", "other", "end of text")
LETTER, CAPITAL, DIGIT, SPACE, BREAK, PUNCTUATION, OTHER, ENDING = range(len(KINDS))
PLACES = ("first letter", "second letter", "third letter", "fourth or later")
MOST_PARTS = 20_000


def traits_of(codec: TextCodec, steps: Steps) -> Traits:
    """The traits of a text, (N,) steps.

    Those of a step are those of its last character.
    """
    pieces = _pieces(codec, steps)
    text = "".join(pieces)
    ends = np.cumsum([len(piece) for piece in pieces]) - 1  # of each step, its last character
    last = np.maximum(ends, 0)
    begins = np.append(0, ends[:-1] + 1)
    has_text = ends >= begins
    if not text:
        return Traits()
    characters = np.array([_kind(character) for character in text])
    numbers = [
        Trait(name, values[last])
        for name, values in _numbers(text, characters, codec.end is not None)
        if np.ptp(values) > 0
    ]
    own = np.where(has_text, characters[np.minimum(begins, len(text) - 1)], -1)
    kinds = [Kinds("kind of character", KINDS, own)]
    if np.mean([len(piece) for piece in pieces]) < 1.5:  # of words the place says nothing
        place = _since(np.isin(characters, (LETTER, CAPITAL)), 4) - 1
        kinds.append(Kinds("place in the word", PLACES, np.where(has_text, place[last], -1)))
    step_of = np.searchsorted(ends, np.arange(len(text)))  # of each character
    parts = [_parts(name, pattern, text, step_of) for name, pattern in PARTS]
    return Traits(numbers, kinds, [part for part in parts if len(part.texts) > 1])


PARTS = (("words", r"[^\W_]+(?:['’][^\W_]+)*"), ("lines", rf"[^\n{MARK}]*[^\s{MARK}][^\n{MARK}]*"))


def _parts(name: str, pattern: str, text: str, step_of: NDArray[np.int64]) -> Parts:
    spans, texts = [], []
    for match in re.finditer(pattern, text):
        spans.append((int(step_of[match.start()]), int(step_of[match.end() - 1]) + 1))
        texts.append(match.group().strip())
        if len(texts) == MOST_PARTS:
            break
    return Parts(name, spans, texts)


def _pieces(codec: TextCodec, steps: Steps) -> list[str]:
    """The text that each step completes; MARK for the end of a document."""
    decoder, pieces = codec.decoder(), []
    for step in steps.tolist():
        if step == codec.end:
            decoder.flush()
            decoder = codec.decoder()
            pieces.append(MARK)
        else:
            pieces.append(decoder.push(step))
    return pieces


def _kind(character: str) -> int:
    """The index in KINDS of a character."""
    if character.isalpha():
        return CAPITAL if character.isupper() else LETTER
    if character.isdigit():
        return DIGIT
    if character == "\n":
        return BREAK
    if character == MARK:
        return ENDING
    if character.isspace():
        return SPACE
    return PUNCTUATION if character.isascii() or character in "„“”‚‘’«»…–—" else OTHER


def _numbers(
    text: str, kinds: NDArray[np.int64], has_documents: bool
) -> Sequence[tuple[str, Numbers]]:
    """The traits of each character of a text, (n,), after it was read."""
    is_break = np.isin(kinds, (BREAK, ENDING))
    is_letter = np.isin(kinds, (LETTER, CAPITAL))
    starts_word = is_letter & ~np.append(False, is_letter[:-1])
    after_break = np.append(True, is_break[:-1])
    is_blank = is_break & after_break  # ends an empty line
    ends_sentence = np.array([character in ".!?。！？" for character in text])
    vowels = np.array([character.lower() in VOWELS for character in text])
    syllable = vowels & ~np.append(False, vowels[:-1])
    is_indent = _first_of_line(kinds == SPACE, is_break)
    all_capitals = (_since(is_letter) >= 2) & (_since(kinds == CAPITAL) == _since(is_letter))
    found: list[tuple[str, Numbers]] = [
        ("place in the line", _since(~is_break)),
        ("place in the word", _since(is_letter)),
        ("place in the sentence", _since(~(ends_sentence | is_blank))),
        ("words in the line", _count(starts_word, is_break)),
        ("syllables in the line", _count(syllable, is_break)),
        ("lines since a blank one", _count(is_break & ~is_blank, is_blank)),
        ("indentation of the line", _count(is_indent, is_break)),
        ("in quotes", _quoted(text, is_blank)),
        ("in brackets", _depth(text, is_blank)),
        ("in capitals", all_capitals.astype(float)),
        ("in a number", (kinds == DIGIT).astype(float)),
        (
            "after a # in the line",
            np.minimum(1, _count(np.array([c == "#" for c in text]), is_break)),
        ),
    ]
    if has_documents:
        found.append(("place in the document", _since(kinds != ENDING)))
    return [(name, np.minimum(values, FARTHEST)) for name, values in found]


def _since(is_inside: NDArray[np.bool_], most: float = np.inf) -> Numbers:
    """How many in a row are true up to each, (n,)."""
    return np.minimum(_count(is_inside, ~is_inside), most)


def _count(is_counted: NDArray[np.bool_], resets: NDArray[np.bool_]) -> Numbers:
    """How many were counted since the last reset, (n,); what resets is not counted itself."""
    total = np.cumsum(is_counted & ~resets)
    at_reset = np.maximum.accumulate(np.where(resets, total, 0))
    return (total - at_reset).astype(float)


def _first_of_line(is_inside: NDArray[np.bool_], is_break: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of those that are true stand before everything else of their line."""
    others = _count(~is_inside & ~is_break, is_break)
    return np.asarray(is_inside & (others == 0))


def _quoted(text: str, resets: NDArray[np.bool_]) -> Numbers:
    """Whether each character stands in double quotes, (n,)."""
    return _walked(text, resets, _quote)


def _quote(before: float, character: str) -> float:
    if character in "“„«":
        return 1.0
    if character in "”»":
        return 0.0
    return 1 - before if character == '"' else before


def _depth(text: str, resets: NDArray[np.bool_]) -> Numbers:
    """How many brackets are open at each character, (n,)."""
    return _walked(text, resets, _bracket)


def _bracket(before: float, character: str) -> float:
    if character in OPENING:
        return before + 1
    return max(0.0, before - 1) if character in CLOSING else before


def _walked(text: str, resets: NDArray[np.bool_], after: Callable[[float, str], float]) -> Numbers:
    """A number that changes with each character, (n,), and is 0 after a reset."""
    value, found = 0.0, np.empty(len(text))
    for index, (character, reset) in enumerate(zip(text, resets.tolist(), strict=True)):
        value = 0.0 if reset else after(value, character)
        found[index] = value
    return found
