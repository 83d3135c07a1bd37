"""The kind of a step: all that crosses from a codec to the rest of the program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Discrete:
    """A step is one of `size` integers, 0 to size - 1 (a character, a word, a byte)."""

    size: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer that holds every step on disk."""
        return np.min_scalar_type(max(self.size - 1, 0))


@dataclass(frozen=True)
class Continuous:
    """A step is a vector of `size` numbers, F (a frame of a spectrogram)."""

    size: int

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """How a number lies on disk."""
        return np.dtype(np.float32)


Step = Discrete | Continuous
