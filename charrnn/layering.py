"""Combines settings with a preset, and checks which of them affect a given corpus or model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from charrnn import media
from charrnn.config import (
    Given,
    Setting,
    all_options,
    all_settings,
    declared,
    merge,
    refuse_mistakes,
    value,
)
from charrnn.errors import ConfigError, UsageError
from charrnn.media.medium import Medium
from charrnn.media.sources import Sources
from charrnn.settings import BUDGET


def over_preset(below: Given, given: Given) -> Given:
    """Combine a preset (`below`) with the user's settings, which override it.

    If the user gives any budget, the preset's whole budget is dropped.  Settings implied by others
    are added.
    """
    below = merge(below)
    if any(given["training"].get(name) is not None for name in BUDGET):
        for name in BUDGET:
            below["training"].pop(name, None)
    merged = merge(below, given)
    flat = {name: value for values in merged.values() for name, value in values.items()}
    for medium in media.MEDIA.values():
        own = declared(medium.settings)
        for name, implied in medium.implied({k: v for k, v in flat.items() if k in own}).items():
            merged[own[name].section].setdefault(name, implied)
    return merged


def over_suited(given: Given, sources: Sources, codec: str) -> Given:
    """The settings over those that suit the files of a corpus."""
    medium = media.medium_of(codec)
    own = declared(medium.settings)
    below: Given = {"data": {}, "model": {}, "training": {}, "sampling": {}}
    for name, suited in medium.suited(sources, codec).items():
        below[own[name].section][name] = suited
    return merge(below, given)


def possible_media(given: Given, names: Collection[str]) -> list[Medium]:
    """The media that the corpus can belong to, given the codec and the user's settings.

    Args:
        given: partial settings.
        names: those settings that must have an effect.

    Raises:
        ConfigError: the settings belong to different media.
    """
    codec = value(given, "codec")
    possible = list(media.MEDIA.values()) if codec == "auto" else [media.medium_of(codec)]
    for name in names:
        setting = all_settings()[name]
        fitting = [medium for medium in possible if _fits(setting, medium, codec)]
        if not fitting:
            named = f"--codec {codec}" if codec != "auto" else _owned(names, possible)
            raise ConfigError(f"{setting.flag} {_is_for(setting)}, {named} is not; drop one")
        possible = fitting
    return possible


def _fits(setting: Setting, medium: Medium, codec: str) -> bool:
    """Whether a setting can have an effect on a corpus of this medium with this codec."""
    is_own = not setting.owners or medium.name in setting.owners
    return is_own and setting.meta["kind"] in ("", medium.kind_of(codec).kind)


def _is_for(setting: Setting) -> str:
    """What a setting is for, if it is not for all media; for messages."""
    if setting.owners:
        return f"is for {', '.join(setting.owners)}"
    names = []
    for medium in reversed(media.MEDIA.values()):
        fitting = [n for n in medium.codecs if medium.kind_of(n).kind == setting.meta["kind"]]
        if fitting:
            is_whole = len(fitting) == len(medium.codecs)
            names.append(medium.name if is_whole else f"{medium.name} with --codec {fitting[0]}")
    return f"is for {', '.join(names)}"


def _owned(names: Collection[str], possible: list[Medium]) -> str:
    """The settings that have ruled out other media; for messages."""
    known = all_settings()
    owned = [known[n].flag for n in names if possible[0].name in known[n].owners]
    return ", ".join(owned) or possible[0].name


def refuse_idle(given: Given, names: Collection[str], codec: str) -> None:
    """Raise for settings that have no effect in combination with the others.

    Args:
        given: partial settings.
        names: those settings that must have an effect.
        codec: the chosen codec.

    Raises:
        ConfigError: lists them all.
    """
    known, medium = all_settings(), media.medium_of(codec)
    whole = merge(given, {"data": {"codec": codec}})
    reasons = {name: _why_idle(known[name], whole, codec) for name in names}
    idle = [reason for reason in reasons.values() if reason]
    if any(not _fits(known[name], medium, codec) for name in names):
        idle[-1] += f"; this corpus is {medium.name}"
    refuse_mistakes(idle)


def _why_idle(setting: Setting, given: Given, codec: str) -> str:
    """Why a setting has no effect on a corpus or a model with this codec; empty if it has one."""
    if not _fits(setting, media.medium_of(codec), codec):
        return f"{setting.flag} {_is_for(setting)}"
    if has_effect(given, setting):
        return ""
    needed, *values = setting.meta["needs"]
    flag = all_settings()[needed].flag
    return f"{setting.flag} has no effect without {flag} {' or '.join(values)}"


def without_idle(given: Given, codec: str) -> Given:
    """The settings without those that have no effect on a corpus with this codec."""
    known, whole = all_settings(), merge(given, {"data": {"codec": codec}})
    return {
        section: {n: v for n, v in values.items() if not _why_idle(known[n], whole, codec)}
        for section, values in given.items()
    }


def has_effect(given: Given, setting: Setting) -> bool:
    """Whether a setting has an effect in combination with the others, apart from the medium."""
    needed, *values = setting.meta["needs"] or (None,)
    return needed is None or value(given, needed) in values


def for_model(given: Mapping[str, Any], named: Collection[str], codec: str) -> dict[str, Any]:
    """The settings and options of `sample` or `evaluate` that belong to a model.

    Args:
        given: name -> value; None: not given.
        named: those that must belong to it; others, e.g. from the environment, are dropped.
        codec: the codec of the model.

    Raises:
        UsageError: lists those that do not belong to it.
    """
    known, medium = all_options() | all_settings(), media.medium_of(codec)
    values = {name: value for name, value in given.items() if value is not None}
    whole = merge({"data": {"codec": codec}})
    reasons = {name: _why_idle(known[name], whole, codec) for name in values}
    if idle := [reason for name, reason in reasons.items() if reason and name in named]:
        raise UsageError(f"this is a model of {medium.name}; {'; '.join(idle)}")
    return {name: value for name, value in values.items() if not reasons[name]}
