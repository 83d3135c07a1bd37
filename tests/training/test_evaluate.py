from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charrnn.media.report import Passage, Report
from charrnn.media.steps import Continuous, Discrete
from charrnn.model.network import Network
from charrnn.settings import ModelConfig
from charrnn.training import evaluate as module
from charrnn.training.evaluate import Evaluation, evaluate, scored


def test_one_lane_is_the_plain_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden=6, layers=2, embedding=0, dropout=0.5, norm="batch")
    network = Network(config, Discrete(5)).train()
    steps = np.random.default_rng(0).integers(0, 5, 333).astype(np.uint8)
    monkeypatch.setattr(module, "SEGMENT", 10)
    outcome = evaluate(network, steps)
    assert network.training
    whole = torch.from_numpy(steps.astype(np.int64))[None]
    network.eval()
    expected, *_ = network.loss(whole[:, :-1], whole[:, 1:], network.initial_state(1))
    assert outcome.steps == 332
    assert outcome.nats_per_step == pytest.approx(float(expected.detach()), rel=1e-5)


def test_lanes_are_read_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lanes give the mean of three texts, each read alone with the state carried on."""
    torch.manual_seed(0)
    network = Network(ModelConfig(hidden=6, layers=2, embedding=3, dropout=0.0), Discrete(5)).eval()
    steps = np.random.default_rng(0).integers(0, 5, 301).astype(np.uint8)
    monkeypatch.setattr(module, "SEGMENT", 7)
    monkeypatch.setattr(module, "LANE_STEPS", 100)
    outcome = evaluate(network, steps)
    whole = torch.from_numpy(steps.astype(np.int64))
    losses = []
    for first in (0, 100, 200):
        text = whole[None, first : first + 101]
        nats, *_ = network.loss(text[:, :-1], text[:, 1:], network.initial_state(1))
        losses.append(float(nats.detach()))
    assert outcome.nats_per_step == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert outcome.steps == 300


def test_units() -> None:
    fair_die = Evaluation(math.log(6), 10)
    assert fair_die.perplexity == pytest.approx(6)
    assert fair_die.bits_per_step == pytest.approx(math.log2(6))
    assert math.isfinite(Evaluation(1e5, 1).perplexity)


def passage(steps: np.ndarray, read: int = 1, *, ended: bool = False) -> Passage:
    return Passage(steps, read, lambda count, nats: Report(), ended=ended)


def test_each_passage_is_evaluated_as_if_it_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many lengths, several batches and segments: the same as one network call for each."""
    torch.manual_seed(0)
    network = Network(ModelConfig(hidden=6, layers=2, embedding=3, dropout=0.0), Discrete(5)).eval()
    random = np.random.default_rng(0)
    lengths = [1, 40, 2, 150, 3, 3, 17, 151, 64]
    texts = [random.integers(0, 5, length) for length in lengths]
    monkeypatch.setattr(module, "LANES", 4)
    monkeypatch.setattr(module, "SEGMENT", 10)
    monkeypatch.setattr(module, "HELD_STEPS", 200)
    state = tuple(tuple(torch.randn_like(p) for p in parts) for parts in network.initial_state(1))
    passages = [passage(text, min(2, len(text)), ended=len(text) == 64) for text in texts]
    for text, given, found in zip(
        texts, passages, scored(network, iter(passages), state), strict=True
    ):
        assert found.passage is given
        whole = torch.from_numpy(text)[None]
        with torch.no_grad():
            logs = network(whole, state)[0][0].double().log_softmax(-1).numpy()
        expected = -logs[np.arange(len(text) - 1), text[1:]][given.read - 1 :]
        np.testing.assert_allclose(found.nats, expected, rtol=1e-5)
        after = logs[-2 if given.ended else -1]
        np.testing.assert_allclose(found.probabilities, np.exp(after), rtol=1e-5)


@pytest.mark.parametrize("head", ["gaussian", "mse"])
def test_nats_of_frames(head: str) -> None:
    """Their mean is that of the loss."""
    torch.manual_seed(0)
    config = ModelConfig(hidden=6, layers=1, embedding=0, dropout=0.0, head=head)
    network = Network(config, Continuous(3)).eval()
    if head == "gaussian":
        network.head.variance.copy_(torch.tensor([0.1, 1.0, 2.0]))  # type: ignore[union-attr]
    frames = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    [found] = scored(network, [passage(frames)], network.initial_state(1))
    assert found.nats.shape == (49,)
    assert found.probabilities is None
    assert found.nats.mean() == pytest.approx(evaluate(network, frames).nats_per_step, rel=1e-4)
