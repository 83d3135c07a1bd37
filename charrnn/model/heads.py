"""What the network says of the next step: a distribution over symbols, or over frames."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

FOLLOWING = 0.02  # share of the latest step in the running mean of the variance
LEAST_VARIANCE = 1e-10
SURPRISE = 0.5 * math.log(2 * math.pi)  # of a standard normal number at its mean, in nats


class Categorical(nn.Module):
    """A linear layer to the logits of V symbols."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """Logits in fp32, (..., V), of hidden vectors, (..., H)."""
        logits: Tensor = self.linear(x)
        return logits.float()

    def loss(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What is to be made small, and mean nats per step, which here are the same.

        Args:
            x: hidden vectors, (..., H).
            targets: symbols, (...).
        """
        nats = nn.functional.cross_entropy(self(x).flatten(0, -2), targets.flatten())
        return nats, nats


class Regression(nn.Module):
    """A linear layer to the next frame, F numbers, by its squared error."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """The frame that is expected, in fp32, (..., F)."""
        frame: Tensor = self.linear(x)
        return frame.float()

    def loss(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error of frames, (..., F), and nats per frame as if the deviation of every
        number were 1."""
        error = nn.functional.mse_loss(self(x), targets)
        return error, (0.5 * error + SURPRISE) * targets.shape[-1]


class Gaussian(Regression):
    """A normal distribution of each number of the next frame, with a variance that is the same for
    all frames.

    The expected frame is learnt by its squared error, and the variance is a running mean of that:
    the likelihood of both together would spend itself on the numbers that are easy.
    """

    variance: Tensor

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__(hidden, size)
        self.register_buffer("variance", torch.ones(size))

    def loss(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error, and nats per frame, minus the logarithm of its density; in training
        the variance follows."""
        errors = (targets - self(x)).square()
        means = errors.detach().flatten(0, -2).mean(0)
        if self.training:
            self.variance.lerp_(means, FOLLOWING)
        variance = self.variance.clamp(min=LEAST_VARIANCE)
        nats = 0.5 * (means / variance + variance.log()) + SURPRISE
        return errors.mean(), nats.sum()


Head = Categorical | Regression
HEADS: dict[str, Callable[[int, int], Head]] = {
    "categorical": Categorical,
    "gaussian": Gaussian,
    "mse": Regression,
}
