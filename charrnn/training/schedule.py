"""Learning-rate schedules: pure functions of stored progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from charrnn.config import TrainingConfig

FLOOR = 0.02  # where the cosine ends, as a share of the highest rate


@dataclass(frozen=True)
class Place:
    """Where training stands."""

    epoch: int  # whole passes over the corpus that are done
    fraction: float  # of the budget that is used up, 0 to 1


def cosine(place: Place, config: TrainingConfig) -> float:
    """Half a cosine over the whole budget (Loshchilov and Hutter 2017), from 1 to 0.02."""
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, place.fraction)))


def constant(place: Place, config: TrainingConfig) -> float:
    """Always 1."""
    return 1.0


def exponential(place: Place, config: TrainingConfig) -> float:
    """1 for `lr_decay_after` epochs, then times `lr_decay` at the end of each: char-rnn's."""
    return float(config.lr_decay ** max(0, place.epoch - config.lr_decay_after + 1))


SCHEDULES: dict[str, Callable[[Place, TrainingConfig], float]] = {
    "cosine": cosine,
    "constant": constant,
    "exponential": exponential,
}


def learning_rate(place: Place, config: TrainingConfig) -> float:
    """The rate at a place: the schedule's share of `lr`, rising linearly during the warm-up."""
    rate = config.lr * SCHEDULES[config.schedule](place, config)
    if place.fraction < config.warmup:
        rate *= max(place.fraction / config.warmup, 1e-3)
    return rate
