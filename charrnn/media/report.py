"""The result of an evaluation, and the reader that encodes the files and produces it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charrnn.media.steps import Discrete

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charrnn.media.codec import Codec

    Steps = NDArray[Any]  # (N,) unsigned integers or (N, F) floats


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
        report, unit = Report(), self.codec.unit
        if nats_per_step is not None:
            report.add("nats_per_step", nats_per_step, f"nats per {unit}", f"{nats_per_step:.4f}")
        if nats_per_step is not None and isinstance(self.codec.step, Discrete):
            bits, choices = nats_per_step / math.log(2), math.exp(min(nats_per_step, 700.0))
            report.add("bits_per_step", bits, f"bits per {unit}", f"{bits:.4f}")
            report.add("perplexity", choices, "perplexity", f"{choices:.3f}")
        report.add("steps", predicted, f"{unit}s", f"{predicted:,}")
        return report


@dataclass
class Report:
    """The result of an evaluation: `values` for programs, `rows` of a table for people."""

    values: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        rows = ", ".join(f"{label} {text}" for label, text in self.rows)
        return f"<Report {rows}>"

    def add(self, key: str, value: Any, label: str, text: str) -> None:
        """Add one value and its row in the table."""
        self.values[key] = value
        self.rows.append((label, text))
