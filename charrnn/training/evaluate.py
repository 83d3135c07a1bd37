"""The loss of an array of steps, and of each of many passages: the evaluation loop of training and
of `charrnn evaluate`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.data.corpus import Steps
from charrnn.data.lanes import Lanes
from charrnn.media.report import Passage
from charrnn.model import device as devices
from charrnn.model.network import Network, State
from charrnn.training.group import Group

LANE_STEPS = 2048  # minimum length of a lane, since each lane begins without context
LANES = 32
SEGMENT = 64
# Dynamic evaluation: steps between updates, the size of an update, and the part of the way back to
# the trained weights that follows each.
DYNAMIC_SEGMENT, DYNAMIC_RATE, DYNAMIC_DECAY = 32, 3e-4, 1e-3
HELD_STEPS = 1 << 18  # of passages that are read before the first of them is evaluated


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
def evaluate(network: Network, steps: Steps, group: Group | None = None) -> Evaluation:
    """The mean loss over `steps`, (N,) or (N, F), N at least 2.

    Reads them in a few lanes and carries the recurrent state from segment to segment.  The
    network's training or evaluation mode is restored afterwards.

    Args:
        network: the network.
        steps: the corpus.
        group: processes that share the lanes; None: there is only this one.
    """
    device = next(network.parameters()).device
    batch = max(1, min(LANES, len(steps) // LANE_STEPS))
    lanes = Lanes(steps, batch, SEGMENT, ragged=True)
    group = Group() if group is None or batch % group.size else group  # or each reads all of them
    rows = group.rows(batch)
    sums: list[torch.Tensor] = []
    count = 0
    was_training = network.training
    network.eval()
    try:
        state = network.initial_state(batch // group.size)
        for index in range(lanes.segments):
            own = lanes.segment(index, rows)
            inputs, targets = (torch.from_numpy(part).to(device) for part in own)
            _, nats, state = network.loss(inputs, targets, state)
            steps_here = targets.shape[0] * targets.shape[1]
            sums.append(nats * steps_here)
            count += steps_here
    finally:
        network.train(was_training)
    total = math.fsum(torch.stack(sums).cpu().tolist())  # waits for the device only once
    mean = group.mean(torch.tensor(total / count, dtype=torch.float64))
    return Evaluation(float(mean), count * group.size)


def evaluate_dynamically(network: Network, steps: Steps) -> Evaluation:
    """The mean loss over `steps`, (N,) or (N, F), N at least 2, while the weights adapt to those
    read so far: dynamic evaluation (Krause et al. 2018).

    The steps are read in order, in one lane.  Updates are scaled by a running mean of squared
    gradients over `steps`, where Krause et al. use that of the training corpus, which a model
    file does not have.

    Args:
        network: in evaluation mode; its weights are changed.
        steps: the corpus.
    """
    device = next(network.parameters()).device
    lanes = Lanes(steps, 1, DYNAMIC_SEGMENT, ragged=True)
    parameters = list(network.requires_grad_().parameters())
    trained = [parameter.detach().clone() for parameter in parameters]
    # Without momentum, Adam only divides by the root of the mean square.
    optimizer = torch.optim.Adam(parameters, DYNAMIC_RATE, betas=(0.0, 0.999), eps=1e-5)
    state, total, count = network.initial_state(1), 0.0, 0
    for index in range(lanes.segments):
        inputs, targets = (torch.from_numpy(part).to(device) for part in lanes.segment(index))
        with devices.gradients_in_evaluation():
            loss, nats, state = network.loss(inputs, targets, state)
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        with torch.no_grad():
            for parameter, before in zip(parameters, trained, strict=True):
                parameter.lerp_(before, DYNAMIC_DECAY)
        total += float(nats) * targets.shape[1]
        count += targets.shape[1]
    return Evaluation(total / count, count)


@dataclass(frozen=True)
class Scored:
    """A passage and its loss.

    Attributes:
        passage: the passage.
        nats: of each of its own steps, (n,).
        probabilities: of the step after it (or of the end of its document), (V,); for symbols.
    """

    passage: Passage
    nats: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None


@torch.no_grad()
def scored(network: Network, passages: Iterable[Passage], state: State) -> Iterator[Scored]:
    """Evaluate each passage by itself.

    Args:
        network: in evaluation mode.
        passages: they are read a few at a time, and evaluated in batches of similar length.
        state: in which each begins, (1, H).
    """
    for held in _held(passages):
        order = sorted(range(len(held)), key=lambda index: len(held[index].steps))
        found: dict[int, Scored] = {}
        for first in range(0, len(order), LANES):
            chosen = order[first : first + LANES]
            batch = _batch(network, [held[index] for index in chosen], state)
            found |= zip(chosen, batch, strict=True)
        yield from (found[index] for index in range(len(held)))


def _held(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    """The passages in lists of a limited size."""
    held: list[Passage] = []
    size = 0
    for passage in passages:
        held.append(passage)
        size += len(passage.steps)
        if size > HELD_STEPS:
            yield held
            held, size = [], 0
    if held:
        yield held


def _batch(network: Network, passages: Sequence[Passage], state: State) -> list[Scored]:
    """Evaluate passages in parallel.

    Args:
        network: the network.
        passages: from short to long.
        state: as in `scored`.
    """
    device = next(network.parameters()).device
    lengths = [len(passage.steps) for passage in passages]
    nats = [np.zeros(length) for length in lengths]  # nats[t] is that of step t
    probabilities: list[NDArray[np.float64] | None] = [None] * len(passages)
    state = tuple(tuple(part.expand(len(passages), -1) for part in parts) for parts in state)
    begin = first = 0
    while begin < lengths[-1]:
        while lengths[first] <= begin:  # these have ended
            first += 1
        state = tuple(tuple(p[first - len(lengths) :] for p in parts) for parts in state)
        size = LANES * SEGMENT // (len(lengths) - first)
        block = _padded([p.steps[begin : begin + size + 1] for p in passages[first:]])
        steps = torch.from_numpy(block).to(device)
        x, state = network.hidden(steps[:, :size], state)
        following = steps[:, 1:].transpose(0, 1)  # (T, B) or (T, B, F)
        found = network.head.step_nats(x[: len(following)], following).cpu().numpy()
        for row in range(first, len(lengths)):
            own = nats[row][begin + 1 : begin + 1 + size]
            own[:] = found[: len(own), row - first]
            last = lengths[row] - 1 - passages[row].ended - begin
            if 0 <= last < len(x) and not steps.is_floating_point():
                logits = network.head(x[last, row - first]).double()
                probabilities[row] = logits.softmax(-1).cpu().numpy()
        begin += size
    return [
        Scored(passage, own[passage.read :], after)
        for passage, own, after in zip(passages, nats, probabilities, strict=True)
    ]


def _padded(parts: Sequence[Steps]) -> Steps:
    """The parts as rows of one array, zeros after the shorter ones."""
    longest = max(map(len, parts))
    frame = parts[0].shape[1:]
    block = np.zeros((len(parts), longest, *frame), np.float32 if frame else np.int64)
    for row, part in zip(block, parts, strict=True):
        row[: len(part)] = part
    return block
