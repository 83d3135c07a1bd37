"""Runs a network over given steps and keeps what it did: losses, alternatives, states, gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.model.cells.numpy_step import Array
from charrnn.sampling.runtime import Runtime

Steps = NDArray[Any]  # (N,) unsigned integers or (N, F) floats
LANE = 1024  # steps of a lane, at least
LANES = 64  # at most
WARM_UP = 256  # steps that a lane reads before its own
ALTERNATIVES = 5  # likeliest steps that are kept
BLOCKS = 20
GATES_EVERY = 16  # steps at which the gates of all units are kept
LEAST_VARIANCE = 1e-10  # as in the head


@dataclass(frozen=True)
class Trace:
    """What a network did while it read N steps.

    Attributes:
        steps: (N,) or (N, F).
        nats: -log p of each, (N,); 0 for those that are only read.
        likely: the likeliest steps at each place, best first, (N, K); of vectors none, (N, 0).
        likely_nats: their -log p, (N, K).
        states: after each step, the P parts of the state of L layers, (N, L, P, H); empty if they
            are not kept.
        gates: of each gate by name, its values at some steps, K of them, (K, L, H).
        cell_gates: of the chosen unit, each gate by name at each step, (N,).
        read: how many steps at the beginning are only read, not predicted.
    """

    steps: Steps
    nats: NDArray[np.float64]
    likely: NDArray[np.int64]
    likely_nats: NDArray[np.float64]
    states: Array
    gates: Mapping[str, Array]
    cell_gates: Mapping[str, Array]
    read: int = 1

    @property
    def nats_per_step(self) -> float:
        """The mean loss of the steps that were predicted."""
        return float(self.nats[self.read :].mean())

    @property
    def error(self) -> float:
        """The standard error of that mean, from the means of BLOCKS parts of the sequence."""
        means = [
            part.mean() for part in np.array_split(self.nats[self.read :], BLOCKS) if len(part)
        ]
        return float(np.std(means) / len(means) ** 0.5)

    @property
    def predicted(self) -> int:
        """The number of steps that were predicted."""
        return len(self.nats) - self.read


def trace(
    runtime: Runtime,
    steps: Steps,
    *,
    states: bool = False,
    cell: tuple[int, int] | None = None,
    read: int = 1,
) -> Trace:
    """Read steps, (N,) or (N, F), N at least 2, in a few lanes side by side.

    Each lane begins in the zero state and, except for the first, reads WARM_UP of the steps before
    its own, so that it has context.

    Args:
        runtime: the network.
        steps: what it reads.
        states: whether to keep the states.
        cell: layer and unit, whose gates are kept at each step.
        read: how many steps at the beginning are not predicted, at least 1.
    """
    count = len(steps)
    lanes = max(1, min(LANES, count // LANE))
    size = -(-(count + (lanes - 1) * WARM_UP) // lanes)
    begins = np.arange(lanes) * (size - WARM_UP)
    stream = runtime.zero(lanes)
    few = min(ALTERNATIVES, runtime.size) if runtime.is_discrete else 0
    nats, likely, likely_nats = np.zeros(count), np.zeros((count, few), int), np.zeros((count, few))
    hidden, shape = runtime.layers[0].hidden, (len(stream.state), len(stream.state[0]))
    kept = np.zeros((count if states else 0, *shape, hidden), np.float32)
    some: dict[str, list[Array]] = {name: [] for name in stream.gates[0]}
    cell_gates = {name: np.zeros(count if cell else 0, np.float32) for name in some}
    for place in range(size):
        at = begins + place
        stream.step(steps[np.minimum(at, count - 1)])
        # Later lanes read first what belongs to the lane before them.
        own = np.arange(lanes) if place >= WARM_UP else np.arange(1)
        own = own[at[own] < count]
        if place % GATES_EVERY == 0 and len(own):
            for name, all_kept in some.items():
                layers = [gates[name].T[own] for gates in stream.gates]
                all_kept.append(np.stack(layers, 1))
        if states:
            for layer, parts in enumerate(stream.state):
                for part, values in enumerate(parts):
                    kept[at[own], layer, part] = values.T[own]
        if cell is not None:
            layer, unit = cell
            for name, values in stream.gates[layer].items():
                cell_gates[name][at[own]] = values[unit, own]
        own = own[at[own] + 1 < count]
        following = at[own] + 1
        if not len(own):
            continue
        if not runtime.is_discrete:
            nats[following] = vector_nats(runtime, stream.logits[own], steps[following])
            continue
        logs = log_probabilities(stream.logits[own])
        nats[following] = -np.take_along_axis(logs, index_of(steps[following]), 1)[:, 0]
        best = np.argpartition(-logs, few - 1, axis=1)[:, :few]
        order = np.take_along_axis(-logs, best, 1).argsort(1, kind="stable")
        likely[following] = np.take_along_axis(best, order, 1)
        likely_nats[following] = -np.take_along_axis(logs, likely[following], 1)
    nats[:read] = 0
    gates = {name: np.concatenate(values) for name, values in some.items()}
    return Trace(steps, nats, likely, likely_nats, kept, gates, cell_gates, read)


def fresh_nats(
    runtime: Runtime, steps: Steps, begins: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """The losses of the steps after each of several places, read from the zero state there.

    Args:
        runtime: the network.
        steps: (N,) or (N, F).
        begins: the places, (S,); each is at least `size` steps before the end.
        size: how many steps are predicted after the first.

    Returns:
        -log p of each, (S, size); that at index k has k + 1 steps of context.
    """
    stream, nats = runtime.zero(len(begins)), np.zeros((len(begins), size))
    for place in range(size):
        logits = stream.step(steps[begins + place])
        following = steps[begins + place + 1]
        if runtime.is_discrete:
            logs = log_probabilities(logits)
            nats[:, place] = -np.take_along_axis(logs, index_of(following), 1)[:, 0]
        else:
            nats[:, place] = vector_nats(runtime, logits, following)
    return nats


def log_probabilities(logits: Array) -> NDArray[np.float64]:
    """Log p of all symbols, (S, V)."""
    values = logits.astype(np.float64)
    values -= values.max(1, keepdims=True)
    values -= np.log(np.exp(values).sum(1, keepdims=True))
    return values


def index_of(steps: Steps) -> NDArray[np.int64]:
    """Steps, (S,), as indices into rows, (S, 1)."""
    return steps.astype(np.int64)[:, np.newaxis]


def vector_nats(runtime: Runtime, expected: Array, steps: Steps) -> NDArray[np.float64]:
    """-log density of vectors, (S,): a normal distribution with the head's variance, or without one
    with a variance of 1."""
    squares = np.square(steps.astype(np.float64) - expected)
    variance = np.maximum(np.square(runtime.deviation.astype(np.float64)), LEAST_VARIANCE)
    if not runtime.deviation.any():
        variance = np.ones_like(variance)
    return np.asarray(0.5 * (squares / variance + np.log(2 * np.pi * variance)).sum(1))
