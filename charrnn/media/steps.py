"""The kind of a step: all that the model, the data and the sampler know about a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Discrete:
    """A step is one of `size` integers, 0 to size - 1 (a character, a word, a byte)."""

    size: int
    kind: ClassVar[str] = "discrete"


@dataclass(frozen=True)
class Continuous:
    """A step is a vector of `size` numbers, F (a frame of a spectrogram).

    The last `conditions` of them are not drawn: the codec knows them beforehand (local
    conditioning).
    """

    size: int
    conditions: int = 0
    kind: ClassVar[str] = "continuous"


Step = Discrete | Continuous


class Sliced(Protocol):
    """Steps that can be read in slices: an array, (N,) or (N, F), or several files as one."""

    @property
    def ndim(self) -> int:
        """1 or 2."""

    def __len__(self) -> int: ...

    def __getitem__(self, wanted: slice, /) -> NDArray[Any]: ...
