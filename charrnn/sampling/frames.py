"""Frames of sound, drawn one by one, each from the distribution that follows the last."""

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
MAX_MAGNITUDE = 1e6  # of a number in a frame; beyond it the network has diverged


def frames(
    model: Runtime,
    starts: NDArray[np.float32],
    *,
    prime: NDArray[np.float32] | None = None,
    config: SamplingConfig | None = None,
    seed: int = 0,
    index: int = 0,
) -> Iterator[Frame]:
    """Frames, (F,), without end.

    As for symbols, a temperature t means the density to the power of 1 / t, which for a normal
    distribution multiplies the standard deviation by the square root of t.

    Args:
        model: the network.
        starts: (S, P, F): without a prime, a random one of them is continued.
        prime: (N, F), to continue.
        config: only its temperature is used.
        seed: of the random generators.
        index: of the sample; the same seed and index give the same frames.

    Raises:
        SamplingError: the network's output is not finite.
    """
    random = generator_of(seed, index)
    chosen = starts[
        random.integers(len(starts))
    ]  # always drawn, so that a prime changes no other draw
    stream: Any = model.begin(chosen if prime is None or not len(prime) else prime)
    stream.tune_threads()
    for temperature in cycle((config or SamplingConfig()).temperature):
        deviation = model.deviation * np.float32(temperature**0.5)
        frame = stream.logits + deviation * random.standard_normal(model.size, np.float32)
        if not np.abs(frame).max() < MAX_MAGNITUDE:
            raise SamplingError("the model's output is not finite; its weights are broken")
        yield frame
        stream.step(frame)
