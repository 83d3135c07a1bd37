"""Units that follow something people can name, e.g. the place in the line.

A unit that only knows the last steps follows many things a little: after a line break the place in
the line is 1.  So both the unit and the trait are first reduced by what a table of the last two
steps predicts of them (for vectors, a linear function of the last two), and what remains of them
must correlate.  The unit is chosen on one half of the text and scored on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.insight.trace import Steps, Trace
from charrnn.media.traits import Trait

Numbers = NDArray[np.float32]
LEAST = 0.5  # correlation, with and beyond the table, from which a unit follows a trait
ABOVE_CHANCE = 0.1  # and so much more than the best of the shuffled traits
NEARLY = 0.8  # of the best correlation beyond the table
SHUFFLES = 5  # times that each trait is shuffled
SEED = 0  # of the shuffling
COMPONENTS = 16  # numbers of a vector that the linear function sees
SMALL = 1e-6


@dataclass(frozen=True)
class Cell:
    """A unit that follows a trait.

    Attributes:
        layer: index of its layer, from 0.
        unit: index in the layer, from 0.
        part: of the state: 0 is the output h, 1 the cell state c.
        follows: the name of the trait.
        score: the correlation of both on the half of the text it was not chosen on, from -1 to 1.
        table: the correlation of the trait there with what the table predicts of it.
        beyond: the correlation of what remains of both without the table.
    """

    layer: int
    unit: int
    part: int
    follows: str
    score: float
    table: float
    beyond: float


@dataclass(frozen=True)
class Cells:
    """The result of `find`.

    Attributes:
        found: one unit for each trait that a unit follows, the best first.
        sought: the names of all traits that were looked for.
        shuffled: the best `Cell.beyond` of shuffled traits: what chance gives.
    """

    found: Sequence[Cell]
    sought: Sequence[str]
    shuffled: float


class Table:
    """Predicts numbers at each step from the last two steps: for symbols their means on the first
    half of the text for each pair, where it was seen, else for the last one; for vectors a linear
    function.

    Args:
        steps: (N,) or (N, F).
        half: the end of the part that it is fitted on.
    """

    def __init__(self, steps: Steps, half: int) -> None:
        self._half = half
        before = np.concatenate([steps[:1], steps[:-1]])
        if steps.ndim == 1:
            pairs = before.astype(np.int64) * (int(steps.max()) + 1) + steps
            self._groups = [np.unique(each, return_inverse=True)[1] for each in (steps, pairs)]
            self._inputs = None
        else:
            seen = np.concatenate([steps[:, :COMPONENTS], before[:, :COMPONENTS]], 1)
            self._inputs = np.concatenate([seen, np.ones((len(steps), 1), seen.dtype)], 1)

    def __call__(self, values: Numbers) -> Numbers:
        """What it predicts of numbers that belong to the steps, (N, K), for each step, (N, K)."""
        half = self._half
        if self._inputs is not None:
            weights = np.linalg.lstsq(self._inputs[:half], values[:half], rcond=None)[0]
            return np.asarray(self._inputs @ weights, np.float32)
        predicted = np.broadcast_to(values[:half].mean(0), values.shape).copy()
        for group in self._groups:
            means, is_seen = _means(group, values, half)
            predicted[is_seen[group]] = means[group[is_seen[group]]]
        return predicted


def _means(
    group: NDArray[np.int64], values: Numbers, half: int
) -> tuple[Numbers, NDArray[np.bool_]]:
    """The mean of the values of each group on the first half, (G, K), and whether it is there."""
    order = np.argsort(group[:half], kind="stable")
    present, begins = np.unique(group[:half][order], return_index=True)
    counts = np.diff(np.append(begins, half))
    means = np.zeros((int(group.max()) + 1, values.shape[1]), np.float32)
    means[present] = np.add.reduceat(values[:half][order], begins, 0) / counts[:, np.newaxis]
    is_seen = np.zeros(len(means), bool)
    is_seen[present] = True
    return means, is_seen


def find(trace: Trace, traits: Sequence[Trait]) -> Cells:
    """Look for the unit that follows each trait best.

    Args:
        trace: with states.
        traits: of the steps that were read.
    """
    names = [trait.name for trait in traits]
    if not traits:
        return Cells((), (), 0.0)
    count, layers, parts, hidden = trace.states.shape
    units = trace.states.reshape(count, -1)
    wanted = np.stack([trait.values for trait in traits], 1).astype(np.float32)
    random = np.random.default_rng(SEED)
    shuffled = np.concatenate([_shuffled(wanted, random) for _ in range(SHUFFLES)], 1)
    half = count // 2
    table = Table(trace.steps, half)
    unit_rest = units - table(units)
    chosen, beyond, expected = _best(units, unit_rest, wanted, table, half)
    by_chance = _best(units, unit_rest, shuffled, table, half)[1]
    chance = float(by_chance.max(initial=0.0))
    least = max(LEAST, chance + ABOVE_CHANCE)
    found = []
    for index in np.flatnonzero(beyond >= least).tolist():
        layer, part, unit = np.unravel_index(chosen[index], (layers, parts, hidden))
        own, its = units[half:, chosen[index]], wanted[half:, index]
        score = float(_correlations(own[:, np.newaxis], its[:, np.newaxis])[0, 0])
        if abs(score) < LEAST:  # also of a trait that does not change there
            continue
        found.append(
            Cell(
                int(layer),
                int(unit),
                int(part),
                names[index],
                score,
                float(_correlations(expected[half:, [index]], its[:, np.newaxis])[0, 0]),
                float(beyond[index]),
            )
        )
    found.sort(key=lambda cell: -cell.beyond)
    return Cells(found, names, chance)


def _best(
    units: Numbers, unit_rest: Numbers, wanted: Numbers, table: Table, half: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], Numbers]:
    """For each trait the unit chosen on the first half; the correlation beyond the table on the
    second, (K,), negative if its sign differs from that on the first; and what the table predicts
    of the traits, (N, K).

    Of the units that follow what the table leaves over nearly as well as the best one, it is the
    one that follows the trait itself best.
    """
    expected = table(wanted)
    rest = wanted - expected
    first = _correlations(unit_rest[:half], rest[:half])
    itself = np.abs(_correlations(units[:half], wanted[:half]))
    is_good = np.abs(first) >= NEARLY * np.abs(first).max(0)
    chosen = np.where(is_good, itself, -1).argmax(0)
    columns = range(len(chosen))
    own = unit_rest[half:, chosen]
    beyond = [_correlations(own[:, [k]], rest[half:, [k]])[0, 0] for k in columns]
    return chosen, np.array(beyond) * np.sign(first[chosen, columns]), expected


def _shuffled(values: Numbers, random: np.random.Generator) -> Numbers:
    """The traits, (N, K), each turned by a random number of steps, which keeps how it changes."""
    count = len(values)
    turned = [np.roll(own, random.integers(count // 4, 3 * count // 4)) for own in values.T]
    return np.stack(turned, 1)


def _correlations(left: Numbers, right: Numbers) -> NDArray[np.float64]:
    """Pearson's correlations, (U, K), of the columns of (N, U) and (N, K); 0 for constant ones."""
    left, right = left - left.mean(0), right - right.mean(0)
    scale = np.outer(np.sqrt(np.square(left).sum(0)), np.sqrt(np.square(right).sum(0)))
    products = (left.T @ right).astype(np.float64)
    return np.where(scale > SMALL * len(left) ** 0.5, products / np.maximum(scale, SMALL), 0.0)
