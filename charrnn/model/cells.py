"""Recurrent cells as pure functions of one step, and the time loop that serves them all.

A cell gets the input's share of its gates ready-made, so one loop serves a one-hot input (a row
look-up) and a dense one (a matrix product) alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

Parts = tuple[Tensor, ...]  # the state of one layer; the first part is its output


class Recurrence(NamedTuple):
    """What a cell applies to its own state; G is the number of its gates.

    Args:
        weight: (G*H, H).
        bias: (G*H,), where it is no part of the input's share.
        peephole: weights of the cell state in the gates i, f, o, (3, H).
        gain: layer normalisation of the state's share, gate by gate, (G, H).
        cell_gain: gain and bias of the normalised cell state, (2, H).
        keep: mask of recurrent dropout, (B, H).
    """

    weight: Tensor
    bias: Tensor | None = None
    peephole: Tensor | None = None
    gain: Tensor | None = None
    cell_gain: Tensor | None = None
    keep: Tensor | None = None

    def share(self, h: Tensor) -> Tensor:
        """The state's share of the gates, (B, G*H), for h, (B, H)."""
        if self.keep is not None:
            h = h * self.keep
        gates = h @ self.weight.t()
        if self.gain is not None:
            gates = normalized(gates, self.gain)
        return gates if self.bias is None else gates + self.bias

    def output(self, c: Tensor) -> Tensor:
        """What the output gate lets through of the cell state: c, normalised if so wished."""
        if self.cell_gain is None:
            return c
        gain, bias = self.cell_gain
        return layer_norm(c, c.shape[-1:], gain, bias)


Cell = Callable[[Tensor, Parts, Recurrence], Parts]


def normalized(gates: Tensor, gain: Tensor) -> Tensor:
    """Layer normalisation (Ba, Kiros and Hinton 2016) of each gate by itself.

    Args:
        gates: (..., G*H).
        gain: (G, H).
    """
    apart = gates.unflatten(-1, tuple(gain.shape))
    return (layer_norm(apart, gain.shape[-1:]) * gain).flatten(-2)


def lstm(gates_x: Tensor, state: Parts, own: Recurrence) -> Parts:
    """One step of the long short-term memory (Hochreiter and Schmidhuber 1997; the forget gate:
    Gers, Schmidhuber and Cummins 2000), gates in PyTorch's order i, f, g, o.

    Args:
        gates_x: input's share of the gates with all biases, (B, 4H).
        state: h and c, (B, H) each.
        own: weight (4H, H).
    """
    h, c = state
    i, f, g, o = (gates_x + own.share(h)).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(own.output(c)), c


def peephole(gates_x: Tensor, state: Parts, own: Recurrence) -> Parts:
    """One step of the LSTM whose gates see the cell state (Gers and Schmidhuber 2000): i and f
    the old one, o the new one.

    Args:
        gates_x: input's share of the gates i, f, g, o with all biases, (B, 4H).
        state: h and c, (B, H) each.
        own: weight (4H, H), peephole (3, H).
    """
    h, c = state
    assert own.peephole is not None
    to_i, to_f, to_o = own.peephole
    i, f, g, o = (gates_x + own.share(h)).chunk(4, dim=1)
    c = torch.sigmoid(f + to_f * c) * c + torch.sigmoid(i + to_i * c) * torch.tanh(g)
    return torch.sigmoid(o + to_o * c) * torch.tanh(own.output(c)), c


def gru(gates_x: Tensor, state: Parts, own: Recurrence) -> Parts:
    """One step of the gated recurrent unit (Cho et al. 2014) as cuDNN and PyTorch have it: the
    reset gate acts on the state's share of the candidate.  Gates in the order r, z, n.

    Args:
        gates_x: input's share with its bias, (B, 3H).
        state: h, (B, H).
        own: weight (3H, H), bias (3H,).
    """
    (h,) = state
    r, z, n = gates_x.chunk(3, dim=1)
    r_h, z_h, n_h = own.share(h).chunk(3, dim=1)
    z = torch.sigmoid(z + z_h)
    n = torch.tanh(n + torch.sigmoid(r + r_h) * n_h)
    return (n + z * (h - n),)


def rnn(gates_x: Tensor, state: Parts, own: Recurrence) -> Parts:
    """One step of the simple recurrent network (Elman 1990) with tanh.

    Args:
        gates_x: input's share with all biases, (B, H).
        state: h, (B, H).
        own: weight (H, H).
    """
    return (torch.tanh(gates_x + own.share(state[0])),)


CELLS: dict[str, Cell] = {"lstm": lstm, "gru": gru, "rnn": rnn, "peephole": peephole}


def scan(cell: Cell, gates_x: Tensor, state: Parts, own: Recurrence) -> tuple[Tensor, Parts]:
    """Run a cell over time.

    Args:
        gates_x: (T, B, G*H).
        state: the layer's state before the first step, (B, H) each part.
        own: the cell's recurrent weights.

    Returns:
        The outputs, (T, B, H), and the state after the last step.
    """
    outputs = []
    for gates in gates_x.unbind(0):
        state = cell(gates, state, own)
        outputs.append(state[0])
    return torch.stack(outputs), state
