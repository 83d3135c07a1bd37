"""What a training run tells whoever listens, in the order in which it happens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """The optimizer step at which it happened."""

    step: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON, with the event's name first."""
        values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return {"event": type(self).__name__.lower(), **values}


@dataclass(frozen=True)
class Stepped(Event):
    """Some optimizer steps were taken; losses and speed are means since the event before."""

    epoch: float
    steps_seen: int
    train_nats_per_step: float
    lr: float
    grad_norm: float
    elapsed_s: float
    steps_per_s: float
    fraction: float  # of the budget that is used up
    left_s: float
    planned_steps: int


@dataclass(frozen=True)
class Evaluated(Event):
    """The held-out part was read."""

    epoch: float
    steps_seen: int
    train_nats_per_step: float  # since the evaluation before
    val_nats_per_step: float
    best_nats_per_step: float
    improved: bool
    elapsed_s: float
    val_bits_per_character: float | None  # by the corpus's mean of characters in a step
    figures: dict[str, float] | None = None  # of sound: a free run against the recording


@dataclass(frozen=True)
class Sampled(Event):
    """A few steps drawn from the model as it stands."""

    text: str  # of sound: where it can be heard


@dataclass(frozen=True)
class Saved(Event):
    """The run can be resumed from here."""

    path: Path


@dataclass(frozen=True)
class Stopped(Event):
    """Training has ended and is saved."""

    reason: str  # "budget", "patience" or "interrupted"
    epoch: float
    steps_seen: int
    best_nats_per_step: float | None
    best_step: int | None
    elapsed_s: float
    path: Path
