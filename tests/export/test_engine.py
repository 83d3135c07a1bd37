"""The network in JavaScript against the runtime in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import wasmtime

import charrnn
from charrnn.export.packed import KERNEL, engine, packed
from charrnn.media.steps import Continuous, Discrete, Step
from charrnn.model.network import Network
from charrnn.sampling.filters import softmax
from charrnn.sampling.runtime import Runtime, Stream
from charrnn.settings import CELLS, ModelConfig

pytestmark = pytest.mark.browser
V, F = 11, 7
RUN = """async ([text, start, steps]) => {
    const network = await Network.load(text);
    const state = network.begin(start);
    const kept = structuredClone(state);
    const all = steps.map((step) => [...network.step(state, step)]);
    const again = [...network.step(kept, steps[0])];
    return { all, again, h: state.h.map((h) => [...h]), c: (state.c || []).map((c) => [...c]) };
}"""


@dataclass
class Model:
    """As much of a checkpoint as is packed."""

    network: Network
    starts: Any = None

    @property
    def config(self) -> SimpleNamespace:
        return SimpleNamespace(model=self.network.config)

    @property
    def codec(self) -> SimpleNamespace:
        return SimpleNamespace(step=self.network.step)

    @property
    def starts_count(self) -> int:
        return len(self.starts[0][0]) if self.starts else 0

    def weights_and_starts(self) -> tuple[dict[str, np.ndarray], Any]:
        tensors = self.network.state_dict()
        return {name: tensor.numpy().copy() for name, tensor in tensors.items()}, self.starts


def model_of(step: Step, **settings: Any) -> Model:
    """A network whose norms have seen something, with weights that say something."""
    torch.manual_seed(0)
    config = ModelConfig(**({"hidden": 14, "dropout": 0.0} | settings))
    network = Network(config, step)
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    for _ in range(3):
        shape = (4, 9)
        steps = torch.randint(V, shape) if isinstance(step, Discrete) else torch.randn(*shape, F)
        network.loss(steps, steps, network.initial_state(4))
    return Model(network.eval())


@pytest.fixture(scope="module")
def page(chromium: Any) -> Any:
    page = chromium.new_page()
    page.add_script_tag(content=engine())
    return page


def test_the_kernel_is_that_of_its_source() -> None:
    source = KERNEL.with_suffix(".wat").read_text(encoding="utf-8")
    assert bytes(wasmtime.wat2wasm(source)) == KERNEL.read_bytes()


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 27])
def test_the_kernel(page: Any, width: int) -> None:
    found = page.evaluate(
        """(width) => {
            const memory = new Memory([[5, width]]);
            const weight = memory.take(5 * width).map((_, k) => k + 1);
            const inside = memory.take(5 * width);
            inside.set(weight);
            const [x, out] = [new Float32Array(width).map((_, k) => k - 3), new Float32Array(5)];
            memory.multiply(inside, x, out);
            return { isThere: Boolean(memory.kernel), out: [...out] };
        }""",
        width,
    )
    weight = np.arange(1.0, 5 * width + 1).reshape(5, width)
    assert found == {"isThere": True, "out": (weight @ (np.arange(width) - 3)).tolist()}


def test_without_the_kernel(page: Any, chromium: Any) -> None:
    plain = chromium.new_page()
    plain.add_script_tag(content="delete globalThis.WebAssembly")
    plain.add_script_tag(content=engine())
    model = model_of(Discrete(V), layers=2, embedding=5, dense=6)
    steps = np.random.default_rng(0).integers(V, size=40)
    text = packed(model, "fp32")  # type: ignore[arg-type]
    slow, fast = (in_page(each, text, steps)["all"] for each in (plain, page))
    assert slow != fast
    np.testing.assert_allclose(slow, fast, atol=1e-4)


def in_page(page: Any, text: str, steps: np.ndarray, start: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(RUN, [text, start, steps.tolist()])
    return found


def expected(model: Any, steps: np.ndarray, start: int | None = None) -> np.ndarray:
    runtime = Runtime(model.config.model, *model.weights_and_starts())
    if start is None:
        stream = Stream(runtime)
        return np.array([stream.step(step).copy() for step in steps])
    stream = runtime.begin(steps[:1], start)
    return np.array([stream.logits.copy(), *(stream.step(int(s)).copy() for s in steps[1:])])


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("cell_norm", ["none", "layer"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("cell", CELLS)
def test_logits(
    page: Any, cell: str, norm: str, cell_norm: str, embedding: int, layers: int
) -> None:
    sizes = {"skip": embedding > 0, "dense": 6 * (layers == 3)}
    sizes |= {"skip_input": embedding > 0 and norm != "batch"}
    settings = {"cell": cell, "norm": norm, "cell_norm": cell_norm, "layers": layers, **sizes}
    model = model_of(Discrete(V), embedding=embedding, **settings)
    steps = np.random.default_rng(0).integers(V, size=40)
    found = in_page(page, packed(model, "fp32"), steps)  # type: ignore[arg-type]
    np.testing.assert_allclose(found["all"], expected(model, steps), atol=1e-4)
    assert found["again"] == found["all"][0]  # the copy of the state did not change
    with torch.inference_mode():
        wide = torch.from_numpy(steps)[None]
        _, state = model.network(wide, model.network.initial_state(1))
    for name, values in (("h", found["h"]), ("c", found["c"])):
        parts = [layer["hc".index(name)][0].numpy() for layer in state if values]
        np.testing.assert_allclose(values, parts, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "mse"},
        {"head": "gaussian", "input_norm": "batch", "dense": 9},
        {"head": "gaussian", "input_norm": "batch", "cell": "gru", "norm": "layer"},
        {"head": "mse", "cell_norm": "layer", "input_norm": "batch", "skip": True},
        {"head": "mse", "cell": "peephole", "norm": "batch"},
        {"head": "mse", "cell": "rnn", "cell_norm": "layer"},
        {"head": "mse", "skip_input": True, "input_norm": "batch", "norm": "layer"},
    ],
)
def test_frames(page: Any, settings: dict[str, Any]) -> None:
    model = model_of(Continuous(F), layers=2, embedding=0, **settings)
    steps = np.random.default_rng(0).normal(size=(40, F)).astype(np.float32)
    found = in_page(page, packed(model, "fp32"), steps)  # type: ignore[arg-type]
    np.testing.assert_allclose(found["all"], expected(model, steps), atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_starts(page: Any, cell: str) -> None:
    model = model_of(Discrete(V), layers=2, embedding=0, cell=cell)
    random = np.random.default_rng(0)
    parts = len(model.network.initial_state(1)[0])
    model.starts = random.uniform(-1, 1, (2, parts, 5, 14)).astype(np.float32)
    model.starts = tuple(map(tuple, model.starts))
    steps = random.integers(V, size=20)
    for start in (0, 4):
        found = in_page(page, packed(model, "fp32"), steps, start)  # type: ignore[arg-type]
        np.testing.assert_allclose(found["all"], expected(model, steps, start), atol=1e-4)


@pytest.mark.parametrize("embedding", [0, 5])
def test_the_mean_of_all_symbols(page: Any, embedding: int) -> None:
    """-1 reads the mean of what symbols are for the first layer."""
    model = model_of(Discrete(V), layers=1, embedding=embedding)
    found = in_page(page, packed(model, "fp32"), np.array([3, -1]))  # type: ignore[arg-type]
    weights = model.weights_and_starts()[0]
    name = "embedding.weight" if embedding else "layers.0.kernel.weight_ih_l0"
    axis = 0 if embedding else 1
    index = (0, slice(None)) if embedding else (slice(None), 0)
    weights[name][index] = weights[name].mean(axis)  # symbol 0 is the mean
    stream = Stream(Runtime(model.config.model, weights))
    stream.step(3)
    np.testing.assert_allclose(found["all"][1], stream.step(0), atol=1e-4)


def test_a_trained_model_in_int8(page: Any, run: Path) -> None:
    model = charrnn.load(run).checkpoint
    steps = model.codec.encode("The miller said, ")[0]
    text = packed(model)
    assert len(text) < 0.5 * len(packed(model, "fp32"))
    found = page.evaluate(RUN, [text, -1, steps.tolist()])["all"]
    wanted = expected(model, steps.tolist())
    assert np.abs(softmax(np.array(found)) - softmax(wanted)).max() < 0.02
    assert packed(model) == text


def test_the_size_of_two_layers_of_256() -> None:
    """A page with it may have 3 MB."""
    model = model_of(Discrete(80), hidden=256, layers=2, embedding=64)
    assert len(packed(model)) < 1_500_000  # type: ignore[arg-type]
