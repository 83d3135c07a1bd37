"""Recurrent cells as pure functions of one step, and the time loop that serves them all.

A cell gets the input's share of its gates ready-made, so one loop serves a one-hot input (a row
look-up) and a dense one (a matrix product) alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Parts = tuple[Tensor, ...]  # the state of one layer; the first part is its output
Cell = Callable[[Tensor, Parts, Tensor], Parts]


def lstm(gates_x: Tensor, state: Parts, weight_hh: Tensor) -> Parts:
    """One step of the long short-term memory (Hochreiter and Schmidhuber 1997; the forget gate:
    Gers, Schmidhuber and Cummins 2000), gates in PyTorch's order i, f, g, o.

    Args:
        gates_x: input's share of the gates with all biases, (B, 4H).
        state: h and c, (B, H) each.
        weight_hh: (4H, H).
    """
    h, c = state
    gates = gates_x + h @ weight_hh.t()  # (B, 4H)
    i, f, g, o = gates.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def scan(cell: Cell, gates_x: Tensor, state: Parts, weight_hh: Tensor) -> tuple[Tensor, Parts]:
    """Run a cell over time.

    Args:
        gates_x: (T, B, G).
        state: the layer's state before the first step, (B, H) each part.
        weight_hh: (G, H).

    Returns:
        The outputs, (T, B, H), and the state after the last step.
    """
    outputs = []
    for gates in gates_x.unbind(0):
        state = cell(gates, state, weight_hh)
        outputs.append(state[0])
    return torch.stack(outputs), state
