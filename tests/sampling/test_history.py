from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.errors import SamplingError, UsageError
from charrnn.sampling.history import History
from charrnn.settings import SamplingConfig

V = 4
FLAT = np.zeros(V)
NOTHING = np.zeros(0, np.int64)
STEPS = st.lists(st.integers(0, V - 1), max_size=40)


def ruled_out(history: History) -> set[int]:
    return set(np.flatnonzero(np.isneginf(history.applied(FLAT))).tolist())


@given(STEPS, st.integers(1, 5))
def test_no_n_gram_comes_twice(steps: list[int], n: int) -> None:
    """What is ruled out is just what would complete an n-gram that stands there already."""
    history = History(SamplingConfig(no_repeat_ngram=n), NOTHING, steps)
    grams = {tuple(steps[i : i + n]) for i in range(len(steps) - n + 1)}
    end = steps[len(steps) - n + 1 :] if n > 1 else []
    again = {s for s in range(V) if len(end) == n - 1 and (*end, s) in grams}
    if len(again) == V:
        with pytest.raises(SamplingError):
            history.applied(FLAT)
    else:
        assert ruled_out(history) == again


@given(STEPS, st.integers(1, 10))
def test_the_penalty_looks_back_as_far_as_the_window(steps: list[int], window: int) -> None:
    config = SamplingConfig(repetition_penalty=2.0, repetition_window=window)
    logits = History(config, NOTHING, steps).applied(np.ones(V))
    assert set(np.flatnonzero(logits == 0.5).tolist()) == set(steps[-window:])


def test_steps_that_are_never_drawn() -> None:
    history = History(SamplingConfig(no_repeat_ngram=1), np.array([3]), [0])
    assert ruled_out(history) == {0, 3}


def test_a_document_is_not_over_at_once() -> None:
    config = SamplingConfig(min_length=2)
    for history, least in (
        (History(SamplingConfig(), NOTHING, [1, 2], end=0), 0),
        (History(SamplingConfig(), NOTHING, [1, 2], end=0, least=1), 1),
        (History(config, NOTHING, [1, 2], end=0, least=1), 2),
        (History(config, NOTHING, [1, 2], end=0, least=3).copy(), 3),
    ):
        for count in range(4):
            assert (0 in ruled_out(history)) == (count < least)
            history.add(1)


@given(STEPS, STEPS)
def test_copies_go_their_own_way(steps: list[int], more: list[int]) -> None:
    config = SamplingConfig(no_repeat_ngram=3, repetition_penalty=1.5)
    first = History(config, NOTHING, steps)
    copy = first.copy()
    for step in more:
        copy.add(step)
    whole = History(config, NOTHING, steps + more)
    for one, other in ((first, History(config, NOTHING, steps)), (copy, whole)):
        try:
            expected = other.applied(FLAT + 1)
        except SamplingError:
            continue
        assert one.applied(FLAT + 1).tolist() == expected.tolist()


def test_every_document_may_end() -> None:
    """Its end is no repetition, and n-grams do not reach from one into the next."""
    config = SamplingConfig(no_repeat_ngram=1, repetition_penalty=2.0)
    history = History(config, NOTHING, [2, 0], end=2)
    assert ruled_out(history) == {0}
    assert history.applied(np.ones(V))[2] == 1
    across = History(SamplingConfig(no_repeat_ngram=2), NOTHING, [0, 2, 1, 0], end=2)
    assert ruled_out(across) == set()


def test_no_document_is_empty() -> None:
    config = SamplingConfig()
    assert ruled_out(History(config, NOTHING, [2], end=2)) == {2}
    assert ruled_out(History(config, NOTHING, [2, 1], end=2)) == set()
    assert ruled_out(History(config, np.array([0]), [2], end=2).copy()) == {0, 2}


def test_a_document_does_not_end_before_its_minimum_length() -> None:
    history = History(SamplingConfig(min_length=2), NOTHING, [2, 0, 1], end=2)
    assert ruled_out(history) == {2}
    history.add(1)
    copy = history.copy()
    assert ruled_out(copy) == {2}
    copy.add(0)
    assert ruled_out(copy) == set()
    assert ruled_out(history) == {2}


@pytest.mark.parametrize("length", [2, 5])
def test_nothing_is_copied(run: Path, length: int) -> None:
    model = charrnn.load(run)
    whole = model.corpus()
    text = model.codec.decode(whole.tolist())
    free = [sample.text for sample in model.samples(400, num=2, seed=1)]
    assert any(text.count(free[0][k : k + length]) for k in range(300))
    for sample in model.samples(400, num=2, seed=1, no_copy=length, prime="The heron"):
        written = "The heron" + sample.text
        # The prime may be copied, but what follows lengthens no copy.
        begins = range(max(0, len("The heron") - length + 1), len(written) - length + 1)
        assert not [k for k in begins if written[k : k + length] in text]


def test_a_beam_copies_nothing_either(run: Path) -> None:
    model = charrnn.load(run)
    text = model.codec.decode(model.corpus().tolist())
    [sample] = model.beam(3, 60, no_copy=4)
    assert not [k for k in range(57) if sample.text[k : k + 4] in text]


def test_what_is_not_copied_from_can_be_given(run: Path, tmp_path: Path) -> None:
    model = charrnn.load(run)
    model.save(tmp_path / "alone.safetensors")
    alone = charrnn.load(tmp_path / "alone.safetensors")
    with pytest.raises(UsageError, match="no corpus beside it"):
        alone.sample(10, no_copy=5)
    (tmp_path / "other.txt").write_text("the river the river", encoding="utf-8")
    with pytest.raises(UsageError, match="no effect without --no-copy"):
        alone.sample(10, corpus=tmp_path / "other.txt")
    sample = alone.sample(10, no_copy=9, corpus=tmp_path / "other.txt", prime="the rive", seed=2)
    assert not sample.text.startswith("r")
