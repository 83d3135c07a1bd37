from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import pytest
import torch

from charrnn.errors import SamplingError
from charrnn.media.steps import Continuous
from charrnn.model.network import Network
from charrnn.model.shapes import shapes
from charrnn.sampling.generate import generator_of, vectors
from charrnn.settings import ModelConfig, SamplingConfig
from tests.conftest import runtime_of

F = 7
KINDS = [
    {},
    {"head": "mse"},
    {"dense": 9},
    {"input_norm": "batch", "dense": 5, "head": "mse"},
    {"cell": "gru", "norm": "layer"},
    {"cell": "rnn", "norm": "batch"},
    {"cell": "peephole", "cell_norm": "layer"},
    {"cell_norm": "layer", "input_norm": "batch", "layers": 1},
    {"skip_input": True, "input_norm": "batch", "norm": "layer"},
    {"skip_input": True, "cell": "gru", "cell_norm": "layer", "skip": True, "layers": 3},
]


def network_of(**settings: object) -> Network:
    torch.manual_seed(0)
    values = {"hidden": 6, "layers": 2, "embedding": 0, "dropout": 0.0, "head": "gaussian"}
    network = Network(ModelConfig(**(values | settings)), Continuous(F))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and ("norm" in name or "bias" in name or "gain" in name):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return network.eval()


class Starts:
    """Of a codec, where a sample begins, and what is known of it beforehand."""

    def __init__(self, kept: float = 1.0, known: int = 0) -> None:
        self.kept, self.known = kept, known

    def start(self, random: np.random.Generator) -> np.ndarray:
        starts = np.random.default_rng(1).normal(size=(4, 3, F)).astype(np.float32)
        return starts[random.integers(4)]

    def kept_noise(self, noise: np.ndarray) -> np.ndarray:
        return np.float32(self.kept) * noise

    def conditions(self, read: np.ndarray) -> Iterator[np.ndarray]:
        return (read[-1, F - self.known :] + np.float32(k) for k in count(1))


def draw(
    length: int,
    network: Network,
    prime: np.ndarray | None = None,
    config: SamplingConfig | None = None,
    seed: int = 0,
    index: int = 0,
    kept: float = 1.0,
    known: int = 0,
) -> np.ndarray:
    read = np.zeros((0, F), np.float32) if prime is None else prime
    config = config or SamplingConfig()
    random = generator_of(seed, index)
    codec = Starts(kept, known)
    drawn = vectors(runtime_of(network), codec, read, config, random)  # type: ignore[arg-type]
    return np.stack([step for step, _ in islice(drawn, length)])


def test_what_is_known_beforehand_is_not_drawn() -> None:
    """The network reads it, and a prime says where it begins."""
    prime = np.random.default_rng(0).normal(size=(4, F)).astype(np.float32)
    network = network_of()
    for share in (1.0, 0.5):
        found = draw(20, network, prime, kept=share, known=2)
        wanted = prime[-1, -2:] + np.arange(1, 21)[:, np.newaxis]
        np.testing.assert_allclose(found[:, -2:], wanted, atol=1e-6)
    calm = SamplingConfig(temperature=(0.0,))
    found = draw(20, network, prime, calm, known=2)
    with torch.no_grad():
        read = torch.from_numpy(np.concatenate([prime, found])).unsqueeze(0)
        expected = network(read, network.initial_state(1))[0][0, 3:-1].numpy()
    np.testing.assert_allclose(found[:, :-2], expected[:, :-2], atol=1e-5)


def test_less_noise_is_heard_than_drawn() -> None:
    """The network goes on from what was drawn in any case."""
    none, half, all_ = (draw(20, network_of(), kept=share) for share in (0, 0.5, 1))
    np.testing.assert_allclose(half, (none + all_) / 2, atol=1e-6)
    assert np.abs(all_ - none).mean() > 0.1


@pytest.mark.parametrize("settings", KINDS, ids=lambda s: "-".join(map(str, s.values())) or "lstm")
def test_the_runtime_expects_what_the_network_does(settings: dict[str, object]) -> None:
    network = network_of(**settings)
    steps = torch.randn(3, 8, F, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = network(steps, network.initial_state(3))[0].numpy()
    runtime = runtime_of(network)
    alone = [runtime.begin(part.numpy()).logits for part in steps]
    np.testing.assert_allclose(np.stack(alone), expected[:, -1], atol=1e-5)
    abreast = runtime.begin(steps[0, :1].numpy()).take([0, 0, 0])
    first = runtime.begin(steps[0, :1].numpy())
    for step in steps[:, 1:].transpose(0, 1).numpy():
        abreast.step(step)
    for step in steps[0, 1:].numpy():
        first.step(step)
    np.testing.assert_allclose(abreast.logits[0], first.logits, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=lambda s: "-".join(map(str, s.values())) or "lstm")
def test_the_shapes_are_those_of_the_network(settings: dict[str, object]) -> None:
    network = network_of(**settings)
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes(network.config, F) == found


def test_the_same_seed_gives_the_same_vectors() -> None:
    network = network_of()
    assert np.array_equal(draw(20, network, seed=3), draw(20, network, seed=3))
    assert not np.array_equal(draw(20, network, seed=3), draw(20, network, seed=4))
    assert not np.array_equal(draw(20, network, seed=3), draw(20, network, seed=3, index=1))


def test_temperature_is_the_power_of_the_density() -> None:
    network = network_of()
    with torch.no_grad():
        network.head.variance.copy_(torch.linspace(-2, 2, F).exp())
    prime = np.zeros((1, F), np.float32)
    expected = runtime_of(network).begin(prime).logits
    for temperature, factor in ((1.0, 1.0), (0.25, 0.5), (0.0, 0.0)):
        config = SamplingConfig(temperature=(temperature,))
        first = [draw(1, network, prime=prime, config=config, seed=seed)[0] for seed in range(400)]
        spread = np.std(first, 0) / np.exp(np.linspace(-1, 1, F))
        np.testing.assert_allclose(np.mean(first, 0), expected, atol=0.5 * factor + 1e-4)
        np.testing.assert_allclose(spread, factor, rtol=0.2, atol=1e-4)


def test_a_regression_is_deterministic() -> None:
    network = network_of(head="mse")
    prime = np.ones((2, F), np.float32)
    assert np.array_equal(
        draw(5, network, prime=prime, seed=1), draw(5, network, prime=prime, seed=2)
    )


def test_a_model_that_diverges_is_refused() -> None:
    network = network_of(head="mse")
    with torch.no_grad():
        network.head.linear.bias.fill_(1e8)
    with pytest.raises(SamplingError, match="not finite"):
        draw(3, network)


def test_the_loss_of_a_gaussian_finds_mean_and_deviation() -> None:
    torch.manual_seed(0)
    network = network_of(layers=1)
    head = network.head
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    targets = torch.randn(4096, F) * torch.linspace(0.2, 2, F) + torch.arange(F)
    network.train()
    for _ in range(400):
        loss, nats = head.loss(torch.zeros(4096, 6), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(head.variance.sqrt(), targets.std(0), rtol=0.05, atol=0.0)
    normal = torch.distributions.Normal(targets.mean(0), targets.std(0))
    torch.testing.assert_close(nats, -normal.log_prob(targets).sum(1).mean(), rtol=0.01, atol=0.0)
