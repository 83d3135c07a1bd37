"""The gated recurrent unit (Cho et al. 2014) as in cuDNN and PyTorch: the reset gate multiplies the
recurrent part of the candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy import add, multiply, subtract, tanh

from charrnn.model.cells import Cell
from charrnn.model.cells.numpy_step import Array, NumpyStep, Weights, sigmoid_from_tanh

if TYPE_CHECKING:
    from torch import Tensor

    from charrnn.model.cells.torch_step import Parts, Recurrence


def torch_step(gates_x: Tensor, state: Parts, recurrence: Recurrence) -> Parts:
    """One step, gates in the order r, z, n.

    Args:
        gates_x: the input's part of the gates with its bias, (B, 3H).
        state: h, (B, H).
        recurrence: weight (3H, H), bias (3H,).
    """
    (h,) = state
    r, z, n = gates_x.chunk(3, dim=1)
    r_h, z_h, n_h = recurrence.gates(h).chunk(3, dim=1)
    z = (z + z_h).sigmoid()
    n = (n + (r + r_h).sigmoid() * n_h).tanh()
    return (n + z * (h - n),)


class GruStep(NumpyStep):
    """Gates r, z, n."""

    order: ClassVar = (0, 1, 2)
    sigmoids: ClassVar = 2
    keeps: ClassVar = "update"

    def __init__(self, recurrent: Array, h: Array, parameters: Weights) -> None:
        super().__init__(recurrent, h, parameters)
        hidden, streams = len(h), h.shape[1:]
        gates = np.empty((3 * hidden, *streams), np.float32)
        self._sigmoids, self._n = gates[: 2 * hidden], gates[2 * hidden :]
        self._r, self._z = gates[:hidden], gates[hidden : 2 * hidden]
        self._recurrent_sigmoids = recurrent[: 2 * hidden]
        self._recurrent_n = recurrent[2 * hidden :]

    @property
    def gates(self) -> Mapping[str, Array]:
        return {"reset": self._r, "update": self._z}

    def advance(self, gates_x: Array) -> None:
        split = len(self._sigmoids)
        add(gates_x[:split], self._recurrent_sigmoids, self._sigmoids)
        tanh(self._sigmoids, self._sigmoids)
        sigmoid_from_tanh(self._sigmoids)
        multiply(self._r, self._recurrent_n, self._n)
        add(self._n, gates_x[split:], self._n)
        tanh(self._n, self._n)
        subtract(self._h, self._n, self._h)
        multiply(self._h, self._z, self._h)
        add(self._h, self._n, self._h)


CELL = Cell(
    label="GRU",
    gates=3,
    state_parts=1,
    torch_step=torch_step,
    numpy_step=GruStep,
    separate_bias=True,  # the reset gate multiplies that of the candidate
    kernel="GRU",
    fused="gru",
    kept_in_loop=36,
    kept_fused=20,
)
