from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn.errors import SamplingError
from charrnn.media.text.char import CharCodec
from charrnn.media.text.reading import MARK, Reading
from charrnn.media.text.settings import TextOptions, TextSettings
from charrnn.model.network import Network
from charrnn.sampling.beam import Hypothesis, product, search
from charrnn.sampling.generate import samples
from charrnn.sampling.runtime import Runtime
from charrnn.settings import ModelConfig, SamplingConfig
from tests.conftest import runtime_of

LETTERS = "abc"


def model_of(characters: str = LETTERS, seed: int = 0) -> tuple[Network, CharCodec]:
    torch.manual_seed(seed)
    codec = CharCodec(
        characters, reading=Reading(documents="line" if MARK in characters else "none")
    )
    config = ModelConfig(hidden=8, layers=2, embedding=4, dropout=0.0)
    network = Network(config, codec.step).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    return network, codec


def find(
    model: Runtime,
    codec: CharCodec,
    prime: str = "",
    stop: str = "",
    config: SamplingConfig | None = None,
    forbid: str = "",
    **options: Any,
) -> list[Hypothesis]:
    return search(
        model,
        codec,
        prime=codec.prime(prime),
        config=config or SamplingConfig(),
        settings=TextSettings(forbid=forbid),
        options=TextOptions(stop=stop),
        **options,
    )


def text_of(codec: CharCodec, hypothesis: Hypothesis, prime: str = "", stop: str = "") -> str:
    options = TextOptions(stop=stop)
    return "".join(product(codec, hypothesis, codec.prime(prime), None, TextSettings(), options))


def log_p(network: Network, codec: CharCodec, text: str, prime: str = "a") -> float:
    steps = torch.tensor([codec.primed(prime + text)[0].tolist()])
    with torch.no_grad():
        logits, _ = network(steps[:, :-1], network.initial_state(1))
    each = logits.log_softmax(-1)[0].gather(1, steps[0, 1:, None])[:, 0]
    return float(each[-len(text) :].sum())


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_likeliest_of_all(seed: int) -> None:
    """Against every text of that length, scored one by one."""
    network, codec = model_of(seed=seed)
    found = find(runtime_of(network), codec, length=4, width=3**4, prime="a")
    texts = ["".join(letters) for letters in itertools.product(LETTERS, repeat=4)]
    expected = sorted(texts, key=lambda text: log_p(network, codec, text), reverse=True)
    assert [text_of(codec, each, "a") for each in found] == expected
    assert found[0].log_p == pytest.approx(log_p(network, codec, expected[0]), abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_wider_beam_finds_nothing_worse(seed: int) -> None:
    network, codec = model_of(seed=seed)
    best = [find(runtime_of(network), codec, length=12, width=w, prime="a")[0] for w in (1, 81)]
    assert best[1].log_p >= best[0].log_p - 1e-4
    cold = SamplingConfig(temperature=(0.0,))
    own = {"settings": TextSettings(), "options": TextOptions(), "prime": codec.prime("a")}
    (greedy,) = samples(runtime_of(network), codec, length=12, config=cold, **own)
    assert text_of(codec, best[0], "a") == greedy.text


def test_documents_end_and_their_length_counts() -> None:
    """With no penalty the sum decides, with a penalty of 1 the mean."""
    network, codec = model_of(LETTERS + MARK, seed=3)
    found = find(runtime_of(network), codec, length=5, width=300, length_penalty=0.0)
    scores = [each.log_p for each in found]
    assert scores == sorted(scores, reverse=True)
    assert any(each.ended for each in found)
    assert all(each.ended == (each.drawn[-1].step == codec.end) for each in found)
    assert all(codec.end not in [d.step for d in each.drawn[:-1]] for each in found)
    means = [
        each.log_p / len(each.drawn)
        for each in find(runtime_of(network), codec, length=5, width=300, length_penalty=1.0)
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] >= max(each.log_p / len(each.drawn) for each in found) - 1e-9


def test_stop_texts_and_bans() -> None:
    network, codec = model_of()
    for each in find(runtime_of(network), codec, length=30, width=5, prime="a", stop="cc"):
        text = text_of(codec, each, "a", "cc")
        assert "cc" not in text
        assert each.ended == (len(text) < 30)
    only: dict[str, Any] = {"forbid": "b", "config": SamplingConfig(no_repeat_ngram=4)}
    for each in find(runtime_of(network), codec, length=15, width=4, prime="a", **only):
        text = "a" + text_of(codec, each, "a")
        assert "b" not in text
        grams = [text[i : i + 4] for i in range(len(text) - 3)]
        assert len(grams) == len(set(grams))
    model, once = runtime_of(network), SamplingConfig(no_repeat_ngram=1)
    with pytest.raises(SamplingError, match="no step is left"):
        find(model, codec, length=9, width=2, prime="a", config=once)


def test_on_a_trained_model(run: Path) -> None:
    model = charrnn.load(run)
    runtime = Runtime.of(model.checkpoint)
    first, second = (find(runtime, model.codec, length=25, width=4, prime="The ") for _ in range(2))
    assert first == second
    assert len(first) == 4
