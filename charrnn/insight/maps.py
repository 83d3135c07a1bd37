"""Maps: units and symbols as points in the plane, by principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.insight.trace import Trace
from charrnn.sampling.runtime import Runtime

MOST_STEPS = 4_000  # of the states that place the units
MOST_SYMBOLS = 200  # the most frequent ones


@dataclass(frozen=True)
class Map:
    """Points in the plane, scaled so that the farthest coordinate is 1.

    Attributes:
        points: (n, 2).
        explained: the share of the variance that both axes have.
    """

    points: NDArray[np.float64]
    explained: float


def of_units(trace: Trace) -> Map:
    """The outputs of all units, (L * H, 2), layer by layer: units that are active at the same steps
    lie together."""
    states = trace.states[:MOST_STEPS, :, 0]  # (N, L, H)
    values = states.reshape(len(states), -1).T
    values = values - values.mean(1, keepdims=True)
    return plane(values / np.maximum(values.std(1, keepdims=True), 1e-6))


def of_symbols(runtime: Runtime, trace: Trace) -> tuple[NDArray[np.int64], Map]:
    """The most frequent symbols of a text, (n,), and what the first layer reads for each of them,
    in the plane, (n, 2)."""
    counts = np.bincount(trace.steps.astype(np.int64), minlength=runtime.size)
    order = np.argsort(-counts, kind="stable")[:MOST_SYMBOLS]
    chosen = np.sort(order[counts[order] > 0])
    gates = runtime.input_gates(chosen, several=True)[: runtime.gates].T  # (n, G*H)
    return chosen, plane(gates - gates.mean(0))


def plane(vectors: NDArray[np.floating]) -> Map:
    """The first two principal components of centred vectors, (n, D)."""
    u, scale, _ = np.linalg.svd(np.asarray(vectors, np.float64), full_matrices=False)
    points = np.zeros((len(vectors), 2))
    size = min(2, len(scale))
    points[:, :size] = u[:, :size] * scale[:size]
    total = max(float(np.square(scale).sum()), 1e-300)
    explained = float(np.square(scale[:size]).sum()) / total
    return Map(points / max(np.abs(points).max(initial=0), 1e-12), explained)
