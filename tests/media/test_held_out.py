"""What is held out stands for the whole corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.data import corpus
from charrnn.media.held_out import complement, ends_or_wholes, is_of_another_kind, spread
from tests.conftest import TINY

ENGLISH = "the old bridge crosses the river and the miller sings of rain and of the sea"
GERMAN = "die alte Brücke quert den Fluß und der Müller singt von Regen und vom Meer"


def prose(words: str, count: int, seed: int = 0) -> str:
    """Sentences of these words in random order."""
    random = np.random.default_rng(seed)
    lines = (" ".join(random.choice(words.split(), 8)) + ".\n" for _ in range(-(-count // 40)))
    return "".join(lines)[:count]


def steps_of(text: str) -> np.ndarray:
    return np.array([ord(character) for character in text], np.uint16)


def test_the_end_of_each_long_file() -> None:
    parts = [(0, 1000), (1000, 4000), (4000, 4100)]
    assert ends_or_wholes(parts, 0.1, 50, 0) == [(900, 1000), (3700, 4000), (4090, 4100)]


def test_whole_short_files_by_the_seed() -> None:
    parts = [(start, start + 20) for start in range(0, 2000, 20)]
    held = ends_or_wholes(parts, 0.1, 50, 1)
    assert held != ends_or_wholes(parts, 0.1, 50, 2)
    assert held == ends_or_wholes(parts, 0.1, 50, 1)
    assert len(held) == 10
    assert set(held) <= set(parts)


@pytest.mark.parametrize("parts", [[(0, 20), (20, 40)], [(0, 3), (3, 900)], [(0, 5)] * 2])
def test_something_is_held_out_and_something_left(parts: list[tuple[int, int]]) -> None:
    held = ends_or_wholes(parts, 0.1, 50, 0)
    size = sum(end - begin for begin, end in held)
    assert 0 < size < parts[-1][1]


def test_stretches_and_what_is_left() -> None:
    held = spread(1000, 95)
    assert sum(end - begin for begin, end in held) == 95
    assert [end for _, end in held] == list(range(100, 1001, 100))
    both = sorted([*held, *complement(held, 1000)])
    assert [begin for begin, _ in both] == [0, *(end for _, end in both[:-1])]


def test_an_appendix_in_another_language() -> None:
    english, german = prose(ENGLISH, 27_000), prose(GERMAN, 3_000)
    assert is_of_another_kind(steps_of(english + german), 3_000)
    assert not is_of_another_kind(steps_of(english + prose(ENGLISH, 3_000, seed=1)), 3_000)
    turns = "".join(prose(words, 3_000, seed) for seed in range(5) for words in (ENGLISH, GERMAN))
    assert not is_of_another_kind(steps_of(turns), 3_000)  # it occurs before, too


@pytest.mark.parametrize(("appendix", "stretches"), [(GERMAN, True), (ENGLISH, False)])
def test_a_text_is_split(tmp_path: Path, appendix: str, stretches: bool) -> None:
    text = prose(ENGLISH, 18_000) + prose(appendix, 2_000, seed=1)
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    run = charrnn.train(tmp_path / "book.txt", tmp_path / "run", steps=1, **TINY)
    run.run()
    assert ("of another kind" in " ".join(run.plan.notices)) == stretches
    assert (run.plan.held_out == "in 10 stretches") == stretches
    codec = run.model.codec
    steps = corpus.read(tmp_path / "run" / "corpus.npy")
    held = codec.decode(steps[-2_000:].tolist())
    assert (held == text[-2_000:]) == (not stretches)
    assert ("Brücke" in held) == stretches
    assert sorted(codec.decode(steps.tolist())) == sorted(text)
