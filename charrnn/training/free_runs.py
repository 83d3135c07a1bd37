"""Training on free runs: sequences that the network draws itself, one vector after the other.

In training a network reads its corpus, in sampling its own output, with all errors in it.  What to
do after errors it never learns, and samples go astray.  So a part of each batch are free runs.  The
target after each step of one is the vector that follows its place in the corpus, which is where it
most likely is, by the steps so far: so the network learns to find back.  This is imitation learning
by dataset aggregation (Ross et al. 2011).  Scheduled sampling (Bengio et al. 2015) would demand the
place where the free run would be without any errors, however far away it is by then.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from charrnn.config import Config
from charrnn.data.corpus import Steps
from charrnn.model.heads import Gaussian
from charrnn.model.network import Network

RUNS, LENGTH = 16, 256  # free runs, and steps of each (more if segments are longer)
EVERY = 32  # updates until there are new ones
BEGIN = 0.3  # fraction of the budget before the first: until then they are like nothing
PRIME = 32  # steps of the corpus that each continues
PLACES = 8192  # free runs begin, and are looked for, in so many steps of the corpus
JUMP = 0.5  # cost of a jump to another place, in mean squared distances of successive steps


class FreeRuns:
    """The free runs of a network, and the steps that should follow theirs.

    Args:
        steps: the training part, (N, F), may be memory-mapped; of symbols there are none.
        config: of the run.
        device: of the network.
    """

    def __init__(self, steps: Steps, config: Config, device: torch.device) -> None:
        self._steps, self._device, self._seed = steps, device, config.training.seed
        self._share, self._batch = config.training.free_runs, config.data.batch_size
        self._temperatures = config.sampling.temperature
        self._length = max(LENGTH, config.data.seq_length)
        self._frames: Tensor | None = None  # (R, L, F)
        self._targets: Tensor | None = None  # (R, L, F)

    def is_due(self, update: int, fraction: float) -> bool:
        """Whether there should be new free runs.

        Args:
            update: number of updates so far.
            fraction: of the budget that is used up.
        """
        if self._frames is None:
            return self._share > 0 and fraction >= BEGIN
        return update % EVERY == 0

    @torch.no_grad()
    def renew(self, network: Network, update: int, autocast: torch.autocast) -> None:
        """Draw new free runs of a network, and find their places in the corpus.

        Args:
            network: its training or evaluation mode is restored afterwards.
            update: number of updates so far.
            autocast: the precision to draw in.
        """
        random = np.random.default_rng([self._seed, update])
        count = min(PLACES, len(self._steps))
        begin = int(random.integers(len(self._steps) - count + 1))
        known = torch.from_numpy(np.array(self._steps[begin : begin + count])).to(self._device)
        prime = min(PRIME, count)
        first = random.integers(count - prime + 1, size=RUNS)
        primes = known[torch.from_numpy(first[:, np.newaxis] + np.arange(prime))]
        was_training = network.training
        network.eval()
        try:
            with autocast:
                self._frames = self._drawn(network, primes, random)
        finally:
            network.train(was_training)
        places = _places(self._frames, known, torch.from_numpy(first + prime - 1))
        self._targets = known[(places + 1) % count]  # after the end comes the beginning

    def mixed(
        self, inputs: Tensor, targets: Tensor, update: int, rows: slice
    ) -> tuple[Tensor, Tensor]:
        """A segment in which parts of free runs replace the last lanes of the batch.

        Args:
            inputs: (b, T, F).
            targets: (b, T, F).
            update: number of updates so far.
            rows: which lanes of the batch these are.
        """
        if self._frames is None or self._targets is None:
            return inputs, targets
        random, width = np.random.default_rng([self._seed, update, 1]), inputs.shape[1]
        runs = random.integers(RUNS, size=self._batch).tolist()
        places = random.integers(self._length - width + 1, size=self._batch).tolist()
        first = self._batch - int(self._share * self._batch + random.random())  # right on average
        inputs, targets = inputs.clone(), targets.clone()
        for row, lane in enumerate(range(self._batch)[rows]):
            if lane >= first:
                part = slice(places[lane], places[lane] + width)
                inputs[row] = self._frames[runs[lane], part]
                targets[row] = self._targets[runs[lane], part]
        return inputs, targets

    def tensors(self) -> dict[str, Tensor]:
        """What resuming needs; empty if there are no free runs yet."""
        if self._frames is None or self._targets is None:
            return {}
        return {"frames": self._frames, "targets": self._targets}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the result of `tensors`.

        Raises:
            KeyError, ValueError: it does not fit the corpus or the configuration.
        """
        if not tensors:
            return
        expected = (RUNS, self._length, *self._steps.shape[1:])
        for name in ("frames", "targets"):
            if tensors[name].shape != expected:
                raise ValueError(f"{name} of free runs do not fit the configuration")
        self._frames, self._targets = (
            tensors[name].to(self._device) for name in ("frames", "targets")
        )

    @property
    def nbytes(self) -> int:
        """The size of `tensors` in bytes; 0 if there will never be free runs."""
        return 2 * 4 * RUNS * self._length * self._steps.shape[-1] if self._share else 0

    def _drawn(self, network: Network, primes: Tensor, random: np.random.Generator) -> Tensor:
        """Free runs, (R, L, F), that continue `primes`, (R, P, F)."""
        head, frames = network.head, []
        shape = (len(primes), primes.shape[-1])
        x, state = network.hidden(primes, network.initial_state(len(primes)))
        for index in range(self._length):
            frame = head(x[-1])
            if isinstance(head, Gaussian):
                noise = torch.from_numpy(random.standard_normal(shape, np.float32))
                temperature = self._temperatures[index % len(self._temperatures)]
                frame += temperature**0.5 * head.variance.sqrt() * noise.to(frame.device)
            frames.append(frame)
            x, state = network.hidden(frame.unsqueeze(1), state)
        return torch.stack(frames, 1)


def _places(frames: Tensor, known: Tensor, first: Tensor) -> Tensor:
    """Where free runs are after each of their steps, (R, L): the end of the best path up to it,
    which goes on from place to place, or jumps at a cost (the Viterbi algorithm).

    Args:
        frames: of the free runs, (R, L, F).
        known: steps of the corpus, (n, F).
        first: where each free run is before its first step, (R,).
    """
    jump = JUMP * (known[1:] - known[:-1]).square().sum(1).mean()
    squares = known.square().sum(1)
    cost = torch.full((len(frames), len(known)), torch.inf, device=known.device)
    cost[torch.arange(len(frames)), first] = 0
    places = []
    for frame in frames.unbind(1):
        distances = squares - 2 * frame @ known.t()  # less the square of the frame
        cost = torch.minimum(cost.roll(1, 1), jump) + distances
        cost = cost - cost.amin(1, keepdim=True)
        places.append(cost.argmin(1))
    return torch.stack(places, 1)
