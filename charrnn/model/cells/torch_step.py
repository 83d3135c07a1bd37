"""Code shared by the cells' steps in PyTorch: the recurrent weights, and the loop over time.

The input part of the gates is computed before the loop, so the same loop works for one-hot inputs
(a row look-up) and dense inputs (a matrix product).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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
        product: computes h times the transposed weight, (B, G*H); `scan` sets it.
    """

    weight: Tensor
    bias: Tensor | None = None
    gain: Tensor | None = None
    keep: Tensor | None = None
    parameters: Mapping[str, Tensor] = MappingProxyType({})
    product: Callable[[Tensor], Tensor] | None = None

    def gates(self, h: Tensor) -> Tensor:
        """The recurrent part of the gates' pre-activations, (B, G*H), for h, (B, H)."""
        if self.keep is not None:
            h = h * self.keep
        gates = h @ self.weight.t() if self.product is None else self.product(h)
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


class _Zeros(torch.autograd.Function):
    """Zeros to be added to h times the transposed weight, in all steps of a loop over time.

    Their gradient is that of these products.  So the gradient of the weight can be computed at
    once, as a single product over all steps; one for each step and their sum take longer.  Second
    derivatives are not supported: for the products, the weight is a constant.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, hs: list[Tensor]) -> Tensor:
        """Zeros, (T, B, G*H), for weight, (G*H, H), and h of each step, (B, H), set later."""
        ctx.hs = hs
        return weight.new_zeros(()).expand(len(hs), len(hs[0]), len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None]:
        """The gradient of the weight."""
        return slopes.flatten(0, 1).t() @ torch.cat(ctx.hs), None


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
    weight, device = recurrence.weight, recurrence.weight.device.type
    if torch.is_autocast_enabled(device):  # which would convert it in every step
        weight = weight.to(torch.get_autocast_dtype(device))
    nothing = torch.zeros_like(state[0], dtype=weight.dtype)
    hs, outputs = [nothing] * len(gates_x), list[Tensor]()
    zeros = _Zeros.apply(weight, hs).unbind(0)  # type: ignore[no-untyped-call]
    transposed = weight.detach().t()

    def product(h: Tensor) -> Tensor:
        h, index = h.to(weight.dtype), len(outputs)
        if hs[index] is not nothing:  # the cell asks again in this step
            return h @ weight.t()
        hs[index] = h.detach()
        return torch.addmm(zeros[index], h, transposed)

    recurrence = recurrence._replace(product=product)
    for gates in gates_x.unbind(0):
        state = step(gates, state, recurrence)
        outputs.append(state[0])
    return torch.stack(outputs), state
