"""Code shared by the cells' steps in NumPy: the base class, and functions for gates and norms.

Arrays of one stream are (H,), those of S streams (H, S); the same code serves both.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy import add, multiply
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = Mapping[str, NDArray[Any]]

EPSILON = 1e-5  # is added to every variance, as in PyTorch
HALF, ONE = np.float32(0.5), np.float32(1)


class NumpyStep(abc.ABC):
    """One step of a cell, with its buffers, for one stream or several.

    In both parts of the gates' pre-activations, the input part and the recurrent part, the sigmoid
    gates come first and are halved.  Since sigmoid(x) = (1 + tanh(x / 2)) / 2, one tanh over all
    gates and `sigmoid_from_tanh` over the first ones are enough.

    Args:
        recurrent: the recurrent part of the gates, (G*H, ...), which the layer updates after each
            step.
        h: the output, (H, ...), which `advance` writes; initially 0.
        parameters: the cell's additional parameters by name, as trained; also `cell_gain` if the
            cell state is normalised.
    """

    order: ClassVar[tuple[int, ...]]  # indices of `torch_step`'s gates, sigmoid gates first
    sigmoids: ClassVar[int]  # number of sigmoid gates
    keeps: ClassVar[str] = ""  # name of the gate that the old state is multiplied by

    def __init__(self, recurrent: Array, h: Array, parameters: Weights) -> None:
        self._recurrent, self._h = recurrent, h

    @property
    def state(self) -> tuple[Array, ...]:
        """The parts of the state other than h."""
        return ()

    @property
    def gates(self) -> Mapping[str, Array]:
        """The gates by name, (H, ...), as `advance` leaves them; sigmoid gates from 0 to 1."""
        return {}

    @abc.abstractmethod
    def advance(self, gates_x: Array) -> None:
        """Write the new h, given the input part of the gates, (G*H, ...), which must not change."""


def sigmoid_from_tanh(gates: Array) -> None:
    """Turn tanh(x / 2) into sigmoid(x), in place."""
    add(gates, ONE, gates)
    multiply(gates, HALF, gates)


def standardized(values: Array, axis: int) -> Array:
    """The values, shifted and scaled to mean 0 and variance 1 along an axis."""
    centred = values - values.mean(axis, keepdims=True)
    variance = np.square(centred).mean(axis, keepdims=True)
    result: Array = centred / np.sqrt(variance + EPSILON)
    return result


def inverse_deviation(values: Array, mean: Any) -> Any:
    """1 / standard deviation, as in a norm, along axis 0 of values, (H,) or (H, S).

    Args:
        values: finite, and not much above 1, so that rounding errors of their squares are small
            beside EPSILON.
        mean: of the values along that axis.
    """
    if values.ndim > 1:
        squares = np.einsum("hs,hs->s", values, values) / np.float32(len(values))
        return 1 / np.sqrt(np.maximum(0, squares - mean * mean) + EPSILON)
    # For one stream, Python's numbers take a tenth of the time of NumPy's.
    variance = float(values.dot(values)) / len(values) - float(mean) ** 2
    return 1 / math.sqrt(max(0.0, variance) + EPSILON)


def per_stream(values: Array, like: Array) -> Array:
    """The values with a last axis of size 1 if `like` has an axis of streams, for broadcasting."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))
