"""The NumPy runtime against the network that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch

import charrnn
from charrnn.checkpoint import Checkpoint
from charrnn.errors import SamplingError
from charrnn.media.steps import Discrete
from charrnn.media.text.settings import TextOptions
from charrnn.model.network import Network, State
from charrnn.model.shapes import shapes
from charrnn.sampling import runtime
from charrnn.sampling.beam import search
from charrnn.sampling.filters import softmax
from charrnn.sampling.generate import samples
from charrnn.sampling.runtime import Runtime, Stream
from charrnn.settings import CELLS, ModelConfig, SamplingConfig
from tests.conftest import TEXT, runtime_of, trained

SIZE = 11


class Stepped:
    """A PyTorch network as the sampler wants it: what the runtime is held against."""

    def __init__(self, network: Network, state: State, logits: np.ndarray) -> None:
        self._network, self._state, self.logits = network, state, logits

    @torch.inference_mode()
    def step(self, steps: Any) -> np.ndarray:
        several = np.ndim(steps) > 0
        wide = torch.as_tensor(np.atleast_1d(steps)).unsqueeze(1)
        logits, self._state = self._network(wide, self._state)
        self.logits = (logits[:, -1] if several else logits[0, -1]).numpy()
        return self.logits

    def tune_threads(self) -> None:
        pass

    def take(self, rows: Sequence[int]) -> Self:
        state = tuple(tuple(part[list(rows)] for part in parts) for parts in self._state)
        return type(self)(self._network, state, np.atleast_2d(self.logits)[list(rows)])


class Model:
    starts = 0

    def __init__(self, network: Network) -> None:
        self._network = network

    @torch.inference_mode()
    def begin(
        self, prime: Sequence[int] | np.ndarray, starts: Sequence[int] | None = None
    ) -> Stepped:
        logits, state = self._network(
            torch.as_tensor(np.asarray(prime, np.int64))[None], self._network.initial_state(1)
        )
        return Stepped(self._network, state, logits[0, -1].numpy())


def network_of(**settings: Any) -> Network:
    """A network whose norms have seen something, with weights that say something."""
    torch.manual_seed(0)
    config = ModelConfig(hidden=16, dropout=0.0, **settings)
    network = Network(config, Discrete(SIZE))
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    for _ in range(3):
        steps = torch.randint(SIZE, (4, 9))
        network.loss(steps, steps, network.initial_state(4))
    return network.eval()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("cell_norm", ["none", "layer"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_networks_own_distribution(
    cell: str, norm: str, cell_norm: str, embedding: int, layers: int, monkeypatch: Any
) -> None:
    """Of one stream and of several, over a text, with streams dropped, doubled and reordered."""
    if layers == 3:  # as with a large vocabulary
        monkeypatch.setattr(runtime, "SMALL_VOCABULARY", 0)
    network = network_of(
        cell=cell,
        norm=norm,
        cell_norm=cell_norm,
        embedding=embedding,
        layers=layers,
        skip=embedding > 0,
        skip_input=embedding > 0 and norm != "batch",
        dense=6 * (layers == 3),
    )
    steps = torch.randint(SIZE, (3, 30))
    with torch.inference_mode():
        logits, _ = network(steps, network.initial_state(3))
    expected = logits.softmax(-1).numpy()
    ours = runtime_of(network)
    alone = ours.begin(steps[0, :4].numpy())
    together = Stream(ours, (3,))
    rows = [0, 1, 2]
    for place in range(steps.shape[1]):
        if place == 15:
            rows = [2, 0, 2, 1]
            together = together.take(rows)
            np.testing.assert_allclose(softmax(together.logits), expected[rows, 14], atol=5e-5)
        found = together.step(steps[rows, place].numpy())
        np.testing.assert_allclose(softmax(found), expected[rows, place], atol=5e-5)
        if place >= 4:
            alone.step(int(steps[0, place]))
        if place >= 3:
            np.testing.assert_allclose(softmax(alone.logits), expected[0, place], atol=5e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("cell_norm", ["none", "layer"])
@pytest.mark.parametrize("embedding", [0, 5])
def test_shapes_are_those_of_the_network(
    cell: str, norm: str, cell_norm: str, embedding: int
) -> None:
    settings = {"embedding": embedding, "skip": embedding > 0, "skip_input": embedding > 0}
    network = network_of(cell=cell, norm=norm, cell_norm=cell_norm, layers=2, **settings)
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert found == shapes(network.config, SIZE)


@pytest.fixture(scope="module", params=["char", "word", "byte"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    # Without a norm: with one, NumPy and PyTorch round differently, which may change a draw.
    settings = {"steps": 30, "lr": 0.02, "codec": request.param, "norm": "none"}
    trained(folder / "corpus.txt", folder / "run", **settings)
    return charrnn.load(folder / "run").checkpoint


def texts_from(
    stepped: Any, model: Checkpoint, config: SamplingConfig | None = None, **options: Any
) -> list[str]:
    drawn = samples(
        stepped,
        model.codec,
        config=config or model.config.sampling,
        settings=model.config.codec_settings,
        options=TextOptions(),
        **options,
    )
    return ["".join(sample) for sample in drawn]


def test_the_same_seed_gives_the_same_text_from_both(model: Checkpoint) -> None:
    for config in (SamplingConfig(), SamplingConfig(temperature=(1.0, 0.5), top_p=0.95)):
        ours, theirs = (
            texts_from(each, model, length=200, num=3, config=config)
            for each in (Runtime(model.config.model, model.weights()), Model(model.network()))
        )
        assert ours == theirs


def test_both_give_the_same_beams(model: Checkpoint) -> None:
    ours, theirs = (
        search(
            each,
            model.codec,
            prime=model.codec.prime(),
            length=12,
            width=4,
            config=model.config.sampling,
            settings=model.config.codec_settings,
            options=TextOptions(),
        )
        for each in (Runtime(model.config.model, model.weights()), Model(model.network()))
    )
    for one, other in zip(ours, theirs, strict=True):
        assert [d.step for d in one.drawn] == [d.step for d in other.drawn]
        assert one.log_p == pytest.approx(other.log_p, abs=1e-4)


def test_weights_that_are_no_numbers(model: Checkpoint) -> None:
    weights = model.weights()
    weights["head.linear.bias"] = np.full_like(weights["head.linear.bias"], np.nan)
    with pytest.raises(SamplingError, match=r"head\.linear\.bias is not finite"):
        Runtime(model.config.model, weights)


@pytest.mark.parametrize("cell", ["gru", "peephole"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("codec", ["char", "word", "byte"])
def test_the_networks_own_distribution_over_a_text(
    codec: str, norm: str, cell: str, tmp_path: Path
) -> None:
    """From the file that a run has left, with whatever its codec makes of the text."""
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    settings = {"steps": 20, "codec": codec, "norm": norm, "cell": cell, "lr": 0.02}
    trained(tmp_path / "corpus.txt", tmp_path / "run", **settings)
    model = charrnn.load(tmp_path / "run").checkpoint
    network, steps = model.network(), model.codec.encode(TEXT[:200])[0]
    with torch.inference_mode():
        wide = torch.as_tensor(steps.astype(np.int64))[None]
        expected = network(wide, network.initial_state(1))[0].softmax(-1)[0].numpy()
    stream = Stream(Runtime.of(model))
    for step, wanted in zip(steps.tolist(), expected, strict=True):
        np.testing.assert_allclose(softmax(stream.step(step)), wanted, atol=1e-5)


def test_a_variance_below_zero(tmp_path: Path) -> None:
    network = network_of(cell="lstm", embedding=5, layers=1, norm="batch")
    network.state_dict()["norms.0.norm.running_var"][0] = -1
    with pytest.raises(SamplingError, match="running_var is negative"):
        runtime_of(network)


@pytest.mark.parametrize("shape", [(), (3,)], ids=["one", "several"])
@pytest.mark.parametrize("quicker", [1, 2])
def test_the_quicker_number_of_threads_is_taken(
    quicker: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a step takes 1 s with so many threads, and 2 s otherwise."""
    chosen: list[int] = []

    class Controller:
        def limit(self, limits: int) -> None:
            chosen.append(limits)

    now = [0.0]

    def clock() -> float:
        now[0] += 1 if chosen[-1] == quicker else 2
        return now[0]

    monkeypatch.setattr(runtime, "_blas", lambda: (Controller(), 2))
    monkeypatch.setattr(runtime.time, "perf_counter", clock)
    stream = Stream(runtime_of(network_of(cell="lstm", embedding=5, layers=1)), shape)
    stream.tune_threads()
    assert chosen == []  # too small to ask
    monkeypatch.setattr(runtime, "LARGE_MATRIX", 1)
    stream.tune_threads()
    assert chosen[-1] == quicker
    assert set(chosen[:-1]) == {1, 2}
