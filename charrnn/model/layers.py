"""One recurrent layer: PyTorch's fused kernel where it serves, the plain time loop elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charrnn.model import cells
from charrnn.model.cells import Parts


class LSTMLayer(nn.Module):
    """An LSTM layer over dense inputs, (T, B, I), or over one-hot ones given as integers, (T, B).

    The forget gate's bias starts at 1 (Jozefowicz, Zaremba and Sutskever 2015), the recurrent
    matrices orthogonal, the input matrix uniform within sqrt(3 / H).
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.kernel = nn.LSTM(inputs, hidden)
        bound = (3 / hidden) ** 0.5
        nn.init.uniform_(self.kernel.weight_ih_l0, -bound, bound)
        for gate in self.kernel.weight_hh_l0.chunk(4):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(self.kernel.bias_ih_l0)
        nn.init.zeros_(self.kernel.bias_hh_l0)
        with torch.no_grad():
            self.kernel.bias_ih_l0[hidden : 2 * hidden] = 1

    def initial_state(self, batch: int) -> Parts:
        """Zeros for h and c, (B, H) each."""
        zeros = self.kernel.weight_hh_l0.new_zeros(batch, self.hidden)
        return zeros, zeros.clone()

    def forward(self, x: Tensor, state: Parts) -> tuple[Tensor, Parts]:
        """Outputs, (T, B, H), and the state after the last step."""
        if x.is_floating_point():
            h, c = state
            outputs, (h, c) = self.kernel(x, (h.unsqueeze(0), c.unsqueeze(0)))
            return outputs, (h.squeeze(0), c.squeeze(0))
        kernel = self.kernel
        # A one-hot input times a matrix is one of its columns: (T, B) -> (T, B, 4H).
        gates_x = nn.functional.embedding(x, kernel.weight_ih_l0.t())
        gates_x = gates_x + (kernel.bias_ih_l0 + kernel.bias_hh_l0)
        return cells.scan(cells.lstm, gates_x, state, kernel.weight_hh_l0)


class SequenceNorm(nn.Module):
    """Batch or layer normalisation of a layer's outputs, (T, B, H)."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(hidden) if kind == "batch" else nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Batch norm takes its statistics over all T * B vectors."""
        normed: Tensor = self.norm(x.flatten(0, 1).float())
        return normed.view_as(x)
