from __future__ import annotations

import pytest

from charrnn.media.product import Drawn
from charrnn.media.text.char import CharCodec
from charrnn.media.text.writing import TextSample, loop_of


@pytest.mark.parametrize(
    ("text", "looped"),
    [
        ("and then the end", ""),
        ("so " + "and the " * 20, "and the "),
        ("a" * 200, "a"),
        ("no no no", ""),
        ("x" * 100 + " and something else", ""),
    ],
)
def test_loops(text: str, looped: str) -> None:
    assert loop_of(text) == looped


TEXT = 'One two, "three." Four\nfive six?\n\nSeven eight nine'
LETTERS = CharCodec("".join(sorted(set(TEXT))))


@pytest.mark.parametrize(
    ("finish", "length", "expected"),
    [
        (None, 5, "One t"),
        ("word", 5, "One two"),
        ("word", 7, "One two"),
        ("word", 8, 'One two, "three'),
        ("sentence", 12, 'One two, "three."'),
        ("sentence", 16, 'One two, "three."'),
        ("line", 20, TEXT[: TEXT.index("\n") + 1]),
        ("paragraph", 24, TEXT[: TEXT.index("\n\n") + 2]),
        ("paragraph", 10, TEXT[:20]),  # at most as long again
        ("word", 0, ""),
    ],
)
def test_finish(finish: str | None, length: int, expected: str) -> None:
    drawn = (Drawn(step) for step in LETTERS.encode(TEXT)[0].tolist())
    sample = TextSample(drawn, LETTERS.decoder(), length, finish=finish)
    assert sample.text == expected
