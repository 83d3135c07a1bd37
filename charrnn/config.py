"""Settings: checks those that a user gives, and holds the complete configuration of a run.

The settings that a user gives are *partial*: section -> name -> value.  They are checked strictly,
and all mistakes are reported at once.  `charrnn.training.plan` chooses the rest; the result is a
`Config`, in which every setting has a value.  A checkpoint stores a `Config`.

In files and in partial settings, a medium's own settings are in the same sections as the general
ones.  In a `Config` they are an instance of a class of the medium.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from charrnn import media
from charrnn.errors import ConfigError
from charrnn.media.medium import Medium
from charrnn.settings import (
    CELLS,
    SECTIONS,
    DataConfig,
    ModelConfig,
    SamplingConfig,
    TrainingConfig,
)

Naming = Callable[[str, str], str]
Given = dict[str, dict[str, Any]]  # section -> name -> value: partial settings

MAX_MISTAKES = 10  # that a message lists; a file that is not a configuration has many more
MAX_NAME = 60
MAX_TEXT = 10_000
MAX_TEMPERATURES = 1_000
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = MAX_NAME


@dataclasses.dataclass(frozen=True)
class Setting:
    """The declaration of a setting."""

    name: str
    section: str  # "": an option of a single call
    hint: Any  # its type
    default: Any  # dataclasses.MISSING: chosen by the plan if it is not given
    meta: Mapping[str, Any]
    owners: tuple[str, ...] = ()  # the media that declare it; empty: it is for all media

    @property
    def choices(self) -> tuple[str, ...]:
        """The values allowed at present (cells and media can be added); empty: no fixed list."""
        if self.name == "codec":
            return media.codec_names()
        choices: tuple[str, ...] = tuple(CELLS) if self.name == "cell" else self.meta["choices"]
        return choices

    @property
    def flag(self) -> str:
        """The command-line flag: --like-this."""
        return "--" + self.name.replace("_", "-")


def declared(kind: type[Any], section: str = "") -> Mapping[str, Setting]:
    """The settings that a class declares, by name."""
    return _declared(kind, section)  # type: ignore[arg-type]


@functools.cache
def _declared(kind: Any, section: str) -> dict[str, Setting]:
    hints = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        where = section or field.metadata["section"]
        hint = hints[field.name]
        found[field.name] = Setting(field.name, where, hint, field.default, field.metadata)
    return found


def declared_values(given: Given, kind: type[Any], section: str = "") -> dict[str, Any]:
    """The values given for the settings that a class declares, by name."""
    own = declared(kind, section)
    return {n: given[s.section][n] for n, s in own.items() if n in given.get(s.section, {})}


def all_settings() -> dict[str, Setting]:
    """Every setting by name: the general ones, then those of each medium."""
    found = {k: v for section, kind in SECTIONS.items() for k, v in declared(kind, section).items()}
    return found | _of_media("settings")


def all_options() -> dict[str, Setting]:
    """Every option of a single call of `sample`, by name."""
    return _of_media("options")


def _of_media(what: str) -> dict[str, Setting]:
    """What the media declare, by name; media that inherit the same declaration share it."""
    found: dict[str, Setting] = {}
    for medium in reversed(media.MEDIA.values()):
        for name, setting in declared(getattr(medium, what)).items():
            owners = (*found[name].owners, medium.name) if name in found else (medium.name,)
            found[name] = dataclasses.replace(setting, owners=owners)
    return found


def random_settings() -> dict[str, Setting]:
    """The settings and options that have an effect only on samples drawn at random, by name."""
    known = all_settings() | all_options()
    return {name: setting for name, setting in known.items() if setting.meta["random"]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The complete configuration of a run: every setting has a value.

    Args:
        data, model, training, sampling: the settings that all media share.
        codec_settings: those of the codec's medium, an instance of its `settings`.
        stored: the settings of the file that this config was read from.  `to_dict` returns the same
            ones, with their current values, so a resumed run stays compatible with the version
            that started it.  None: it was not read from a file.
    """

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    sampling: SamplingConfig
    codec_settings: Any
    stored: Given | None = dataclasses.field(default=None, compare=False, repr=False)

    def to_dict(self) -> Given:
        """Values that JSON can hold, by section, for `from_dict`."""
        values: Given = {
            section: dataclasses.asdict(getattr(self, section)) for section in SECTIONS
        }
        for name, setting in declared(type(self.codec_settings)).items():
            values[setting.section][name] = getattr(self.codec_settings, name)
        if self.stored is None:
            return values
        for section, stored in self.stored.items():
            others = {k: v for k, v in stored.items() if k not in values[section]}
            values[section] = {k: v for k, v in values[section].items() if k in stored} | others
        return values

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], where: str = "configuration", *, keep: bool = False
    ) -> Config:
        """Build a config from plain values; every setting without a default must be present.

        Args:
            values: section -> name -> value.
            where: the source of the values, for error messages.
            keep: keep the values as `stored`.

        Raises:
            ConfigError: names every unknown, missing, mistyped and out-of-range setting.
        """
        given = check(values, where)
        missing = [
            f"{setting.section}.{name} is missing"
            for name, setting in all_settings().items()
            if setting.default is dataclasses.MISSING and name not in given[setting.section]
        ]
        if missing:
            raise ConfigError(f"{where}: {'; '.join(missing)}")
        codec = given["data"].get("codec", DataConfig.codec)
        if codec == DataConfig.codec:
            raise ConfigError(f"{where}: data.codec is missing, or {codec}")
        parts = {
            section: kind(**declared_values(given, kind, section))
            for section, kind in SECTIONS.items()
        }
        settings = codec_settings(given, media.medium_of(codec))
        return cls(**parts, codec_settings=settings, stored=given if keep else None)

    def changed(self, given: Given) -> Config:
        """A copy of this config with other values for some settings.

        Args:
            given: section -> name -> value; settings of other media are ignored.
        """
        parts: dict[str, Any] = {
            section: dataclasses.replace(
                getattr(self, section), **declared_values(given, kind, section)
            )
            for section, kind in SECTIONS.items()
        }
        own = declared_values(given, type(self.codec_settings))
        parts["codec_settings"] = dataclasses.replace(self.codec_settings, **own)
        return dataclasses.replace(self, **parts)


def codec_settings(given: Given, medium: Medium) -> Any:
    """The settings of a medium, with defaults for those that are not given."""
    return medium.settings(**declared_values(given, medium.settings))


def _quoted(value: Any) -> str:
    """A value for an error message, shortened."""
    return _SHORT.repr(value)


def _mistake(setting: Setting, value: Any) -> str | None:
    """What is wrong with a value for a setting; None: it is valid."""
    hint = setting.hint
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    expected = next(kind for kind in kinds if kind is not type(None))
    if expected == tuple[float, ...]:
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) > MAX_TEMPERATURES:
            return f"must be at most {MAX_TEMPERATURES:,} numbers, not {len(values):,}"
        problems = [_mistake_of(float, number, setting) for number in values]
        return next(filter(None, problems), None if values else "must be at least one number")
    return _mistake_of(expected, value, setting)


def _mistake_of(expected: Any, value: Any, setting: Setting) -> str | None:
    """What is wrong with a single value, given the expected type and the limits of the setting;
    None: it is valid."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if expected is bool:
        return None if isinstance(value, bool) else f"must be true or false, not {value!r}"
    if number and abs(value) > 1e300:  # TOML allows integers that are too large for a float
        return f"must be a finite number, not {str(value)[:20]}"
    if expected is int and not (number and isinstance(value, int)):
        return f"must be a whole number, not {_quoted(value)}"
    if expected is float and not (number and math.isfinite(value)):
        return f"must be a finite number, not {_quoted(value)}"
    if expected is str and not isinstance(value, str):
        return f"must be text, not {_quoted(value)}"
    if expected is str and len(value) > MAX_TEXT:
        return f"must be at most {MAX_TEXT:,} characters, not {len(value):,}"
    if expected is str and any("\ud800" <= character <= "\udfff" for character in value):
        return f"must be UTF-8 text, not {_quoted(value)}"
    if setting.choices and value not in setting.choices:
        return f"must be one of {', '.join(setting.choices)}, not {_quoted(value)}"
    for limit, phrase, holds in (
        (setting.meta["least"], "at least", operator.ge),
        (setting.meta["above"], "above", operator.gt),
        (setting.meta["most"], "at most", operator.le),
        (setting.meta["below"], "below", operator.lt),
    ):
        if limit is not None and not holds(value, limit):
            return f"must be {phrase} {limit:g}, not {_quoted(value)}"
    return None


def check(values: Mapping[str, Any], where: str, name_of: Naming = "{0}.{1}".format) -> Given:
    """Check partial settings and return them.

    Args:
        values: section -> name -> value; may also contain a text named `description`.
        where: the source of the settings for the error message, e.g. a file; "": none.
        name_of: the name of a setting in messages, given its section and its name.

    Raises:
        ConfigError: lists all mistakes in one line.
    """
    given: Given = {section: {} for section in SECTIONS}
    known = all_settings()
    mistakes = []
    for section, entries in values.items():
        if section == "description" and isinstance(entries, str):
            continue
        if section not in SECTIONS:
            hint = _closest(section, SECTIONS)
            mistakes.append(f"unknown section [{section:.{MAX_NAME}}]{hint}")
        elif not isinstance(entries, Mapping):
            mistakes.append(f"{section} must be a table of settings")
        else:
            for name, value in entries.items():
                setting = known.get(name)
                if setting is None or setting.section != section:
                    hint = _closest(name, known) if len(mistakes) < MAX_MISTAKES else ""
                    mistakes.append(f"unknown setting {section}.{name:.{MAX_NAME}}{hint}")
                elif problem := _mistake(setting, value):
                    mistakes.append(f"{name_of(section, name)} {problem}")
                else:
                    given[section][name] = _plain(setting, value)
    refuse_mistakes(mistakes, where)
    return given


def refuse_mistakes(mistakes: Sequence[str], where: str = "") -> None:
    """Raise if there are mistakes; the message lists the first ones."""
    if mistakes:
        more = f"; and {len(mistakes) - MAX_MISTAKES} more" * (len(mistakes) > MAX_MISTAKES)
        named = "; ".join(mistakes[:MAX_MISTAKES]) + more
        raise ConfigError(f"{where}: {named}" if where else named)


def _plain(setting: Setting, value: Any) -> Any:
    """Convert a checked value to the type of its setting."""
    if setting.hint == tuple[float, ...]:
        return tuple(map(float, value if isinstance(value, list | tuple) else [value]))
    return float(value) if setting.hint is float else value


def _closest(name: str, known: Mapping[str, Any]) -> str:
    """A hint with the name that the user probably meant; may be empty."""
    near = difflib.get_close_matches(name, known, n=1) if len(name) < MAX_NAME else []
    if not near:
        return ""
    meant = known[near[0]]
    full = f"{meant.section}.{near[0]}" if isinstance(meant, Setting) else near[0]
    return f" (did you mean {full}?)"


def from_flags(flags: Mapping[str, Any], *, dashed: bool = False) -> Given:
    """Sort settings from the command line or from keyword arguments into sections, and check them.

    Args:
        flags: name -> value; None: not given.
        dashed: write names as flags, --like-this, in error messages.

    Raises:
        ConfigError: lists all mistakes in one line.
    """
    values: Given = {}
    known = all_settings()
    for name, value in flags.items():
        if value is not None:
            section = known[name].section if name in known else "settings"
            values.setdefault(section, {})[name] = value
    if unknown := values.pop("settings", None):
        refuse_mistakes([f"unknown setting {n:.{MAX_NAME}}{_closest(n, known)}" for n in unknown])
    name_of: Naming = lambda section, name: known[name].flag if dashed else name  # noqa: E731
    return check(values, "", name_of)


def options_from_flags(flags: Mapping[str, Any], medium: Medium) -> Any:
    """The options of a single call of `sample`, an instance of the medium's `options`.

    Raises:
        ConfigError: lists all mistakes in one line.
    """
    own = declared(medium.options)
    values = {name: value for name, value in flags.items() if value is not None}
    problems = ((own[name], _mistake(own[name], value)) for name, value in values.items())
    refuse_mistakes([f"{setting.flag} {problem}" for setting, problem in problems if problem])
    return medium.options(**values)


def merge(*layers: Given) -> Given:
    """Merge partial settings; later ones override earlier ones."""
    return {
        section: {k: v for layer in layers for k, v in layer.get(section, {}).items()}
        for section in SECTIONS
    }


def value(given: Given, name: str) -> Any:
    """The value given for a setting, or its default."""
    setting = all_settings()[name]
    return given[setting.section].get(name, setting.default)
