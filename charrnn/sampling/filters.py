"""Filters on the distribution over the next step: pure functions, probabilities in and out.

They are applied in this order: temperature, top-k, top-p.  Each takes and gives probabilities,
(V,) float64, that sum to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SamplingConfig
from charrnn.errors import SamplingError

Probabilities = NDArray[np.float64]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Probabilities:
    """Probabilities proportional to exp(logits / temperature); 0 puts all on the likeliest.

    Raises:
        SamplingError: a logit that is not a number: the model is broken.
    """
    values = logits.astype(np.float64)
    if np.isnan(values).any() or not np.isfinite(values.max()):
        raise SamplingError("the model's output is not finite; its weights are broken")
    if temperature == 0:
        greedy = np.zeros_like(values)
        greedy[values.argmax()] = 1.0
        return greedy
    with np.errstate(over="ignore"):  # a tiny temperature: all but the likeliest at -infinity
        weights = np.exp((values - values.max()) / temperature)
    return np.asarray(weights / weights.sum())


def top_k(probabilities: Probabilities, k: int) -> Probabilities:
    """Keep the k likeliest steps (Fan, Lewis and Dauphin 2018); 0 keeps all."""
    if k == 0 or k >= len(probabilities):
        return probabilities
    kept = np.zeros_like(probabilities)
    best = np.argsort(-probabilities, kind="stable")[:k]
    kept[best] = probabilities[best]
    return np.asarray(kept / kept.sum())


def top_p(probabilities: Probabilities, p: float) -> Probabilities:
    """Keep the likeliest steps that together reach p (Holtzman et al. 2020), at least one."""
    if p >= 1:
        return probabilities
    order = np.argsort(-probabilities, kind="stable")
    below = np.cumsum(probabilities[order]) < p
    best = order[: int(below.sum()) + 1]
    kept = np.zeros_like(probabilities)
    kept[best] = probabilities[best]
    return np.asarray(kept / kept.sum())


def filtered(logits: NDArray[np.floating], config: SamplingConfig) -> Probabilities:
    """All filters in their order, for one step's logits, (V,)."""
    probabilities = softmax(logits, config.temperature)
    return top_p(top_k(probabilities, config.top_k), config.top_p)


def draw(probabilities: Probabilities, generator: np.random.Generator) -> int:
    """Draw a step by inversion: one uniform number each, whatever the distribution."""
    cumulative = np.cumsum(probabilities)
    index = int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
    return min(index, int(np.flatnonzero(probabilities)[-1]))
