"""The result of an evaluation, and what encodes the files and produces it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charrnn.media.steps import Discrete

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charrnn.media.codec import Codec
    from charrnn.media.product import Drawn

    Steps = NDArray[Any]  # (N,) unsigned integers or (N, F) floats

BY = ("line", "file", "document")  # the kinds of `Passage`


class Reader(ABC):
    """Encodes files with an existing codec: iterate for blocks of steps, then call `report`."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    @abstractmethod
    def __iter__(self) -> Iterator[Steps]: ...

    def report(self, steps: Steps, predicted: int, nats_per_step: float | None) -> Report:
        """The loss in units that suit this medium; call this after everything has been read.

        Args:
            steps: all steps, (N,) or (N, F).
            predicted: how many of them the model predicted.
            nats_per_step: mean loss; None: the model gives no probabilities.
        """
        return losses(self.codec, predicted, nats_per_step)

    def listen(self, drawn: Iterator[Drawn], report: Report, settings: Any) -> None:  # noqa: B027
        """Compare a sample with what was read, and add the result to a report.

        Args:
            drawn: an endless sample.
            report: of the files.
            settings: the medium's.
        """


@dataclass
class Report:
    """The result of an evaluation: `values` for programs, `rows` of a table for people, and the
    `title` of a passage."""

    values: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    title: str = ""

    def __repr__(self) -> str:
        rows = ", ".join(f"{label} {text}" for label, text in self.rows)
        return f"<Report {rows}>"

    def add(self, key: str, value: Any, label: str, text: str) -> None:
        """Add one value and its row in the table."""
        self.values[key] = value
        self.rows.append((label, text))


def losses(codec: Codec, predicted: int, nats_per_step: float | None) -> Report:
    """The loss per step in several units; arguments as for `Reader.report`."""
    report, unit = Report(), codec.unit
    if nats_per_step is not None:
        report.add("nats_per_step", nats_per_step, f"nats per {unit}", f"{nats_per_step:.4f}")
    if nats_per_step is not None and isinstance(codec.step, Discrete):
        bits, choices = nats_per_step / math.log(2), math.exp(min(nats_per_step, 700.0))
        report.add("bits_per_step", bits, f"bits per {unit}", f"{bits:.4f}")
        report.add("perplexity", choices, "perplexity", f"{choices:.3f}")
    report.add("steps", predicted, f"{unit}s", f"{predicted:,}")
    return report


@dataclass(frozen=True)
class Passage:
    """A part of some files that is evaluated by itself.

    Attributes:
        steps: what precedes it, and its own steps, (N,) or (N, F).
        read: how many of these precede it: they are read, not predicted; at least 1.
        report: from the number of predicted steps and their mean nats to a report, as in
            `Reader.report`.
        file: where it is from.
        number: of this line or document of the file, from 1; None: it is the whole file.
        text: what it says; None: it is not text, or a whole file.
        ended: whether the last step is the end of a document.
    """

    steps: Steps
    read: int
    report: Callable[[int, float | None], Report]
    file: str = ""
    number: int | None = None
    text: str | None = None
    ended: bool = False

    @property
    def where(self) -> dict[str, Any]:
        """Where it is from and what it says, for `Report.values`."""
        return {"file": self.file, "number": self.number, "text": self.text}

    @property
    def title(self) -> str:
        """The name of the file, or the number in it and what the passage says."""
        return self.file if self.number is None else f"{self.number}: {self.text or ''}"
