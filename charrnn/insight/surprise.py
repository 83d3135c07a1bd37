"""Where a model's loss is: by kind of step, and in which words, lines, bars, ..."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.media.traits import Kinds, Parts

COSTLY = 8  # parts that are listed


@dataclass(frozen=True)
class KindLoss:
    """The loss of one kind of steps.

    Attributes:
        kind: its label.
        share: of the steps.
        nats: mean loss of a step; of no step: 0.
        part: of the whole loss.
    """

    kind: str
    share: float
    nats: float
    part: float


def by_kind(nats: NDArray[np.float64], kinds: Kinds) -> list[KindLoss]:
    """The loss of each kind; the parts add up to 1 if every step has a kind.

    Args:
        nats: of each step, (N,).
        kinds: of the same steps.
    """
    total, count = max(float(nats.sum()), 1e-300), len(nats)
    found = []
    for index, label in enumerate(kinds.labels):
        own = nats[kinds.of == index]
        mean = float(own.mean()) if len(own) else 0.0
        found.append(KindLoss(label, len(own) / count, mean, float(own.sum()) / total))
    return found


@dataclass(frozen=True)
class CostlyPart:
    """A part of the sequence that costs much.

    Attributes:
        text: what it says.
        count: how often it occurs.
        nats: its mean loss in all.
    """

    text: str
    count: int
    nats: float


def costly(nats: NDArray[np.float64], parts: Parts) -> list[CostlyPart]:
    """The parts with the highest loss in all; equal ones are taken together, by their mean.

    Args:
        nats: of each step, (N,).
        parts: of the same steps.
    """
    sums = np.append(0.0, np.cumsum(nats))
    losses: dict[str, list[float]] = defaultdict(list)
    for (begin, end), text in zip(parts.spans, parts.texts, strict=True):
        losses[text].append(float(sums[end] - sums[begin]))
    found = [CostlyPart(text, len(each), float(np.mean(each))) for text, each in losses.items()]
    return sorted(found, key=lambda part: -part.nats)[:COSTLY]
