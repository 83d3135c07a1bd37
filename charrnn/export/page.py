"""The page of `charrnn export`: one HTML file with which anybody can generate with a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from charrnn.checkpoint import Checkpoint
from charrnn.export import html
from charrnn.export.card import name_of
from charrnn.export.packed import codec, engine, packed
from charrnn.model.cells import cell_of
from charrnn.settings import SamplingConfig

WEB = Path(__file__).resolve().parent / "web"
SHOWN = ("temperature", "top_p")  # settings that have fields in the page


def page(checkpoint: Checkpoint, *, title: str = "", about: str = "", weights: str = "int8") -> str:
    """The page as HTML.

    Args:
        checkpoint: the model.
        title: the heading; empty: the name of the model's run or file.
        about: a line about the model, e.g. what it has learnt from, and the licence.
        weights: how its matrices are stored: "int8", or "fp32", with which a seed gives the same
            text as `charrnn sample`.

    Raises:
        UsageError: there are no pages for models of this kind.
        CheckpointError: as in `Checkpoint.tensors`.
    """
    own = checkpoint.codec.web_page(checkpoint.config.codec_settings)
    sampling = checkpoint.config.sampling
    data = {
        "title": title or name_of(checkpoint),
        "about": about,
        "network": _network(checkpoint),
        "note": own.note,
        "unit": checkpoint.codec.unit,
        "documents": checkpoint.codec.end is not None,
        "sampling": dataclasses.asdict(sampling),
        "also": _also(sampling),
    } | own.data
    computing = [engine(), _read(WEB / "sampler.js"), _read(WEB / "worker.js")]
    computing += [_read(WEB / "player.js")] if own.draws_symbols else []
    scripts = [codec()] if checkpoint.codec.primes_are_text else [_read(WEB / "files.js")]
    scripts += [_read(WEB / "settings.js"), _read(WEB / "page.js")]
    return html.filled(
        _read(WEB / "page.html"),
        style=_read(WEB / "page.css") + _read(own.folder / own.style),
        script="\n".join([*scripts, *(_read(own.folder / name) for name in own.scripts)]),
        worker="\n".join([*computing, *(_read(own.folder / name) for name in own.worker)]),
        data=html.data(data),
        model=packed(checkpoint, weights, own.arrays),
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _network(checkpoint: Checkpoint) -> str:
    """A sentence about the network."""
    model = checkpoint.config.model
    layers = f"{model.layers} layer{'s' * (model.layers > 1)} of {model.hidden} units"
    kind = cell_of(model.cell).label
    return f"{kind}, {layers}, {checkpoint.parameter_count:,} parameters."


def _also(sampling: SamplingConfig) -> str:
    """The settings that are not as usual and have no field in the page."""
    found = []
    for field in dataclasses.fields(sampling):
        value = getattr(sampling, field.name)
        if field.name not in SHOWN and value != field.default:
            found.append(f"{field.name.replace('_', '-')} {value:g}")
    return ", ".join(found)
