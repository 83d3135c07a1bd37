"""What the reader of states keeps, against the network itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.insight import memory
from charrnn.insight.memory import gradients, input_vectors, saliency
from charrnn.insight.trace import GATES_EVERY, WARM_UP, fresh_nats, trace
from charrnn.media.steps import Continuous, Discrete, Step
from charrnn.model import device as devices
from charrnn.model.network import Network
from charrnn.settings import CELLS, ModelConfig
from tests.conftest import runtime_of

SIZE = 9


def made(step: Step | None = None, **settings: object) -> Network:
    torch.manual_seed(0)
    values = {
        "layers": 2,
        "hidden": 10,
        "embedding": 5,
        "head": "categorical",
        "dropout": 0.0,
    } | settings
    network = Network(ModelConfig(**values), step or Discrete(SIZE)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return network.requires_grad_(False)


def frames(**settings: object) -> Network:
    return made(Continuous(6), embedding=0, head="gaussian", **settings)


def steps_of(count: int = 300) -> np.ndarray:
    return np.random.default_rng(0).integers(0, SIZE, count).astype(np.uint8)


def vectors_of(count: int = 300) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_losses_and_states_are_those_of_the_network(cell: str) -> None:
    network, steps = made(cell=cell), steps_of(60)
    read = trace(runtime_of(network), steps, states=True, cell=(1, 3))
    state, outputs = network.initial_state(1), []
    for step in steps:
        x, state = network.hidden(torch.tensor([[int(step)]]), state)
        outputs.append((network.head(x)[0, 0].log_softmax(-1), state))
    for place, (logs, after) in enumerate(outputs[:-1]):
        following = int(steps[place + 1])
        assert read.nats[place + 1] == pytest.approx(-float(logs[following]), abs=1e-4)
        best = logs.argsort(descending=True)[: read.likely.shape[1]].tolist()
        assert read.likely[place + 1].tolist() == best
        for layer, parts in enumerate(after):
            for part, values in enumerate(parts):
                np.testing.assert_allclose(
                    read.states[place, layer, part], values[0].numpy(), atol=1e-5
                )
    assert read.nats[0] == 0
    for name, values in read.cell_gates.items():
        assert values.shape == (60,), name
        assert (values >= 0).all()
        assert (values <= 1).all()
        np.testing.assert_array_equal(read.gates[name][:, 1, 3], values[::GATES_EVERY])


def test_an_lstm_and_a_gru_keep_what_their_gates_say() -> None:
    for cell, gate in (("lstm", "forget"), ("gru", "update")):
        network = made(cell=cell, layers=1)
        read = trace(runtime_of(network), steps_of(40), states=True, cell=(0, 2))
        kept = read.cell_gates[gate]
        state = read.states[:, 0, 1 if cell == "lstm" else 0, 2]
        if cell == "gru":  # h = n + z * (h - n), and n is within -1 and 1
            new = (state[1:] - kept[1:] * state[:-1]) / (1 - kept[1:])
            assert np.abs(new).max() <= 1 + 1e-4
        else:  # c = f * c + i * g
            added = state[1:] - kept[1:] * state[:-1]
            assert (np.abs(added) <= read.cell_gates["input"][1:] + 1e-5).all()


def test_lanes_read_what_came_before_them() -> None:
    network, steps = made(layers=1), steps_of(3_000)
    read = trace(runtime_of(network), steps)  # in two lanes
    x, _ = network.hidden(torch.from_numpy(steps[None].astype(int)), network.initial_state(1))
    expected = network.head.step_nats(x[:-1, 0], torch.from_numpy(steps[1:].astype(int)))
    assert len(steps) // 1024 == 2
    np.testing.assert_allclose(read.nats[1:], expected.numpy(), atol=1e-3)
    assert read.nats_per_step == pytest.approx(float(expected.mean()), abs=1e-4)
    assert WARM_UP < 1024


@pytest.mark.parametrize("head", ["gaussian", "mse"])
def test_losses_of_vectors(head: str) -> None:
    network, steps = frames(), vectors_of(30)
    if head == "mse":
        network = made(Continuous(6), embedding=0, head="mse")
    else:
        network.head.variance.copy_(torch.linspace(0.1, 2, 6))
    read = trace(runtime_of(network), steps)
    x, _ = network.hidden(torch.from_numpy(steps[None]), network.initial_state(1))
    expected = network.head.step_nats(x[:-1, 0], torch.from_numpy(steps[1:]))
    np.testing.assert_allclose(read.nats[1:], expected.numpy(), atol=1e-3)
    assert read.likely.shape == (30, 0)


def test_the_paired_curve_against_separate_windows() -> None:
    network, steps = made(), steps_of(2_200)
    runtime = runtime_of(network)
    begins = np.array([0, 17, 900])
    fresh = fresh_nats(runtime, steps, begins, 40)
    for row, begin in enumerate(begins.tolist()):
        for context in (1, 2, 7, 40):
            window = torch.from_numpy(steps[begin : begin + context].astype(int))[None]
            x, _ = network.hidden(window, network.initial_state(1))
            following = torch.tensor(int(steps[begin + context]))
            expected = float(network.head.step_nats(x[-1, 0], following))
            assert fresh[row, context - 1] == pytest.approx(expected, abs=1e-4)


def test_context_that_is_not_used_is_worth_nothing() -> None:
    network = made(layers=1, hidden=8)
    for parameter in (network.layers[0].weights[1], network.layers[0].weights[3]):
        parameter.zero_()  # the network forgets its output, and with this bias its cell state
    forget = slice(8, 16)
    network.layers[0].weights[0][forget] = 0
    network.layers[0].weights[2][forget] = -30
    steps = steps_of(3_000)
    runtime = runtime_of(network)
    found = memory.memory(runtime, trace(runtime, steps))
    np.testing.assert_allclose(found.nats, found.full, atol=1e-4)
    assert found.used == 0
    assert gradients(network, steps).within == 1


def test_a_network_that_remembers_uses_its_context() -> None:
    random = np.random.default_rng(3)
    pattern = random.integers(0, SIZE, 12)
    steps = np.tile(pattern, 300).astype(np.uint8)
    network = made(layers=1, hidden=24).requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    lanes = torch.from_numpy(steps[:1_600].reshape(16, 100).astype(int))
    with devices.one_thread():
        for _ in range(40):
            loss, _, _ = network.loss(lanes[:, :-1], lanes[:, 1:], network.initial_state(16))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    runtime = runtime_of(network.requires_grad_(False))
    found = memory.memory(runtime, trace(runtime, steps))
    assert found.nats[0] > found.full + 0.1
    assert found.used >= 2
    assert (np.diff(found.context) > 0).all()


@pytest.mark.parametrize("kind", ["embedded", "one-hot", "vectors", "gru", "layer norm"])
def test_saliency_against_finite_differences(kind: str) -> None:
    settings = {"gru": {"cell": "gru"}, "layer norm": {"cell_norm": "layer", "norm": "layer"}}
    if kind == "vectors":
        network, steps = frames(input_norm="batch"), vectors_of(8)
    else:
        more = {"embedding": 0} if kind == "one-hot" else settings.get(kind, {})
        network, steps = made(**more), steps_of(8)
    found = saliency(network, steps)
    vectors = input_vectors(network, steps[np.newaxis, :-1])
    target = torch.from_numpy(np.array(steps[-1:]))
    target = target if target.is_floating_point() else target.long()

    def loss(changed: torch.Tensor) -> float:
        x, _ = network.hidden(changed, network.initial_state(1))
        return float(network.head.step_nats(x[-1], target)[0])

    for place in range(len(found)):
        slopes, size = [], 1e-2
        for axis in range(vectors.shape[-1]):
            ends = []
            for sign in (1, -1):
                changed = vectors.clone()
                changed[0, place, axis] += sign * size
                ends.append(loss(changed))
            slopes.append((ends[0] - ends[1]) / (2 * size))
        assert found[place] == pytest.approx(np.linalg.norm(slopes), rel=0.02, abs=1e-5)


def test_a_vanishing_gradient_is_seen() -> None:
    forgets, keeps = made(cell="rnn", layers=1), made(cell="lstm", layers=1)
    forgets.layers[0].weights[1].mul_(0.2)
    keeps.layers[0].weights[2][10:20] = 5.0  # forget gates nearly open
    steps = steps_of(1_000)
    short, long = gradients(forgets, steps), gradients(keeps, steps)
    assert short.norms[50] < 1e-6 * short.norms[0]
    assert long.norms[50] > 1e-3 * long.norms[0]
    assert short.within < long.within
