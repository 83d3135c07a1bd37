"""Units that were planted by hand are found; shuffled labels are not."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.insight import cells
from charrnn.insight.cells import Table
from charrnn.insight.trace import Trace, trace
from charrnn.media.text.char import CharCodec
from charrnn.media.traits import Trait
from charrnn.model.shapes import shapes
from charrnn.sampling.runtime import Runtime
from charrnn.settings import ModelConfig

SYMBOLS = "\n “”abcdefgh"
HIDDEN, COUNTER, FLAG = 12, 3, 7
OPEN = 20.0  # a gate with this input is open, with its negative closed


def written(count: int = 8_000) -> str:
    """Lines of random length, with quotes that begin and end anywhere."""
    random = np.random.default_rng(0)
    text, is_quoted = "", False
    while len(text) < count:
        for _ in range(random.integers(3, 40)):
            letter = random.choice(list(" abcdefgh"))
            if random.random() < 0.08:
                letter, is_quoted = "”" if is_quoted else "“", not is_quoted
            text += letter
        text += "\n"
    return text[:count]


@pytest.fixture(scope="module")
def planted() -> tuple[CharCodec, Trace]:
    """An LSTM whose other units know only the last character."""
    config = ModelConfig(layers=1, hidden=HIDDEN, embedding=0, head="categorical", dropout=0)
    random = np.random.default_rng(1)
    weights = {
        name: random.normal(0, 1, shape).astype(np.float32)
        for name, shape in shapes(config, len(SYMBOLS)).items()
    }
    kernel = "layers.0.kernel"
    for name in ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        weights[f"{kernel}.{name}"][:] = 0
    reads = weights[f"{kernel}.weight_ih_l0"].reshape(4, HIDDEN, -1)  # gates i, f, g, o
    reads[1] = -OPEN  # forgets at once
    newline, opening, closing = (SYMBOLS.index(c) for c in "\n“”")
    reads[:2, COUNTER], reads[2, COUNTER] = OPEN, 0.02
    reads[:2, COUNTER, newline] = -OPEN
    reads[0, FLAG], reads[1, FLAG], reads[2, FLAG] = -OPEN, OPEN, OPEN
    reads[0, FLAG, opening] = OPEN
    reads[1, FLAG, [opening, closing]] = -OPEN
    codec = CharCodec(SYMBOLS)
    steps = codec.encode(written())[0]
    return codec, trace(Runtime(config, weights), steps, states=True)


def test_planted_units_are_found(planted: tuple[CharCodec, Trace]) -> None:
    codec, read = planted
    found = cells.find(read, codec.traits(read.steps).numbers)
    units = {cell.follows: cell for cell in found.found}
    counter, flag = units["place in the line"], units["in quotes"]
    assert (counter.unit, counter.part) == (COUNTER, 1)
    assert flag.unit == FLAG
    for cell in (counter, flag):
        assert cell.score > 0.95
        assert cell.beyond > 0.95
        assert cell.table < 0.7
    # Nothing else remembers anything, so all that is found is one of these.
    assert {cell.unit for cell in found.found} <= {COUNTER, FLAG}
    assert found.shuffled < 0.3


def test_shuffled_labels_find_nothing(planted: tuple[CharCodec, Trace]) -> None:
    codec, read = planted
    random = np.random.default_rng(2)
    traits = codec.traits(read.steps).numbers
    mixed = [Trait(trait.name, random.permutation(trait.values)) for trait in traits]
    turned = [Trait(trait.name, np.roll(trait.values, 1_777)) for trait in traits]
    assert not cells.find(read, mixed).found
    assert not cells.find(read, turned).found


def test_what_the_last_two_steps_say_is_no_cell(planted: tuple[CharCodec, Trace]) -> None:
    _, read = planted
    is_letter = np.isin(read.steps, [SYMBOLS.index(c) for c in "abcdefgh"]).astype(float)
    two = is_letter + 2 * np.append(0, is_letter[:-1])
    assert not cells.find(read, [Trait("a letter", is_letter), Trait("two letters", two)]).found


def test_the_table_is_fitted_on_the_first_half() -> None:
    steps = np.array([0, 1, 0, 1, 0, 2, 0, 2, 1, 1])
    values = np.arange(10, dtype=np.float32)[:, np.newaxis]
    predicted = Table(steps, 4)(values)[:, 0]
    # 0 after 1: 2; 1 after 0: (1 + 3) / 2; 0 after 2 was never seen: the mean of all 0s, 1;
    # 2 was never seen: the mean of the half, 1.5; 1 after 2: the mean of all 1s, 2.
    assert predicted[[2, 3, 4]].tolist() == [2, 2, 2]
    assert predicted[[5, 6, 8]].tolist() == [1.5, 1, 2]


def test_vectors_have_a_linear_table() -> None:
    random = np.random.default_rng(0)
    steps = random.normal(size=(400, 3)).astype(np.float32)
    known = steps[:, :1] * 2 - np.concatenate([steps[:1, 1:2], steps[:-1, 1:2]]) + 1
    other = random.normal(size=(400, 1)).astype(np.float32)
    predicted = Table(steps, 200)(np.concatenate([known, other], 1))
    np.testing.assert_allclose(predicted[:, :1], known, atol=1e-4)
    assert np.corrcoef(predicted[200:, 1], other[200:, 0])[0, 1] < 0.3


def test_no_traits_no_cells(planted: tuple[CharCodec, Trace]) -> None:
    _, read = planted
    assert cells.find(read, []).sought == ()


def test_a_trait_that_does_not_change_where_it_is_scored(
    planted: tuple[CharCodec, Trace],
) -> None:
    codec, read = planted
    [place, *_] = codec.traits(read.steps).numbers
    half = len(read.steps) // 2
    values = np.minimum(np.arange(len(read.steps)), half // 2).astype(float)
    assert place.name == "place in the line"
    assert not cells.find(read, [Trait("place in the sentence", values)]).found
