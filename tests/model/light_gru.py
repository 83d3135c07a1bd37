"""A cell that the package does not have, written as CONTRIBUTING says: the light GRU (Ravanelli,
Brakel, Omologo and Bengio 2018) without its batch norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy import add, maximum, multiply, subtract, tanh

from charrnn.model.cells import Cell
from charrnn.model.cells.numpy_step import Array, NumpyStep, Weights, sigmoid_from_tanh

if TYPE_CHECKING:
    from torch import Tensor

    from charrnn.model.cells.torch_step import Parts, Recurrence


def torch_step(gates_x: Tensor, state: Parts, recurrence: Recurrence) -> Parts:
    """One step, gates in the order z (update), n (candidate).

    Args:
        gates_x: the input's part of the gates with all biases, (B, 2H).
        state: h, (B, H).
        recurrence: weight (2H, H).
    """
    (h,) = state
    z, n = (gates_x + recurrence.gates(h)).chunk(2, dim=1)
    z, n = z.sigmoid(), n.relu()
    return (n + z * (h - n),)


class LightGruStep(NumpyStep):
    """Gates z, n."""

    order: ClassVar = (0, 1)
    sigmoids: ClassVar = 1

    def __init__(self, recurrent: Array, h: Array, parameters: Weights) -> None:
        super().__init__(recurrent, h, parameters)
        self._gates = np.empty_like(recurrent)
        self._z, self._n = np.split(self._gates, 2)

    def advance(self, gates_x: Array) -> None:
        add(gates_x, self._recurrent, self._gates)
        tanh(self._z, self._z)
        sigmoid_from_tanh(self._z)
        maximum(self._n, 0, out=self._n)
        subtract(self._h, self._n, self._h)
        multiply(self._h, self._z, self._h)
        add(self._h, self._n, self._h)


CELL = Cell(
    label="light GRU",
    gates=2,
    state_parts=1,
    torch_step=torch_step,
    numpy_step=LightGruStep,
    kept_in_loop=24,
)
