"""The page of `charrnn export`: one HTML file with which anybody can write with a model of text."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.errors import UsageError
from charrnn.export import html
from charrnn.export.card import name_of
from charrnn.export.packed import codec, engine, packed
from charrnn.model.cells import cell_of
from charrnn.settings import SamplingConfig

WEB = Path(__file__).resolve().parent / "web"
CHARACTERS = 500  # written at a time, until another length is given
WORDS = 150  # the same for long steps
SHOWN = ("temperature", "top_p")  # settings that have fields in the page


def page(checkpoint: Checkpoint, *, title: str = "", about: str = "", weights: str = "int8") -> str:
    """The page as HTML.

    Args:
        checkpoint: a model of text.
        title: the heading; empty: the name of the model's run or file.
        about: a line about the model, e.g. what it has learnt from, and the licence.
        weights: how its matrices are stored: "int8", or "fp32", with which a seed gives the same
            text as `charrnn sample`.

    Raises:
        UsageError: it is no model of text.
        CheckpointError: as in `Checkpoint.tensors`.
    """
    own = checkpoint.codec
    if not own.primes_are_text or own.symbols is None:
        raise UsageError(
            f"{checkpoint.path}: its steps are {own.unit}s; a page is for models of text"
        )
    sampling = checkpoint.config.sampling
    stored = own.to_dict()
    data = {
        "title": title or name_of(checkpoint),
        "about": about,
        "network": _network(checkpoint),
        "unit": own.unit,
        "codec": {
            "name": own.name,
            "symbols": ["" if step == own.end else text for step, text in enumerate(own.symbols)],
            "end": own.end,
            "start": own.start(np.random.default_rng(0)).tolist(),
            "normalize": stored.get("normalize", "none"),
        },
        "documents": own.end is not None,
        "is_fixed_width": _is_fixed_width(own.symbols, stored.get("documents", "")),
        "length": CHARACTERS if stored.get("characters_per_step", 1) < 2 else WORDS,
        "sampling": dataclasses.asdict(sampling),
        "also": _also(sampling),
        "never": own.never(checkpoint.config.codec_settings).tolist(),
    }
    scripts = [codec(), *map(_read, ("settings.js", "paper.js", "play.js"))]
    return html.filled(
        _read("play.html"),
        style=_read("play.css"),
        script="\n".join(scripts),
        worker="\n".join([engine(), _read("sampler.js"), _read("player.js")]),
        data=html.data(data),
        model=packed(checkpoint, weights),
    )


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _network(checkpoint: Checkpoint) -> str:
    """A sentence about the network."""
    model, weights = checkpoint.config.model, 0
    for name, shape in checkpoint.shapes.items():
        weights += math.prod(shape) if name.startswith("model.") else 0
    layers = f"{model.layers} layer{'s' * (model.layers > 1)} of {model.hidden} units"
    kind = cell_of(model.cell).label
    return f"{kind}, {layers}, {weights:,} numbers that it has learnt."


def _is_fixed_width(symbols: Any, documents: str) -> bool:
    """Whether the text is to be shown in a font whose characters are of equal width: tunes in ABC
    notation and programs, i.e. what has braces, but not bytes, which have everything."""
    has_braces = "{" in symbols and "}" in symbols and "\x01" not in symbols
    return has_braces or documents == "tune"


def _also(sampling: SamplingConfig) -> str:
    """The settings that are not as usual and have no field in the page."""
    found = []
    for field in dataclasses.fields(sampling):
        value = getattr(sampling, field.name)
        if field.name not in SHOWN and value != field.default:
            found.append(f"{field.name.replace('_', '-')} {value:g}")
    return ", ".join(found)
