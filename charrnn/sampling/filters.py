"""Filters on the distribution over the next step: pure functions of what they are given.

They are applied in this order, which `filtered` keeps: on the logits, (V,), the repetition penalty
and then what is banned; temperature turns logits into probabilities, (V,) float64, that sum to 1;
on these top-k, top-p, min-p and typical sampling, each of which takes and gives such
probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SamplingConfig
from charrnn.errors import SamplingError

Logits = NDArray[np.floating]
Probabilities = NDArray[np.float64]


def penalized(logits: Logits, recent: Sequence[int], penalty: float) -> Logits:
    """Divide positive logits of `recent` steps by the penalty and multiply negative ones by it
    (Keskar et al. 2019)."""
    if penalty == 1 or not recent:
        return logits
    seen = np.unique(np.asarray(recent, dtype=np.int64))
    lowered = logits.astype(np.float64)
    values = lowered[seen]
    lowered[seen] = np.where(values > 0, values / penalty, values * penalty)
    return lowered


def banned(logits: Logits, steps: Sequence[int] | NDArray[np.integer]) -> Logits:
    """Rule out steps.

    Raises:
        SamplingError: none is left.
    """
    if not len(steps):
        return logits
    lowered = logits.astype(np.float64)
    lowered[np.asarray(steps, dtype=np.int64)] = -np.inf
    if np.isneginf(lowered).all():
        raise SamplingError(
            "no step is left to draw: --no-repeat-ngram, --allow and --forbid rule out all of them"
        )
    return lowered


def softmax(logits: Logits, temperature: float = 1.0) -> Probabilities:
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
    return _only(probabilities, np.argsort(-probabilities, kind="stable")[:k])


def top_p(probabilities: Probabilities, p: float) -> Probabilities:
    """Keep the likeliest steps that together reach p (Holtzman et al. 2020), at least one."""
    if p >= 1:
        return probabilities
    return _first(probabilities, np.argsort(-probabilities, kind="stable"), p)


def min_p(probabilities: Probabilities, share: float) -> Probabilities:
    """Keep the steps with at least this share of the likeliest one's probability (Nguyen et al.
    2024)."""
    if share == 0:
        return probabilities
    return _only(probabilities, np.flatnonzero(probabilities >= share * probabilities.max()))


def typical_p(probabilities: Probabilities, p: float) -> Probabilities:
    """Keep the steps whose surprise is nearest to the expected one, the entropy, until they
    together reach p (Meister et al. 2023), at least one."""
    if p >= 1:
        return probabilities
    possible = probabilities > 0
    surprise = np.full_like(probabilities, np.inf)
    surprise[possible] = -np.log(probabilities[possible])
    entropy = probabilities[possible] @ surprise[possible]
    return _first(probabilities, np.argsort(np.abs(surprise - entropy), kind="stable"), p)


def _first(probabilities: Probabilities, order: NDArray[np.integer], p: float) -> Probabilities:
    """Keep steps in this order until they together reach p."""
    below = np.cumsum(probabilities[order]) < p
    return _only(probabilities, order[: int(below.sum()) + 1])


def _only(probabilities: Probabilities, steps: NDArray[np.integer]) -> Probabilities:
    """Keep these steps."""
    kept = np.zeros_like(probabilities)
    kept[steps] = probabilities[steps]
    return np.asarray(kept / kept.sum())


def filtered(logits: Logits, config: SamplingConfig, temperature: float) -> Probabilities:
    """Temperature and the filters after it, in their order, for one step's logits, (V,)."""
    probabilities = softmax(logits, temperature)
    probabilities = top_k(probabilities, config.top_k)
    probabilities = top_p(probabilities, config.top_p)
    probabilities = min_p(probabilities, config.min_p)
    return typical_p(probabilities, config.typical_p)


def draw(probabilities: Probabilities, generator: np.random.Generator) -> int:
    """Draw a step by inversion: one uniform number each, whatever the distribution."""
    cumulative = np.cumsum(probabilities)
    index = int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
    return min(index, int(np.flatnonzero(probabilities)[-1]))
