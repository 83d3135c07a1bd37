"""What the network says of the next step: a categorical distribution over V symbols."""

from __future__ import annotations

from torch import Tensor, nn


class Categorical(nn.Module):
    """A linear layer to the logits of V symbols."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """Logits in fp32, (..., V), of hidden vectors, (..., H)."""
        logits: Tensor = self.linear(x)
        return logits.float()

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per step of `targets`, (...), given hidden vectors, (..., H)."""
        return nn.functional.cross_entropy(self(x).flatten(0, -2), targets.flatten())
