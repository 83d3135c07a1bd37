"""What to do where the user has not said: sizes and budget from the corpus and the device.

The figures behind the choices are in configs/README.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from charrnn.codec import Codec
from charrnn.config import Config, Given, merge
from charrnn.errors import CorpusError
from charrnn.model.network import Network
from charrnn.training.probe import Speed
from charrnn.training.progress import planned_steps

MINUTES = 10.0  # at most, where no budget is given
EVALUATIONS = 20  # in a run, at least
EVALUATE_EVERY_S = 120.0  # at the most
EVALUATION_SHARE = 0.04  # of the time, at most
VALIDATION_STEPS = 200_000  # enough to tell models apart to 0.01
LEAST_STEPS = 16  # a corpus shorter than this is a mistake
BASE_BYTES = 320 << 20  # Python, PyTorch and its buffers, before the first tensor of ours


@dataclass(frozen=True)
class Plan:
    """What a run is going to do and what it is expected to cost."""

    config: Config
    planned_steps: int
    parameters: int
    corpus_steps: int
    vocabulary: int
    threads: int
    seconds: float
    memory_bytes: int
    steps_per_s: float  # of the sequence
    notices: tuple[str, ...]

    @property
    def seconds_per_step(self) -> float:
        """Expected of one optimizer step."""
        return self.config.data.batch_size * self.config.data.seq_length / self.steps_per_s

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"event": "planned"} | values | {"config": self.config.to_dict()}


@dataclass(frozen=True)
class Size:
    """A network and the batches that suit it."""

    hidden: int
    dropout: float
    batch_size: int
    seq_length: int
    lr: float
    layers: int = 2
    embedding: int = 64


# By the length of the corpus, sizes from small to large; the first is the default, and a larger
# one is taken where the minutes allow it all the passes that help.
CPU_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    (30_000, (Size(128, 0.3, 8, 64, 5e-3),)),
    (400_000, (Size(256, 0.4, 16, 64, 1.2e-2), Size(384, 0.5, 16, 64, 1.2e-2))),
    (4_000_000, (Size(256, 0.2, 32, 64, 4e-3), Size(512, 0.4, 32, 96, 3e-3))),
    (math.inf, (Size(256, 0.1, 32, 64, 4e-3), Size(512, 0.2, 32, 96, 3e-3))),
)
GPU_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    *CPU_SIZES[:2],
    (4_000_000, (Size(512, 0.4, 32, 96, 3e-3),)),
    (math.inf, (Size(1024, 0.2, 64, 128, 2e-3),)),
)


def sizes(corpus_steps: int, on_gpu: bool) -> tuple[Size, ...]:
    """The sizes that suit a corpus of this length, from small to large."""
    table = GPU_SIZES if on_gpu else CPU_SIZES
    return next(row for limit, row in table if corpus_steps < limit)


def useful_epochs(corpus_steps: int) -> float:
    """Passes after which more of the same hurts: 20 over 100 KB, 14 over 1 MB."""
    return float(round(min(60.0, max(4.0, 20 * (1e5 / corpus_steps) ** 0.15))))


def choose(given: Given, corpus_steps: int, size: Size) -> tuple[Given, tuple[str, ...]]:
    """Fill in sizes, rate and budget.

    Args:
        given: what the user has set, which stands.
        corpus_steps: N.
        size: what to take where nothing is set.

    Returns:
        Settings that lack only what `finish` adds, and notices for the user.

    Raises:
        CorpusError: the corpus is too short to learn from.
    """
    if corpus_steps < LEAST_STEPS:
        raise CorpusError(
            f"the corpus has {corpus_steps} characters; {LEAST_STEPS} are the least to learn from"
        )
    values = asdict(size)
    chosen: Given = {
        "data": {
            "seq_length": values.pop("seq_length"),
            "batch_size": values.pop("batch_size"),
            "val_fraction": min(0.1, VALIDATION_STEPS / corpus_steps),
        },
        "training": {"lr": values.pop("lr")},
        "model": values,
    }
    filled = merge(chosen, given)
    filled["training"] |= _budget(given["training"], corpus_steps)
    filled["data"], notices = _fitted(filled["data"], corpus_steps)
    return filled, notices


def _budget(training: dict[str, Any], corpus_steps: int) -> dict[str, Any]:
    """The passes that help, where no steps or epochs are given, and ten minutes at the most,
    where none are given."""
    if training.get("epochs") is not None or training.get("steps") is not None:
        return {}
    minutes = training.get("minutes")
    return {
        "epochs": useful_epochs(corpus_steps),
        "minutes": MINUTES if minutes is None else minutes,
    }


def has_room(given: Given, filled: Given, corpus_steps: int, speed: Speed, larger: Size) -> bool:
    """Whether the minutes that were asked for leave time for a larger network.

    Args:
        given: what the user has set; only a budget of minutes and nothing else is a wish for more.
        filled: the settings that were measured.
        corpus_steps: N.
        speed: what was measured.
        larger: the size to come.
    """
    minutes = given["training"].get("minutes")
    fixed = {"hidden", "layers"} & given["model"].keys() or {"epochs", "steps"} & {
        name for name, value in given["training"].items() if value is not None
    }
    if minutes is None or fixed:
        return False
    batch_steps = filled["data"]["batch_size"] * filled["data"]["seq_length"]
    seconds = speed.seconds / batch_steps * (larger.hidden / filled["model"]["hidden"]) ** 2
    return bool(seconds * corpus_steps * useful_epochs(corpus_steps) < 60 * minutes)


def _fitted(data: dict[str, Any], corpus_steps: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Shrink length and batch until the training part fills every lane once."""
    steps = corpus_steps - max(2, round(corpus_steps * data["val_fraction"]))
    length = min(data["seq_length"], max(1, steps // 4))
    batch = min(data["batch_size"], max(1, steps // length - 1))
    if (length, batch) == (data["seq_length"], data["batch_size"]):
        return data, ()
    notice = (
        f"the corpus is short: batch {batch} and length {length} "
        f"instead of {data['batch_size']} and {data['seq_length']}"
    )
    return data | {"seq_length": length, "batch_size": batch}, (notice,)


def segments_of(config: Config, corpus_steps: int) -> int:
    """Optimizer steps in an epoch."""
    steps = corpus_steps - max(2, round(corpus_steps * config.data.val_fraction))
    length, batch = config.data.seq_length, config.data.batch_size
    return (steps - length) // (batch * length)


def finish(
    filled: Given, speed: Speed, network: Network, codec: Codec, corpus_steps: int, **more: Any
) -> Plan:
    """Add what measuring has shown, and say what to expect.

    Args:
        filled: settings as `choose` leaves them.
        speed: the way to run, and the seconds of an optimizer step.
        network: untrained.
        codec: of the corpus.
        corpus_steps: N.
        more: notices.
    """
    chosen = {"precision": speed.precision}
    asked = filled["training"]
    filled = filled | {"training": {"eval_every": 1, "patience": 0} | asked | chosen}
    config = Config.from_dict(filled)
    segments = segments_of(config, corpus_steps)
    steps = planned_steps(config.training, segments, 1 / speed.seconds)
    held_out = corpus_steps * config.data.val_fraction
    batch_steps = config.data.batch_size * config.data.seq_length
    evaluation_s = speed.seconds * 0.35 * held_out / batch_steps + 0.05
    every = min(steps / EVALUATIONS, EVALUATE_EVERY_S / speed.seconds)
    every = max(1, round(max(every, evaluation_s / EVALUATION_SHARE / speed.seconds)))
    every = min(asked.get("eval_every", every), steps)
    patience = asked.get("patience", max(8, round(0.4 * steps / every)))
    training = replace(config.training, eval_every=every, patience=patience)
    seconds = steps * speed.seconds + steps / every * evaluation_s
    if training.minutes is not None:
        seconds = min(seconds, 60 * training.minutes)
    return Plan(
        config=replace(config, training=training),
        planned_steps=steps,
        parameters=network.parameter_count,
        corpus_steps=corpus_steps,
        vocabulary=codec.step.size,
        threads=speed.threads,
        seconds=seconds,
        memory_bytes=_memory(config, network.parameter_count, codec.step.size),
        steps_per_s=batch_steps / speed.seconds,
        **more,
    )


def _memory(config: Config, parameters: int, vocabulary: int) -> int:
    """Bytes at the peak: weights, gradients and moments, and what backpropagation keeps."""
    batch_steps = config.data.batch_size * config.data.seq_length
    units = config.model.layers * 16 * config.model.hidden + 4 * vocabulary
    return BASE_BYTES + 20 * parameters + 4 * batch_steps * units
