"""One recurrent layer: PyTorch's fused kernel where it serves, the plain time loop elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charrnn.model import cells
from charrnn.model.cells import Parts


class LSTMLayer(nn.Module):
    """An LSTM layer over dense inputs, (T, B, I), or over one-hot ones given as integers, (T, B).

    The forget gate's bias starts at 1 (Jozefowicz, Zaremba and Sutskever 2015), the recurrent
    matrices orthogonal, the input matrix uniform with a standard deviation of 1 / sqrt(H).  Of a
    one-hot input a gate sees a single weight, so there it is 1/2, which gives the gates the
    spread that an embedding gives them.

    Args:
        inputs: I, or the number of symbols.
        hidden: H.
        one_hot: whether inputs are integers.
    """

    def __init__(self, inputs: int, hidden: int, *, one_hot: bool = False) -> None:
        super().__init__()
        self.hidden = hidden
        self.kernel = nn.LSTM(inputs, hidden)
        weight_ih, weight_hh, bias_ih, bias_hh = self.weights
        deviation = 0.5 if one_hot else hidden**-0.5
        bound = 3**0.5 * deviation
        nn.init.uniform_(weight_ih, -bound, bound)
        for gate in weight_hh.chunk(4):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(bias_ih)
        nn.init.zeros_(bias_hh)
        with torch.no_grad():
            bias_ih[hidden : 2 * hidden] = 1

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input's weights, (4H, I), recurrent ones, (4H, H), and their biases, (4H,) each."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.kernel.all_weights[0]
        return weight_ih, weight_hh, bias_ih, bias_hh

    def initial_state(self, batch: int) -> Parts:
        """Zeros for h and c, (B, H) each."""
        zeros = self.weights[0].new_zeros(batch, self.hidden)
        return zeros, zeros.clone()

    def forward(self, x: Tensor, state: Parts) -> tuple[Tensor, Parts]:
        """Outputs, (T, B, H), and the state after the last step."""
        if x.is_floating_point():
            h, c = state
            outputs, (h, c) = self.kernel(x, (h.unsqueeze(0), c.unsqueeze(0)))
            return outputs, (h.squeeze(0), c.squeeze(0))
        weight_ih, weight_hh, bias_ih, bias_hh = self.weights
        # A one-hot input times a matrix is one of its columns: (T, B) -> (T, B, 4H).
        gates_x = nn.functional.embedding(x, weight_ih.t()) + (bias_ih + bias_hh)
        return cells.scan(cells.lstm, gates_x, state, weight_hh)


class SequenceNorm(nn.Module):
    """Batch or layer normalisation of a layer's outputs, (T, B, H)."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(hidden) if kind == "batch" else nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Batch norm takes its statistics over all T * B vectors."""
        normed: Tensor = self.norm(x.flatten(0, 1).float())
        return normed.view_as(x)
