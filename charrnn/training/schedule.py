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
    plateaus: int = 0  # times that the loss had stopped getting better


def cosine(place: Place, config: TrainingConfig) -> float:
    """Half a cosine over the whole budget (Loshchilov and Hutter 2017), from 1 to 0.02."""
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, place.fraction)))


def linear(place: Place, config: TrainingConfig) -> float:
    """A straight line over the whole budget, from 1 to 0."""
    return 1 - min(1.0, place.fraction)


def constant(place: Place, config: TrainingConfig) -> float:
    """Always 1."""
    return 1.0


def exponential(place: Place, config: TrainingConfig) -> float:
    """1 for `lr_decay_after` epochs, then times `lr_decay` at once and at the end of every
    `lr_decay_every` more: char-rnn's, and torch-rnn's steps."""
    after = place.epoch - config.lr_decay_after
    return float(config.lr_decay ** (0 if after < 0 else 1 + after // config.lr_decay_every))


def plateau(place: Place, config: TrainingConfig) -> float:
    """Times `lr_decay` whenever the validation loss was no better for `lr_patience` evaluations."""
    return float(config.lr_decay**place.plateaus)


SCHEDULES: dict[str, Callable[[Place, TrainingConfig], float]] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "exponential": exponential,
    "plateau": plateau,
}


def learning_rate(place: Place, config: TrainingConfig) -> float:
    """The rate at a place: the schedule's share of `lr`, rising linearly during the warm-up."""
    rate = config.lr * SCHEDULES[config.schedule](place, config)
    if place.fraction < config.warmup:
        rate *= max(place.fraction / config.warmup, 1e-3)
    return rate
