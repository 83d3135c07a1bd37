"""The protocol of a codec: converts files to steps and steps to text or sound, and describes steps.

Every checkpoint stores one.  Methods with a body here are defaults that suit most media.
"""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from charrnn.errors import CharrnnError, CheckpointError, CorpusError, SamplingError, UsageError
from charrnn.media.sources import STDIN, Sources, find, opened, source_label
from charrnn.media.steps import Discrete, Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.media.product import Critic, Drawn, Sample
    from charrnn.media.report import Passage, Reader
    from charrnn.media.traits import Traits
    from charrnn.media.web import WebPage

    Steps = NDArray[Any]  # (N,) unsigned integers or (N, F) floats


ENDLESS = sys.maxsize  # the number of steps in a sample of infinite length


@dataclass(frozen=True)
class Prime:
    """What a sample continues: the network reads its steps, (P,) or (P, F), before sampling."""

    steps: Steps
    text: str = ""  # is printed before the sample
    notices: tuple[str, ...] = ()  # for the user, about the file it was read from
    least: int = 0  # how many steps follow at least before a document may end


class Piece(NamedTuple):
    """A piece of text: a character, or a word with the space before it."""

    text: str
    steps: int  # how many steps encode it; 0: the codec does not know it
    nats: float = 0.0  # added to those of its steps: the spelling of an unknown word


class Rules(ABC):
    """Which steps may follow those of one sequence so far, e.g. by the grammar of a notation."""

    @abstractmethod
    def add(self, step: int) -> None:
        """Append a step."""

    @abstractmethod
    def allowed(self) -> NDArray[np.bool_]:
        """Whether each step may come next, (V,)."""

    def favoured(self, logits: NDArray[Any]) -> NDArray[Any]:
        """The logits, (V,), with some of those that are allowed raised or lowered; those of other
        steps are minus infinity."""
        return logits

    @abstractmethod
    def copy(self) -> Rules:
        """An independent copy."""


class Codec(ABC):
    """Turns files into steps, and sampled steps into text or sound.

    Attributes:
        name: one of the `codecs` of its medium.
        unit: what one step is called: "character", "frame".
        step: the kind and size of a step.
        end: the step that ends a document; None: there are no documents.
        symbols: what each integer stands for, so that fine-tuning can match vocabularies; None:
            the steps have no vocabulary.
        arrays: tensors that a checkpoint stores in addition to `to_dict`.
        remark: a note for the user about the vocabulary; may be empty.
        has_pictures: whether `draw` can draw steps; only for codecs with `suffixes`.
        suffixes: extensions of the files that samples are saved in, the default first; empty:
            samples are text, which is written to a stream piece by piece.
        converted: of text, extensions of files that samples can be written in as something else.
        separator: for text, what is written between two samples.
        primes_are_text: whether `prime` takes the text itself, not the name of a file.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "step"
    step: Step
    end: int | None = None
    symbols: Sequence[str] | None = None
    arrays: Mapping[str, NDArray[Any]] = {}
    remark: str = ""
    has_pictures: ClassVar[bool] = False
    suffixes: ClassVar[tuple[str, ...]] = ()
    converted: Sequence[str] = ()
    separator: str = "\n---\n"
    primes_are_text: ClassVar[bool] = False

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold, for `Medium.from_dict`; must include "name"."""

    @abstractmethod
    def reader(self, sources: Sources, settings: Any) -> Reader:
        """Encodes files, to evaluate a model on them.

        Args:
            sources: the files.
            settings: the medium's settings as the model stores them; those declared `when_reading`
                can be overridden by options of `evaluate`.
        """

    def passages(
        self, sources: Sources, settings: Any, by: str, notices: list[str]
    ) -> Iterator[Passage]:
        """Encodes the parts of files, to evaluate a model on each; here, the files.

        Args:
            sources: the files.
            settings: as for `reader`.
            by: one of `report.BY`: what a part is.
            notices: gets what the user should know about the files.

        Raises:
            CorpusError: a file cannot be read, or is too short.
            UsageError: files of this medium have no such parts.
        """
        import numpy as np

        from charrnn.media.report import Passage

        if by != "file":
            raise UsageError(f"--by {by}: a file of {self.unit}s has no {by}s; use --by file")
        for name in sources.files:
            reader = self.reader(replace(sources, files=(name,)), settings)
            try:
                blocks = list(reader)
            except CorpusError as error:
                if name not in sources.found:
                    raise
                notices.append(f"left out {error}")
                continue
            if sum(map(len, blocks)) < 2:
                raise CorpusError(f"{source_label(name)}: fewer than 2 {self.unit}s")
            steps = np.concatenate(blocks)
            yield Passage(steps, 1, partial(reader.report, steps), source_label(name))

    @abstractmethod
    def sample(
        self,
        drawn: Iterator[Drawn],
        prime: Prime,
        length: float | None,
        settings: Any,
        options: Any,
    ) -> Sample:
        """A sample (text, sound) from sampled steps.

        Args:
            drawn: the steps; the iterator is endless, or ends with a document.
            prime: what they continue.
            length: as in `steps_in`.
            settings: an instance of the medium's `settings`.
            options: an instance of the medium's `options`.
        """

    def may_stop(self, length: float | None, options: Any) -> bool:
        """Whether a sample of this length can end before `steps_in(length)` (`end` aside)."""
        return False

    def rejects(self, sample: Sample, options: Any) -> str:
        """Why a sample is drawn again, if these options ask for that; empty: it is fine."""
        return ""

    def check(self, config: Any) -> None:  # noqa: B027 - there may be nothing to check
        """Raise if a config cannot belong to this codec.

        Args:
            config: `charrnn.config.Config`; `config.codec_settings` are the medium's.

        Raises:
            CheckpointError: config and codec contradict each other.
            SamplingError: the sampling settings leave nothing to sample.
        """

    def never(self, settings: Any) -> Steps:
        """The steps, (n,), that must not be sampled, for a `Discrete` codec.

        Raises:
            SamplingError: nothing would be left to sample.
        """
        import numpy as np

        return np.zeros(0, np.int64)

    def rules(self, settings: Any = None) -> Rules | None:
        """Rules for a new sequence that has read nothing, for a `Discrete` codec; None: there are
        none.

        Args:
            settings: the medium's settings; None: the defaults.
        """
        return None

    def start(self, random: np.random.Generator) -> Steps:
        """What the network reads first when there is no prime: (P,) or (P, F), P at least 1."""
        import numpy as np

        shape = (1,) if isinstance(self.step, Discrete) else (1, self.step.size)
        return np.zeros(shape, np.int64 if isinstance(self.step, Discrete) else np.float32)

    def encodes_like(self, other: Codec) -> bool:
        """Whether another codec without a vocabulary turns the same files into the same steps."""
        return self.to_dict() == other.to_dict()

    def conditions(self, read: Steps) -> Iterator[NDArray[Any]]:
        """The `step.conditions` last numbers, (k,), of each step that follows `read`, (P, F), for a
        codec of vectors; endless."""
        import numpy as np

        return repeat(np.zeros(0, np.float32))

    def kept_noise(self, noise: NDArray[Any]) -> NDArray[Any]:
        """The noise in a step of a sample, given that in the step that was drawn, (F,), for a codec
        of vectors; the network goes on from the latter."""
        return noise

    def prime(self, value: str = "", file: str | None = None, settings: Any = None) -> Prime:
        """Encode what a sample should continue.

        Args:
            value: for text, the prime itself; for other media, the name of a file.
            file: a file with the prime; "-" is standard input.
            settings: the medium's settings, which say how to read it.

        Raises:
            CorpusError: a file cannot be read.
            SamplingError: the prime does not belong to this medium.
        """
        import numpy as np

        frame = () if isinstance(self.step, Discrete) else (self.step.size,)
        name = file or value
        if not name:
            return Prime(np.zeros((0, *frame), np.float32 if frame else np.int64))
        from charrnn.media import medium_of

        sources = find((name,), (medium_of(self.name),), self.name)
        blocks = list(self.reader(sources, settings))
        if not sum(map(len, blocks)):
            raise SamplingError(f"{source_label(name)}: has no {self.unit}s to continue")
        return Prime(np.concatenate(blocks))

    def primes(self, file: str, settings: Any = None) -> Iterator[tuple[int, Prime]]:
        """Encode a prime for each line of a file, as soon as the line can be read.

        Args:
            file: its lines are each like `value` of `prime`; "-" is standard input.
            settings: as for `prime`.

        Returns:
            The number of the line, from 1, and the prime; empty lines are left out.

        Raises:
            SamplingError: as in `prime`; names the line.
        """
        is_none = True
        for number, line in enumerate(self._lines(file), 1):
            if line:
                try:
                    if line == STDIN and not self.primes_are_text:
                        raise SamplingError("- is standard input; name a file")
                    prime = self.prime(line, settings=settings)
                except CharrnnError as error:
                    raise SamplingError(f"{source_label(file)}, line {number:,}: {error}") from None
                is_none = False
                yield number, prime
        if is_none:
            raise SamplingError(f"{source_label(file)}: has no lines to continue")

    def _lines(self, file: str) -> Iterator[str]:
        """The lines of a file, without their ends; here, names of files."""
        with opened(file) as stream:
            for line in stream:
                yield os.fsdecode(line.rstrip(b"\r\n"))

    def warnings(self, prime: Prime, settings: Any, options: Any) -> list[str]:
        """Warnings about what this model cannot read in a prime, or can never write; and about
        settings without effect."""
        return list(prime.notices)

    def steps_in(self, length: float | None) -> int:
        """The maximum number of steps in a sample of this length.

        Args:
            length: the user's --length, in the unit of this medium; None: the default; infinity:
                ENDLESS steps.

        Raises:
            SamplingError: the length is not allowed.
        """
        return whole_steps(1000 if length is None else length, self.unit)

    def critic(self, corpus: Steps) -> Critic | None:
        """A critic that looks at samples at each evaluation of a training run; None: no critic.

        Args:
            corpus: the training part, (N,) or (N, F).
        """
        return None

    def draw(self, path: Path, panels: Sequence[tuple[str, Steps]]) -> None:
        """Draw sequences of steps, one named panel for each, in a PNG file; needs `has_pictures`.

        Raises:
            SamplingError: this medium has no pictures.
            OSError: the file cannot be written.
        """
        raise SamplingError(f"there are no pictures of {self.unit}s")

    def bits_per_character(self, nats_per_step: float) -> float | None:
        """Convert a loss per step into bits per character; None: the medium has no characters."""
        return None

    def loss_detail(self, nats_per_step: float) -> str:
        """Text to print after a validation loss; may be empty."""
        return ""

    def seconds(self, steps: int) -> float | None:
        """The duration of `steps` steps in seconds; None: they have no duration."""
        return None

    def describe(self) -> str:
        """What `inspect` prints about this codec, after its name."""
        kinds = {"discrete": "symbols", "continuous": "numbers per step"}
        return f"{self.step.size} {kinds[self.step.kind]}"

    def symbol_label(self, symbol: str) -> str:
        """A symbol in readable form."""
        return symbol

    def shown(self, steps: Steps) -> str:
        """Steps, (N,), in readable form; of vectors nothing."""
        if self.symbols is None:
            return ""
        return " · ".join(self.symbol_label(self.symbols[step]) for step in steps.tolist())

    def traits(self, steps: Steps) -> Traits:
        """What people can name about each of these steps, (N,) or (N, F), which `insight` looks for
        in the network."""
        from charrnn.media.traits import Traits

        return Traits()

    def web_page(self, settings: Any) -> WebPage:
        """What a page has of its own that generates with a model in a browser.

        Args:
            settings: the medium's settings as the model stores them.

        Raises:
            UsageError: there are no pages for models with this codec.
        """
        raise UsageError(f"there are no web pages that generate {self.unit}s")

    def inherited(self) -> dict[str, Any]:
        """Settings, by name, that a run fine-tuning a model with this codec takes over from it."""
        return {}

    def notices(self, documents: int | None) -> tuple[str, ...]:
        """Notices for the user before training, given the number of documents."""
        return ()

    def encode_text(self, text: str) -> tuple[Steps, list[Piece]]:
        """Encode a text: its steps, which follow those of `start`, and the pieces it consists of.

        Raises:
            SamplingError: this is not a codec for text.
        """
        raise SamplingError(f"this model's steps are {self.unit}s, not text")


def whole_steps(length: float, unit: str) -> int:
    """Convert a length to a whole number of steps; infinity is ENDLESS.

    Raises:
        UsageError: it is not a whole number, or negative.
    """
    if length == math.inf:
        return ENDLESS
    if not math.isfinite(length) or length != int(length) or length < 0:
        raise UsageError(f"--length {length:g}: must be a whole number of {unit}s")
    return int(length)


def refuse(found: object, wanted: object, name: str, codec: Codec) -> None:
    """Raise if a setting in a checkpoint is not the one that its codec requires.

    Raises:
        CheckpointError: names the setting.
    """
    if found != wanted:
        raise CheckpointError(f"config.{name} contradicts its {codec.name} codec: {found!r}")


def first_of(parts: Sequence[str], most: int, joint: str = ", ") -> str:
    """The first parts of a list, for a message, and how many more there are."""
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return joint.join(parts[:most]) + more
