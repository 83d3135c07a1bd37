"""Tokens found fast are those that one plain regular expression finds one by one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.media.sources import corpora
from charrnn.media.text import tokens as module
from charrnn.media.text.tokens import GLUE, UNK, Numbers, implies_space, tokens, whole_words
from tests.conftest import ROOT

SHARED = ROOT.parent / "shared" / "data"
FILES = [path for path in corpora().values() if path.suffix in (".txt", ".abc")]
FILES += [*sorted(SHARED.glob("text/*")), *sorted(SHARED.glob("cases/*.[tcja][xsb]*"))]
MARKS = "".join(
    c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c).startswith("M")
)
LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
MORE = rf"(?:{LETTER}|[{MARKS}\u200c\u200d]){{0,64}}"
PLAIN = re.compile(rf"( ?)({LETTER}{MORE}(?:['’]{LETTER}{MORE})?)|(.)", re.DOTALL)
ODD = "aZ_1é'’ \n\t.,!?…-—\"\ufdd0ü日かЖहि\u0301\u0345\u200c\u200d\u2009가\U00020001\U0001e8d0😀"
WORDY = st.text(st.sampled_from("ab' ,\n") | st.sampled_from(ODD), max_size=60) | st.text()
LONG = st.integers(60, 140).map(lambda n: "a" * n) | st.integers(60, 70).map(
    lambda n: "e\u0301" * n
)
TEXT = st.lists(WORDY | LONG, max_size=5).map("".join)


def by_the_rules(text: str, before: str = "") -> Iterator[str]:
    """The tokens of a text, each from one match."""
    is_spaced = implies_space(before)
    for match in PLAIN.finditer(text):
        space, word, other = match.groups()
        if word is None:
            is_spaced = other in set(",.;:!?)]…")
            yield other
            continue
        if is_spaced != bool(space):
            yield space if space else GLUE
        is_spaced = True
        yield word


@given(TEXT, st.sampled_from(["", "a", ",", "\n", UNK]))
def test_tokens(text: str, before: str) -> None:
    assert list(tokens(text, before)) == list(by_the_rules(text, before))


def numbered(blocks: list[str]) -> tuple[list[int], dict[str, int]]:
    """Numbers as the learner gives them."""
    index, found, is_spaced = {UNK: 0, GLUE: 1}, [], False
    numbers = Numbers(index)
    for text in whole_words(blocks):
        steps, is_spaced = numbers.of(text, is_spaced=is_spaced)
        found += steps.tolist()
    return found, index


def one_by_one(blocks: list[str]) -> tuple[list[int], dict[str, int]]:
    index, before, found = {UNK: 0, GLUE: 1}, "", []
    for text in whole_words(blocks):
        words = list(by_the_rules(text, before))
        found += [index.setdefault(word, len(index)) for word in words]
        before = words[-1]
    return found, index


@given(TEXT, st.lists(st.integers(0, 300), max_size=4))
@example("b,a\nc d", [4])  # the space gets its number between words of one block
@example(" x \n y", [])
def test_numbers_of_a_stream(text: str, cuts: list[int]) -> None:
    blocks = [text[a:b] for a, b in pairwise([0, *sorted(cuts), len(text)])]
    (found, index), (wanted, plain) = numbered(blocks), one_by_one(blocks)
    assert found == wanted
    assert list(index.items()) == list(plain.items())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_numbers_of_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_bytes().decode()
    blocks = [text[start : start + 50_000] for start in range(0, len(text), 50_000)]
    wanted, plain = one_by_one(blocks)
    for known in (module._KNOWN, 100):  # few of them, too
        monkeypatch.setattr(module, "_KNOWN", known)
        found, index = numbered(blocks)
        np.testing.assert_array_equal(found, wanted)
        assert list(index.items()) == list(plain.items())
