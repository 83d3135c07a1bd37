"""Cells and layers against independent implementations: torch.nn where it has the cell, the
equations of the papers in float64 where it has not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from charrnn.model.cells import cell_of, torch_step
from charrnn.model.cells.torch_step import Parts, Recurrence, TorchStep
from charrnn.model.layers import RecurrentLayer
from charrnn.settings import CELLS, ModelConfig

V, H, B, T = 4, 5, 3, 11
ORACLES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def layer_of(cell: str, inputs: int = V, **settings: object) -> RecurrentLayer:
    torch.manual_seed(0)
    config = ModelConfig(cell=cell, hidden=H, layers=1, embedding=0, dropout=0.0, **settings)  # type: ignore[arg-type]
    layer = RecurrentLayer(config, inputs)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)  # none at its special first value
    return layer


def steps_of() -> torch.Tensor:
    return torch.randint(V, (T, B), generator=torch.Generator().manual_seed(1))


def state_of(cell: str) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(B, H, generator=generator) for _ in range(cell_of(cell).state_parts))


@pytest.mark.parametrize("cell", ORACLES)
def test_cells_equal_those_of_torch(cell: str) -> None:
    """The time loop over look-ups, the time loop over vectors, and the fused kernel, with its
    weights handed in and with one-hot input, against torch.nn over one-hot vectors; outputs and
    gradients."""
    layer, steps, state = layer_of(cell), steps_of(), state_of(cell)
    one_hot = nn.functional.one_hot(steps, V).float()
    oracle = ORACLES[cell](V, H)
    oracle.load_state_dict(layer.kernel.state_dict())
    wide = tuple(part.unsqueeze(0) for part in state)
    expected, after = oracle(one_hot, wide if len(wide) > 1 else wide[0])
    after = after if isinstance(after, tuple) else (after,)
    expected.square().sum().backward()
    weight_hh = layer.weights[1]
    ways = {
        "look-up": lambda: layer._looped(steps, state, weight_hh, None, None),
        "one-hot": lambda: layer(steps, state),
        "loop": lambda: layer._looped(one_hot, state, weight_hh, None, None),
        "kernel": lambda: layer(one_hot, state),
        "weights handed in": lambda: layer._fused(one_hot, state, weight_hh.clone()),
    }
    for name, way in ways.items():
        layer.zero_grad()
        outputs, parts = way()
        outputs.square().sum().backward()
        torch.testing.assert_close(outputs, expected, msg=name)
        torch.testing.assert_close(parts, tuple(part[0] for part in after), msg=name)
        for mine, theirs in zip(layer.kernel.parameters(), oracle.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, msg=name, rtol=1e-4, atol=1e-5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def by_the_equations(layer: RecurrentLayer, steps: torch.Tensor, state: tuple) -> np.ndarray:
    """Each cell step by step, gate by gate, in float64: what the papers say."""
    cell, normed = layer.config.cell, layer.config.cell_norm == "layer"
    p = {name: t.detach().double().numpy() for name, t in layer.state_dict().items()}
    w_x, w_h = p["kernel.weight_ih_l0"], p["kernel.weight_hh_l0"]
    b_x, b_h = p["kernel.bias_ih_l0"], p["kernel.bias_hh_l0"]
    h, *rest = (part.double().numpy() for part in state)
    c = rest[0] if rest else None
    outputs = []
    for x in nn.functional.one_hot(steps, V).double().numpy():
        of_x, of_h = [], []
        for gate in range(cell_of(cell).gates):
            rows = slice(gate * H, (gate + 1) * H)
            a, b = x @ w_x[rows].T, h @ w_h[rows].T
            if normed:
                a, b = norm(a) * p["gains"][0, gate], norm(b) * p["gains"][1, gate]
            of_x.append(a + b_x[rows])
            of_h.append(b + b_h[rows])
        if cell == "rnn":
            h = np.tanh(of_x[0] + of_h[0])
        elif cell == "gru":
            r, z = sigmoid(of_x[0] + of_h[0]), sigmoid(of_x[1] + of_h[1])
            h = (1 - z) * np.tanh(of_x[2] + r * of_h[2]) + z * h
        else:
            i, f, g, o = (a + b for a, b in zip(of_x, of_h, strict=True))
            peep = p["peephole"] if cell == "peephole" else np.zeros((3, H))
            c_new = sigmoid(f + peep[1] * c) * c + sigmoid(i + peep[0] * c) * np.tanh(g)
            seen = norm(c_new) * p["cell_gain"][0] + p["cell_gain"][1] if normed else c_new
            h, c = sigmoid(o + peep[2] * c_new) * np.tanh(seen), c_new
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("cell_norm", ["none", "layer"])
def test_cells_obey_their_equations(cell: str, cell_norm: str) -> None:
    layer = layer_of(cell, cell_norm=cell_norm).double()
    steps, state = steps_of(), tuple(part.double() for part in state_of(cell))
    expected = by_the_equations(layer, steps, state)
    one_hot = nn.functional.one_hot(steps, V).double()
    for inputs in (steps, one_hot):
        outputs, after = layer(inputs, state)
        np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(after[0], outputs[-1])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_by_finite_differences(cell: str, normed: bool, masked: bool) -> None:
    torch.manual_seed(0)
    width, kind = 3, cell_of(cell)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    state = [numbers(2, width) for _ in range(kind.state_parts)]
    own = {"weight": numbers(kind.gates * width, width)}
    if kind.separate_bias:
        own["bias"] = numbers(kind.gates * width)
    if normed:
        own["gain"] = numbers(kind.gates, width)
    shapes = kind.parameter_shapes(width, layer_norm=normed)
    further = {name: numbers(*shape) for name, shape in shapes.items() if name != "gains"}
    keep = torch.tensor([[2.0, 0, 2], [0, 2, 2]], dtype=torch.float64) if masked else None

    def run(gates_x: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts, left = rest[: len(state)], iter(rest[len(state) :])
        weights, parameters = ({name: next(left) for name in names} for names in (own, further))
        recurrence = Recurrence(**weights, keep=keep, parameters=parameters)  # type: ignore[arg-type]
        outputs, after = torch_step.scan(kind.torch_step, gates_x, parts, recurrence)
        return (outputs, *after)

    inputs = (numbers(4, 2, kind.gates * width), *state, *own.values(), *further.values())
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_dropout_masks_the_state_alike_at_all_steps(cell: str) -> None:
    """Its mask on h is the same as dropping columns of the recurrent matrix."""
    layer, state = layer_of(cell, recurrent_dropout=0.5), state_of(cell)
    state = tuple(part[:1] for part in state)
    steps = steps_of()[:, :1]
    outputs, _ = layer(steps, state, torch.Generator().manual_seed(0))
    ones = torch.ones(1, H)
    from charrnn.model.dropout import dropout

    keep = dropout(ones, 0.5, torch.Generator().manual_seed(0))
    assert 0 < int((keep == 0).sum()) < H
    plain, _ = layer._looped(steps, state, layer.weights[1] * keep, None, None)
    torch.testing.assert_close(outputs, plain)


@pytest.mark.parametrize("cell", ORACLES)
def test_dropout_of_a_one_hot_input_is_the_same_in_the_kernel(cell: str) -> None:
    layer, steps, state = layer_of(cell), steps_of(), state_of(cell)
    scale = torch.arange(T * B).reshape(T, B, 1) % 3 * 0.75
    layer, state = layer.double(), tuple(part.double() for part in state)
    looped, _ = layer._looped(steps, state, layer.weights[1], None, scale)
    torch.testing.assert_close(layer(steps, state, None, scale)[0], looped)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_in_bf16(cell: str) -> None:
    """They are sums over many steps, which are not rounded after each."""
    layer, state = layer_of(cell, recurrent_dropout=0.1), state_of(cell)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            steps = steps_of().repeat(40, 1)
            outputs, _ = layer(steps, state, torch.Generator().manual_seed(0))
        outputs.float().mul(torch.linspace(0, 1, H)).sum().backward()
        gradients.append(layer.weights[1].grad)
    exact, rounded = gradients
    assert exact is not None
    assert rounded is not None
    assert float((rounded - exact).norm() / exact.norm()) < 0.01


def calls(number: int) -> TorchStep:
    """A cell that asks for the recurrent part of its gates so many times in all steps but the
    first."""

    def step(gates_x: torch.Tensor, state: Parts, recurrence: Recurrence) -> Parts:
        h = state[0]
        for _ in range(number if len(state) > 1 else 1):
            h = (gates_x + recurrence.gates(h)).tanh()
        return h, h

    return step


@pytest.mark.parametrize("number", [0, 1, 2])
def test_gradients_of_a_graph_used_twice(number: int) -> None:
    """And of cells that use the recurrent weights as they like."""
    torch.manual_seed(0)
    gates_x = torch.randn(T, B, H, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(H, H, dtype=torch.float64, requires_grad=True)
    state = (torch.randn(B, H, dtype=torch.float64),)
    step = calls(number)
    looped, _ = torch_step.scan(step, gates_x, state, Recurrence(weight))
    plain, parts = [], state
    for gates in gates_x:
        parts = step(gates, parts, Recurrence(weight))
        plain.append(parts[0])
    torch.testing.assert_close(looped, torch.stack(plain))
    for wanted in ([gates_x], [weight], [weight, gates_x]):
        for stop in (T // 2, T):
            theirs = torch.autograd.grad(
                torch.stack(plain)[:stop].square().sum(), wanted, retain_graph=True
            )
            ours = torch.autograd.grad(looped[:stop].square().sum(), wanted, retain_graph=True)
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dense", [False, True])
def test_weight_drop_drops_recurrent_weights(cell: str, dense: bool) -> None:
    layer, state, steps = layer_of(cell, weight_drop=0.5), state_of(cell), steps_of()
    inputs = nn.functional.one_hot(steps, V).float() if dense else steps
    outputs, _ = layer(inputs, state, torch.Generator().manual_seed(0))
    layer.zero_grad()
    outputs.sum().backward()
    gradient = layer.weights[1].grad
    assert gradient is not None
    assert 0.3 < float((gradient == 0).float().mean()) < 0.7  # a dropped weight learns nothing
    assert not torch.equal(outputs, layer(inputs, state)[0])


def test_what_fits_the_fused_kernel_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, steps = torch.randn(T, B, V), steps_of()

    def refuse(*_: object) -> None:
        raise AssertionError("the time loop was taken")

    monkeypatch.setattr(torch_step, "scan", refuse)
    generator = torch.Generator()
    for cell in ("lstm", "gru", "rnn"):
        for settings in ({}, {"weight_drop": 0.5}):
            for inputs in (dense, steps):
                layer_of(cell, **settings)(inputs, state_of(cell), generator)
    for cell, settings, inputs in (
        ("peephole", {}, dense),
        ("lstm", {"cell_norm": "layer"}, dense),
        ("lstm", {"recurrent_dropout": 0.5}, dense),
        ("lstm", {"inputs": H + 1}, steps),  # a look-up is faster
    ):
        with pytest.raises(AssertionError, match="time loop"):
            layer_of(cell, **settings)(inputs, state_of(cell), generator)


def test_forget_gate_starts_open() -> None:
    for cell in ("lstm", "peephole"):
        config = ModelConfig(cell=cell, hidden=H, layers=1, embedding=0, dropout=0.0)
        _, _, bias_ih, bias_hh = RecurrentLayer(config, V).weights
        total = bias_ih + bias_hh
        assert total[H : 2 * H].eq(1).all()
        assert total[:H].eq(0).all()
        assert total[2 * H :].eq(0).all()
