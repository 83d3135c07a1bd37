"""The generation loop: read the prime, then draw, filter and feed back, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.codec import Codec
from charrnn.config import SamplingConfig
from charrnn.model.network import Network
from charrnn.sampling import filters

PRIME_SEGMENT = 1024  # steps of the prime that are read at a time


@dataclass(frozen=True)
class Drawn:
    """One step that was drawn, and its surprise under the model's own distribution."""

    step: int
    nats: float  # -log p before temperature and filters


def generator_of(seed: int, index: int) -> np.random.Generator:
    """The random generator of sample `index`: the same however many samples are drawn."""
    return np.random.default_rng([seed, index])


@torch.inference_mode()
def generate(
    network: Network,
    prime: Sequence[int] | np.ndarray,
    config: SamplingConfig,
    generator: np.random.Generator,
) -> Iterator[Drawn]:
    """Go on after `prime` without end; the caller stops when it has enough.

    Args:
        network: in evaluation mode.
        prime: steps to begin after, (N,), N at least 1.
        config: temperature and filters.
        generator: source of the draws.

    Raises:
        SamplingError: the model's output is not finite.
    """
    device = next(network.parameters()).device
    state = network.initial_state(1)
    steps = torch.as_tensor(np.asarray(prime, dtype=np.int64), device=device).unsqueeze(0)
    for part in steps.split(PRIME_SEGMENT, dim=1):
        logits, state = network(part, state)
    while True:
        values = logits[0, -1].cpu().numpy()
        step = filters.draw(filters.filtered(values, config), generator)
        yield Drawn(step, -float(np.log(max(filters.softmax(values)[step], 1e-300))))
        logits, state = network(torch.full((1, 1), step, device=device), state)


class TextStream:
    """Text of a sequence of steps as it is made, cut off before a stop text.

    Iterate over it for pieces of text; afterwards `steps`, `nats` and `stopped` are known.

    Args:
        drawn: where the steps come from.
        codec: turns them into text.
        length: steps at most.
        stop: text that ends the sample and is not part of it; empty: none.
    """

    def __init__(self, drawn: Iterator[Drawn], codec: Codec, length: int, stop: str = "") -> None:
        self._drawn, self._codec = drawn, codec
        self._length, self._stop = length, stop
        self.steps = 0
        self.nats = 0.0
        self.stopped = False

    def __iter__(self) -> Iterator[str]:
        decoder = self._codec.decoder()
        held = ""  # might be the beginning of the stop text
        while self.steps < self._length:
            drawn = next(self._drawn)
            self.steps += 1
            self.nats += drawn.nats
            held += decoder.push(drawn.step)
            if self._stop and (end := held.find(self._stop)) >= 0:
                self.stopped = True
                yield held[:end]
                return
            keep = _overlap(held, self._stop)
            if piece := held[: len(held) - keep]:
                yield piece
            held = held[len(held) - keep :]
        if held := held + decoder.flush():
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
    begins as a paragraph would.
    """
    steps, _ = codec.encode(prime)
    drawn = generate(
        network,
        steps if len(steps) else codec.encode(codec.start)[0],
        config or SamplingConfig(),
        generator_of(seed, index),
    )
    return TextStream(drawn, codec, length, stop)
