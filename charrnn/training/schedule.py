"""Learning-rate schedules: pure functions of the progress of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from charrnn.settings import TrainingConfig

MIN_RATE = 0.02  # the end of the cosine, as a fraction of the peak


@dataclass(frozen=True)
class Place:
    """How far training has got."""

    epoch: int  # complete passes over the corpus
    fraction: float  # used fraction of the budget, 0 to 1
    plateaus: int = 0  # how often the score stopped improving


def cosine(place: Place, config: TrainingConfig) -> float:
    """Half a cosine over the whole budget (Loshchilov and Hutter 2017), from 1 to 0.02."""
    return MIN_RATE + (1 - MIN_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, place.fraction)))


def linear(place: Place, config: TrainingConfig) -> float:
    """A straight line over the whole budget, from 1 to 0."""
    return 1 - min(1.0, place.fraction)


def constant(place: Place, config: TrainingConfig) -> float:
    """Always 1."""
    return 1.0


def exponential(place: Place, config: TrainingConfig) -> float:
    """1 for `lr_decay_after` epochs; then multiplied by `lr_decay`, once at that point and again
    every `lr_decay_every` epochs, as in char-rnn and torch-rnn."""
    after = place.epoch - config.lr_decay_after
    return float(config.lr_decay ** (0 if after < 0 else 1 + after // config.lr_decay_every))


def plateau(place: Place, config: TrainingConfig) -> float:
    """Multiplied by `lr_decay` each time the score has not improved for `lr_patience`
    evaluations."""
    return float(config.lr_decay**place.plateaus)


SCHEDULES: dict[str, Callable[[Place, TrainingConfig], float]] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "exponential": exponential,
    "plateau": plateau,
}


def learning_rate(place: Place, config: TrainingConfig) -> float:
    """The learning rate: `lr` times the schedule's factor, rising linearly during the warm-up."""
    rate = config.lr * SCHEDULES[config.schedule](place, config)
    if place.fraction < config.warmup:
        rate *= max(place.fraction / config.warmup, 1e-3)
    return rate
