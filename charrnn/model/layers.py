"""One recurrent layer: PyTorch's fused kernel where it serves, the plain time loop elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import ModelConfig
from charrnn.model import cells
from charrnn.model.cells import CELLS, Parts, Recurrence
from charrnn.model.dropout import dropout
from charrnn.model.shapes import GATES, PARTS

KERNELS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "peephole": nn.LSTM,  # for its weights only
}
FUSED: dict[str, Callable[..., Any]] = {"lstm": torch.lstm, "gru": torch.gru, "rnn": torch.rnn_tanh}


class RecurrentLayer(nn.Module):
    """A layer over dense inputs, (T, B, I), or over one-hot ones given as integers, (T, B).

    The forget gate's bias starts at 1 (Jozefowicz, Zaremba and Sutskever 2015), the recurrent
    matrices orthogonal, the input matrix uniform with a standard deviation of 1 / sqrt(H).  Of a
    one-hot input a gate sees a single weight, so there it is 1/2, which gives the gates the
    spread that an embedding gives them.

    Args:
        config: cell, H, and what is dropped or normalised inside the layer.
        inputs: I, or the number of symbols.
        one_hot: whether inputs are integers.
    """

    def __init__(self, config: ModelConfig, inputs: int, *, one_hot: bool = False) -> None:
        super().__init__()
        self.config = config
        hidden, gates = config.hidden, GATES[config.cell]
        self.kernel = KERNELS[config.cell](inputs, hidden)
        self.peephole = nn.Parameter(torch.zeros(3, hidden)) if config.cell == "peephole" else None
        self.gains = self.cell_gain = None
        if config.cell_norm == "layer":
            self.gains = nn.Parameter(torch.ones(2, gates, hidden))  # of the input's, the state's
            if PARTS[config.cell] == 2:
                self.cell_gain = nn.Parameter(
                    torch.stack([torch.ones(hidden), torch.zeros(hidden)])
                )
        weight_ih, weight_hh, bias_ih, bias_hh = self.weights
        bound = 3**0.5 * (0.5 if one_hot else hidden**-0.5)
        nn.init.uniform_(weight_ih, -bound, bound)
        for gate in weight_hh.chunk(gates):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(bias_ih)
        nn.init.zeros_(bias_hh)
        if gates == 4:
            with torch.no_grad():
                bias_ih[hidden : 2 * hidden] = 1

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input's weights, (G*H, I), recurrent ones, (G*H, H), and their biases, (G*H,) each."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.kernel.all_weights[0]
        return weight_ih, weight_hh, bias_ih, bias_hh

    def initial_state(self, batch: int) -> Parts:
        """Zeros, (B, H) each part: h, and c where the cell has one."""
        shape = (PARTS[self.config.cell], batch, self.config.hidden)
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
            generator: draws the masks of this layer's own dropout; None: nothing is dropped.
            scale: factors of a one-hot input, (T, B, 1), where that is dropped.
        """
        weight_hh = dropout(self.weights[1], self.config.weight_drop, generator)
        keep = None
        if generator is not None and self.config.recurrent_dropout:
            ones = torch.ones_like(state[0])
            keep = dropout(ones, self.config.recurrent_dropout, generator)
        if self._fits_kernel(x) and keep is None:
            return self._fused(x, state, weight_hh)
        return self._looped(x, state, weight_hh, keep, scale)

    def _fits_kernel(self, x: Tensor) -> bool:
        config = self.config
        return x.is_floating_point() and config.cell in FUSED and config.cell_norm == "none"

    def _fused(self, x: Tensor, state: Parts, weight_hh: Tensor) -> tuple[Tensor, Parts]:
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
            outputs, *after = FUSED[self.config.cell](x, wide, weights, *options)
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
        gain = None
        if self.gains is not None:
            gates_x, gain = cells.normalized(gates_x, self.gains[0]), self.gains[1]
        own = Recurrence(weight_hh, None, self.peephole, gain, self.cell_gain, keep)
        if self.config.cell == "gru":  # its reset gate acts on a part of this bias
            gates_x, own = gates_x + bias_ih, own._replace(bias=bias_hh)
        else:
            gates_x = gates_x + (bias_ih + bias_hh)
        return cells.scan(CELLS[self.config.cell], gates_x, state, own)


class SequenceNorm(nn.Module):
    """Batch or layer normalisation of a layer's outputs, (T, B, H)."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(hidden) if kind == "batch" else nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Batch norm takes its statistics over all T * B vectors."""
        normed: Tensor = self.norm(x.flatten(0, 1).float())
        return normed.view_as(x)
