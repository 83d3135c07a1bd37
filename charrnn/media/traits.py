"""What people can name about the steps of a sequence, to see what a network has learnt of it.

Every medium describes its own steps: `Codec.traits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Trait:
    """A number that belongs to each step, e.g. its place in the line; `insight` looks for units
    that follow it.

    Args:
        name: e.g. "place in the line".
        values: (N,); of a flag 0 or 1.
    """

    name: str
    values: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Kinds:
    """A division of the steps into kinds, e.g. letters and digits, to see where the loss is.

    Args:
        name: e.g. "kind of character".
        labels: of the kinds.
        of: index of the kind of each step, (N,); -1: of none.
    """

    name: str
    labels: Sequence[str]
    of: NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Parts:
    """Parts of the sequence with a name, e.g. its words, to see which cost most.

    Args:
        name: e.g. "words".
        spans: of each part, its first step and the end.
        texts: of each part.
    """

    name: str
    spans: Sequence[tuple[int, int]]
    texts: Sequence[str]


@dataclass(frozen=True)
class Traits:
    """All of that for one sequence of N steps.

    Attributes:
        numbers: what units may follow.
        kinds: divisions of the steps.
        parts: of the sequence.
        time: of each step, (N,), in `time_unit`; None: the steps have no time of their own.
        time_unit: e.g. "bars" or "s".
    """

    numbers: Sequence[Trait] = field(default_factory=tuple)
    kinds: Sequence[Kinds] = field(default_factory=tuple)
    parts: Sequence[Parts] = field(default_factory=tuple)
    time: NDArray[np.floating[Any]] | None = None
    time_unit: str = ""
