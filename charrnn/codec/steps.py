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
