"""The long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers,
Schmidhuber and Cummins 2000)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy import add, multiply, tanh

from charrnn.model.cells import Cell
from charrnn.model.cells.numpy_step import (
    Array,
    NumpyStep,
    Weights,
    per_stream,
    sigmoid_from_tanh,
    standardized,
)

if TYPE_CHECKING:
    from torch import Tensor

    from charrnn.model.cells.torch_step import Parts, Recurrence


def torch_step(gates_x: Tensor, state: Parts, recurrence: Recurrence) -> Parts:
    """One step, gates in PyTorch's order i, f, g, o.

    Args:
        gates_x: the input's part of the gates with all biases, (B, 4H).
        state: h and c, (B, H) each.
        recurrence: weight (4H, H).
    """
    h, c = state
    i, f, g, o = (gates_x + recurrence.gates(h)).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * recurrence.normalized_cell_state(c).tanh(), c


class LstmStep(NumpyStep):
    """Gates o, i, f, g; the cell state c is stored after them, so that i * g and f * c take one
    multiplication."""

    order: ClassVar = (3, 0, 1, 2)
    sigmoids: ClassVar = 3
    keeps: ClassVar = "forget"

    def __init__(self, recurrent: Array, h: Array, parameters: Weights) -> None:
        super().__init__(recurrent, h, parameters)
        hidden, streams = len(h), h.shape[1:]
        buffer = np.zeros((5 * hidden, *streams), np.float32)
        self._gates, self._c = buffer[: 4 * hidden], buffer[4 * hidden :]
        self._sigmoids, self._o = buffer[: 3 * hidden], buffer[:hidden]
        self._i_f, self._g_c = buffer[hidden : 3 * hidden], buffer[3 * hidden :]
        self._products = np.empty((2 * hidden, *streams), np.float32)
        self._ig, self._fc = self._products[:hidden], self._products[hidden:]
        self._cell_gain = parameters.get("cell_gain")

    @property
    def state(self) -> tuple[Array, ...]:
        return (self._c,)

    @property
    def gates(self) -> Mapping[str, Array]:
        names = ("output", "input", "forget")
        return dict(zip(names, np.split(self._sigmoids, 3), strict=True))

    def advance(self, gates_x: Array) -> None:
        add(gates_x, self._recurrent, self._gates)
        tanh(self._gates, self._gates)
        sigmoid_from_tanh(self._sigmoids)
        multiply(self._i_f, self._g_c, self._products)
        add(self._ig, self._fc, self._c)
        tanh(self._normalized_cell_state(), self._h)
        multiply(self._o, self._h, self._h)

    def _normalized_cell_state(self) -> Array:
        """The cell state for the output: layer-normalised if configured."""
        if self._cell_gain is None:
            return self._c
        gain, bias = self._cell_gain
        normed: Array = standardized(self._c, 0) * per_stream(gain, self._c)
        return normed + per_stream(bias, self._c)


CELL = Cell(
    label="LSTM",
    gates=4,
    state_parts=2,
    torch_step=torch_step,
    numpy_step=LstmStep,
    forget_gate=1,
    normalizes_cell_state=True,
    kernel="LSTM",
    fused="lstm",
    kept_in_loop=36,
    kept_fused=20,
)
