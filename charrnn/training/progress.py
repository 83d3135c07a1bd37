"""The progress of a run, its remaining budget, and mean losses and speed since the last log."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from charrnn.settings import TrainingConfig
from charrnn.training.group import Group

MAX_THREADS = 1024
MAX_UPDATES = 10**12
MAX_COUNT = 1e15
MAY_BE_INFINITE = ("best_nats_per_step", "best_score")  # before the first evaluation
READINGS = ("elapsed_s", "anchor_elapsed_s")  # fields that depend on the clock
# Fields that have an older name in files and in the output of `--json`.
STORED_AS = {
    "update": "step",
    "planned_updates": "planned_steps",
    "anchor_update": "anchor_step",
    "best_update": "best_step",
}


@dataclasses.dataclass
class Progress:
    """The numbers that change during training; stored in `last.safetensors`.

    The used fraction of the budget depends only on the update: it rises linearly from
    (anchor_update, anchor_fraction) to (planned_updates, 1).  With a budget in minutes, the number
    of planned updates depends on the speed; it is set at an evaluation and stored before the next
    update, so that resuming repeats the same updates.
    """

    planned_updates: int
    threads: int  # in use; may change with the measured speed, like the planned updates
    corpus_crc32: int
    expected_s: float = 0.0  # seconds per update, when the threads were chosen
    update: int = 0  # optimizer updates so far
    epoch: int = 0  # complete passes over the corpus
    segment: int = 0  # position in the current pass
    steps_seen: int = 0  # steps of the sequence
    elapsed_s: float = 0.0
    anchor_update: int = 0
    anchor_fraction: float = 0.0
    anchor_elapsed_s: float = 0.0
    best_nats_per_step: float = math.inf  # of the best model
    best_score: float = math.inf  # that loss, or the critic's distance; the lowest is the best
    best_update: int = 0
    stale: int = 0  # evaluations since the best one
    plateaus: int = 0  # how often the score stopped improving and the learning rate was lowered
    waited: int = 0  # evaluations since the best one, or since the learning rate was lowered

    @property
    def fraction(self) -> float:
        """Used fraction of the budget, 0 to 1."""
        rest = self.planned_updates - self.anchor_update
        done = (self.update - self.anchor_update) / rest if rest > 0 else 1.0
        return min(1.0, self.anchor_fraction + (1 - self.anchor_fraction) * done)

    def evaluated(self, nats_per_step: float, score: float, lr_patience: int) -> bool:
        """Count an evaluation; return whether its score, lower is better, is the best so far."""
        improved = score < self.best_score
        self.stale = 0 if improved else self.stale + 1
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= lr_patience:
            self.plateaus, self.waited = self.plateaus + 1, 0
        if improved:
            self.best_nats_per_step, self.best_score = nats_per_step, score
            self.best_update = self.update
        return improved

    def left_s(self, training: TrainingConfig) -> float:
        """Expected remaining time in seconds."""
        left = self.elapsed_s * (1 / max(self.fraction, 1e-6) - 1)
        return (
            left if training.minutes is None else min(left, 60 * training.minutes - self.elapsed_s)
        )

    def over(self, training: TrainingConfig) -> str | None:
        """Why training should end now: "budget" or "patience"; None: it should continue."""
        seconds = math.inf if training.minutes is None else 60 * training.minutes
        if self.update >= self.planned_updates or self.elapsed_s >= seconds:
            return "budget"
        return "patience" if 0 < training.patience <= self.stale else None

    def decide(self, training: TrainingConfig, segments: int) -> None:
        """If the budget is in minutes, recompute how many updates they allow.

        The used fraction does not change; the speed is the one measured since the last call.
        """
        if training.minutes is None:
            return
        taken, spent = self.update - self.anchor_update, self.elapsed_s - self.anchor_elapsed_s
        planned = planned_updates(
            training, segments, taken / max(spent, 1e-9), self.update, self.elapsed_s
        )
        fraction = self.fraction
        self.anchor_update, self.anchor_elapsed_s = self.update, self.elapsed_s
        self.anchor_fraction, self.planned_updates = fraction, planned

    def refit(self, training: TrainingConfig, segments: int) -> bool:
        """Adapt plan and schedule to a new budget; return whether any of it is left."""
        rate = self.update / max(self.elapsed_s, 1e-9)
        self.planned_updates = planned_updates(
            training, segments, rate, self.update, self.elapsed_s
        )
        self.anchor_update, self.anchor_fraction, self.anchor_elapsed_s = 0, 0.0, 0.0
        self.stale = 0
        return self.over(training) is None

    def to_dict(self, *, clock: bool = True) -> dict[str, Any]:
        """Values that JSON can hold, so without infinity.

        Args:
            clock: whether to include times.  If the budget does not depend on time, they are 0, so
                that the same seed gives the same file.
        """
        values = dataclasses.asdict(self)
        if not clock:
            values |= dict.fromkeys(READINGS, 0.0)
        values |= {name: finite(getattr(self, name)) for name in MAY_BE_INFINITE}
        return {STORED_AS.get(name, name): value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """The inverse of `to_dict`.

        Raises:
            TypeError: a value is missing, unknown or of the wrong type.
            ValueError: a value is negative or not finite.
        """
        if "best_score" not in values:  # models of the first version
            values = values | {"best_score": values.get("best_nats_per_step")}
        infinite = {name for name in MAY_BE_INFINITE if values.get(name) is None}
        values = values | dict.fromkeys(infinite, math.inf)
        stored = {
            field.name: STORED_AS.get(field.name, field.name) for field in dataclasses.fields(cls)
        }
        if extra := values.keys() - stored.values():
            raise TypeError(f"unknown {', '.join(sorted(extra))[:80]}")
        progress = cls(**{name: values[old] for name, old in stored.items() if old in values})
        for field in dataclasses.fields(cls):
            value = getattr(progress, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole or (field.type == "float" and isinstance(value, float))):
                raise TypeError(f"{field.name} is {value!r}")
            if abs(value) >= MAX_COUNT and not (
                value == math.inf and field.name in MAY_BE_INFINITE
            ):
                raise ValueError(f"{field.name} is {value!r:.40}")
            fits = math.isfinite(value) or (value > 0 and field.name in MAY_BE_INFINITE)
            if not (fits and (value >= 0 or field.name == "best_nats_per_step")):
                raise ValueError(f"{field.name} is {value!r}")
        if not 1 <= progress.threads <= MAX_THREADS:
            raise ValueError(f"threads is {progress.threads}")
        return progress


def planned_updates(
    training: TrainingConfig,
    segments: int,
    updates_per_s: float,
    update: int = 0,
    elapsed_s: float = 0.0,
) -> int:
    """The total number of updates in the budget; the smallest limit counts.

    Args:
        training: has at least one of `epochs`, `steps`, `minutes`.
        segments: updates in an epoch.
        updates_per_s: speed, for a budget in minutes.
        update: updates so far.
        elapsed_s: seconds so far.
    """
    limits = []
    if training.steps is not None:
        limits.append(training.steps)
    if training.epochs is not None:
        limits.append(math.ceil(training.epochs * segments))
    if training.minutes is not None:
        left = max(0.0, 60 * training.minutes - elapsed_s)
        limits.append(update + max(1, int(left * updates_per_s)))
    return min(MAX_UPDATES, *limits)


def finite(value: float) -> float | None:
    """The value, or None if it is not finite, which JSON has no number for."""
    return value if math.isfinite(value) else None


class Meter:
    """Means since the last reading; keeps tensors, so that the program rarely waits for the GPU."""

    def __init__(self, elapsed_s: float) -> None:
        self.restart(elapsed_s)

    def restart(self, elapsed_s: float) -> None:
        """Start again after an evaluation, whose time must not count."""
        self._nats: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._seen, self._since = 0, elapsed_s
        self._total, self._total_count = 0.0, 0

    def add(self, nats: Tensor, norm: Tensor, seen: int) -> None:
        """Add one update, which has read `seen` steps of the corpus."""
        self._nats.append(nats)
        self._norms.append(norm)
        self._seen += seen

    def share(self, group: Group) -> None:
        """Replace the losses since the last reading by their means over the processes that train;
        all of them must call it at the same update."""
        if self._nats and not group.is_alone:
            self._nats = list(group.mean(torch.stack(self._nats)))

    @property
    def unread(self) -> list[tuple[float, float]]:
        """Nats per step and gradient norm of the updates since the last reading."""
        return [(float(a), float(b)) for a, b in zip(self._nats, self._norms, strict=True)]

    def read(self, elapsed_s: float) -> tuple[float, float, float]:
        """Mean nats per step, mean gradient norm, and steps per second since the last reading."""
        nats = [float(value) for value in self._nats]
        norms = [float(value) for value in self._norms]
        speed = self._seen / max(elapsed_s - self._since, 1e-9)
        self._total, self._total_count = self._total + sum(nats), self._total_count + len(nats)
        self._nats, self._norms, self._seen, self._since = [], [], 0, elapsed_s
        return sum(nats) / len(nats), sum(norms) / len(norms), speed

    @property
    def mean_nats(self) -> float:
        """Mean nats per step since `restart`, up to the last reading."""
        return self._total / max(1, self._total_count)
