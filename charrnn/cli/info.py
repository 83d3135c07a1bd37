"""`charrnn info`: show versions, devices, presets and corpora."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import charrnn
from charrnn.cli.terminal import table
from charrnn.files import bundled
from charrnn.presets import presets

PACKAGES = (
    *("torch", "numpy", "safetensors", "typer", "rich", "scipy"),
    *("soundfile", "soxr", "symusic"),
)


def build() -> Callable[..., None]:
    """The command, which has no settings."""
    return command


def command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show versions, devices and what is bundled: the first thing for a bug report."""
    import torch

    from charrnn.media.sources import corpora
    from charrnn.model.device import available
    from charrnn.processes import processors
    from charrnn.run import general_models

    devices = available()
    values = {
        "charrnn": charrnn.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": devices,
        "device": devices[0],
        "gpu": torch.cuda.get_device_name() if "cuda" in devices else None,
        "processors": processors(),
        "presets": list(presets()),
        "corpora": list(corpora()),
        "models": list(general_models()),
        "files": str(bundled("configs").parent),
    }
    if as_json:
        typer.echo(json.dumps(values))
        return
    rows = [
        ("charrnn", f"{values['charrnn']}, Python {values['python']}, {values['platform']}"),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)),
        ("devices", f"{', '.join(devices)}; {devices[0]} would be used"),
        ("processors", str(values["processors"])),
        ("presets", ", ".join(presets())),
        ("corpora", ", ".join(corpora())),
        ("models", ", ".join(general_models())),
        ("files", str(values["files"])),
    ]
    if values["gpu"]:
        rows.insert(3, ("gpu", str(values["gpu"])))
    typer.echo(table(rows))


def _version(name: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
