"""The mean loss over an array of steps: one evaluation loop for training and for the command."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from charrnn.data.corpus import Steps
from charrnn.data.lanes import Lanes
from charrnn.model.network import Network

LANE_STEPS = 2048  # at least so many in a lane: each lane begins without context
LANES = 32
SEGMENT = 64


@dataclass(frozen=True)
class Evaluation:
    """The loss of a model on a text."""

    nats_per_step: float
    steps: int  # predictions made

    @property
    def bits_per_step(self) -> float:
        """The loss to base 2."""
        return self.nats_per_step / math.log(2)

    @property
    def perplexity(self) -> float:
        """The number of equally likely choices that the loss amounts to."""
        return math.exp(min(self.nats_per_step, 700.0))


@torch.no_grad()
def evaluate(network: Network, steps: Steps) -> Evaluation:
    """Read `steps`, (N,), N at least 2, in a few lanes, the state carried on from end to end.

    The network is left in the mode it was in.
    """
    device = next(network.parameters()).device
    batch = max(1, min(LANES, len(steps) // LANE_STEPS))
    lanes = Lanes(steps, batch, SEGMENT, ragged=True)
    sums: list[torch.Tensor] = []
    count = 0
    was_training = network.training
    network.eval()
    try:
        state = network.initial_state(batch)
        for index in range(lanes.segments):
            inputs, targets = (torch.from_numpy(part).to(device) for part in lanes.segment(index))
            _, nats, state = network.loss(inputs, targets, state)
            steps_here = targets.shape[0] * targets.shape[1]
            sums.append(nats * steps_here)
            count += steps_here
    finally:
        network.train(was_training)
    total = math.fsum(torch.stack(sums).cpu().tolist())  # one wait for the device
    return Evaluation(total / count, count)
