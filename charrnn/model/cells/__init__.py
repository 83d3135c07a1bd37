"""Recurrent cells: one file for each, which ends with its description, `CELL`.

The table of cells is `CELLS` in `charrnn.settings`.  A cell's file may import NumPy but not
PyTorch, because the code for tensor shapes and for sampling, which runs without PyTorch, uses it.
Its step for PyTorch calls methods of tensors instead, e.g. `gates.sigmoid()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from charrnn.settings import CELLS

if TYPE_CHECKING:
    from charrnn.model.cells.numpy_step import NumpyStep
    from charrnn.model.cells.torch_step import TorchStep


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Everything that the package knows about one kind of cell.

    G is the number of its gates; a candidate counts as a gate.  The weights of the gates are
    stacked, gate by gate, in the order that `torch_step` reads.
    """

    label: str  # name shown to users
    gates: int  # G
    state_parts: int  # arrays of H numbers in the state; the first is the output
    torch_step: TorchStep
    numpy_step: type[NumpyStep]

    forget_gate: int | None = None  # index of the gate whose bias starts at 1
    separate_bias: bool = False  # the recurrent bias is kept apart from the input bias
    normalizes_cell_state: bool = False  # layer norm in the cell also covers the cell state
    parameters: Mapping[str, int] = field(default_factory=dict)  # additional: name -> rows of H

    kernel: str | None = None  # class in torch.nn that contains the weights; None: `GateWeights`
    fused: str | None = None  # function in torch that runs all steps; None: always the time loop

    # Numbers stored for each hidden unit and step until the backward pass, as measured.
    kept_in_loop: int
    kept_fused: int | None = None  # None: there is no fused kernel
    lr_factor: float = 1.0  # best learning rate relative to an LSTM's

    def parameter_shapes(self, hidden: int, *, layer_norm: bool) -> dict[str, tuple[int, ...]]:
        """Shapes of a layer's parameters other than its weights and biases, by name."""
        shapes: dict[str, tuple[int, ...]] = {
            name: (rows, hidden) for name, rows in self.parameters.items()
        }
        if layer_norm:
            shapes["gains"] = (2, self.gates, hidden)  # for the input part and the recurrent part
            if self.normalizes_cell_state:
                shapes["cell_gain"] = (2, hidden)  # gain and bias
        return shapes


def cell_of(name: str) -> Cell:
    """The description of the cell called `name`, a key of `CELLS`."""
    cell: Cell = import_module(CELLS[name]).CELL
    return cell
