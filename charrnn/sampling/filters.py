"""Filters on the distribution over the next step, as pure functions.

They are applied in this order:

1. Repetition penalty and bans, on the logits of one sequence, (V,) (`history.History.applied`).
2. Temperature, which turns logits into probabilities, float64 (`filtered`).
3. top-k, top-p, min-p and typical sampling; each takes and returns probabilities that sum to 1.

From temperature on, they accept one sequence, (V,), or several, (S, V).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import SamplingError
from charrnn.settings import SamplingConfig

Logits = NDArray[np.floating]
Probabilities = NDArray[np.float64]
MAX_INVERSE_TEMPERATURE = 1e30  # more would overflow


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
    """Set the logits of these steps to minus infinity.

    Raises:
        SamplingError: all steps are banned.
    """
    if not len(steps):
        return logits
    lowered = logits.astype(np.float64)
    lowered[np.asarray(steps, dtype=np.int64)] = -np.inf
    if np.isneginf(lowered).all():
        raise SamplingError(
            "no step is left to draw: --no-copy, --no-repeat-ngram, --min-length, --allow and "
            "--forbid rule out all of them"
        )
    return lowered


def softmax(logits: Logits, temperature: float = 1.0) -> Probabilities:
    """Probabilities proportional to exp(logits / temperature); 0: only the most likely step.

    Raises:
        SamplingError: the largest logit is not finite.
    """
    return _normalized(_tempered(logits, temperature))


def _tempered(logits: Logits, temperature: float) -> Probabilities:
    """`softmax` without the normalisation: the sum need not be 1."""
    values = logits.astype(np.float64)
    values -= _highest(values)
    if temperature == 0:
        return np.asarray(_keep(np.ones_like(values), values.argmax(-1)[..., np.newaxis]))
    if temperature != 1:
        values *= min(1 / temperature, MAX_INVERSE_TEMPERATURE)
    return np.asarray(np.exp(values, values))


def surprises(logits: Logits, steps: NDArray[np.integer]) -> NDArray[np.float64]:
    """-log p of the drawn steps, (S,), under the model's own distribution, in nats."""
    values = logits.astype(np.float64)
    values -= _highest(values)
    own = np.take_along_axis(values, steps[..., np.newaxis], -1)[..., 0]
    return np.asarray(np.log(np.exp(values).sum(-1)) - own)


def surprise(logits: Logits, step: int) -> float:
    """`surprises` for one sequence, whose logits are (V,)."""
    values = logits.astype(np.float64)
    values -= _highest(values)
    return math.log(np.add.reduce(np.exp(values))) - float(values[step])


def _highest(values: Probabilities) -> Any:
    """The largest logit of each sequence, in a shape that broadcasts against the logits.

    Raises:
        SamplingError: it is not finite.
    """
    if values.ndim == 1:  # faster for a single sequence
        highest = np.maximum.reduce(values)
        is_finite = math.isfinite(highest)
    else:
        highest = np.maximum.reduce(values, -1, keepdims=True)
        is_finite = bool(np.isfinite(highest).all())
    if not is_finite:
        raise SamplingError("the model's output is not finite; its weights are broken")
    return highest


def top_k(probabilities: Probabilities, k: int) -> Probabilities:
    """Keep the k most likely steps (Fan, Lewis and Dauphin 2018); 0 keeps all."""
    if k == 0 or k >= probabilities.shape[-1]:
        return probabilities
    return _keep(probabilities, np.argsort(-probabilities, kind="stable")[..., :k])


def top_p(probabilities: Probabilities, p: float) -> Probabilities:
    """Nucleus sampling: keep the most likely steps until their total probability reaches p, at
    least one (Holtzman et al. 2020)."""
    if p >= 1:
        return probabilities
    return _keep_until(probabilities, np.argsort(-probabilities, kind="stable"), p)


def min_p(probabilities: Probabilities, share: float) -> Probabilities:
    """Keep the steps with at least this fraction of the most likely step's probability (Nguyen et
    al. 2024)."""
    if share == 0:
        return probabilities
    least = share * probabilities.max(-1, keepdims=True)
    return _normalized(np.where(probabilities >= least, probabilities, 0))


def typical_p(probabilities: Probabilities, p: float) -> Probabilities:
    """Keep the steps whose -log p is closest to its expectation, the entropy, until their total
    probability reaches p, at least one (Meister et al. 2023)."""
    if p >= 1:
        return probabilities
    possible = probabilities > 0
    surprise = np.full_like(probabilities, np.inf)
    surprise[possible] = -np.log(probabilities[possible])
    entropy = np.sum(probabilities * np.where(possible, surprise, 0), -1, keepdims=True)
    return _keep_until(probabilities, np.argsort(np.abs(surprise - entropy), kind="stable"), p)


def _keep_until(
    probabilities: Probabilities, order: NDArray[np.integer], p: float
) -> Probabilities:
    """Keep steps in this order until their total probability reaches p; the result sums to 1."""
    ranked = np.take_along_axis(probabilities, order, -1)
    below = np.cumsum(ranked, -1) < p
    below[..., 1:] = below[..., :-1]  # include the one that reaches p
    below[..., 0] = True
    kept = np.zeros_like(probabilities)
    np.put_along_axis(kept, order, np.where(below, ranked, 0), -1)
    return _normalized(kept)


def _keep(probabilities: Probabilities, steps: NDArray[np.integer]) -> Probabilities:
    """Keep only these steps; the result sums to 1."""
    kept = np.zeros_like(probabilities)
    np.put_along_axis(kept, steps, np.take_along_axis(probabilities, steps, -1), -1)
    return _normalized(kept)


def _normalized(kept: Probabilities) -> Probabilities:
    """Scale probabilities so that they sum to 1."""
    return np.asarray(kept / kept.sum(-1, keepdims=True))


def filtered(logits: Logits, config: SamplingConfig, temperature: float) -> Probabilities:
    """Apply temperature and the filters after it to logits, (V,) or (S, V).

    Returns:
        Probabilities whose sum need not be 1, which `draw` accepts.
    """
    probabilities = _tempered(logits, temperature)
    if not (config.top_k or config.top_p < 1 or config.min_p or config.typical_p < 1):
        return probabilities
    probabilities = top_k(_normalized(probabilities), config.top_k)
    probabilities = top_p(probabilities, config.top_p)
    probabilities = min_p(probabilities, config.min_p)
    return typical_p(probabilities, config.typical_p)


def draw(probabilities: Probabilities, uniform: float) -> int:
    """Draw a step from (V,) by inverting the cumulative distribution at `uniform`, in [0, 1).

    The probabilities need not sum to 1.
    """
    cumulative = np.add.accumulate(probabilities)
    step = int(cumulative.searchsorted(uniform * cumulative[-1], "right"))
    return step if step < len(cumulative) else int(np.flatnonzero(probabilities)[-1])


def draws(probabilities: Probabilities, uniforms: NDArray[np.floating]) -> NDArray[np.integer]:
    """`draw` for several sequences, (S, V), with one number for each, (S,)."""
    cumulative = np.add.accumulate(probabilities, -1)
    steps = np.sum(cumulative <= uniforms[:, np.newaxis] * cumulative[:, -1:], -1)
    for row in np.flatnonzero(steps == probabilities.shape[-1]):
        steps[row] = np.flatnonzero(probabilities[row])[-1]
    return np.asarray(steps)
