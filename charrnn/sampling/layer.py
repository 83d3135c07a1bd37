"""One layer of the network stepped in NumPy: its weights as they are used, and its recurrence.

Arrays of one stream are (H,), those of S streams (H, S): one code serves both.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy import add, dot, multiply, subtract, tanh
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.model.shapes import GATES

Array = NDArray[np.float32]
Weights = Mapping[str, NDArray[Any]]
Shape = tuple[int, ...]  # () of one stream, (S,) of several

EPSILON = np.float32(1e-5)  # of every norm, as in PyTorch
HALF, ONE = np.float32(0.5), np.float32(1)


class Layer:
    """A layer's weights as they are used here: its gates in the order that the cell wants, sigmoid
    gates halved, and in one matrix all that reads its output."""

    def __init__(self, config: ModelConfig, weights: Weights, index: int) -> None:
        name, hidden, gates = f"layers.{index}", config.hidden, GATES[config.cell]
        kernel, cell = f"{name}.kernel", CELLS[config.cell]
        halves = np.where(np.arange(gates) < cell.sigmoids, HALF, ONE)[:, np.newaxis]  # (G, 1)
        # A share of the gates that is normalised is scaled after its norm, by the gain.
        factor = np.ones_like(halves) if config.cell_norm == "layer" else halves

        def arranged(tensor: NDArray[Any], factor: Array) -> Array:
            apart = tensor.reshape(gates, hidden, -1)[cell.order] * factor[..., np.newaxis]
            return apart.reshape(tensor.shape)

        self.cell, self.hidden = config.cell, hidden
        self.input_weight = arranged(weights[f"{kernel}.weight_ih_l0"], factor)  # (G*H, I)
        self._own_weight = arranged(weights[f"{kernel}.weight_hh_l0"], factor)  # (G*H, H)
        bias = arranged(weights[f"{kernel}.bias_ih_l0"], halves)
        own_bias = arranged(weights[f"{kernel}.bias_hh_l0"], halves)
        if config.cell != "gru":  # whose reset gate acts on a part of this one
            bias, own_bias = bias + own_bias, np.zeros_like(bias)
        # Of the input's and the state's share: gain, (G, H), and what is added after the norm.
        self._norms: list[tuple[Array, Array]] = []
        if config.cell_norm == "layer":
            gains = weights[f"{name}.gains"][:, cell.order] * halves
            self._norms = list(zip(gains, (bias, own_bias), strict=True))
            bias = own_bias = np.zeros_like(bias)
        self.input_bias, self.own_bias = bias, own_bias
        self.cell_gain: Array | None = weights.get(f"{name}.cell_gain")
        self.peephole: Array | None = None
        if config.cell == "peephole":  # of the gates o, i, f
            self.peephole = weights[f"{name}.peephole"][[2, 0, 1]] * HALF
        self.standardizes = config.norm == "layer"  # its output, for what comes next
        self._scale, self._shift = np.ones(hidden, np.float32), np.zeros(hidden, np.float32)
        if config.norm != "none":
            self._scale, self._shift = _affine(weights, f"norms.{index}.norm")

    def read_normed(self, weights: Weights, norm: str) -> None:
        """Fold a batch norm of the input into the weights."""
        scale, shift = _affine(weights, norm)
        self.input_bias = self.input_bias + self.input_weight @ shift
        self.input_weight = self.input_weight * scale

    def feed(self, weight: Array, bias: Array, behind: Layer | None = None) -> None:
        """Say what reads the output: the layer `behind`, or the head; (N, H) and (N,).

        `weight` becomes (N + G*H, H + 1): what comes next and the layer itself, and the biases.
        """
        self.behind, self.width = behind, len(weight)  # N
        self.weight = np.empty((self.width + len(self.own_bias), self.hidden + 1), np.float32, "F")
        np.multiply(weight, self._scale, self.weight[: self.width, :-1])
        self.weight[self.width :, :-1] = self._own_weight
        self.weight[: self.width, -1] = bias + weight @ self._shift
        self.weight[self.width :, -1] = self.own_bias
        del self._own_weight

    @cached_property
    def wide_weight(self) -> Array:
        """The same row by row: matrix-matrix products are quicker so, by a tenth to a half."""
        return np.ascontiguousarray(self.weight)

    @cached_property
    def apart(self) -> tuple[Array, Array]:
        """The same as two matrices, for what comes next and for the layer itself."""
        onward, own = self.weight[: self.width], self.weight[self.width :]
        return np.asfortranarray(onward), np.asfortranarray(own)

    def input_share(self, gates: Array) -> Array:
        """The input's share of the gates, (G*H, ...), ready-made."""
        return self._normalized(gates, 0)

    def own_share(self, gates: Array) -> Array:
        """The state's share of the gates, (G*H, ...), ready-made."""
        return self._normalized(gates, 1)

    @property
    def normalizes(self) -> bool:
        """Whether shares of the gates are normalised."""
        return bool(self._norms)

    def _normalized(self, gates: Array, which: int) -> Array:
        if not self._norms:
            return gates
        gain, bias = self._norms[which]
        apart = _standardized(gates.reshape(*gain.shape, *gates.shape[1:]), 1)
        normed: Array = apart * beside(gain, apart)
        return normed.reshape(gates.shape) + beside(bias, gates)


class Cell(abc.ABC):
    """A layer in use: its buffers, and one step of its recurrence.

    Args:
        layer: the weights.
        shape: of the streams.
    """

    order: ClassVar[list[int]]  # PyTorch's gates in the order used here, sigmoid gates first
    sigmoids: ClassVar[int]

    def __init__(self, layer: Layer, shape: Shape) -> None:
        self._layer = layer
        self._weight = layer.wide_weight if shape else layer.weight
        self._is_plain = not (layer.standardizes or layer.normalizes)
        self._is_plain &= layer.behind is None or not layer.behind.normalizes
        self._out = np.empty((len(layer.weight), *shape), np.float32)
        self.onward, self._own = self._out[: layer.width], self._out[layer.width :]
        self._own[:] = beside(layer.own_share(layer.own_bias), self._own)  # of a state of zeros
        self._h_1 = np.ones((layer.hidden + 1, *shape), np.float32)  # with the factor of the bias
        self._h = self._h_1[:-1]
        self._h[:] = 0

    @property
    def memory(self) -> tuple[Array, ...]:
        """What a step leaves for the next one; the state h is in its share of the gates."""
        return (self._own,)

    @abc.abstractmethod
    def _advance(self, x: Array) -> None:
        """One step of the recurrence: `_h`, given the input's share of the gates."""

    def read(self, x: Array) -> Array:
        """One step: the next layer's input share, or the logits, given this one's, (G*H, ...)."""
        self._advance(x)
        if self._is_plain:
            dot(self._weight, self._h_1, self._out)
        else:
            self._read_normalized()
        return self.onward

    def _read_normalized(self) -> None:
        layer = self._layer
        if layer.standardizes:
            onward, own = layer.apart
            h_1 = np.concatenate([_standardized(self._h, 0), self._h_1[-1:]])
            dot(onward, h_1, self.onward)
            dot(own, self._h_1, self._own)
        else:
            dot(self._weight, self._h_1, self._out)
        self._own[:] = layer.own_share(self._own)
        if layer.behind:
            self.onward[:] = layer.behind.input_share(self.onward)


class _Lstm(Cell):
    """Gates o, i, f, g, and behind them the cell state c."""

    order: ClassVar = [3, 0, 1, 2]
    sigmoids: ClassVar = 3

    def __init__(self, layer: Layer, shape: Shape) -> None:
        super().__init__(layer, shape)
        hidden = layer.hidden
        buffer = np.zeros((5 * hidden, *shape), np.float32)
        self._gates, self._c = buffer[: 4 * hidden], buffer[4 * hidden :]
        self._sigmoids, self._o = buffer[: 3 * hidden], buffer[:hidden]
        self._i_f, self._g_c = buffer[hidden : 3 * hidden], buffer[3 * hidden :]
        self._products = np.empty((2 * hidden, *shape), np.float32)
        self._ig, self._fc = self._products[:hidden], self._products[hidden:]
        self._cell_gain = layer.cell_gain

    @property
    def memory(self) -> tuple[Array, ...]:
        return (self._own, self._c)

    def _advance(self, x: Array) -> None:
        add(x, self._own, self._gates)
        tanh(self._gates, self._gates)
        _from_tanh(self._sigmoids)
        multiply(self._i_f, self._g_c, self._products)
        add(self._ig, self._fc, self._c)
        tanh(self._output(), self._h)
        multiply(self._o, self._h, self._h)

    def _output(self) -> Array:
        """What the output gate lets through: c, normalised if so wished."""
        if self._cell_gain is None:
            return self._c
        gain, bias = self._cell_gain
        normed: Array = _standardized(self._c, 0) * beside(gain, self._c)
        return normed + beside(bias, self._c)


class _Peephole(_Lstm):
    """As the LSTM; its gates i and f see the old cell state, o the new one."""

    def __init__(self, layer: Layer, shape: Shape) -> None:
        super().__init__(layer, shape)
        assert layer.peephole is not None
        self._to_o, *to_i_f = (beside(weight, self._c) for weight in layer.peephole)
        self._to_i, self._to_f = to_i_f
        hidden = layer.hidden
        self._i, self._f, self._g = self._gates.reshape(4, hidden, *shape)[1:]

    def _advance(self, x: Array) -> None:
        add(x, self._own, self._gates)
        add(self._i, self._to_i * self._c, self._i)
        add(self._f, self._to_f * self._c, self._f)
        tanh(self._i_f, self._i_f)
        tanh(self._g, self._g)
        _from_tanh(self._i_f)
        multiply(self._i_f, self._g_c, self._products)
        add(self._ig, self._fc, self._c)
        add(self._o, self._to_o * self._c, self._o)
        tanh(self._o, self._o)
        _from_tanh(self._o)
        tanh(self._output(), self._h)
        multiply(self._o, self._h, self._h)


class _Gru(Cell):
    """Gates r, z, n; the reset gate r acts on the state's share of n."""

    order: ClassVar = [0, 1, 2]
    sigmoids: ClassVar = 2

    def __init__(self, layer: Layer, shape: Shape) -> None:
        super().__init__(layer, shape)
        hidden = layer.hidden
        self._gates = np.empty((3 * hidden, *shape), np.float32)
        self._sigmoids, self._n = self._gates[: 2 * hidden], self._gates[2 * hidden :]
        self._r, self._z = self._gates[:hidden], self._gates[hidden : 2 * hidden]
        self._own_sigmoids, self._own_n = self._own[: 2 * hidden], self._own[2 * hidden :]

    @property
    def memory(self) -> tuple[Array, ...]:
        return (self._own, self._h)

    def _advance(self, x: Array) -> None:
        split = len(self._sigmoids)
        add(x[:split], self._own_sigmoids, self._sigmoids)
        tanh(self._sigmoids, self._sigmoids)
        _from_tanh(self._sigmoids)
        multiply(self._r, self._own_n, self._n)
        add(self._n, x[split:], self._n)
        tanh(self._n, self._n)
        subtract(self._h, self._n, self._h)
        multiply(self._h, self._z, self._h)
        add(self._h, self._n, self._h)


class _Rnn(Cell):
    """The simple recurrent network: one tanh."""

    order: ClassVar = [0]
    sigmoids: ClassVar = 0

    def _advance(self, x: Array) -> None:
        add(x, self._own, self._h)
        tanh(self._h, self._h)


CELLS: dict[str, type[Cell]] = {"lstm": _Lstm, "gru": _Gru, "rnn": _Rnn, "peephole": _Peephole}


def _affine(weights: Weights, norm: str) -> tuple[Array, Array]:
    """A norm as a factor and a term: of a layer norm what follows standardising."""
    scale, shift = weights[f"{norm}.weight"].copy(), weights[f"{norm}.bias"].copy()
    if f"{norm}.running_var" in weights:
        scale /= np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
        shift -= weights[f"{norm}.running_mean"] * scale
    return scale, shift


def _from_tanh(gates: Array) -> None:
    """The logistic function of twice the numbers whose tanh this is, in place."""
    add(gates, ONE, gates)
    multiply(gates, HALF, gates)


def _standardized(values: Array, axis: int) -> Array:
    """Without mean and with unit variance along an axis."""
    centred = values - values.mean(axis, keepdims=True)
    variance = np.square(centred).mean(axis, keepdims=True)
    standardized: Array = centred / np.sqrt(variance + EPSILON)
    return standardized


def beside(values: Array, streams: Array) -> Array:
    """The values with an axis for the streams, where there are several."""
    return values.reshape(values.shape + (1,) * (streams.ndim - values.ndim))
