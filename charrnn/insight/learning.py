"""How a run went: the curves and samples in its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_POINTS = 400  # of a curve
LARGEST = 1e100  # no figure of a run is larger
# Key in `metrics.jsonl`, name of the curve, chart, unit, and whether its axis is logarithmic.
CURVES = (
    ("train_nats_per_step", "training", "loss", "nats", False),
    ("val_nats_per_step", "validation", "loss", "nats", False),
    ("lr", "learning rate", "learning rate", "", True),
    ("grad_norm", "gradient norm", "gradient norm", "", True),
    ("steps_per_s", "speed", "speed", "steps/s", False),
)


@dataclass(frozen=True)
class Curve:
    """One figure against the number of updates.

    Attributes:
        key: in `metrics.jsonl`.
        name: for people.
        chart: the name of the chart that it is drawn in; some curves share one.
        unit: of the figure; may be empty.
        is_log: whether it is best drawn on a logarithmic axis.
        updates: (P,).
        values: (P,).
    """

    key: str
    name: str
    chart: str
    unit: str
    is_log: bool
    updates: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Preview:
    """A sample made during training.

    Attributes:
        update: when.
        text: what the model wrote.
    """

    update: int
    text: str


@dataclass(frozen=True)
class Learning:
    """How a run went.

    Attributes:
        curves: those that its metrics have.
        samples: of each evaluation.
        seconds: that it took.
    """

    curves: Sequence[Curve]
    samples: Sequence[Preview]
    seconds: float

    def curve(self, key: str) -> Curve | None:
        """The curve of this key; None: there is none."""
        return next((curve for curve in self.curves if curve.key == key), None)


def learning(lines: Sequence[Mapping[str, Any]]) -> Learning:
    """The curves of a run, from the lines of its `metrics.jsonl`; what is no number is left out."""
    curves = []
    for key, name, chart, unit, is_log in CURVES:
        points = [
            (line["step"], line[key])
            for line in lines
            if _is_number(line["step"]) and _is_number(line.get(key))
        ]
        every = -(-len(points) // MOST_POINTS) or 1
        points = points[::-1][::every][::-1]  # with the last one
        if len(points) > 1:
            updates, values = zip(*points, strict=True)
            curves.append(Curve(key, name, chart, unit, is_log, updates, values))
    samples = [
        Preview(line["step"], line["sample"].encode(errors="replace").decode())
        for line in lines
        if _is_number(line["step"]) and isinstance(line.get("sample"), str)
    ]
    seconds = [line["elapsed_s"] for line in lines if _is_number(line.get("elapsed_s"))]
    return Learning(curves, samples, float(seconds[-1]) if seconds else 0.0)


def _is_number(value: Any) -> bool:
    """Whether a value can be drawn: metrics may have been written by anybody."""
    return type(value) in (int, float) and -LARGEST < value < LARGEST
