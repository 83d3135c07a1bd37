"""Shared stretches against a search step by step."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from charrnn.data import stretches
from charrnn.data.stretches import Following, copies, hashes, shared

SYMBOLS = strategies.lists(strategies.integers(0, 2), max_size=60)


def stands_at(stretch: np.ndarray, corpus: np.ndarray) -> list[int]:
    ends = range(len(corpus) - len(stretch) + 1)
    return [at for at in ends if np.array_equal(corpus[at : at + len(stretch)], stretch)]


@hypothesis.given(SYMBOLS, strategies.integers(1, 20))
def test_equal_stretches_have_equal_hashes(steps: list[int], length: int) -> None:
    own = np.array(steps, np.uint8)
    found = hashes(own, length)
    assert len(found) == max(0, len(own) - length + 1)
    for one in range(len(found)):
        for other in range(one):
            is_equal = np.array_equal(own[one : one + length], own[other : other + length])
            assert (found[one] == found[other]) == is_equal


@hypothesis.given(SYMBOLS, SYMBOLS, strategies.integers(1, 12))
def test_where_a_stretch_stands(steps: list[int], corpus: list[int], length: int) -> None:
    own, whole = np.array(steps, np.uint8), np.array(corpus, np.uint16)
    for begin, place in enumerate(shared(own, whole, length).tolist()):
        places = stands_at(own[begin : begin + length], whole)
        assert place in places if places else place == -1


@hypothesis.given(SYMBOLS, SYMBOLS)
def test_the_longest_copy(steps: list[int], corpus: list[int]) -> None:
    own, whole = np.array(steps, np.uint8), np.array(corpus, np.uint8)
    found = copies(own, whole)
    if found.length:
        copy = own[found.begin : found.begin + found.length]
        assert found.place in stands_at(copy, whole)
    longer = found.length + 1
    least = stretches.LENGTHS[0]
    for begin in range(len(own) - max(longer, least) + 1):
        assert not stands_at(own[begin : begin + max(longer, least)], whole)


def test_the_share_of_copied_steps() -> None:
    random = np.random.default_rng(0)
    corpus = random.integers(0, 50, 5_000)
    own = np.concatenate([random.integers(50, 99, 30), corpus[70:90], random.integers(50, 99, 50)])
    found = copies(own, corpus)
    assert (found.begin, found.length, found.place) == (30, 20, 70)
    assert found.shares[16] == pytest.approx(0.2)
    assert found.shares[24] == 0


def test_blocks_of_a_long_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "BLOCK", 7)
    corpus = np.random.default_rng(1).integers(0, 9, 100)
    assert shared(corpus[40:60], corpus, 6).tolist() == list(range(40, 55))


@hypothesis.given(SYMBOLS.filter(lambda steps: len(steps) > 6), strategies.integers(1, 5))
def test_what_follows(corpus: list[int], length: int) -> None:
    whole = np.array(corpus, np.uint8)
    following = Following(whole, length)
    for begin in range(len(whole) - length):
        own = whole[begin : begin + length]
        expected = {
            int(whole[at + length]) for at in stands_at(own, whole) if at + length < len(whole)
        }
        assert set(following.after(own).tolist()) == expected
    assert not len(following.after(np.full(length, 9)))
