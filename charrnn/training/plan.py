"""Chooses the settings that the user did not give, from the corpus and the speed of the machine.

The measurements behind these choices are in configs/README.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from charrnn.config import Config, Given, merge, value
from charrnn.data.corpus import default_val_fraction, held_out
from charrnn.data.encode import Encoded
from charrnn.data.lanes import Lanes
from charrnn.errors import ConfigError
from charrnn.media.medium import Defaults, Size
from charrnn.media.steps import Discrete, Step
from charrnn.model.cells import cell_of
from charrnn.model.memory import peak_bytes
from charrnn.settings import BUDGET, TrainingConfig
from charrnn.training.free_runs import renewals_cost
from charrnn.training.probe import Speed
from charrnn.training.progress import planned_updates

MINUTES = 10.0  # budget if none is given
EVALUATE_EVERY_S = 120.0  # at most, with a budget of minutes
EVALUATE_EVERY = 2_000  # updates, at most, with another budget: then time must have no influence
MAX_EVALUATION_FRACTION = 0.08  # of the training time
EVALUATION_COST = 0.35  # time of an evaluation relative to training on as many steps
MIN_SEGMENTS = 4  # in an epoch
MIN_PATIENCE = 8
# The default learning rates are for AdamW; these factors adapt them to other optimizers.
LR_FACTORS = {"sgd": 100.0, "rmsprop": 0.5}


@dataclass(frozen=True)
class Plan:
    """The complete settings of a run, and its expected time and memory."""

    config: Config
    planned_updates: int
    parameters: int
    corpus_steps: int
    step: Step
    threads: int
    seconds: float
    memory_bytes: int
    steps_per_s: float  # steps of the corpus read per second
    unit: str  # what a step is called
    codec: str  # its name, and why it was chosen
    corpus_s: float | None  # how long the corpus lasts, if it has a duration
    documents: int | None  # in the corpus, if it has any
    held_out: str  # where the validation part comes from, if not from the end
    notices: tuple[str, ...]

    @property
    def seconds_per_update(self) -> float:
        """Expected duration of an optimizer update, in seconds."""
        return self.config.data.batch_size * self.config.data.seq_length / self.steps_per_s

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["planned_steps"] = values.pop("planned_updates")
        values["vocabulary"] = values.pop("step").size
        return {"event": "planned"} | values | {"config": self.config.to_dict()}


def candidates(given: Given, defaults: Defaults) -> tuple[Size, ...]:
    """The sizes to try, in order: all if `minutes` are given; otherwise from the default one on, or
    from a `hurried` one if there are fewer epochs than the later ones need."""
    sizes, training = defaults.sizes, given["training"]
    if training.get("minutes") is not None:
        return sizes
    first = next(index for index, size in enumerate(sizes) if not size.hurried)
    epochs = training.get("epochs") or math.inf
    while first and epochs < sizes[first].passes * defaults.epochs:
        first -= 1
    return sizes[first:]


def choose(
    given: Given,
    corpus_steps: int,
    defaults: Defaults,
    size: Size,
    kind: type[Step],
) -> tuple[Given, tuple[str, ...]]:
    """Fill in sizes, learning rate and budget.

    Args:
        given: the user's settings, which are kept.
        corpus_steps: N.
        defaults: of the medium.
        size: one of `defaults.sizes`, used for settings that are not given.
        kind: the kind of step.

    Returns:
        Settings, complete except for what `make_plan` adds, and notices for the user.

    Raises:
        ConfigError: settings contradict each other.
    """
    _refuse_wrong_kind(given, kind)
    sized = asdict(size)
    del sized["passes"], sized["hurried"]
    chosen: Given = {
        "data": {
            "seq_length": sized.pop("seq_length"),
            "batch_size": sized.pop("batch_size"),
            "val_fraction": default_val_fraction(corpus_steps),
        },
        "training": {"lr": sized.pop("lr")},
        "model": sized,
    }
    chosen = merge(chosen, {name: dict(values) for name, values in defaults.settings.items()})
    optimizer, cell = value(given, "optimizer"), value(merge(chosen, given), "cell")
    chosen["training"]["lr"] *= LR_FACTORS.get(optimizer, 1.0) * cell_of(cell).lr_factor
    chosen["training"]["weight_decay"] = 0.01 if optimizer in ("adamw", "muon") else 0.0
    chosen["training"]["lr_decay"] = 0.5 if value(given, "schedule") == "plateau" else 0.97
    filled = merge(chosen, given)
    filled["training"] |= _budget(given, defaults)
    if filled["model"]["layers"] == 1:  # there is nothing to skip
        filled["model"] |= {"skip": False, "skip_input": False}
    elif kind is Discrete and not filled["model"]["embedding"]:
        if value(given, "skip_input"):
            raise ConfigError("--skip-input: symbols need an --embedding for it")
        filled["model"]["skip_input"] = False
    if value(filled, "bptt") == "stateful":
        if value(given, "free_runs"):
            raise ConfigError("--free-runs has no effect without --bptt stateless")
        filled["training"]["free_runs"] = 0.0
    filled["data"], notices = _fitted(filled["data"], corpus_steps, defaults.every_segment)
    _refuse_unstable(filled)
    return filled, notices


def _is_free(given: Given) -> bool:
    """Whether the user has left both the network size and the epochs open."""
    training = given["training"]
    fixed = any(training.get(name) is not None for name in ("epochs", "steps"))
    return not fixed and not {"hidden", "layers"} & given["model"].keys()


def _budget(given: Given, defaults: Defaults) -> dict[str, Any]:
    """Ten minutes if no budget is given; if the size is open too, also the default epochs, beyond
    which training longer does not help."""
    training = given["training"]
    is_open = all(training.get(name) is None for name in BUDGET)
    budget: dict[str, Any] = {"minutes": MINUTES} if is_open else {}
    if is_open or _is_free(given):
        budget["epochs"] = defaults.epochs
    return budget


def _refuse_wrong_kind(given: Given, kind: type[Step]) -> None:
    """Raise if the head does not suit the kind of step, or if vectors would be embedded."""
    head = given["model"].get("head")
    if kind is Discrete:
        if head not in (None, "categorical"):
            raise ConfigError(
                f"--head {head} is for vectors; this corpus has symbols, so use --head categorical"
            )
        return
    if head == "categorical":
        raise ConfigError(
            "--head categorical is for symbols; this corpus has vectors, so use --head gaussian"
        )
    if given["model"].get("embedding"):
        raise ConfigError("--embedding is for symbols; this corpus has vectors")


def _refuse_unstable(filled: Given) -> None:
    """Raise for normalisations that cannot work.

    If dropout removes a one-hot input, layer norm gets only zeros.  Its slope there is 300, so the
    gradient explodes.
    """
    data, is_one_hot = filled["data"], not filled["model"]["embedding"]
    if value(filled, "cell_norm") == "layer" and is_one_hot and value(filled, "input_dropout"):
        raise ConfigError(
            "layer norm in the cell is unstable with dropout of a one-hot input: "
            "drop --input-dropout or --cell-norm, or give an --embedding"
        )
    if value(filled, "norm") == "batch" and data["batch_size"] * data["seq_length"] < 2:
        raise ConfigError("batch norm needs more than one step: raise --batch-size or --seq-length")


def has_room(
    given: Given,
    filled: Given,
    corpus_steps: int,
    speed: Speed,
    larger: Size,
    defaults: Defaults,
) -> bool:
    """Whether the user's `minutes` leave enough time for a larger network.

    Its speed is estimated from the measured speed, of a smaller network or of this one itself.

    Args:
        given: the user's settings; without `minutes` no larger network is tried.
        filled: the settings that were measured.
        corpus_steps: N.
        speed: the measured speed.
        larger: the size in question.
        defaults: of the medium.
    """
    minutes = given["training"].get("minutes")
    if minutes is None or not _is_free(given):
        return False
    batch_steps = filled["data"]["batch_size"] * filled["data"]["seq_length"]
    seconds = speed.seconds / batch_steps * (larger.hidden / filled["model"]["hidden"]) ** 2
    return bool(seconds * corpus_steps * larger.passes * defaults.epochs < 60 * minutes)


def _fitted(
    data: dict[str, Any], corpus_steps: int, every_segment: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reduce length and batch size until each lane of the training part has a few segments."""
    steps = corpus_steps - held_out(corpus_steps, data["val_fraction"])
    length = min(data["seq_length"], max(1, steps // (2 * MIN_SEGMENTS)))
    if every_segment:
        segments = max(1, (steps - length) // length)
        batch = segments // -(-segments // data["batch_size"])
        return data | {"seq_length": length, "batch_size": batch}, ()
    batch = min(data["batch_size"], max(1, (steps - length) // (length * MIN_SEGMENTS)))
    if (length, batch) == (data["seq_length"], data["batch_size"]):
        return data, ()
    notice = (
        f"the corpus is short: batch {batch} and length {length} "
        f"instead of {data['batch_size']} and {data['seq_length']}"
    )
    return data | {"seq_length": length, "batch_size": batch}, (notice,)


def segments_of(config: Config, corpus_steps: int) -> int:
    """Number of optimizer updates in an epoch."""
    steps = corpus_steps - held_out(corpus_steps, config.data.val_fraction)
    placeholder = np.broadcast_to(np.uint8(0), steps)  # the right length, but takes no memory
    return Lanes(placeholder, config.data.batch_size, config.data.seq_length).segments


def make_plan(
    given: Given,
    filled: Given,
    speed: Speed,
    parameters: int,
    corpus: Encoded,
    defaults: Defaults,
    notices: tuple[str, ...] = (),
) -> Plan:
    """Complete the settings with the measured values, and estimate time and memory.

    Args:
        given: the user's settings.
        filled: the result of `choose`.
        speed: the chosen threads and precision, and the seconds per update.
        parameters: number of parameters of the network.
        corpus: the corpus to train on.
        defaults: of the medium.
        notices: for the user.

    Raises:
        SamplingError: the sampling settings leave nothing to sample.
    """
    measured: dict[str, Any] = {"eval_every": 1, "patience": 0} | filled["training"]
    measured["precision"] = speed.precision
    config, codec = Config.from_dict(filled | {"training": measured}), corpus.codec
    codec.never(config.codec_settings)  # fail now rather than at the first preview
    updates = planned_updates(config.training, segments_of(config, corpus.steps), 1 / speed.seconds)
    batch_steps = config.data.batch_size * config.data.seq_length
    cost = EVALUATION_COST * held_out(corpus.steps, config.data.val_fraction) / batch_steps
    evaluation_s = speed.seconds * cost + 0.05
    training = _evaluations(config.training, filled, updates, cost, evaluation_s, speed, defaults)
    evaluation_s += defaults.judging_s
    seconds = updates * speed.seconds + updates / training.eval_every * evaluation_s
    seconds += renewals_cost(config, updates) * speed.seconds
    if training.minutes is not None:
        seconds = min(seconds, 60 * training.minutes)
    notices += codec.notices(corpus.documents) + _unused_time(given, training, seconds)
    remarks = "".join(f" ({text})" for text in (corpus.reason, codec.remark) if text)
    return Plan(
        config=replace(config, training=training),
        planned_updates=updates,
        parameters=parameters,
        corpus_steps=corpus.steps,
        step=codec.step,
        threads=speed.threads,
        seconds=seconds,
        memory_bytes=peak_bytes(
            config.model,
            config.data.batch_size,
            config.data.seq_length,
            codec.step.size,
            last_only=config.data.targets == "last",
        ),
        steps_per_s=batch_steps / speed.seconds,
        unit=codec.unit,
        codec=codec.name + remarks,
        corpus_s=codec.seconds(corpus.steps),
        documents=corpus.documents,
        held_out=corpus.held_out,
        notices=corpus.notices + notices,
    )


def _evaluations(
    training: TrainingConfig,
    filled: Given,
    updates: int,
    cost: float,
    evaluation_s: float,
    speed: Speed,
    defaults: Defaults,
) -> TrainingConfig:
    """Choose how often to evaluate, and the patience of early stopping.

    Args:
        training: the training settings so far.
        filled: all settings so far; those not in it are still to be chosen.
        updates: number of updates in the budget.
        cost: time of an evaluation, in updates.
        evaluation_s: the same in seconds.
        speed: the measured speed.
        defaults: of the medium.
    """
    longest = float(EVALUATE_EVERY)  # updates
    if training.minutes is not None:
        longest, cost = EVALUATE_EVERY_S / speed.seconds, evaluation_s / speed.seconds
    every = min(updates / defaults.evaluations, longest)
    every = max(1, round(max(every, cost / MAX_EVALUATION_FRACTION)))
    every = min(filled["training"].get("eval_every", every), updates)
    patience = defaults.patience
    if patience is None:
        patience = max(MIN_PATIENCE, round(0.4 * updates / every))
    patience = filled["training"].get("patience", patience)
    return replace(training, eval_every=every, patience=patience)


def _unused_time(given: Given, training: TrainingConfig, seconds: float) -> tuple[str, ...]:
    """A notice if the user gave more minutes than training on this corpus can use."""
    minutes = given["training"].get("minutes")
    if minutes is None or not _is_free(given) or seconds >= 0.8 * 60 * minutes:
        return ()
    return (
        f"more than {training.epochs:g} epochs do not help with a corpus of this length; "
        "to use more of the time, give --epochs",
    )
