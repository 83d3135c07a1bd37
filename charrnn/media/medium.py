"""The protocol of a medium (text, sound, ...): everything the rest of the program needs from it.

    files ──Medium.learner──▶ array of steps, Codec ──training──▶ model
    files ◀──Codec.sample──── steps ◀──────────────── sampling ──────┘

A medium consists of a `Medium` (recognises its files, declares settings and defaults), a `Learner`
(encodes a corpus and learns the codec), a `Codec` (`codec.py`) and a `Sample` (`product.py`).
`--help` imports this file, so it must load neither NumPy nor PyTorch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from charrnn.media.codec import Codec
from charrnn.media.sources import Sources
from charrnn.media.steps import Continuous, Discrete
from charrnn.settings import NoSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Steps = NDArray[Any]  # (N,) unsigned integers or (N, F) floats


@dataclass(frozen=True)
class Size:
    """A network, and the batches and learning rate that suit it."""

    hidden: int
    dropout: float
    batch_size: int
    seq_length: int
    lr: float
    layers: int = 2
    embedding: int = 64
    weight_drop: float = 0.0
    variational: bool = False
    norm: str = "none"
    skip: bool = False
    skip_input: bool = False
    passes: float = 1.0  # chosen only if there is time for this fraction of `Defaults.epochs`
    hurried: bool = False  # only for runs that have no time for a later size


@dataclass(frozen=True)
class Defaults:
    """The default settings for a corpus of a given length.

    Args:
        sizes: from small to large; the first that is not `hurried` is the default, and a later one
            is chosen if the user gives enough `--minutes`.
        epochs: the number of epochs beyond which training longer makes the model worse.
        settings: other settings, section -> name -> value; they override the general defaults.
        evaluations: the minimum number of evaluations in a run.
        judging_s: about how long judging free runs takes at each of them, in seconds.
        patience: evaluations without improvement before early stopping; None: chosen from the
            number of evaluations.
        every_segment: choose the batch size so that no segment of a short corpus is left out.
    """

    sizes: tuple[Size, ...]
    epochs: float
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluations: int = 20
    judging_s: float = 0.0
    patience: int | None = None
    every_segment: bool = False


class Medium(ABC):
    """One kind of corpus, e.g. text.  A new one must implement the abstract methods.

    Attributes:
        name: its name in `--help` and messages.
        files: what its files are called in messages.
        kind: `Discrete` or `Continuous` steps, of the default codec; see `kind_of`.
        codecs: the values of `--codec` that select this medium, the default one first.
        settings: a frozen dataclass of its own settings, declared with `charrnn.settings.setting`;
            each has a default.
        options: the same for options of a single call of `sample`, which are not stored in a model.
    """

    name: ClassVar[str]
    files: ClassVar[str] = "files"
    kind: ClassVar[type[Discrete] | type[Continuous]] = Discrete
    codecs: ClassVar[tuple[str, ...]]
    settings: ClassVar[type[Any]] = NoSettings
    options: ClassVar[type[Any]] = NoSettings

    def kind_of(self, codec: str) -> type[Discrete] | type[Continuous]:
        """The kind of the steps of a codec, or with auto of the default one."""
        return self.kind

    @abstractmethod
    def recognises(self, name: str, head: bytes, codec: str = "auto") -> bool:
        """Whether a file belongs to this medium and `codec` can read it.

        Args:
            name: the path of the file.
            head: its first bytes.
            codec: one of `codecs`, or auto.
        """

    @abstractmethod
    def learner(
        self, codec: str, sources: Sources, settings: Any, val_fraction: float | None
    ) -> Learner:
        """The learner that encodes a corpus and learns the codec from it.

        Args:
            codec: one of `codecs`.
            sources: the files.
            settings: an instance of `self.settings`.
            val_fraction: the user's setting; None: not given.

        Raises:
            ConfigError: this codec cannot use the settings.
        """

    @abstractmethod
    def from_dict(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Codec:
        """Rebuild the codec of a checkpoint from `Codec.to_dict` and `Codec.arrays`.

        The values come from an untrusted file: check every one.

        Raises:
            CheckpointError: a value is missing or impossible.
        """

    def choose(self, sources: Sources, settings: Any) -> tuple[str, str]:
        """The codec for `--codec auto`, and the reason."""
        return self.codecs[0], f"the corpus is {self.name}"

    def suited(self, sources: Sources, codec: str) -> Mapping[str, Any]:
        """Settings that suit these files, by name, e.g. that each tune of a book is a document;
        those given override them."""
        return {}

    def implied(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings that follow from those given, e.g. --documents record from a --separator."""
        return {}

    def defaults(self, codec: str, corpus_steps: int, *, on_gpu: bool) -> Defaults:
        """Default sizes, learning rates and epochs for a corpus of `corpus_steps` steps, N."""
        is_discrete = self.kind_of(codec) is Discrete
        size = Size(128, 0.1, 16, 32, 4e-3, embedding=32 if is_discrete else 0)
        heads = {} if is_discrete else {"model": {"head": "gaussian"}}
        epochs = float(round(min(60.0, max(4.0, 20 * (1e5 / corpus_steps) ** 0.15))))
        return Defaults((size,), epochs, heads, every_segment=True)

    def fine_tuning(self, codec: str, corpus_steps: int) -> Defaults:
        """The same, with one size, for a run that starts from the weights of a general model.

        The network itself is that of the model, whatever the size says.
        """
        defaults = self.defaults(codec, corpus_steps, on_gpu=False)
        return replace(defaults, sizes=defaults.sizes[:1])


class Learner(ABC):
    """Reads a corpus once, encodes it and learns the codec, in constant memory.

    Iterating yields blocks of steps.  If `has_second_pass`, `second_pass` then replaces all of
    them.  After that, `codec` is complete.

    A large corpus can be read in parts, in several processes, by learners that `can_join`: each
    reads some of the files, and the learner of the whole corpus reads none, but joins what they
    have learnt.

    Attributes:
        can_join: whether `learnt` and `join` are there.
        ends: for each file, the number of steps up to its end; empty: they do not matter.
        spreads: whether what is held out is spread over the corpus in stretches, because its end
            would be a bad judge, e.g. of a piece of music.
        seed: of the run; set before anything is read.
        val_fraction: the fraction of the steps to hold out for validation, if the learner decides
            it; otherwise None.
    """

    has_second_pass: ClassVar[bool] = False
    can_join: ClassVar[bool] = False
    ends: Sequence[int] = ()
    spreads: ClassVar[bool] = False
    val_fraction: float | None = None
    seed: int = 0

    @property
    def notices(self) -> tuple[str, ...]:
        """For the user, about what was read."""
        return ()

    @property
    def held_out(self) -> str:
        """If the learner decides what is held out: where it comes from, as in "from the ends of the
        files"."""
        return ""

    @abstractmethod
    def __iter__(self) -> Iterator[Steps]: ...

    def second_pass(self, steps: Steps) -> Iterator[Steps]:
        """Blocks of the final steps, computed from all `steps` of the first pass."""
        yield steps

    def learnt(self) -> Any:
        """What was learnt from these files, as values that JSON can hold."""
        raise NotImplementedError

    def join(self, parts: Iterable[Any]) -> list[NDArray[Any] | None]:
        """Learn what others have learnt from all parts of the corpus, in their order.

        Returns:
            For each part, a table that maps its steps, before `second_pass`, to the final ones,
            (n,); None: they are the same.
        """
        raise NotImplementedError

    @property
    @abstractmethod
    def codec(self) -> Codec:
        """The codec learnt from the corpus."""
