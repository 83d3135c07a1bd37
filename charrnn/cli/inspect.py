"""`charrnn inspect`: what is in a model file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.terminal import amount, printable, table
from charrnn.config import Given, matters

if TYPE_CHECKING:
    from charrnn.codec import Codec


def command(
    model: Annotated[
        Path,
        typer.Argument(metavar="RUN|FILE", help="Run directory or model file.", readable=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what is in a model: its shape, codec, training and digest."""
    from charrnn.checkpoint import MODEL
    from charrnn.run import load

    loaded = load(model)
    loaded.tensors()  # holds them against the digest
    shapes = {k.removeprefix(MODEL): v for k, v in loaded.shapes.items() if k.startswith(MODEL)}
    parameters = sum(math.prod(shape) for shape in shapes.values())
    if as_json:
        values = {
            "path": str(loaded.path),
            "bytes": loaded.path.stat().st_size,
            "sha256": loaded.sha256,
            "parameters": parameters,
            "resumable": loaded.progress is not None,
            "codec": loaded.codec.to_dict(),
            "config": loaded.config.to_dict(),
            "training": loaded.training,
            "tensors": {name: list(shape) for name, shape in shapes.items()},
        }
        typer.echo(json.dumps(values))
        return
    rows = [
        ("file", f"{loaded.path}, {amount(loaded.path.stat().st_size)}B"),
        ("sha256", f"{loaded.sha256} (matches)"),
        ("codec", _codec(loaded.codec)),
        ("parameters", f"{parameters:,}"),
        ("resumable", "no" if loaded.progress is None else "yes (holds the training state)"),
    ]
    rows += [(name, _shown(name, value)) for name, value in loaded.training.items()]
    whole = loaded.config.to_dict()
    for section, settings in whole.items():
        shown = [_setting(whole, name, value) for name, value in settings.items()]
        rows.append((section, ", ".join(filter(None, shown))))
    typer.echo(printable(table(rows)))


def _codec(codec: Codec) -> str:
    """What a step is, and the vocabulary, or the beginning of a long one."""
    from charrnn.codec import shown

    if codec.medium == "sound":
        kind = "magnitudes" if codec.is_linear else "components of the log magnitude"
        return (
            f"{codec.name}, {codec.step.size} {kind}; {codec.rate:,} samples a second, "
            f"{codec.stft.n_fft} in a frame, one every {codec.stft.hop}"
        )
    documents = f", each {codec.reading.documents} a document" if codec.end is not None else ""
    about = f"{codec.name}, {codec.step.size}{documents}"
    if codec.name == "byte":
        return about
    between, most = (" ", 40) if codec.unit == "word" else ("", len(codec.symbols))
    more = " ..." if len(codec.symbols) > most else ""
    return f"{about}: {between.join(map(shown, codec.symbols[:most]))}{more}"


def _setting(whole: Given, name: str, value: Any) -> str:
    """A setting and its value; nothing where it has no effect."""
    if value in (None, "") or not matters(whole, name):
        return ""
    if isinstance(value, tuple):
        return f"{name} {','.join(f'{number:g}' for number in value)}"
    is_blank = isinstance(value, str) and not value.strip()
    return f"{name} {value!r}" if is_blank else f"{name} {value}"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
