from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charrnn.media.steps import Discrete
from charrnn.model.network import Network
from charrnn.settings import ModelConfig
from charrnn.training import evaluate as module
from charrnn.training.evaluate import Evaluation, evaluate


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
