"""How far a run has come, how far it is to go, and the meter of its speed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from torch import Tensor

from charrnn.config import TrainingConfig

MOST_THREADS = 1024
MOST_STEPS = 10**12
LARGEST = 1e15  # of what is counted
MAY_BE_INFINITE = ("best_nats_per_step", "best_score")  # before the first evaluation
READINGS = ("elapsed_s", "anchor_elapsed_s")  # of the clock


@dataclasses.dataclass
class Progress:
    """All that changes while training and is a plain number; stored in `last.safetensors`.

    The share of the budget that is used up is a function of the step: it rises in a straight
    line from (anchor_step, anchor_fraction) to (planned_steps, 1).  Where the clock has a say in
    how many steps there will be, that is decided at an evaluation and stored before the next
    step, so that resuming repeats the same steps.
    """

    planned_steps: int
    threads: int  # in use; the clock may have it changed, like the planned steps
    corpus_crc32: int
    expected_s: float = 0.0  # of an optimizer step, when the threads were chosen
    step: int = 0  # optimizer steps taken
    epoch: int = 0  # whole passes over the corpus
    segment: int = 0  # place in the present pass
    steps_seen: int = 0  # steps of the sequence
    elapsed_s: float = 0.0
    anchor_step: int = 0
    anchor_fraction: float = 0.0
    anchor_elapsed_s: float = 0.0
    best_nats_per_step: float = math.inf  # of the best model, which of text is the lowest
    best_score: float = math.inf
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    plateaus: int = 0  # times that the rate was lowered because the loss had stopped falling
    waited: int = 0  # evaluations since the best one, or since the rate was lowered

    @property
    def fraction(self) -> float:
        """Share of the budget that is used up, 0 to 1."""
        rest = self.planned_steps - self.anchor_step
        done = (self.step - self.anchor_step) / rest if rest > 0 else 1.0
        return min(1.0, self.anchor_fraction + (1 - self.anchor_fraction) * done)

    def evaluated(self, nats_per_step: float, score: float, lr_patience: int) -> bool:
        """Count an evaluation; whether its score, the lower the better, is the best so far."""
        improved = score < self.best_score
        self.stale = 0 if improved else self.stale + 1
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= lr_patience:
            self.plateaus, self.waited = self.plateaus + 1, 0
        if improved:
            self.best_nats_per_step, self.best_score = nats_per_step, score
            self.best_step = self.step
        return improved

    def left_s(self, training: TrainingConfig) -> float:
        """Seconds that are expected to be left."""
        left = self.elapsed_s * (1 / max(self.fraction, 1e-6) - 1)
        return (
            left if training.minutes is None else min(left, 60 * training.minutes - self.elapsed_s)
        )

    def over(self, training: TrainingConfig) -> str | None:
        """Why training ends here, or None: "budget" or "patience"."""
        seconds = math.inf if training.minutes is None else 60 * training.minutes
        if self.step >= self.planned_steps or self.elapsed_s >= seconds:
            return "budget"
        return "patience" if 0 < training.patience <= self.stale else None

    def decide(self, training: TrainingConfig, segments: int) -> None:
        """Where minutes are (part of) the budget, say anew how many steps they allow.

        What is used up stays as it is; the speed is that since the decision before.
        """
        if training.minutes is None:
            return
        taken, spent = self.step - self.anchor_step, self.elapsed_s - self.anchor_elapsed_s
        planned = planned_steps(
            training, segments, taken / max(spent, 1e-9), self.step, self.elapsed_s
        )
        fraction = self.fraction
        self.anchor_step, self.anchor_elapsed_s = self.step, self.elapsed_s
        self.anchor_fraction, self.planned_steps = fraction, planned

    def refit(self, training: TrainingConfig, segments: int) -> bool:
        """Fit plan and schedule to a changed budget; False if nothing of it is left."""
        rate = self.step / max(self.elapsed_s, 1e-9)
        self.planned_steps = planned_steps(training, segments, rate, self.step, self.elapsed_s)
        self.anchor_step, self.anchor_fraction, self.anchor_elapsed_s = 0, 0.0, 0.0
        self.stale = 0
        return self.over(training) is None

    def to_dict(self, *, clock: bool = True) -> dict[str, Any]:
        """Plain values, fit for JSON: no infinity.

        `clock`: with what it reads.  Where the budget does not depend on it, it is left out, so
        that the same seed gives the same file.
        """
        values = dataclasses.asdict(self)
        if not clock:
            values |= dict.fromkeys(READINGS, 0.0)
        return values | {name: finite(getattr(self, name)) for name in MAY_BE_INFINITE}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """The inverse of `to_dict`.

        Raises:
            TypeError: a value is missing, too many, or of the wrong type.
            ValueError: a value is negative or not finite.
        """
        if "best_score" not in values:  # as it was before sound
            values = values | {"best_score": values.get("best_nats_per_step")}
        infinite = {name for name in MAY_BE_INFINITE if values.get(name) is None}
        progress = cls(**values | dict.fromkeys(infinite, math.inf))
        for field in dataclasses.fields(cls):
            value = getattr(progress, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole or (field.type == "float" and isinstance(value, float))):
                raise TypeError(f"{field.name} is {value!r}")
            if abs(value) >= LARGEST and not (value == math.inf and field.name in MAY_BE_INFINITE):
                raise ValueError(f"{field.name} is {value!r:.40}")
            fits = math.isfinite(value) or (value > 0 and field.name in MAY_BE_INFINITE)
            if not (fits and (value >= 0 or field.name == "best_nats_per_step")):
                raise ValueError(f"{field.name} is {value!r}")
        if not 1 <= progress.threads <= MOST_THREADS:
            raise ValueError(f"threads is {progress.threads}")
        return progress


def planned_steps(
    training: TrainingConfig,
    segments: int,
    steps_per_s: float,
    step: int = 0,
    elapsed_s: float = 0.0,
) -> int:
    """How many optimizer steps the budget allows in all; whichever limit comes first.

    Args:
        training: with at least one of `epochs`, `steps`, `minutes`.
        segments: optimizer steps in an epoch.
        steps_per_s: optimizer steps a second, for a budget of minutes.
        step: those taken already.
        elapsed_s: seconds used already.
    """
    limits = []
    if training.steps is not None:
        limits.append(training.steps)
    if training.epochs is not None:
        limits.append(math.ceil(training.epochs * segments))
    if training.minutes is not None:
        left = max(0.0, 60 * training.minutes - elapsed_s)
        limits.append(step + max(1, int(left * steps_per_s)))
    return min(MOST_STEPS, *limits)


def finite(value: float) -> float | None:
    """The value, or None where JSON could not say it."""
    return value if math.isfinite(value) else None


class Meter:
    """Means since the last reading; holds tensors, so that the device is waited for seldom."""

    def __init__(self, elapsed_s: float) -> None:
        self.restart(elapsed_s)

    def restart(self, elapsed_s: float) -> None:
        """Begin anew after an evaluation, which is no part of the speed."""
        self._nats: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._seen, self._since = 0, elapsed_s
        self._total, self._total_count = 0.0, 0

    def add(self, nats: Tensor, norm: Tensor, seen: int) -> None:
        """Count one optimizer step over `seen` steps of the sequence."""
        self._nats.append(nats)
        self._norms.append(norm)
        self._seen += seen

    @property
    def unread(self) -> list[tuple[float, float]]:
        """Nats per step and gradient norm of the steps since the last reading."""
        return [(float(a), float(b)) for a, b in zip(self._nats, self._norms, strict=True)]

    def read(self, elapsed_s: float) -> tuple[float, float, float]:
        """Mean nats per step, mean gradient norm and sequence steps per second since last read."""
        nats = [float(value) for value in self._nats]
        norms = [float(value) for value in self._norms]
        speed = self._seen / max(elapsed_s - self._since, 1e-9)
        self._total, self._total_count = self._total + sum(nats), self._total_count + len(nats)
        self._nats, self._norms, self._seen, self._since = [], [], 0, elapsed_s
        return sum(nats) / len(nats), sum(norms) / len(norms), speed

    @property
    def mean_nats(self) -> float:
        """Mean nats per step of all that was read since `restart`."""
        return self._total / max(1, self._total_count)
