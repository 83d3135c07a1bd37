"""Settings as frozen dataclasses, read from presets (TOML), the environment and flags.

What a user gives is *partial*: a mapping of section to name to value, checked strictly, all
mistakes reported at once.  `charrnn.training.plan` fills what was left open, and the outcome is a
`Config`, in which every value stands.  A checkpoint carries a `Config`.

A field without a default is chosen from the corpus and the device when it is not given.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import reprlib
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from charrnn.errors import ConfigError

Naming = Callable[[str, str], str]
Given = dict[str, dict[str, Any]]  # section -> name -> value: what a user has asked for

# Every cell: its name, and the module with its record, `CELL`.  Strings, because neither NumPy nor
# PyTorch may be imported to show the names.
CELLS: dict[str, str] = {
    "lstm": "charrnn.model.cells.lstm",
    "gru": "charrnn.model.cells.gru",
    "rnn": "charrnn.model.cells.rnn",
    "peephole": "charrnn.model.cells.peephole",
}


def setting(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: Collection[str] = (),
    needs: tuple[str, ...] = (),
) -> Any:
    """Declare one setting: its documentation, its default (none: chosen) and what it may be.

    `needs` names another setting and the values of it without which this one means nothing.
    """
    limits = {"least": least, "above": above, "most": most, "below": below}
    metadata = {"doc": doc, "choices": choices, "needs": needs, **limits}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the corpus is read and cut into batches."""

    codec: str = setting(
        "What a step is: a character, a word or mark, a byte, or a frame of sound; auto: frames "
        "where there are recordings, characters, or bytes where the files are not text.",
        default="auto",
        choices=("auto", "char", "word", "byte", "audio"),
    )
    encoding: str = setting(
        "Encoding of the text files, e.g. utf-8, cp1252, latin-1, utf-16.", default="utf-8"
    )
    normalize: str = setting(
        "Unicode normalisation of the text, so that a letter has one spelling.",
        default="none",
        choices=("none", "NFC", "NFD", "NFKC", "NFKD"),
    )
    vocab_size: int = setting(
        "Words that the word codec knows at most, the most frequent; the rest are <unk>.",
        default=20_000,
        least=4,
        most=2**24,
        needs=("codec", "word"),
    )
    min_count: int = setting(
        "Times that a word must occur for the word codec to know it.",
        default=2,
        least=1,
        most=10**9,
        needs=("codec", "word"),
    )
    documents: str = setting(
        "Many short texts: one a line, one a file, or one a record between separators. They are "
        "shuffled once, and a sample is one of them.",
        default="none",
        choices=("none", "line", "file", "record"),
    )
    separator: str = setting(
        "Text between records; given alone, it means --documents record. \\n is a line's end.",
        default="\n\n",
        needs=("documents", "record"),
    )
    sample_rate: int = setting(
        "Samples a second that recordings are brought to.",
        default=22_050,
        least=8_000,
        most=48_000,
        needs=("codec", "audio"),
    )
    n_fft: int = setting(
        "Samples in a frame of sound, even.",
        default=2048,
        least=64,
        most=8_192,
        needs=("codec", "audio"),
    )
    hop_length: int = setting(
        "Samples from one frame of sound to the next; --n-fft is a multiple of it.",
        default=512,
        least=16,
        most=4_096,
        needs=("codec", "audio"),
    )
    components: int = setting(
        "Principal components of the log magnitude that a frame of sound is told by; 0: all "
        "magnitudes, as they are.",
        default=192,
        least=0,
        most=4_096,
        needs=("codec", "audio"),
    )
    seq_length: int = setting("Steps in a truncated-BPTT segment, T.", least=1, most=65536)
    batch_size: int = setting("Contiguous lanes trained side by side, B.", least=1, most=65536)
    bptt: str = setting(
        "Truncated backpropagation: stateful segments go on from the state of the one before; "
        "stateless ones begin at zero, in random order.",
        default="stateful",
        choices=("stateful", "stateless"),
    )
    targets: str = setting(
        "Steps of a segment that are predicted: all (many to many) or the last (many to one).",
        default="all",
        choices=("all", "last"),
    )
    val_fraction: float = setting(
        "Share of the corpus, its end, that is held out for validation.", above=0, most=0.5
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network."""

    cell: str = setting(
        "Recurrent cell; peephole: an LSTM whose gates see the cell state.",
        default="lstm",
        choices=CELLS,
    )
    hidden: int = setting("Hidden units of a layer, H.", least=1, most=32768)
    layers: int = setting("Recurrent layers, L.", least=1, most=64)
    embedding: int = setting("Width of the input embedding; 0: one-hot.", least=0, most=32768)
    head: str = setting(
        "What is said of the next step: of symbols the probability of each; of frames a normal "
        "distribution, or (mse) one frame and nothing else, by its squared error.",
        default="categorical",
        choices=("categorical", "gaussian", "mse"),
    )
    dense: int = setting(
        "Width of a dense layer (ReLU) before the last one; 0: none.",
        default=0,
        least=0,
        most=32768,
    )
    input_norm: str = setting(
        "Normalisation of frames before the first layer.",
        default="none",
        choices=("none", "batch"),
        needs=("codec", "audio"),
    )
    input_noise: float = setting(
        "Noise on frames while training, as a share of their deviation: what is sampled is never "
        "as clean as what was recorded.",
        default=0.0,
        least=0,
        most=10,
        needs=("codec", "audio"),
    )
    dropout: float = setting("Dropout between and after the layers.", least=0, most=0.99)
    input_dropout: float = setting("Dropout on the input.", default=0.0, least=0, most=0.99)
    output_dropout: float | None = setting(
        "Dropout after the last layer; none: as between the layers.",
        default=None,
        least=0,
        most=0.99,
    )
    recurrent_dropout: float = setting(
        "Dropout of the state that a layer hands to its next step, one mask for a segment.",
        default=0.0,
        least=0,
        most=0.99,
    )
    weight_drop: float = setting(
        "Dropout of the recurrent weights, one mask for a segment.",
        default=0.0,
        least=0,
        most=0.99,
    )
    variational: bool = setting(
        "One mask of input, layer and output dropout for all steps of a segment.", default=False
    )
    norm: str = setting(
        "Normalisation of each layer's output.", default="none", choices=("none", "batch", "layer")
    )
    cell_norm: str = setting(
        "Layer normalisation inside the cell.", default="none", choices=("none", "layer")
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation, its budget, and where it runs."""

    optimizer: str = setting(
        "Optimizer.", default="adamw", choices=("adamw", "adam", "rmsprop", "sgd")
    )
    lr: float = setting("Highest learning rate.", above=0, most=100)
    rms_alpha: float = setting(
        "Decay of RMSprop's running mean of squares.",
        default=0.99,
        least=0,
        below=1,
        needs=("optimizer", "rmsprop"),
    )
    momentum: float = setting(
        "Momentum of SGD.",
        default=0.9,
        least=0,
        below=1,
        needs=("optimizer", "sgd"),
    )
    weight_decay: float = setting(
        "Weight decay of the matrices; none: 0.01 with adamw, else 0.", least=0, most=10
    )
    schedule: str = setting(
        "Course of the learning rate: cosine (to 2% at the end of the budget), linear (to 0), "
        "constant, exponential (times lr_decay, every so many epochs), or plateau (times lr_decay "
        "when the loss gets no better).",
        default="cosine",
        choices=("cosine", "linear", "constant", "exponential", "plateau"),
    )
    warmup: float = setting(
        "Share of the budget in which the rate rises from 0.", default=0.02, least=0, below=1
    )
    lr_decay: float = setting(
        "Factor of the exponential schedule (0.97 if not given) or of the plateau's (0.5).",
        above=0,
        most=1,
        needs=("schedule", "exponential", "plateau"),
    )
    lr_decay_after: int = setting(
        "Epochs before the exponential schedule first falls.",
        default=10,
        least=0,
        most=10**6,
        needs=("schedule", "exponential"),
    )
    lr_decay_every: int = setting(
        "Epochs between two falls of the exponential schedule.",
        default=1,
        least=1,
        most=10**6,
        needs=("schedule", "exponential"),
    )
    lr_patience: int = setting(
        "Evaluations without a better loss before the plateau schedule falls.",
        default=2,
        least=1,
        most=10**6,
        needs=("schedule", "plateau"),
    )
    clip: float = setting("Limit of the gradient; 0: no clipping.", default=1.0, least=0, most=1e9)
    clip_by: str = setting(
        "What is clipped: the norm of all gradients together, or each element's value.",
        default="norm",
        choices=("norm", "value"),
    )
    epochs: float | None = setting(
        "Stop after this many passes over the corpus.", default=None, above=0, most=1e9
    )
    steps: int | None = setting(
        "Stop after this many optimizer steps.", default=None, least=1, most=10**12
    )
    minutes: float | None = setting(
        "Stop after this many minutes of training.", default=None, above=0, most=1e6
    )
    patience: int = setting(
        "Evaluations without a better loss before training stops; 0: never.",
        default=8,
        least=0,
        most=10**9,
    )
    eval_every: int = setting("Optimizer steps between evaluations.", least=1, most=10**12)
    seed: int = setting("Seed of all random generators.", default=0, least=0, most=2**63 - 1)
    device: str = setting("Where it runs.", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = setting(
        "Precision of the matrix products; auto measures.",
        default="auto",
        choices=("auto", "fp32", "bf16"),
    )
    threads: int = setting(
        "Processor threads; 0 (auto) measures, and again when training gets slow.",
        default=0,
        least=0,
        most=1024,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What `charrnn sample` does with this model unless told otherwise."""

    temperature: tuple[float, ...] = setting(
        "Below 1 bolder guesses are rarer, above 1 more frequent; 0 takes the likeliest. Several, "
        "as in 1,0.5,0.2, take turns step by step.",
        default=(0.8,),
        least=0,
        most=1e6,
    )
    top_k: int = setting(
        "Draw among the K likeliest steps only; 0: among all.", default=0, least=0, most=2**31
    )
    top_p: float = setting(
        "Draw among the likeliest steps that together reach this probability.",
        default=1.0,
        above=0,
        most=1,
    )
    min_p: float = setting(
        "Draw among steps with at least this share of the likeliest one's probability.",
        default=0.0,
        least=0,
        most=1,
    )
    typical_p: float = setting(
        "Draw among the steps nearest to the expected surprise that together reach this "
        "probability.",
        default=1.0,
        above=0,
        most=1,
    )
    repetition_penalty: float = setting(
        "Lower the scores of steps that were written lately by this factor; 1: do not.",
        default=1.0,
        least=1,
        most=1e6,
    )
    repetition_window: int = setting("Steps that count as lately.", default=64, least=1, most=2**31)
    no_repeat_ngram: int = setting(
        "Write no sequence of so many steps twice; 0: any.", default=0, least=0, most=2**31
    )
    allow: str = setting("Write these characters only; none: all.", default="")
    forbid: str = setting("Never write these characters.", default="")
    griffin_lim: int = setting(
        "Rounds of the Griffin-Lim algorithm that make the phases of sound agree.",
        default=32,
        least=0,
        most=1_000,
        needs=("codec", "audio"),
    )
    unk: bool = setting(
        "Let a word model write <unk> where a rare word would stand.", default=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run was made with; nothing in it is open."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    sampling: SamplingConfig

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values by section, fit for JSON and for `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "configuration") -> Config:
        """Build from plain values; each must be there that has no default.

        Raises:
            ConfigError: names every unknown, missing, mistyped and out-of-range setting.
        """
        given = check(values, where)
        missing = [
            f"{section}.{field.name} is missing"
            for section, kind in SECTIONS.items()
            for field in dataclasses.fields(kind)
            if field.default is dataclasses.MISSING and field.name not in given[section]
        ]
        if missing:
            raise ConfigError(f"{where}: {'; '.join(missing)}")
        return cls(**{section: kind(**given[section]) for section, kind in SECTIONS.items()})


SECTIONS: dict[str, Any] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "sampling": SamplingConfig,
}
FIELDS: dict[str, tuple[str, dataclasses.Field[Any]]] = {
    field.name: (section, field)
    for section, kind in SECTIONS.items()
    for field in dataclasses.fields(kind)
}
_TYPES: dict[str, Any] = {
    name: hint for kind in SECTIONS.values() for name, hint in typing.get_type_hints(kind).items()
}


BUDGET = ("epochs", "steps", "minutes")
MISTAKES = 10  # that are named; a file that is no configuration has no end of them
LONGEST_NAME = 60
LONGEST_TEXT = 10_000
MOST_TEMPERATURES = 1_000
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = LONGEST_NAME


def _said(value: Any) -> str:
    """A value as it is quoted in an error, which stays a line."""
    return _SHORT.repr(value)


def doc(name: str) -> str:
    """The documentation of a setting, as its declaration gives it."""
    text: str = FIELDS[name][1].metadata["doc"]
    return text


def _mistake(name: str, value: Any) -> str | None:
    """What is wrong with `value` for the setting `name`, or None."""
    hint, meta = _TYPES[name], FIELDS[name][1].metadata
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    wanted = next(kind for kind in kinds if kind is not type(None))
    if wanted == tuple[float, ...]:
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) > MOST_TEMPERATURES:
            return f"must be at most {MOST_TEMPERATURES:,} numbers, not {len(values):,}"
        problems = [_mistake_of(float, number, meta) for number in values]
        return next(filter(None, problems), None if values else "must have a number at least")
    return _mistake_of(wanted, value, meta)


def _mistake_of(wanted: Any, value: Any, meta: Mapping[str, Any]) -> str | None:
    """What is wrong with one value of a type and its limits, or None."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is bool:
        return None if isinstance(value, bool) else f"must be true or false, not {value!r}"
    if number and abs(value) > 1e300:  # TOML has whole numbers that no float can hold
        return f"must be a finite number, not {str(value)[:20]}"
    if wanted is int and not (number and isinstance(value, int)):
        return f"must be a whole number, not {_said(value)}"
    if wanted is float and not (number and math.isfinite(value)):
        return f"must be a finite number, not {_said(value)}"
    if wanted is str and not isinstance(value, str):
        return f"must be text, not {_said(value)}"
    if wanted is str and len(value) > LONGEST_TEXT:
        return f"must be at most {LONGEST_TEXT:,} characters, not {len(value):,}"
    if wanted is str and any("\ud800" <= character <= "\udfff" for character in value):
        return f"must be UTF-8 text, not {_said(value)}"
    if meta["choices"] and value not in meta["choices"]:
        return f"must be one of {', '.join(meta['choices'])}, not {_said(value)}"
    for limit, phrase, holds in (
        (meta["least"], "at least", operator.ge),
        (meta["above"], "above", operator.gt),
        (meta["most"], "at most", operator.le),
        (meta["below"], "below", operator.lt),
    ):
        if limit is not None and not holds(value, limit):
            return f"must be {phrase} {limit:g}, not {_said(value)}"
    return None


def check(values: Mapping[str, Any], where: str, name_of: Naming = "{0}.{1}".format) -> Given:
    """Check partial settings by section and return them; None stands for "not given".

    Args:
        values: section -> name -> value; `description`, a text, may stand beside the sections.
        where: what to name in the error: a file, a preset; "" names nothing.
        name_of: how to name a setting, given its section and its name.

    Raises:
        ConfigError: names every mistake in one line.
    """
    given: Given = {section: {} for section in SECTIONS}
    mistakes = []
    for section, entries in values.items():
        if section == "description" and isinstance(entries, str):
            continue
        if section not in SECTIONS:
            mistakes.append(
                f"unknown section [{section:.{LONGEST_NAME}}]{_closest(section, SECTIONS)}"
            )
        elif not isinstance(entries, Mapping):
            mistakes.append(f"{section} must be a table of settings")
        else:
            known = {field.name for field in dataclasses.fields(SECTIONS[section])}
            for name, value in entries.items():
                if name not in known:
                    hint = _closest(name, FIELDS) if len(mistakes) < MISTAKES else ""
                    mistakes.append(f"unknown setting {section}.{name:.{LONGEST_NAME}}{hint}")
                elif problem := _mistake(name, value):
                    mistakes.append(f"{name_of(section, name)} {problem}")
                else:
                    given[section][name] = _plain(name, value)
    if mistakes:
        more = f"; and {len(mistakes) - MISTAKES} more" if len(mistakes) > MISTAKES else ""
        named = "; ".join(mistakes[:MISTAKES]) + more
        raise ConfigError(f"{where}: {named}" if where else named)
    return given


def _plain(name: str, value: Any) -> Any:
    """A checked value in the type of its setting."""
    if _TYPES[name] == tuple[float, ...]:
        return tuple(map(float, value if isinstance(value, list | tuple) else [value]))
    return float(value) if _TYPES[name] is float else value


def over_preset(preset: str | None, given: Given, typed: Collection[str] | None = None) -> Given:
    """Lay settings over those of a preset; any budget of one's own replaces all of the preset's.

    Args:
        preset: its name or file; None: none.
        given: settings.
        typed: the names among them that must have an effect; None: all.

    Raises:
        ConfigError: as `load_preset` does; or a setting that has no effect beside the others.
    """
    below = load_preset(preset) if preset else check({}, "")
    if any(given["training"].get(name) is not None for name in BUDGET):
        for name in BUDGET:
            below["training"].pop(name, None)
    merged = merge(below, given)
    if "separator" in merged["data"] and "documents" not in merged["data"]:
        merged["data"]["documents"] = "record"
    names = [name for section in given.values() for name in section]
    names = [name for name in names if typed is None or name in typed]
    if any(FIELDS[name][1].metadata["needs"] == ("codec", "audio") for name in names):
        merged["data"].setdefault("codec", "audio")
    idle = [name for name in names if not matters(merged, name)]
    if idle:
        raise ConfigError("; ".join(map(_idle, idle)))
    return merged


def matters(given: Given, name: str) -> bool:
    """Whether a setting has an effect beside the others."""
    needed, *values = FIELDS[name][1].metadata["needs"] or (None,)
    return needed is None or value(given, needed) in values


def _idle(name: str) -> str:
    needed, *values = FIELDS[name][1].metadata["needs"]
    flag = _as_flag("", needed)
    return f"{_as_flag('', name)} has no effect without {flag} {' or '.join(values)}"


def value(given: Given, name: str) -> Any:
    """What is given for a setting, or else its default."""
    section, field = FIELDS[name]
    return given[section].get(name, field.default)


def _closest(name: str, known: Mapping[str, Any]) -> str:
    """A hint at the name that was probably meant."""
    near = difflib.get_close_matches(name, known, n=1) if len(name) < LONGEST_NAME else []
    if not near:
        return ""
    full = f"{FIELDS[near[0]][0]}.{near[0]}" if near[0] in FIELDS else near[0]
    return f" (did you mean {full}?)"


def from_flags(flags: Mapping[str, Any], *, dashed: bool = False) -> Given:
    """Sort flat settings, as the command line and keyword arguments give them, into sections.

    Args:
        flags: name -> value; None means that it was not given.
        dashed: name them in errors as flags, --like-this.

    Raises:
        ConfigError: names every mistake in one line.
    """
    values: Given = {}
    for name, value in flags.items():
        if value is not None:
            section = FIELDS[name][0] if name in FIELDS else "settings"
            values.setdefault(section, {})[name] = value
    return check(values, "", _as_flag if dashed else lambda section, name: name)


def _as_flag(section: str, name: str) -> str:
    return "--" + name.replace("_", "-")


def merge(*layers: Given) -> Given:
    """Lay partial settings over each other; the later ones win."""
    return {
        section: {k: v for layer in layers for k, v in layer.get(section, {}).items()}
        for section in SECTIONS
    }


def bundled(folder: str) -> Path:
    """The directory of bundled `configs` or `corpora`: in the wheel inside the package, in a
    checkout beside it."""
    package = Path(__file__).resolve().parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def presets() -> dict[str, Path]:
    """The bundled presets by name."""
    return {path.stem: path for path in sorted(bundled("configs").glob("*.toml"))}


def load_preset(name: str) -> Given:
    """Read a bundled preset by name, or a TOML file by path.

    Raises:
        ConfigError: no such preset or file, not TOML, or a mistake in it.
    """
    known = presets()
    path = known.get(name, Path(name))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"no preset or file {name!r}; presets: {', '.join(known)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from None
    return check(values, str(path))
