"""`charrnn inspect`: show what is in a model file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.options import ModelPath
from charrnn.cli.terminal import amount, printable, table
from charrnn.layering import without_idle
from charrnn.media.sources import ENCODED_FILE


def build() -> Callable[..., None]:
    """The command, which has no settings."""
    return command


def command(
    model: ModelPath,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what is in a model: its shape, codec, training and digest.

    For a general model, also the page about it: how it was trained, on what, and what to expect.
    For the folder of an encoded corpus: its length, codec and settings.
    """
    if (model / ENCODED_FILE).exists():
        _corpus(model, as_json)
        return
    from charrnn.api import load
    from charrnn.checkpoint import MODEL
    from charrnn.run import page_about

    loaded = load(model).checkpoint
    card = page_about(loaded.path)
    loaded.tensors()  # checks them against the digest
    shapes = {k.removeprefix(MODEL): v for k, v in loaded.shapes.items() if k.startswith(MODEL)}
    if as_json:
        values = {
            "path": str(loaded.path),
            "bytes": loaded.path.stat().st_size,
            "sha256": loaded.sha256,
            "parameters": loaded.parameter_count,
            "weights": loaded.weights_as,
            "resumable": loaded.progress is not None,
            "codec": loaded.codec.to_dict(),
            "config": loaded.config.to_dict(),
            "training": loaded.training,
            "tensors": {name: list(shape) for name, shape in shapes.items()},
            "card": card,
        }
        typer.echo(json.dumps(values))
        return
    rows = [
        ("file", f"{loaded.path}, {amount(loaded.path.stat().st_size)}B"),
        ("sha256", f"{loaded.sha256} (matches)"),
        ("codec", f"{loaded.codec.name}, {loaded.codec.describe()}"),
        ("parameters", f"{loaded.parameter_count:,}, {loaded.weights_as}"),
        ("resumable", "no" if loaded.progress is None else "yes (holds the training state)"),
    ]
    rows += [(name, _shown(name, value)) for name, value in loaded.training.items()]
    settings = without_idle(loaded.config.to_dict(), loaded.codec.name)
    for section, values in settings.items():
        shown = [_setting(name, value) for name, value in values.items()]
        rows.append((section, ", ".join(filter(None, shown))))
    typer.echo(printable(table(rows)))
    if card is not None:
        typer.echo(f"\n{card}", nl=False)


def _corpus(path: Path, as_json: bool) -> None:
    """Show what is in the folder of an encoded corpus."""
    from charrnn import encoded

    folder = encoded.read(path)
    corpus, codec = folder.corpus, folder.corpus.codec
    size = corpus.path.stat().st_size
    if as_json:
        values = {
            "path": str(path),
            "bytes": size,
            "crc32": folder.crc32,
            "steps": corpus.steps,
            "documents": corpus.documents,
            "codec": codec.to_dict(),
            "settings": folder.settings["data"],
        }
        typer.echo(json.dumps(values))
        return
    documents = "" if corpus.documents is None else f", {corpus.documents:,} documents"
    settings = without_idle(folder.settings, codec.name)["data"]
    rows = [
        ("file", f"{corpus.path}, {amount(size)}B"),
        ("corpus", f"{corpus.steps:,} {codec.unit}s{documents}"),
        ("codec", f"{codec.name}, {codec.describe()}"),
        ("settings", ", ".join(filter(None, itertools.starmap(_setting, settings.items())))),
    ]
    typer.echo(printable(table(rows)))


def _setting(name: str, value: Any) -> str:
    """A setting and its value; "" if the value is empty."""
    if value in (None, ""):
        return ""
    if isinstance(value, tuple):
        return f"{name} {','.join(f'{number:g}' for number in value)}"
    is_blank = isinstance(value, str) and not value.strip()
    return f"{name} {value!r}" if is_blank else f"{name} {value}"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
