"""One layer of the network in NumPy: its rearranged weights, and one step.

Arrays of one stream are (H,), those of S streams (H, S); the same code serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy import dot
from numpy.typing import NDArray

from charrnn.model.cells import cell_of
from charrnn.model.cells.numpy_step import (
    EPSILON,
    HALF,
    ONE,
    Array,
    Weights,
    inverse_deviation,
    per_stream,
    standardized,
)
from charrnn.settings import ModelConfig

Shape = tuple[int, ...]  # () for one stream, (S,) for several


class Layer:
    """A layer's weights, rearranged for speed: gates in the order of the cell's NumPy step, sigmoid
    gates halved, and everything that is multiplied by the layer's output in one matrix."""

    def __init__(self, config: ModelConfig, weights: Weights, index: int) -> None:
        name, hidden, cell = f"layers.{index}", config.hidden, cell_of(config.cell)
        kernel, gates, order = f"{name}.kernel", cell.gates, list(cell.numpy_step.order)
        is_sigmoid = np.arange(gates) < cell.numpy_step.sigmoids
        halves = np.where(is_sigmoid, HALF, ONE)[:, np.newaxis]  # (G, 1)
        has_cell_norm = config.cell_norm == "layer"
        # With layer norm, the gain after the norm is halved instead of the weights.
        factor = np.ones_like(halves) if has_cell_norm else halves

        def arranged(tensor: NDArray[Any], factor: Array) -> Array:
            by_gate = tensor.reshape(gates, hidden, -1)[order] * factor[..., np.newaxis]
            return by_gate.reshape(tensor.shape)

        self.cell, self.hidden = cell, hidden
        input_weight = arranged(weights[f"{kernel}.weight_ih_l0"], factor)
        # Of the outputs of the layer before, (G*H, H), and of the input of the network, (G*H, I).
        before = hidden if index else 0
        self.input_weight, self.first_weight = input_weight[:, :before], input_weight[:, before:]
        self._recurrent_weight = arranged(weights[f"{kernel}.weight_hh_l0"], factor)  # (G*H, H)
        bias = arranged(weights[f"{kernel}.bias_ih_l0"], halves)
        recurrent_bias = arranged(weights[f"{kernel}.bias_hh_l0"], halves)
        if not cell.separate_bias:
            bias, recurrent_bias = bias + recurrent_bias, np.zeros_like(bias)
        # For the input part and the recurrent part: gain, (G, H), and the bias after the norm.
        self._norms: list[tuple[Array, Array]] = []
        if has_cell_norm:
            gains = weights[f"{name}.gains"][:, order] * halves
            self._norms = list(zip(gains, (bias, recurrent_bias), strict=True))
            bias = recurrent_bias = np.zeros_like(bias)
        self.input_bias, self.recurrent_bias = bias, recurrent_bias
        further = cell.parameter_shapes(hidden, layer_norm=has_cell_norm)
        self.parameters = {key: weights[f"{name}.{key}"] for key in further if key != "gains"}
        self.standardizes_output = config.norm == "layer"  # before the next layer reads it
        self._scale, self._shift = np.ones(hidden, np.float32), np.zeros(hidden, np.float32)
        if config.norm != "none":
            self._scale, self._shift = affine(weights, f"norms.{index}.norm")

    def connect(
        self,
        weight: Array,
        bias: Array,
        next_layer: Layer | None = None,
        skip: Array | None = None,
    ) -> None:
        """Set the weights that the output is multiplied by: the next layer's input weights, or the
        head's, (N, H) and (N,), and those of a head that also reads this layer, (K, H).

        `self.weight` becomes (N + K + G*H, H + 1): those rows and the layer's own recurrent ones,
        with the biases in the last column.  With layer norm of the output, the first N + K rows
        have mean 0, so that they need not be multiplied by centred outputs; their biases, which
        are added after the division by the standard deviation, are `self.read_bias`; and one more
        row gives the mean of the outputs.
        """
        self.next_layer, self.next_width = next_layer, len(weight)  # N
        if skip is not None:
            weight = np.concatenate([weight, skip])
            bias = np.concatenate([bias, np.zeros(len(skip), np.float32)])
        width, gates = len(weight), len(self.recurrent_bias)
        self.read_width = width  # N + K
        self.recurrent_rows = slice(width, width + gates)
        rows = width + gates + self.standardizes_output
        self.weight = np.empty((rows, self.hidden + 1), np.float32, "F")
        read = np.multiply(weight, self._scale, self.weight[:width, :-1])
        bias = bias + weight @ self._shift
        if self.standardizes_output:
            read -= read.mean(1, keepdims=True)
            self.weight[:width, -1], self.read_bias = 0, bias
            self.weight[-1] = 1 / self.hidden
            self.weight[-1, -1] = 0
        else:
            self.weight[:width, -1], self.read_bias = bias, np.zeros_like(bias)
        self.weight[self.recurrent_rows, :-1] = self._recurrent_weight
        self.weight[self.recurrent_rows, -1] = self.recurrent_bias
        del self._recurrent_weight

    @cached_property
    def row_major_weight(self) -> Array:
        """`weight` in row-major order, which makes matrix-matrix products 10 to 50% faster."""
        return np.ascontiguousarray(self.weight)

    def normalized_input(self, gates: Array) -> Array:
        """The input part of the gates, (G*H, ...), after layer norm in the cell, if any."""
        return self._normalized(gates, 0)

    def normalized_recurrent(self, gates: Array) -> Array:
        """The recurrent part of the gates, (G*H, ...), after layer norm in the cell, if any."""
        return self._normalized(gates, 1)

    @property
    def normalizes_gates(self) -> bool:
        """Whether there is layer norm in the cell."""
        return bool(self._norms)

    def _normalized(self, gates: Array, which: int) -> Array:
        if not self._norms:
            return gates
        gain, bias = self._norms[which]
        by_gate = standardized(gates.reshape(*gain.shape, *gates.shape[1:]), 1)
        normed: Array = by_gate * per_stream(gain, by_gate)
        return normed.reshape(gates.shape) + per_stream(bias, gates)


class LayerStream:
    """A layer's buffers and recurrent state, for one stream or several.

    Args:
        layer: the weights.
        shape: () for one stream, (S,) for several.
    """

    def __init__(self, layer: Layer, shape: Shape) -> None:
        self._layer = layer
        self._weight = layer.row_major_weight if shape else layer.weight
        self._out = np.empty((len(layer.weight), *shape), np.float32)
        self.onward = self._out[: layer.next_width]  # input of the next layer's gates, or logits
        self.skipped = self._out[layer.next_width : layer.read_width]  # part of the logits
        self._read = self._out[: layer.read_width]
        self._recurrent = self._out[layer.recurrent_rows]
        self._read_bias = per_stream(layer.read_bias, self._read)
        zero_state = layer.normalized_recurrent(layer.recurrent_bias)
        self._recurrent[:] = per_stream(zero_state, self._recurrent)
        self._h_1 = np.ones((layer.hidden + 1, *shape), np.float32)  # h, and the bias's factor 1
        h = self._h = self._h_1[:-1]
        h[:] = 0
        step = layer.cell.numpy_step(self._recurrent, h, layer.parameters)
        self._advance = step.advance
        self.step_of_cell = step
        self.state = (self._recurrent, h, *step.state)  # all that the next step depends on

    def restore(self, parts: Sequence[Array]) -> None:
        """Continue from a state, given its parts as the cell of the network has them, (H, ...)."""
        layer, (h, *others) = self._layer, parts
        self._h[:] = h
        for own, part in zip(self.state[2:], others, strict=True):
            own[:] = part
        recurrent = layer.weight[layer.recurrent_rows] @ self._h_1
        self._recurrent[:] = layer.normalized_recurrent(recurrent)

    def step(self, gates_x: Array, added: Array | None) -> Array:
        """One step, given the input part of this layer's gates, (G*H, ...).

        Args:
            gates_x: the input part.
            added: what the input of the network adds to the next layer's, (N, ...); None: nothing.

        Returns:
            The input part of the next layer's gates, or the output of the head, (N, ...); the next
            step overwrites it.
        """
        layer = self._layer
        self._advance(gates_x)
        dot(self._weight, self._h_1, self._out)
        if layer.standardizes_output:
            scale = inverse_deviation(self._h, self._out[-1])
            np.multiply(self._read, scale, self._read)
            np.add(self._read, self._read_bias, self._read)
        if added is not None:
            np.add(self.onward, added, self.onward)
        if layer.normalizes_gates:
            self._recurrent[:] = layer.normalized_recurrent(self._recurrent)
        if layer.next_layer and layer.next_layer.normalizes_gates:
            self.onward[:] = layer.next_layer.normalized_input(self.onward)
        return self.onward


def affine(weights: Weights, norm: str) -> tuple[Array, Array]:
    """The scale and shift of a norm; those of a layer norm apply after standardisation."""
    scale, shift = weights[f"{norm}.weight"].copy(), weights[f"{norm}.bias"].copy()
    if f"{norm}.running_var" in weights:
        scale /= np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
        shift -= weights[f"{norm}.running_mean"] * scale
    return scale, shift
