"""Frames of sound drawn one after the other, each from what the network expects after the last."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SamplingConfig
from charrnn.errors import SamplingError
from charrnn.sampling.generate import generator_of
from charrnn.sampling.runtime import Runtime

Frame = NDArray[np.float32]
FARTHEST = 1e6  # a number in a frame that is no sound any more


def frames(
    model: Runtime,
    starts: NDArray[np.float32],
    *,
    prime: NDArray[np.float32] | None = None,
    config: SamplingConfig | None = None,
    seed: int = 0,
    index: int = 0,
) -> Iterator[Frame]:
    """Frames, (F,), for as long as they are asked for.

    A temperature t draws from the density to the power of 1 / t, as it does of symbols: the
    deviation is multiplied by its square root.

    Args:
        model: the network.
        starts: (S, P, F): without a prime, one of them is gone on after.
        prime: (N, F), to go on after.
        config: of which the temperature matters.
        seed: of the draws.
        index: of the sample; those of the same seed and number are alike.

    Raises:
        SamplingError: the network's output is not finite.
    """
    random = generator_of(seed, index)
    chosen = starts[random.integers(len(starts))]  # drawn in any case: a prime changes nothing else
    stream: Any = model.begin(chosen if prime is None or not len(prime) else prime)
    stream.share_work()
    for temperature in cycle((config or SamplingConfig()).temperature):
        deviation = model.deviation * np.float32(temperature**0.5)
        frame = stream.logits + deviation * random.standard_normal(model.size, np.float32)
        if not np.abs(frame).max() < FARTHEST:
            raise SamplingError("the model's output is not finite; its weights are broken")
        yield frame
        stream.step(frame)
