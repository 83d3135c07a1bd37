from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.errors import SamplingError
from charrnn.media.product import Drawn
from charrnn.media.text.char import CharCodec
from charrnn.media.text.writing import TextSample
from charrnn.sampling import generate
from charrnn.sampling.generate import BatchSampler, generator_of
from charrnn.sampling.history import History
from charrnn.sampling.runtime import Runtime
from charrnn.settings import SamplingConfig


@pytest.fixture(scope="module")
def model(run: Path) -> charrnn.Model:
    return charrnn.load(run)


def texts(model: charrnn.Model, **settings: object) -> list[str]:
    return ["".join(sample) for sample in model.samples(**({"seed": 0} | settings))]


def text(model: charrnn.Model, **settings: object) -> str:
    (only,) = texts(model, **settings)
    return only


def test_same_seed_same_text(model: charrnn.Model) -> None:
    first = text(model, length=80, seed=4)
    assert len(first) == 80
    assert text(model, length=80, seed=4) == first
    assert text(model, length=80, seed=5) != first
    assert first.startswith(text(model, length=30, seed=4))


def test_samples_side_by_side_are_those_drawn_alone(
    model: charrnn.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, in whatever groups, and whichever ends first."""
    settings: dict[str, object] = {"length": 60, "num": 7, "seed": 3, "prime": "The ", "stop": "r"}
    together = texts(model, **settings)
    assert len(set(together)) == 7
    assert len({len(each) for each in together}) > 2
    assert texts(model, **settings | {"num": 3}) == together[:3]
    for batch in (1, 2, 3):
        monkeypatch.setattr(generate, "MAX_BATCH", batch)
        assert texts(model, **settings) == together


def test_samples_may_be_read_in_any_order(model: charrnn.Model) -> None:
    def streams() -> list[TextSample]:
        return list(model.samples(30, num=3, seed=0))

    forwards = ["".join(stream) for stream in streams()]
    backwards = ["".join(stream) for stream in reversed(streams())]
    assert forwards == backwards[::-1]
    first, second, _ = streams()
    assert ["".join(pair) for pair in zip(first, second, strict=True)] == [
        "".join(pair) for pair in zip(*forwards[:2], strict=True)
    ]


def test_where_rules_leave_nothing_one_sample_ends_and_not_the_others(
    model: charrnn.Model,
) -> None:
    streams = list(model.samples(200, num=2, seed=0, no_repeat_ngram=1))
    for stream in streams:
        written: list[str] = []
        with pytest.raises(SamplingError, match="no step is left"):
            written.extend(stream)
        assert len(set(written)) == len(written) > 10


def test_stepping_equals_reading_in_one_go(model: charrnn.Model) -> None:
    """The surprise of each step is that which the network gives the whole text."""
    network, codec = model.checkpoint.network(), model.codec
    prime = codec.encode("The miller")[0]
    config = SamplingConfig(temperature=(0.7,))
    stream, history = Runtime.of(model.checkpoint).begin(prime), History(config, prime[:0], prime)
    sampler = BatchSampler(stream, config, [generator_of(0, 0)], history)
    drawn = list(islice(sampler.sequence(0), 50))
    steps = torch.tensor([[*prime, *(d.step for d in drawn)]])
    with torch.no_grad():
        logits, _ = network(steps[:, :-1], network.initial_state(1))
    surprises = -logits.log_softmax(-1)[0].gather(1, steps[0, 1:, None])[:, 0]
    np.testing.assert_allclose(
        surprises[len(prime) - 1 :], [d.nats for d in drawn], rtol=1e-4, atol=1e-4
    )


def test_greedy_takes_the_likeliest(model: charrnn.Model) -> None:
    assert len({text(model, length=40, seed=seed, temperature=0.0) for seed in range(3)}) == 1


def test_unknown_characters_in_the_prime_are_skipped(model: charrnn.Model) -> None:
    assert text(model, length=20, prime="Th\U0001f600e") == text(model, length=20, prime="The")
    assert text(model, length=20, prime="\U0001f600") == text(model, length=20)


def drawn_from(codec: CharCodec, characters: str) -> Iterator[Drawn]:
    return (Drawn(int(step), 0.5) for step in codec.encode(characters)[0])


@given(st.text("ab", max_size=30), st.text("ab", min_size=1, max_size=4), st.integers(0, 40))
def test_stop_cuts_before_its_first_appearance(characters: str, stop: str, length: int) -> None:
    codec = CharCodec("ab")
    stream = TextSample(drawn_from(codec, characters + "a" * 40), codec.decoder(), length, stop)
    pieces = list(stream)
    whole = (characters + "a" * 40)[:length]
    assert "".join(pieces) == whole.split(stop)[0]
    assert stream.stopped == (stop in whole)
    assert stream.nats_per_step == (0.5 if stream.steps else 0)
    assert stream.steps == (whole.find(stop) + len(stop) if stop in whole else length)


def test_text_streams_out_as_it_is_made() -> None:
    codec = CharCodec("ab")
    stream = iter(TextSample(drawn_from(codec, "abab"), codec.decoder(), 4, stop="bb"))
    assert list(stream) == ["a", "ba", "b"]


def test_a_stopped_text_is_drawn_no_further(model: charrnn.Model) -> None:
    """Nor does it keep the others from going on."""
    runtime = Runtime.of(model.checkpoint)
    prime = model.codec.encode("The ")[0]
    config = SamplingConfig()
    history = History(config, prime[:0], prime)
    generators = [generator_of(0, index) for index in range(3)]
    sampler = BatchSampler(runtime.begin(prime).take([0, 0, 0]), config, generators, history)
    first, second = sampler.sequence(0), sampler.sequence(1)
    next(first)
    third = sampler.sequence(2)
    next(third)
    third.close()
    drawn = [next(second) for _ in range(5)]
    assert len({d.step for d in drawn}) > 1
    assert list(third) == []
    assert sampler._live == [0, 1]
