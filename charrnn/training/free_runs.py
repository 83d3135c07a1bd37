"""Training on free runs: sequences that the network draws itself, one vector after the other.

In training a network reads its corpus, in sampling its own output, with all errors in it.  What to
do after errors it never learns, and samples go astray.  So a part of each batch are free runs.  The
target after each step of one is the vector that follows its place in the corpus, which is where it
most likely is, by the steps so far: so the network learns to find its way back.  This is imitation
learning by dataset aggregation (Ross et al. 2011).  Scheduled sampling (Bengio et al. 2015) would
demand the place where the free run would be without any errors, however far away it is by then.

What the codec knows beforehand is not drawn, and helps to find the place.

Of a long corpus each set of free runs sees a random excerpt only, from which its targets are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import Config
from charrnn.data.corpus import Steps
from charrnn.data.lanes import circular_piece
from charrnn.model.heads import Gaussian
from charrnn.model.network import Network

Conditions = Callable[[Steps], Iterator[NDArray[np.float32]]]

LENGTH = 256  # steps of a free run (more if segments are longer)
MOST = 4096  # steps of all free runs together, unless one is longer
EVERY = 32  # updates until there are new ones
BEGIN = 0.3  # fraction of the budget before the first: earlier ones do not resemble the corpus
PRIME = 32  # steps of the corpus that each continues
PLACES = 8192  # steps of the excerpt of the corpus in which they begin, and are looked for
STEP_COST = 2.0  # time of one of their steps, relative to a step of a segment in training
JUMP = 0.5  # cost of a jump to another place, in mean squared distances of successive steps


class FreeRuns:
    """The free runs of a network, and the steps that should follow theirs.

    Every process draws them all, and they are the same if all processors round in the same way.

    Args:
        steps: the training part, (N, F), may be memory-mapped; of symbols there are none.
        conditions: what the codec knows of the steps that follow others; see `Codec.conditions`.
        config: of the run.
        device: of the network.

    Attributes:
        renewed_at: number of updates before the last `renew`; -1: there was none.
    """

    def __init__(
        self, steps: Steps, conditions: Conditions, config: Config, device: torch.device
    ) -> None:
        self._steps, self._conditions = steps, conditions
        self._device, self._seed = device, config.training.seed
        self._share, self._batch = config.training.free_runs, config.data.batch_size
        self._temperatures = config.sampling.temperature
        self.renewed_at = -1
        self._length = max(LENGTH, config.data.seq_length)
        used = EVERY * self._share * self._batch * config.data.seq_length
        self._runs = max(1, round(min(MOST, used) / self._length))
        self._frames: Tensor | None = None  # (R, L, F)
        self._targets: Tensor | None = None  # (R, L, F)

    def is_due(self, update: int, fraction: float) -> bool:
        """Whether there should be new free runs.

        Args:
            update: number of updates so far.
            fraction: of the budget that is used up.
        """
        if not self._share:
            return False
        return fraction >= BEGIN if self._frames is None else update % EVERY == 0

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
        excerpt = np.array(circular_piece(self._steps, begin, count + 1))  # and what follows it
        known = torch.from_numpy(excerpt).to(self._device)  # (n + 1, F)
        prime = min(PRIME, count)
        first = random.integers(count - prime + 1, size=self._runs)
        primes = known[torch.from_numpy(first[:, np.newaxis] + np.arange(prime))]
        was_training = network.training
        network.eval()
        try:
            with autocast:
                self._frames = self._drawn(network, primes, random)
        finally:
            network.train(was_training)
        places = _places(
            self._frames,
            known[:-1],
            torch.from_numpy(first + prime - 1),
            circular=count == len(self._steps),
        )
        self._targets, self.renewed_at = known[places + 1], update

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
        runs = random.integers(self._runs, size=self._batch).tolist()
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
            ValueError: it does not fit the corpus or the configuration.
        """
        if not tensors:
            return
        expected = (self._runs, self._length, *self._steps.shape[1:])
        fits = all(tensor.shape == expected for tensor in tensors.values())
        if not self._share or tensors.keys() != {"frames", "targets"} or not fits:
            raise ValueError("free runs do not fit the configuration")
        self._frames = tensors["frames"].to(self._device)
        self._targets = tensors["targets"].to(self._device)

    @property
    def nbytes(self) -> int:
        """The size of `tensors` in bytes; 0 if there will never be free runs."""
        return 2 * 4 * self._runs * self._length * self._steps.shape[-1] if self._share else 0

    def _drawn(self, network: Network, primes: Tensor, random: np.random.Generator) -> Tensor:
        """Free runs, (R, L, F), that continue `primes`, (R, P, F)."""
        given = (self._conditions(prime) for prime in primes.cpu().numpy())
        conditions = np.array([list(islice(each, self._length)) for each in given])
        known = torch.from_numpy(conditions).to(self._device)  # (R, L, k)
        drawn = primes.shape[-1] - known.shape[-1]
        head, frames = network.head, []
        shape = (len(primes), primes.shape[-1])
        deviation = head.variance.sqrt() if isinstance(head, Gaussian) else None
        x, state = network.hidden(primes, network.initial_state(len(primes)))
        for index in range(self._length):
            frame = head(x[-1])
            if deviation is not None:
                noise = torch.from_numpy(random.standard_normal(shape, np.float32))
                temperature = self._temperatures[index % len(self._temperatures)]
                frame += temperature**0.5 * deviation * noise.to(frame.device)
            frame = torch.cat([frame[:, :drawn], known[:, index]], 1)
            frames.append(frame)
            x, state = network.hidden(frame.unsqueeze(1), state)
        return torch.stack(frames, 1)


def renewals_cost(config: Config, updates: int) -> float:
    """The time that free runs take in a run of so many updates, in updates."""
    if not config.training.free_runs:
        return 0.0
    length = config.data.seq_length
    return (1 - BEGIN) * updates / EVERY * STEP_COST * max(LENGTH, length) / length


def _places(frames: Tensor, known: Tensor, first: Tensor, *, circular: bool) -> Tensor:
    """Where free runs are after each of their steps, (R, L): the end of the best path up to it,
    which goes on from place to place, or jumps at a cost (the Viterbi algorithm).

    Args:
        frames: of the free runs, (R, L, F).
        known: steps of the corpus, (n, F).
        first: where each free run is before its first step, (R,).
        circular: whether the first of these steps follows the last one.
    """
    jump = JUMP * (known[1:] - known[:-1]).square().sum(1).mean()
    squares = known.square().sum(1)
    cost = torch.full((len(frames), len(known)), torch.inf, device=known.device)
    cost[torch.arange(len(frames)), first] = 0
    places = []
    for frame in frames.unbind(1):
        distances = squares - 2 * frame @ known.t()  # less the square of the frame
        going_on = cost.roll(1, 1)
        if not circular:
            going_on[:, 0] = torch.inf
        cost = torch.minimum(going_on, jump) + distances
        cost = cost - cost.amin(1, keepdim=True)
        places.append(cost.argmin(1))
    return torch.stack(places, 1)
