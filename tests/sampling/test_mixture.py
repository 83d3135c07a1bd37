from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from charrnn.errors import UsageError
from charrnn.media.text.byte import ByteCodec
from charrnn.media.text.char import CharCodec
from charrnn.media.text.reading import MARK, Reading
from charrnn.sampling.filters import softmax
from charrnn.sampling.mixture import Member, Mixture, order_in
from charrnn.sampling.runtime import Runtime
from tests.conftest import runtime_of
from tests.sampling.test_beam import model_of

WEIGHTS = 0.7, 0.3


def mixed(*characters: str) -> tuple[list[Runtime], list[CharCodec], Mixture]:
    """Models with these vocabularies, and their mixture."""
    made = [model_of(each, seed=seed) for seed, each in enumerate(characters)]
    models, codecs = [runtime_of(network) for network, _ in made], [codec for _, codec in made]
    members = [
        Member(model, weight, order_in(codec, codecs[0], "other"))
        for model, weight, codec in zip(models, WEIGHTS, codecs, strict=False)
    ]
    return models, codecs, Mixture(members)


def probabilities(
    model: Runtime, codec: CharCodec, text: str, letters: Sequence[str]
) -> np.ndarray:
    """The probability of each of the letters after a text."""
    after = softmax(model.begin(codec.prime(text).steps).logits)
    return np.array([after[codec.symbols.index(letter)] for letter in letters])


def test_the_mean_of_the_probabilities_whatever_the_order_of_the_vocabularies() -> None:
    models, codecs, mixture = mixed("abc", "cab")
    expected = sum(
        weight * probabilities(model, codec, "abcc", "abc")
        for weight, model, codec in zip(WEIGHTS, models, codecs, strict=True)
    )
    stream = mixture.begin([0, 1])
    stream.step(2)
    assert stream.logits.shape == (3,)
    several = stream.take([0, 0])
    several.step(np.array([1, 2]))
    stream.step(2)
    np.testing.assert_allclose(softmax(stream.logits), expected, rtol=1e-4)
    np.testing.assert_allclose(softmax(several.logits[1]), expected, rtol=1e-4)
    assert not np.allclose(several.logits[0], several.logits[1])


def test_a_model_mixed_with_itself_has_the_same_logits() -> None:
    """Also their level, on which a repetition penalty depends."""
    [model], [codec], _ = mixed("abc")
    order = order_in(codec, codec, "itself")
    mixture = Mixture([Member(model, weight, order) for weight in WEIGHTS])
    for starts in ([0], [0, 2, 1]):
        logits = model.begin(starts).logits
        np.testing.assert_allclose(mixture.begin(starts).logits, logits, rtol=1e-5, atol=1e-5)


def test_a_vocabulary_that_differs_is_refused() -> None:
    codec = CharCodec("abc")
    with pytest.raises(UsageError, match="it lacks b c;"):
        order_in(CharCodec("a"), codec, "other")
    with pytest.raises(UsageError, match="it also has d e f g h and 1 more;"):
        order_in(CharCodec("abcdefghi"), codec, "other")
    documents = CharCodec("abc" + MARK, reading=Reading(documents="line"))
    with pytest.raises(UsageError, match="it also has <end>;"):
        order_in(documents, codec, "other")
    with pytest.raises(UsageError, match="its steps are bytes, not characters"):
        order_in(ByteCodec(), codec, "other")
