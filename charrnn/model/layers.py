"""A recurrent layer: runs PyTorch's fused kernel if possible, otherwise the loop over time."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from charrnn.model.cells import cell_of, torch_step
from charrnn.model.cells.torch_step import Parts, Recurrence
from charrnn.model.dropout import dropout
from charrnn.settings import ModelConfig


class GateWeights(nn.Module):
    """The weights of a cell that `torch.nn` has no class for; named as in the classes it has.

    Args:
        inputs: I.
        rows: G*H.
        hidden: H.
    """

    def __init__(self, inputs: int, rows: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))


class RecurrentLayer(nn.Module):
    """A recurrent layer whose input is dense, (T, B, I), or one-hot and given as integers, (T, B).

    Initially the forget gate's bias is 1 (Jozefowicz, Zaremba and Sutskever 2015), the recurrent
    matrices are orthogonal, and the input matrix is uniform with a standard deviation of
    1 / sqrt(H).  With one-hot input only a single weight reaches each gate, so the standard
    deviation is 1/2, which spreads the gates as much as an embedding does.

    Args:
        config: cell, H, and dropout and normalisation inside the layer.
        inputs: I, or the number of symbols.
        one_hot: whether inputs are integers.
    """

    def __init__(self, config: ModelConfig, inputs: int, *, one_hot: bool = False) -> None:
        super().__init__()
        self.config, self.cell, self.one_hot = config, cell_of(config.cell), one_hot
        cell, hidden = self.cell, config.hidden
        self.kernel: Any
        if cell.kernel is None:
            self.kernel = GateWeights(inputs, cell.gates * hidden, hidden)
        else:
            self.kernel = getattr(nn, cell.kernel)(inputs, hidden)
        further = cell.parameter_shapes(hidden, layer_norm=config.cell_norm == "layer")
        for name, shape in further.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        with torch.no_grad():
            if "gains" in further:
                self.get_parameter("gains").fill_(1)
            if "cell_gain" in further:
                self.get_parameter("cell_gain")[0] = 1
        weight_ih, weight_hh, bias_ih, bias_hh = self.weights
        if weight_hh.is_meta:  # they are loaded
            return
        bound = 3**0.5 * (0.5 if one_hot else hidden**-0.5)
        nn.init.uniform_(weight_ih, -bound, bound)
        for gate in weight_hh.chunk(cell.gates):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(bias_ih)
        nn.init.zeros_(bias_hh)
        if cell.forget_gate is not None:
            with torch.no_grad():
                bias_ih.unflatten(0, (cell.gates, hidden))[cell.forget_gate] = 1

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input weights, (G*H, I), recurrent ones, (G*H, H), and their biases, (G*H,) each."""
        kernel = self.kernel
        return kernel.weight_ih_l0, kernel.weight_hh_l0, kernel.bias_ih_l0, kernel.bias_hh_l0

    def initial_state(self, batch: int) -> Parts:
        """Zeros, (B, H) each part: h, and c if the cell has one."""
        shape = (self.cell.state_parts, batch, self.config.hidden)
        return tuple(self.weights[0].new_zeros(shape).unbind(0))

    def forward(
        self,
        x: Tensor,
        state: Parts,
        generator: torch.Generator | None = None,
        scale: Tensor | None = None,
    ) -> tuple[Tensor, Parts]:
        """Outputs, (T, B, H), and the state after the last step.

        Args:
            x: inputs.
            state: (B, H) each part.
            generator: draws the masks of dropout inside the layer; None: no dropout.
            scale: dropout factors of a one-hot input, (T, B, 1).
        """
        weight_hh = dropout(self.weights[1], self.config.weight_drop, generator)
        keep = None
        if generator is not None and self.config.recurrent_dropout:
            ones = torch.ones_like(state[0])
            keep = dropout(ones, self.config.recurrent_dropout, generator)
        if self._fits_kernel(x) and keep is None:
            x = x if x.is_floating_point() else self._vectors(x, scale)
            return self._fused(x, state, weight_hh)
        return self._looped(x, state, weight_hh, keep, scale)

    def _fits_kernel(self, x: Tensor) -> bool:
        """Whether the fused kernel computes this layer, and faster: it multiplies one-hot vectors
        by the input weights, where the loop takes one of their columns."""
        fast = x.is_floating_point() or self.weights[0].shape[1] <= self.config.hidden
        return self.cell.fused is not None and fast and self.config.cell_norm == "none"

    def _vectors(self, x: Tensor, scale: Tensor | None) -> Tensor:
        """The one-hot vectors, (T, B, V), of integers, (T, B)."""
        weight_ih = self.weights[0]
        zeros = weight_ih.new_zeros(*x.shape, weight_ih.shape[1])
        ones = zeros.new_ones(*x.shape, 1) if scale is None else scale.to(zeros.dtype)
        return zeros.scatter_(-1, x.unsqueeze(-1), ones)

    def _fused(self, x: Tensor, state: Parts, weight_hh: Tensor) -> tuple[Tensor, Parts]:
        assert self.cell.fused is not None
        wide: Any = tuple(part.unsqueeze(0) for part in state)
        if len(wide) == 1:
            (wide,) = wide
        if weight_hh is self.weights[1]:
            outputs, after = self.kernel(x, wide)
            after = after if isinstance(after, tuple) else (after,)
        else:
            weight_ih, _, bias_ih, bias_hh = self.weights
            weights = [weight_ih, weight_hh, bias_ih, bias_hh]
            # Biases yes, one layer, no dropout, training or not, one direction, time first.
            options = (True, 1, 0.0, self.training, False, False)
            outputs, *after = getattr(torch, self.cell.fused)(x, wide, weights, *options)
        return outputs, tuple(part.squeeze(0) for part in after)

    def _looped(
        self, x: Tensor, state: Parts, weight_hh: Tensor, keep: Tensor | None, scale: Tensor | None
    ) -> tuple[Tensor, Parts]:
        weight_ih, _, bias_ih, bias_hh = self.weights
        if x.is_floating_point():
            gates_x = x @ weight_ih.t()
        else:  # a one-hot input times a matrix is one of its columns: (T, B) -> (T, B, G*H)
            gates_x = nn.functional.embedding(x, weight_ih.t())
            gates_x = gates_x if scale is None else gates_x * scale
        parameters = dict(self.named_parameters(recurse=False))
        gains, gain = parameters.pop("gains", None), None
        if gains is not None:
            gates_x, gain = torch_step.normalized(gates_x, gains[0]), gains[1]
        bias = None
        if self.cell.separate_bias:
            gates_x, bias = gates_x + bias_ih, bias_hh
        else:
            gates_x = gates_x + (bias_ih + bias_hh)
        recurrence = Recurrence(weight_hh, bias, gain, keep, parameters)
        return torch_step.scan(self.cell.torch_step, gates_x, state, recurrence)


class Processes(Protocol):
    """Several processes that train one network, each with as many sequences."""

    size: int

    def mean_with_gradient(self, values: Tensor) -> Tensor:
        """The mean of tensors of the same shape over all processes."""


class BatchNorm(nn.BatchNorm1d):
    """Batch norm whose statistics in training are those of the vectors of all processes.

    Attributes:
        processes: None: there is only one.
    """

    processes: Processes | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The normalised vectors, (N, H)."""
        if self.processes is None or not self.training:
            return super().forward(x)
        mean = self.processes.mean_with_gradient(x.mean(0))
        variance = self.processes.mean_with_gradient((x - mean).square().mean(0))
        with torch.no_grad():
            count = len(x) * self.processes.size
            running = {"running_mean": mean, "running_var": variance * count / (count - 1)}
            for name, value in running.items():
                self.get_buffer(name).lerp_(value, 0.1)  # PyTorch's usual momentum
            self.get_buffer("num_batches_tracked").add_(1)
        normed: Tensor = (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
        return normed


class SequenceNorm(nn.Module):
    """Batch or layer normalisation of a layer's outputs, (T, B, H)."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.norm = BatchNorm(hidden) if kind == "batch" else nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised outputs, (T, B, H); batch norm's statistics are over all T * B vectors."""
        normed: Tensor = self.norm(x.flatten(0, 1).float())
        return normed.view_as(x)
