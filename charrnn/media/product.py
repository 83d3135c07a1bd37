"""The results of sampling: a sample, and a critic's verdict on several sampled sequences.

drawn steps ──Codec.sample──▶ Sample (text, sound)
drawn steps ──Critic.look───▶ Verdict (distance from the corpus; a preview)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple

from charrnn.errors import SamplingError
from charrnn.files import replaced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charrnn.media.codec import Codec

    Steps = NDArray[Any]  # (N,) unsigned integers or (N, F) floats


class Drawn(NamedTuple):
    """One sampled step."""

    step: Any  # an integer, or a vector (F,)
    nats: float = 0.0  # -log p under the model, before temperature and filters; 0: not computed


class Sample(ABC):
    """A sample, generated while you iterate over it; afterwards the attributes are final.

    Attributes:
        index: its number among the samples of one call.
        seed: of the random generator.
        steps: the number of steps so far.
        nats: the sum of their negative log probabilities.
        stopped: whether it ended by itself, before its full length.
        keep: whether to keep the pieces, so that it can be iterated over, saved and read again; set
            it to False before the first piece to use a sample once in constant memory.
        keep_steps: set it to True before iterating to keep the steps, in blocks, in `kept_steps`.
    """

    index: int = 0
    seed: int = 0
    steps: int = 0
    nats: float = 0.0
    stopped: bool = False
    keep: bool = True
    keep_steps: bool = False

    def __init__(self) -> None:
        self.kept_steps: list[Steps] = []
        self._kept: list[Any] = []
        self._pieces: Iterator[Any] | None = None

    @abstractmethod
    def pieces(self) -> Iterator[Any]:
        """Generate it piece by piece; called once."""

    def __iter__(self) -> Iterator[Any]:
        if self._pieces is None:
            self._pieces = self.pieces()
        place = 0
        while True:
            while place < len(self._kept):
                yield self._kept[place]
                place += 1
            piece = next(self._pieces, None)
            if piece is None:
                return
            if self.keep:
                self._kept.append(piece)
                place += 1
            yield piece

    @property
    def nats_per_step(self) -> float:
        """Mean -log p of the steps so far; 0 before the first."""
        return self.nats / max(1, self.steps)

    @property
    def complaint(self) -> str:
        """What is wrong with the finished sample, in a few words; may be empty."""
        return ""

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints about it; call this after the sample is complete."""
        return {"steps": self.steps}

    def describe(self) -> str:
        """Its size in readable form; call this after the sample is complete."""
        return f"{self.steps:,} steps"

    def save(self, path: Path | str) -> None:
        """Generate the sample and write it to a file, atomically.

        Raises:
            SamplingError: the file cannot be written, or has an extension of another medium.
        """
        with replaced(Path(path), SamplingError) as stream:
            self.write(stream, Path(path))

    @abstractmethod
    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        """Generate the sample and write it to a stream.

        Args:
            stream: open for writing bytes; if `path` is given, also for reading and seeking.
            path: the file's name, whose extension sets the format; None: a pipe.
        """


@dataclass(frozen=True)
class Verdict:
    """A critic's judgement of samples.

    Args:
        distance: from the corpus; the best model is the one with the smallest, unless `score`
            says otherwise.  None: the validation loss decides which model is best.
        figures: the measurements that the distance is computed from.
        detail: the same as text, for a line of the log.
        text: a preview to print.
        learnt: the codec with what the samples have taught about sampling; None: nothing.
    """

    distance: float | None = None
    figures: Mapping[str, float] | None = None
    detail: str = ""
    text: str | None = None
    learnt: Codec | None = None

    def score(self, nats_per_step: float) -> float:
        """What the best model has the least of, given its validation loss."""
        return nats_per_step if self.distance is None else self.distance

    def save(self, folder: Path, stem: str) -> Path | None:
        """Write a preview that is not text into a folder; return its path, or None.

        Raises:
            OSError: it cannot be written.
        """
        return None

    def draw(self, path: Path) -> None:
        """Write a PNG of what was compared; needs the codec's `has_pictures`.

        Raises:
            SamplingError: there is nothing to draw.
            OSError: it cannot be written.
        """
        raise SamplingError("there is nothing to draw")


class Critic(ABC):
    """Judges sequences that a model generates without a prime.

    Attributes:
        num: how many sequences it needs.
        compares: whether it compares them with the corpus; if so, the best model is the one with
            the smallest `Verdict.score`, not the lowest loss.
        score: the name of that score.
    """

    num: int = 1
    compares: ClassVar[bool] = False
    score: str = ""

    @abstractmethod
    def look(self, drawn: Iterable[Iterator[Drawn]], settings: Any) -> Verdict:
        """Judge sequences sampled without a prime; take as many steps of each as needed."""
