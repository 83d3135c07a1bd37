from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from charrnn.media.steps import Discrete
from charrnn.model.dropout import dropout
from charrnn.model.network import Network, flattened, unflattened
from charrnn.settings import CELLS, ModelConfig

V, H, B, T = 7, 5, 3, 11
SHAPES: list[dict[str, object]] = [
    {"embedding": embedding, "norm": norm, "layers": layers}
    for embedding in (0, 4)
    for norm in ("none", "batch", "layer")
    for layers in (1, 3)
]
SHAPES += [
    {"embedding": embedding, "cell": cell, "cell_norm": norm}
    for embedding in (0, 4)
    for cell in CELLS
    for norm in ("none", "layer")
]
REGULARISERS: list[dict[str, object]] = [
    {"dropout": 0.5},
    {"dropout": 0.0, "output_dropout": 0.5},
    {"input_dropout": 0.5},
    {"recurrent_dropout": 0.5},
    {"weight_drop": 0.5},
]


def network_of(**settings: object) -> Network:
    torch.manual_seed(0)
    values = {"hidden": H, "layers": 2, "embedding": 0, "dropout": 0.0} | settings
    return Network(ModelConfig(**values), Discrete(V))  # type: ignore[arg-type]


def steps_of(length: int = T) -> torch.Tensor:
    return torch.randint(V, (B, length), generator=torch.Generator().manual_seed(1))


def test_one_hot_is_never_materialised() -> None:
    """No operation makes a tensor with an axis of V before the head."""
    wide = 1013
    network = Network(ModelConfig(hidden=H, layers=2, embedding=0, dropout=0.0), Discrete(wide))
    shapes = []

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(tensor, torch.Tensor):
                    shapes.append(tuple(tensor.shape))
            return out

    with Spy():
        network.hidden(torch.randint(wide, (B, T)), network.initial_state(B))
    assert shapes
    assert all(wide not in shape or shape in ((wide, 4 * H), (4 * H, wide)) for shape in shapes)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_state_carries_everything(shape: dict[str, object]) -> None:
    """Reading in one go equals reading in two with the state handed on."""
    network = network_of(**shape).eval()
    steps = steps_of()
    with torch.no_grad():
        whole, end = network(steps, network.initial_state(B))
        first, state = network(steps[:, :4], network.initial_state(B))
        second, end_ = network(steps[:, 4:], state)
    assert whole.shape == (B, T, V)
    torch.testing.assert_close(whole, torch.cat([first, second], 1))
    torch.testing.assert_close(end, end_)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_parameter_learns(shape: dict[str, object]) -> None:
    network = network_of(**shape)
    steps = steps_of()
    nats, _, state = network.loss(
        steps[:, :-1], steps[:, 1:], network.initial_state(B), torch.Generator().manual_seed(0)
    )
    nats.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert not any(part.requires_grad for parts in state for part in parts)


def test_loss_is_the_mean_of_surprises() -> None:
    network, steps = network_of(), steps_of()
    state = network.initial_state(B)
    logits, _ = network(steps[:, :-1], state)
    nats, *_ = network.loss(steps[:, :-1], steps[:, 1:], state)
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), steps[:, 1:].flatten())
    torch.testing.assert_close(nats, expected)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_mean_and_the_share(p: float, dtype: torch.dtype) -> None:
    x = torch.ones(300, 1001, dtype=dtype)
    out = dropout(x, p, torch.Generator().manual_seed(3)).float()
    assert abs(float((out == 0).float().mean()) - p) < 0.005
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=0.01, atol=0)
    neighbours = [float((row[1:] == 0)[row[:-1] == 0].float().mean()) for row in out[:50]]
    assert abs(sum(neighbours) / 50 - p) < 0.03  # one draw says nothing of the next


def test_dropout_is_a_function_of_its_generator() -> None:
    x = torch.randn(5, 7)
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    first, second = dropout(x, 0.5, generator), dropout(x, 0.5, generator)
    assert not torch.equal(first, second)
    generator.set_state(before)
    assert torch.equal(first, dropout(x, 0.5, generator))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, generator) is x


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 4])
@pytest.mark.parametrize("regulariser", REGULARISERS, ids=str)
def test_regularisers_draw_from_the_generator(
    cell: str, embedding: int, regulariser: dict[str, object]
) -> None:
    """The same masks from the same generator, others from the next, none in evaluation."""
    network = network_of(cell=cell, embedding=embedding, **regulariser)
    steps, state = steps_of(), network.initial_state(B)

    def hidden(seed: int | None) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return network.hidden(steps, state, generator)[0]

    assert torch.equal(hidden(1), hidden(1))
    assert not torch.equal(hidden(1), hidden(2))
    assert not torch.equal(hidden(1), hidden(None))
    torch.testing.assert_close(hidden(None), network_of(cell=cell, embedding=embedding).hidden(
        steps, state)[0])  # fmt: skip


@pytest.mark.parametrize("embedding", [0, 4])
def test_variational_dropout_has_one_mask_for_all_steps(embedding: int) -> None:
    def zeros(**settings: object) -> torch.Tensor:
        network = network_of(embedding=embedding, layers=1, dropout=0.5, **settings)
        x, _ = network.hidden(
            steps_of(), network.initial_state(B), torch.Generator().manual_seed(0)
        )
        return x == 0  # (T, B, H)

    assert not (zeros() == zeros()[:1]).all()
    assert (zeros(variational=True) == zeros(variational=True)[:1]).all()
    assert zeros(variational=True).any()


@pytest.mark.parametrize("variational", [False, True])
def test_a_dropped_one_hot_input_is_no_input(variational: bool) -> None:
    """With one mask for all steps, a symbol is there or not for the whole of a lane's segment."""
    network = network_of(layers=1, input_dropout=0.5, variational=variational)
    steps = steps_of(200)
    scale = network._one_hot_dropout(steps.t(), torch.Generator().manual_seed(0))
    assert scale.shape == (200, B, 1)
    assert set(scale.unique().tolist()) == {0.0, 2.0}
    seen = [
        scale[:, lane, 0][steps[lane] == symbol].unique().numel()
        for lane in range(B)
        for symbol in range(V)
    ]
    assert (max(seen) == 1) == variational


def test_only_the_last_step_is_predicted() -> None:
    network, steps = network_of(), steps_of()
    state = network.initial_state(B)
    logits, _ = network(steps[:, :-1], state)
    nats, *_ = network.loss(steps[:, :-1], steps[:, 1:], state, last_only=True)
    torch.testing.assert_close(nats, nn.functional.cross_entropy(logits[:, -1], steps[:, -1]))


def test_vocabulary_axes() -> None:
    for embedding in (0, 4):
        network = network_of(embedding=embedding)
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        axes = network.vocabulary_axes
        assert all(shapes[name][axis] == V for name, axis in axes.items())
        assert sum(V in shape for shape in shapes.values()) == len(axes)


def test_dropout_follows_every_layer() -> None:
    """With all of it dropped, layers but the first see nothing of the steps."""
    network = network_of(layers=2, dropout=0.99)
    x, _ = network.hidden(steps_of(), network.initial_state(B), torch.Generator().manual_seed(0))
    assert float((x == 0).float().mean()) > 0.95


def test_dropout_between_layers() -> None:
    """The second layer sees zeros where the first one's outputs were dropped."""
    network = network_of(layers=2, dropout=0.5)
    seen = []
    second = network.layers[1]
    second.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.hidden(steps_of(), network.initial_state(B), torch.Generator().manual_seed(0))
    assert 0.3 < float((seen[0] == 0).float().mean()) < 0.7


def test_state_survives_flattening() -> None:
    network = network_of(layers=3)
    state = network.loss(steps_of(), steps_of(), network.initial_state(B))[2]
    flat = flattened(state)
    assert sorted(flat) == ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
    torch.testing.assert_close(unflattened(flat, network.initial_state(B)), state)


def test_parameter_count() -> None:
    counts = [network_of(layers=layers).parameter_count for layers in (1, 2, 3)]
    assert counts[0] == 4 * H * (V + H + 2) + V * (H + 1)
    assert all(b - a == 4 * H * (2 * H + 2) for a, b in pairwise(counts))
