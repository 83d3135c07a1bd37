"""Code shared by the cells' steps in PyTorch: the recurrent weights, and the loop over time.

The input part of the gates is computed before the loop, so the same loop works for one-hot inputs
(a row look-up) and dense inputs (a matrix product).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

Parts = tuple[Tensor, ...]  # the state of one layer; the first part is its output


class Recurrence(NamedTuple):
    """The weights that a cell applies to its own state; G is the number of its gates.

    Args:
        weight: (G*H, H).
        bias: (G*H,); None: it is added to the input part of the gates instead.
        gain: for layer normalisation of the recurrent part, gate by gate, (G, H).
        keep: mask of recurrent dropout, (B, H).
        parameters: the cell's additional parameters by name; also `cell_gain`, gain and bias,
            (2, H), if the cell state is normalised.
    """

    weight: Tensor
    bias: Tensor | None = None
    gain: Tensor | None = None
    keep: Tensor | None = None
    parameters: Mapping[str, Tensor] = MappingProxyType({})

    def gates(self, h: Tensor) -> Tensor:
        """The recurrent part of the gates' pre-activations, (B, G*H), for h, (B, H)."""
        if self.keep is not None:
            h = h * self.keep
        gates = h @ self.weight.t()
        if self.gain is not None:
            gates = normalized(gates, self.gain)
        return gates if self.bias is None else gates + self.bias

    def normalized_cell_state(self, c: Tensor) -> Tensor:
        """The cell state, (B, H), for the output: layer-normalised if configured."""
        cell_gain = self.parameters.get("cell_gain")
        if cell_gain is None:
            return c
        gain, bias = cell_gain
        return layer_norm(c, c.shape[-1:], gain, bias)


TorchStep = Callable[[Tensor, Parts, Recurrence], Parts]


def normalized(gates: Tensor, gain: Tensor) -> Tensor:
    """Layer normalisation (Ba, Kiros and Hinton 2016) of each gate separately.

    Args:
        gates: (..., G*H).
        gain: (G, H).
    """
    by_gate = gates.unflatten(-1, tuple(gain.shape))
    return (layer_norm(by_gate, gain.shape[-1:]) * gain).flatten(-2)


def scan(
    step: TorchStep, gates_x: Tensor, state: Parts, recurrence: Recurrence
) -> tuple[Tensor, Parts]:
    """Run a cell over time.

    Args:
        step: one step of the cell.
        gates_x: the input's part of the gates, (T, B, G*H).
        state: the layer's state before the first step, (B, H) each part.
        recurrence: the cell's recurrent weights.

    Returns:
        The outputs, (T, B, H), and the state after the last step.
    """
    outputs = []
    for gates in gates_x.unbind(0):
        state = step(gates, state, recurrence)
        outputs.append(state[0])
    return torch.stack(outputs), state
