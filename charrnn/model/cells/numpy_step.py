"""What the cells' steps in NumPy share: the base class, and the arithmetic of gates and norms.

Arrays of one stream are (H,), those of S streams (H, S); the same code serves both.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy import add, multiply
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = Mapping[str, NDArray[Any]]

EPSILON = np.float32(1e-5)  # of every norm, as in PyTorch
HALF, ONE = np.float32(0.5), np.float32(1)


class NumpyStep(abc.ABC):
    """One step of a cell, with its buffers, for one stream or several.

    Both parts of the gates' pre-activations, the input's and the recurrent one, come with the
    sigmoid gates first and halved: sigmoid(x) = (1 + tanh(x / 2)) / 2, so one tanh over all gates
    and `sigmoid_from_tanh` over the first ones are enough.

    Args:
        recurrent: the recurrent part of the gates, (G*H, ...), which the layer computes anew after
            each step.
        h: the output, (H, ...), which `advance` writes; at first 0.
        parameters: the cell's further parameters by name, and `cell_gain` where the cell state is
            normalised, as they were trained.
    """

    order: ClassVar[tuple[int, ...]]  # of `torch_step`'s gates, sigmoid gates first
    sigmoids: ClassVar[int]  # how many of them are sigmoid gates

    def __init__(self, recurrent: Array, h: Array, parameters: Weights) -> None:
        self._recurrent, self._h = recurrent, h

    @property
    def state(self) -> tuple[Array, ...]:
        """What a step hands to the next one besides h."""
        return ()

    @abc.abstractmethod
    def advance(self, gates_x: Array) -> None:
        """Write the new h, given the input's part of the gates, (G*H, ...); leave that as it is."""


def sigmoid_from_tanh(gates: Array) -> None:
    """Turn tanh(x / 2) into sigmoid(x), in place."""
    add(gates, ONE, gates)
    multiply(gates, HALF, gates)


def standardized(values: Array, axis: int) -> Array:
    """Shifted and scaled to mean 0 and variance 1 along an axis."""
    centred = values - values.mean(axis, keepdims=True)
    variance = np.square(centred).mean(axis, keepdims=True)
    result: Array = centred / np.sqrt(variance + EPSILON)
    return result


def per_stream(values: Array, like: Array) -> Array:
    """The values with a last axis of 1 where `like` has an axis of streams, to broadcast."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))
