"""The generation loop: read the prime, then draw, filter and feed back, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import torch

from charrnn.codec import Codec, Decoder
from charrnn.config import SamplingConfig
from charrnn.model.network import Network, State
from charrnn.sampling import filters
from charrnn.sampling.history import History

PRIME_SEGMENT = 1024  # steps of the prime that are read at a time


@dataclass(frozen=True)
class Drawn:
    """One step that was drawn, and its surprise under the model's own distribution."""

    step: int
    nats: float  # -log p before temperature and filters


def generator_of(seed: int, index: int) -> np.random.Generator:
    """The random generator of sample `index`: the same however many samples are drawn."""
    return np.random.default_rng([seed, index])


def read_prime(network: Network, prime: Sequence[int] | np.ndarray) -> tuple[np.ndarray, State]:
    """Logits, (V,), of the step after `prime`, (N,), N at least 1, and the state there."""
    device = next(network.parameters()).device
    state = network.initial_state(1)
    steps = torch.as_tensor(np.asarray(prime, dtype=np.int64), device=device).unsqueeze(0)
    for part in steps.split(PRIME_SEGMENT, dim=1):
        logits, state = network(part, state)
    return logits[0, -1].cpu().numpy(), state


@torch.inference_mode()
def generate(
    network: Network,
    prime: Sequence[int] | np.ndarray,
    config: SamplingConfig,
    generator: np.random.Generator,
    never: Sequence[int] | np.ndarray = (),
    end: int | None = None,
) -> Iterator[Drawn]:
    """Go on after `prime` without end; the caller stops when it has enough.

    Args:
        network: in evaluation mode.
        prime: steps to begin after, (N,), N at least 1.
        config: temperature and filters.
        generator: source of the draws.
        never: steps that may not be drawn.
        end: the step that ends a document.

    Raises:
        SamplingError: the model's output is not finite, or nothing may be drawn.
    """
    device = next(network.parameters()).device
    history = History(config, np.asarray(never, np.int64), map(int, prime), end)
    values, state = read_prime(network, prime)
    for temperature in cycle(config.temperature):
        step = filters.draw(
            filters.filtered(history.applied(values), config, temperature), generator
        )
        yield Drawn(step, -float(np.log(max(filters.softmax(values)[step], 1e-300))))
        history.add(step)
        logits, state = network(torch.full((1, 1), step, device=device), state)
        values = logits[0, -1].cpu().numpy()


class TextStream:
    """Text of a sequence of steps as it is made, cut off before a stop text.

    Iterate over it for pieces of text; afterwards `steps`, `nats` and `stopped` are known.

    Args:
        drawn: where the steps come from; where they end, the text does.
        decoder: turns them into text.
        length: steps at most.
        stop: text that ends the sample and is not part of it; empty: none.
        end: step that ends the sample and is not part of it; None: none.
    """

    def __init__(
        self,
        drawn: Iterator[Drawn],
        decoder: Decoder,
        length: int,
        stop: str = "",
        end: int | None = None,
    ) -> None:
        self._drawn, self._decoder = drawn, decoder
        self._length, self._stop, self._end = length, stop, end
        self.steps = 0
        self.nats = 0.0
        self.stopped = False

    def __iter__(self) -> Iterator[str]:
        held = ""  # might be the beginning of the stop text
        while self.steps < self._length and (drawn := next(self._drawn, None)) is not None:
            self.steps += 1
            self.nats += drawn.nats
            if drawn.step == self._end:
                self.stopped = True
                break
            held += self._decoder.push(drawn.step)
            if self._stop and (end := held.find(self._stop)) >= 0:
                self.stopped = True
                yield held[:end]
                return
            keep = _overlap(held, self._stop)
            if piece := held[: len(held) - keep]:
                yield piece
            held = held[len(held) - keep :]
        if held := held + self._decoder.flush():
            yield held

    @property
    def nats_per_step(self) -> float:
        """Mean surprise of the steps drawn so far; 0 before the first."""
        return self.nats / max(1, self.steps)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next(
        (n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0
    )


def sample(
    network: Network,
    codec: Codec,
    *,
    length: int,
    prime: str = "",
    config: SamplingConfig | None = None,
    seed: int = 0,
    index: int = 0,
    stop: str = "",
) -> TextStream:
    """One sample as a stream of text that goes on after `prime`.

    Characters of the prime that the codec does not know are left out; without a prime the text
    begins as a paragraph would.  Where the corpus was one of documents, the sample is one, and
    the prime its beginning.

    Raises:
        SamplingError: at once, a demand that leaves nothing to draw; later, a broken model.
    """
    config = config or SamplingConfig()
    steps, decoder = codec.primed(prime)
    never = codec.never(config.allow, config.forbid, config.unk)
    drawn = generate(network, steps, config, generator_of(seed, index), never, codec.end)
    return TextStream(drawn, decoder, length, stop, codec.end)
