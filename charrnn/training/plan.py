"""What to do where the user has not said: sizes and budget from the corpus and the device.

The figures behind the choices are in configs/README.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from charrnn.codec import Codec
from charrnn.config import BUDGET, Config, Given, merge, value
from charrnn.data.corpus import held_out
from charrnn.data.lanes import Lanes
from charrnn.errors import ConfigError
from charrnn.model.cells import cell_of
from charrnn.model.memory import peak_bytes
from charrnn.model.network import Network
from charrnn.training.probe import Speed
from charrnn.training.progress import planned_steps

MINUTES = 10.0  # at most, where no budget is given
EVALUATIONS = 20  # in a run, at least
EVALUATIONS_OF_SOUND = 10  # each makes and draws a few seconds
EVALUATE_EVERY_S = 120.0  # at the most, by a budget of minutes
EVALUATE_EVERY = 2_000  # optimizer steps at the most, by another: the clock must not tip it
EVALUATION_SHARE = 0.08  # of the time, at most
VALIDATION_STEPS = 200_000  # enough to tell models apart to 0.01
LEAST_SEGMENTS = 4  # in an epoch
LEAST_STEPS = 16  # a corpus shorter than this is a mistake


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
    unit: str  # what a step is
    codec: str  # which one, and why
    documents: int | None  # in the corpus, where it has any
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
    weight_drop: float = 0.0
    variational: bool = False
    cell_norm: str = "none"
    passes: float = 1.0  # share of the useful epochs that it must have time for
    hurried: bool = False  # suits only those who have no time for the next one


# By the length of the corpus, networks that learn more the longer they are given; the first that
# is not for a hurry is the default, and a later one is taken where the minutes allow it the passes
# that it needs.
DROPPED: dict[str, Any] = {"weight_drop": 0.1, "variational": True}
CPU_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    (30_000, (Size(128, 0.3, 8, 64, 5e-3),)),
    (400_000, (Size(256, 0.4, 16, 64, 1.2e-2), Size(256, 0.4, 16, 64, 1.2e-2, cell_norm="layer"))),
    (
        4_000_000,
        (
            Size(256, 0.05, 32, 64, 6e-3, 2, 64, 0.05, variational=True, hurried=True),
            Size(256, 0.1, 32, 64, 4e-3, **DROPPED, passes=0.85),
            Size(256, 0.1, 32, 64, 4e-3, **DROPPED, cell_norm="layer", passes=0.5),
            Size(256, 0.2, 32, 64, 4e-3, **DROPPED, cell_norm="layer"),
        ),
    ),
    (
        math.inf,
        (
            Size(256, 0.0, 32, 64, 8e-3, hurried=True),
            Size(256, 0.05, 32, 64, 6e-3, passes=0.4),
            Size(512, 0.2, 32, 96, 3e-3),
        ),
    ),
)
GPU_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    *CPU_SIZES[:2],
    (4_000_000, (Size(512, 0.4, 32, 96, 3e-3),)),
    (math.inf, (Size(1024, 0.2, 64, 128, 2e-3),)),
)


# A word says more than a character, there are fewer of them, and far more to choose from.
WORD_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    (20_000, (Size(128, 0.5, 8, 32, 4e-3, embedding=128),)),
    (200_000, (Size(256, 0.5, 16, 32, 4e-3, embedding=256),)),
    (math.inf, (Size(256, 0.5, 32, 32, 4e-3, embedding=256), Size(512, 0.5, 32, 32, 4e-3, 2, 256))),
)
# Frames of sound: what is sampled has noise in it, so what is learnt from has too; pieces in random
# order, since a recording of a minute has no room for lanes.
SOUND_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    (math.inf, (Size(256, 0.0, 16, 64, 3e-3, embedding=0),)),
)
SOUND: Given = {
    "data": {"bptt": "stateless"},
    "model": {"head": "gaussian", "input_noise": 0.3},
    "sampling": {"temperature": (1.0,)},
}
# Learning rates of other optimizers relative to AdamW's; a cell's own factor is in its record.
RATES = {"sgd": 100.0, "rmsprop": 0.5}
NORMED = {"cell", "cell_norm", "embedding", "input_dropout"}  # which have a say about that norm
FINE_TUNING = 1 / 3  # of the learning rate that suits untrained weights


def sizes(corpus_steps: int, codec: str, on_gpu: bool) -> tuple[Size, ...]:
    """The sizes that suit a corpus of this length, from small to large."""
    tables = {"word": WORD_SIZES, "audio": SOUND_SIZES}
    table = tables.get(codec, GPU_SIZES if on_gpu else CPU_SIZES)
    return next(row for limit, row in table if corpus_steps < limit)


def candidates(
    given: Given, corpus_steps: int, codec: str, unit: str, *, on_gpu: bool
) -> tuple[Size, ...]:
    """The sizes to begin with and to go on to, for what the user has set: those for a hurry only
    where minutes are given, or fewer epochs than the next one needs."""
    row, training = sizes(corpus_steps, codec, on_gpu), given["training"]
    if training.get("minutes") is not None:
        return row
    default = next(index for index, size in enumerate(row) if not size.hurried)
    needed = row[default].passes * useful_epochs(corpus_steps, unit)
    return row if (training.get("epochs") or math.inf) < needed else row[default:]


def useful_epochs(corpus_steps: int, unit: str = "character") -> float:
    """Passes after which more of the same hurts: 20 over 100 KB, 14 over 1 MB; of words, 11 over
    30,000 and 6 over 300,000; of frames, 350 over 40 s of sound and 37 over an hour."""
    if unit == "frame":
        return float(round(min(500.0, max(10.0, 350 * (1800 / corpus_steps) ** 0.5))))
    if unit == "word":
        return float(round(min(30.0, max(3.0, 11 * (3e4 / corpus_steps) ** 0.25))))
    return float(round(min(60.0, max(4.0, 20 * (1e5 / corpus_steps) ** 0.15))))


def choose(
    given: Given,
    corpus_steps: int,
    size: Size,
    unit: str = "character",
    *,
    fine_tuning: bool = False,
) -> tuple[Given, tuple[str, ...]]:
    """Fill in sizes, rate and budget.

    Args:
        given: what the user has set, which stands.
        corpus_steps: N.
        size: what to take where nothing is set.
        unit: what a step is.
        fine_tuning: whether the weights come from another model.

    Returns:
        Settings that lack only what `finish` adds, and notices for the user.
    """
    values = asdict(size)
    del values["passes"], values["hurried"]
    chosen: Given = {
        "data": {
            "seq_length": values.pop("seq_length"),
            "batch_size": values.pop("batch_size"),
            "val_fraction": min(0.1, VALIDATION_STEPS / corpus_steps),
        },
        "training": {"lr": values.pop("lr")},
        "model": values,
    }
    _refuse_wrong_kind(given, unit)
    if unit == "frame":
        chosen = merge(chosen, SOUND)
    optimizer, cell = value(given, "optimizer"), cell_of(value(given, "cell"))
    chosen["training"]["lr"] *= RATES.get(optimizer, 1.0) * cell.lr_factor
    if fine_tuning:
        chosen["training"]["lr"] *= FINE_TUNING
    chosen["training"]["weight_decay"] = 0.01 if optimizer == "adamw" else 0.0
    chosen["training"]["lr_decay"] = 0.5 if value(given, "schedule") == "plateau" else 0.97
    filled = merge(chosen, given)
    filled["training"] |= _budget(given, corpus_steps, unit)
    filled["data"], notices = _fitted(filled["data"], corpus_steps, unit)
    _refuse_unstable(filled)
    if value(filled, "norm") == "batch":
        _refuse_single_steps(filled["data"])
    return filled, notices


def _is_free(given: Given) -> bool:
    """Whether network and passes are ours to choose."""
    training = given["training"]
    fixed = any(training.get(name) is not None for name in ("epochs", "steps"))
    return not fixed and not {"hidden", "layers"} & given["model"].keys()


def _budget(given: Given, corpus_steps: int, unit: str) -> dict[str, Any]:
    """Where no budget is given, ten minutes; and where the network is ours to choose, no more
    than the passes that help."""
    training = given["training"]
    is_open = all(training.get(name) is None for name in BUDGET)
    budget: dict[str, Any] = {"minutes": MINUTES} if is_open else {}
    if is_open or _is_free(given):
        budget["epochs"] = useful_epochs(corpus_steps, unit)
    return budget


def _refuse_unstable(filled: Given) -> None:
    """A one-hot input that is dropped leaves layer norm nothing but zeros, where its slope is 300:
    the gradient grows without limit."""
    if (
        value(filled, "cell_norm") == "layer"
        and not filled["model"]["embedding"]
        and value(filled, "input_dropout")
    ):
        raise ConfigError(
            "layer norm in the cell cannot bear dropout of a one-hot input: "
            "drop --input-dropout or --cell-norm, or give an --embedding"
        )


def _refuse_single_steps(data: dict[str, Any]) -> None:
    if data["batch_size"] * data["seq_length"] < 2:
        raise ConfigError("batch norm needs more than one step: raise --batch-size or --seq-length")


def has_room(
    given: Given,
    filled: Given,
    corpus_steps: int,
    speed: Speed,
    larger: Size,
    unit: str = "character",
) -> bool:
    """Whether the minutes that were asked for may leave time for a larger network, from what one
    has cost that was measured; of the larger one itself, whether they do.

    Args:
        given: what the user has set; only a budget of minutes and nothing else is a wish for more.
        filled: the settings that were measured.
        corpus_steps: N.
        speed: what was measured.
        larger: the size in question.
        unit: what a step is.
    """
    minutes = given["training"].get("minutes")
    if minutes is None or not _is_free(given):
        return False
    if larger.cell_norm != "none" and NORMED.intersection(given["model"]):
        return False
    batch_steps = filled["data"]["batch_size"] * filled["data"]["seq_length"]
    seconds = speed.seconds / batch_steps * (larger.hidden / filled["model"]["hidden"]) ** 2
    passes = larger.passes * useful_epochs(corpus_steps, unit)
    return bool(seconds * corpus_steps * passes < 60 * minutes)


def _refuse_wrong_kind(given: Given, unit: str) -> None:
    """A head says what kind of a step comes next; and only symbols are embedded."""
    head = given["model"].get("head")
    if unit == "frame":
        if head == "categorical":
            raise ConfigError("--head categorical is for text; of sound it is gaussian or mse")
        if given["model"].get("embedding"):
            raise ConfigError("--embedding is for text: frames of sound are read as they are")
    elif head not in (None, "categorical"):
        raise ConfigError(f"--head {head} is for sound, and this corpus is text")


def _fitted(
    data: dict[str, Any], corpus_steps: int, unit: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Shrink length and batch until the training part fills every lane a few times."""
    steps = corpus_steps - held_out(corpus_steps, data["val_fraction"])
    length = min(data["seq_length"], max(1, steps // (2 * LEAST_SEGMENTS)))
    if unit == "frame":  # a batch that leaves no piece out
        pieces = max(1, (steps - length) // length)
        batch = pieces // -(-pieces // data["batch_size"])
        return data | {"seq_length": length, "batch_size": batch}, ()
    batch = min(data["batch_size"], max(1, (steps - length) // (length * LEAST_SEGMENTS)))
    if (length, batch) == (data["seq_length"], data["batch_size"]):
        return data, ()
    notice = (
        f"the corpus is short: batch {batch} and length {length} "
        f"instead of {data['batch_size']} and {data['seq_length']}"
    )
    return data | {"seq_length": length, "batch_size": batch}, (notice,)


def segments_of(config: Config, corpus_steps: int) -> int:
    """Optimizer steps in an epoch."""
    steps = corpus_steps - held_out(corpus_steps, config.data.val_fraction)
    nothing = np.broadcast_to(np.uint8(0), steps)  # of that length, without the memory
    return Lanes(nothing, config.data.batch_size, config.data.seq_length).segments


def finish(
    given: Given,
    filled: Given,
    speed: Speed,
    network: Network,
    codec: Codec,
    corpus_steps: int,
    notices: tuple[str, ...] = (),
    reason: str = "",
    documents: int | None = None,
) -> Plan:
    """Add what measuring has shown, and say what to expect.

    Args:
        given: what the user has set.
        filled: settings as `choose` leaves them.
        speed: the way to run, and the seconds of an optimizer step.
        network: untrained.
        codec: of the corpus.
        corpus_steps: N.
        notices: what to tell the user.
        reason: why this codec, if it was left open.
        documents: in the corpus.

    Raises:
        SamplingError: the settings of sampling leave nothing to write.
    """
    chosen = {"precision": speed.precision}
    asked = filled["training"]
    filled = filled | {"training": {"eval_every": 1, "patience": 0} | asked | chosen}
    config = Config.from_dict(filled)
    rules = config.sampling
    if codec.medium == "text":
        codec.never(rules.allow, rules.forbid, rules.unk)  # or else the first preview would fail
    segments = segments_of(config, corpus_steps)
    steps = planned_steps(config.training, segments, 1 / speed.seconds)
    validated = held_out(corpus_steps, config.data.val_fraction)
    batch_steps = config.data.batch_size * config.data.seq_length
    cost = 0.35 * validated / batch_steps  # of an evaluation, in optimizer steps
    evaluation_s = speed.seconds * cost + 0.05
    evaluations = EVALUATIONS_OF_SOUND if codec.medium == "sound" else EVALUATIONS
    every = min(steps / evaluations, EVALUATE_EVERY)
    if config.training.minutes is not None:
        every = min(steps / evaluations, EVALUATE_EVERY_S / speed.seconds)
        cost = evaluation_s / speed.seconds
    every = max(1, round(max(every, cost / EVALUATION_SHARE)))
    every = min(asked.get("eval_every", every), steps)
    patience = asked.get("patience", max(8, round(0.4 * steps / every)))
    if codec.medium == "sound":  # what is to be heard is often best at the very end
        patience = asked.get("patience", 0)
    training = replace(config.training, eval_every=every, patience=patience)
    seconds = steps * speed.seconds + steps / every * evaluation_s
    if training.minutes is not None:
        seconds = min(seconds, 60 * training.minutes)
    wished = given["training"].get("minutes")
    if documents == 1 and config.data.documents != "file":
        kind = "line" if config.data.documents == "line" else "record"
        notices += (f"the corpus is a single {kind}; is that what --documents was to say?",)
    if wished is not None and _is_free(given) and seconds < 0.8 * 60 * wished:
        notices += (
            f"{training.epochs:g} epochs are as many as help a text of this length; "
            "--epochs or a larger --hidden uses more of the time",
        )
    return Plan(
        config=replace(config, training=training),
        planned_steps=steps,
        parameters=network.parameter_count,
        corpus_steps=corpus_steps,
        vocabulary=codec.step.size,
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
        codec=codec.name + "".join(f" ({text})" for text in (reason, codec.remark) if text),
        documents=documents,
        notices=notices,
    )
