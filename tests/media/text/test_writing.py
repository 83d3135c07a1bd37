from __future__ import annotations

import pytest

from charrnn.media.text.writing import loop_of


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
