"""Output heads: the distribution over the next symbol, or over the next frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from charrnn.model.layers import Processes

VARIANCE_MOMENTUM = 0.02  # weight of the latest update in the running mean of the variance
LEAST_VARIANCE = 1e-10
MEAN_NATS = 0.5 * math.log(2 * math.pi)  # -log density of the standard normal at its mean


class Categorical(nn.Module):
    """A linear layer to the logits of V symbols, trained by cross-entropy."""

    has_density: ClassVar[bool] = True  # its nats come from a probability (density)

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """Logits in fp32, (..., V), of hidden vectors, (..., H)."""
        logits: Tensor = self.linear(x)
        return logits.float()

    def loss(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and mean nats per step, which here are the same.

        Args:
            x: hidden vectors, (..., H).
            targets: symbols, (...).
        """
        nats = nn.functional.cross_entropy(self(x).flatten(0, -2), targets.flatten())
        return nats, nats

    def step_nats(self, x: Tensor, targets: Tensor) -> Tensor:
        """The nats of each step, (...), in fp64; arguments as for `loss`."""
        logs = self(x).double().log_softmax(-1)
        nats: Tensor = -logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        return nats


class Regression(nn.Module):
    """A linear layer to the next frame, F numbers, trained by squared error."""

    has_density: ClassVar[bool] = False

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """The expected frame in fp32, (..., F), for hidden vectors, (..., H)."""
        frame: Tensor = self.linear(x)
        return frame.float()

    def loss(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error of frames, (..., F), and nats per frame, assuming a standard deviation
        of 1 for each number."""
        error = nn.functional.mse_loss(self(x), targets)
        return error, (0.5 * error + MEAN_NATS) * targets.shape[-1]

    def step_nats(self, x: Tensor, targets: Tensor) -> Tensor:
        """The nats of each frame, (...), in fp64; arguments as for `loss`."""
        return self._nats((targets - self(x)).double().square(), torch.ones(()))

    @staticmethod
    def _nats(squares: Tensor, variance: Tensor) -> Tensor:
        """Nats of frames, (...), from squared errors, (..., F), and their expected mean, (F,)."""
        return (0.5 * (squares / variance + variance.log()) + MEAN_NATS).sum(-1)


class Gaussian(Regression):
    """A normal distribution for each number of the next frame; its variance does not depend on the
    input.

    The mean is trained by squared error, and the variance is a running mean of that error:
    training both by likelihood would favour the numbers that are easy to predict.

    Attributes:
        processes: that train together; None: there is only one.
    """

    has_density = True
    variance: Tensor
    processes: Processes | None = None

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__(hidden, size)
        self.register_buffer("variance", torch.ones(size))

    def loss(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error, and nats per frame (negative log density); in training, also update
        the variance."""
        errors = (targets - self(x)).square()
        means = errors.detach().flatten(0, -2).mean(0)
        if self.training:
            if self.processes is not None:
                means = self.processes.mean_with_gradient(means)
            self.variance.lerp_(means, VARIANCE_MOMENTUM)
        return errors.mean(), self._nats(means, self.variance.clamp(min=LEAST_VARIANCE))

    def step_nats(self, x: Tensor, targets: Tensor) -> Tensor:
        """As in `Regression`."""
        squares = (targets - self(x)).double().square()
        return self._nats(squares, self.variance.clamp(min=LEAST_VARIANCE).double())


Head = Categorical | Regression
HEADS: dict[str, Callable[[int, int], Head]] = {
    "categorical": Categorical,
    "gaussian": Gaussian,
    "mse": Regression,
}
