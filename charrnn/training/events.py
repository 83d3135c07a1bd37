"""The events that a training run yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from charrnn.training.progress import STORED_AS


@dataclass(frozen=True)
class Event:
    """The base of all events: the optimizer update at which it happened."""

    update: int

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold; `update` has the key "step"."""
        values = {
            STORED_AS.get(k, k): str(v) if isinstance(v, Path) else v
            for k, v in asdict(self).items()
        }
        return {"event": type(self).__name__.lower(), **values}


@dataclass(frozen=True)
class Stepped(Event):
    """Some updates are done; losses and speed are means since the previous such event."""

    epoch: float
    steps_seen: int
    train_nats_per_step: float
    lr: float
    grad_norm: float
    elapsed_s: float
    steps_per_s: float
    fraction: float  # used fraction of the budget, 0 to 1
    left_s: float
    planned_updates: int


@dataclass(frozen=True)
class Evaluated(Event):
    """An evaluation on the validation part; if the medium has a critic, it also judged samples.

    The best model is the one with the lowest score: the validation loss, or for sound the distance
    of free runs from the recording.
    """

    epoch: float
    steps_seen: int
    train_nats_per_step: float  # mean since the previous evaluation
    val_nats_per_step: float
    best_nats_per_step: float  # of the best model
    improved: bool
    elapsed_s: float
    score: float
    best_score: float
    score_name: str
    val_bits_per_character: float | None = None  # uses the corpus's mean characters per step
    figures: Mapping[str, float] | None = None  # measurements that the score is computed from
    detail: str = ""  # the same in readable form


@dataclass(frozen=True)
class Sampled(Event):
    """A preview of the model's output: text, or a file in the run directory."""

    text: str | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Saved(Event):
    """The run can be resumed from here."""

    path: Path


@dataclass(frozen=True)
class Stopped(Event):
    """Training has ended, and the run is saved."""

    reason: str  # "budget", "patience" or "interrupted"
    epoch: float
    steps_seen: int
    best_nats_per_step: float | None
    best_update: int | None
    best_score: float | None
    score_name: str
    elapsed_s: float
    path: Path
