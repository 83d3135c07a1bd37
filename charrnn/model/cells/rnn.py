"""The simple recurrent network (Elman 1990) with tanh."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from numpy import add, tanh

from charrnn.model.cells import Cell
from charrnn.model.cells.numpy_step import Array, NumpyStep

if TYPE_CHECKING:
    from torch import Tensor

    from charrnn.model.cells.torch_step import Parts, Recurrence


def torch_step(gates_x: Tensor, state: Parts, recurrence: Recurrence) -> Parts:
    """One step.

    Args:
        gates_x: the input's part with all biases, (B, H).
        state: h, (B, H).
        recurrence: weight (H, H).
    """
    return ((gates_x + recurrence.gates(state[0])).tanh(),)


class RnnStep(NumpyStep):
    """A single gate, which is the output."""

    order: ClassVar = (0,)
    sigmoids: ClassVar = 0

    def advance(self, gates_x: Array) -> None:
        add(gates_x, self._recurrent, self._h)
        tanh(self._h, self._h)


CELL = Cell(
    label="RNN",
    gates=1,
    state_parts=1,
    torch_step=torch_step,
    numpy_step=RnnStep,
    kernel="RNN",
    fused="rnn_tanh",
    kept_in_loop=12,
    kept_fused=8,
    lr_factor=0.25,
)
