"""Vectors for texts: the state of the network after reading them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from charrnn.media.report import Passage
from charrnn.sampling.runtime import Runtime

HELD = 1024  # passages that are held, to read those of similar length side by side
BATCH = 64

Vectors = NDArray[np.float32]
Item = TypeVar("Item")


def vectors(
    runtime: Runtime, passages: Iterable[Passage], *, average: bool = False
) -> Iterator[tuple[Passage, Vectors]]:
    """Each passage with a vector, (L * H,): the outputs of all layers after its last step.

    Args:
        runtime: the network.
        passages: each is read from the zero state.
        average: the mean over its own steps instead.
    """
    for held in _groups(passages, HELD):
        order = sorted(range(len(held)), key=lambda index: len(held[index].steps))
        found: dict[int, Vectors] = {}
        for rows in _groups(order, BATCH):
            read = _read(runtime, [held[index] for index in rows], average)
            found |= zip(rows, read, strict=True)
        yield from ((held[index], found[index]) for index in range(len(held)))


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def _read(runtime: Runtime, passages: Sequence[Passage], average: bool) -> Vectors:
    """The vectors of a few passages, (S, L * H)."""
    # Not the end of a document: it makes room for the next one.
    lengths = np.array([len(passage.steps) - passage.ended for passage in passages])
    begins = np.array([passage.read for passage in passages])
    stream = runtime.zero(len(passages))
    found: Vectors = np.zeros((len(passages), sum(len(h) for h, *_ in stream.state)), np.float32)
    for place in range(lengths.max()):
        at = np.minimum(place, lengths - 1)
        stream.step(np.stack([each.steps[k] for each, k in zip(passages, at, strict=True)]))
        state = np.concatenate([h for h, *_ in stream.state]).T  # (S, L * H)
        if average:
            own = (place < lengths) & ((place >= begins) | (place == lengths - 1))
            found[own] += state[own]
        else:
            found[place == lengths - 1] = state[place == lengths - 1]
    if average:
        found /= np.maximum(1, lengths - begins)[:, np.newaxis]
    return found


def similarities(rows: Vectors, to: Vectors) -> NDArray[np.float64]:
    """The cosine of each of several vectors, (n, D), with another one, (D,), after the mean of all
    has been subtracted: what they have in common says nothing."""
    every = np.concatenate([rows, to[np.newaxis]]).astype(np.float64)
    every -= every.mean(0)
    every /= np.maximum(np.linalg.norm(every, axis=1, keepdims=True), 1e-12)
    return np.asarray(every[:-1] @ every[-1])
