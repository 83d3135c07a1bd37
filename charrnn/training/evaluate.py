"""The mean loss of an array of steps: the evaluation loop of training and `charrnn evaluate`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from charrnn.data.corpus import Steps
from charrnn.data.lanes import Lanes
from charrnn.model.network import Network

LANE_STEPS = 2048  # minimum length of a lane, since each lane begins without context
LANES = 32
SEGMENT = 64


@dataclass(frozen=True)
class Evaluation:
    """The loss of a model on a corpus."""

    nats_per_step: float
    steps: int  # number of predictions

    @property
    def bits_per_step(self) -> float:
        """The loss in bits."""
        return self.nats_per_step / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nats): the number of equally likely choices with the same loss."""
        return math.exp(min(self.nats_per_step, 700.0))


@torch.no_grad()
def evaluate(network: Network, steps: Steps) -> Evaluation:
    """The mean loss over `steps`, (N,) or (N, F), N at least 2.

    Reads them in a few lanes and carries the recurrent state from segment to segment.  The
    network's training or evaluation mode is restored afterwards.
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
    total = math.fsum(torch.stack(sums).cpu().tolist())  # waits for the device only once
    return Evaluation(total / count, count)
