"""The LSTM with peepholes (Gers and Schmidhuber 2000): its gates read the cell state; i and f read
the old one, o the new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy import add, multiply, tanh

from charrnn.model.cells import Cell
from charrnn.model.cells.lstm import LstmStep
from charrnn.model.cells.numpy_step import HALF, Array, Weights, per_stream, sigmoid_from_tanh

if TYPE_CHECKING:
    from torch import Tensor

    from charrnn.model.cells.torch_step import Parts, Recurrence


def torch_step(gates_x: Tensor, state: Parts, recurrence: Recurrence) -> Parts:
    """One step, gates in the order i, f, g, o.

    Args:
        gates_x: the input's part of the gates with all biases, (B, 4H).
        state: h and c, (B, H) each.
        recurrence: weight (4H, H); peephole, the weights of c in i, f and o, (3, H).
    """
    h, c = state
    to_i, to_f, to_o = recurrence.parameters["peephole"]
    i, f, g, o = (gates_x + recurrence.gates(h)).chunk(4, dim=1)
    c = (f + to_f * c).sigmoid() * c + (i + to_i * c).sigmoid() * g.tanh()
    return (o + to_o * c).sigmoid() * recurrence.normalized_cell_state(c).tanh(), c


class PeepholeStep(LstmStep):
    """Buffers as for the LSTM."""

    def __init__(self, recurrent: Array, h: Array, parameters: Weights) -> None:
        super().__init__(recurrent, h, parameters)
        to_i_f_o = parameters["peephole"] * HALF  # because sigmoid gates are halved
        self._to_i, self._to_f, self._to_o = (per_stream(weight, self._c) for weight in to_i_f_o)
        self._i, self._f, self._g = self._gates.reshape(4, *h.shape)[1:]

    def advance(self, gates_x: Array) -> None:
        add(gates_x, self._recurrent, self._gates)
        add(self._i, self._to_i * self._c, self._i)
        add(self._f, self._to_f * self._c, self._f)
        tanh(self._i_f, self._i_f)
        tanh(self._g, self._g)
        sigmoid_from_tanh(self._i_f)
        multiply(self._i_f, self._g_c, self._products)
        add(self._ig, self._fc, self._c)
        add(self._o, self._to_o * self._c, self._o)
        tanh(self._o, self._o)
        sigmoid_from_tanh(self._o)
        tanh(self._normalized_cell_state(), self._h)
        multiply(self._o, self._h, self._h)


CELL = Cell(
    label="peephole LSTM",
    gates=4,
    state_parts=2,
    torch_step=torch_step,
    numpy_step=PeepholeStep,
    forget_gate=1,
    normalizes_cell_state=True,
    parameters={"peephole": 3},
    kernel="LSTM",  # for its weights only
    kept_in_loop=36,
)
