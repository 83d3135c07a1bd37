"""`charrnn export`: write a model in other formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.options import AnyModelPath
from charrnn.cli.terminal import note


def build() -> Callable[..., None]:
    """The command, which has no settings."""
    return command


def command(
    model: AnyModelPath = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File to write; its ending says the format: .html, a web page that generates; "
            ".onnx; .npz, arrays for NumPy; .safetensors, a model file without the state of "
            "training; .md, a page about the model.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="int8|fp16|fp32",
            help="How matrices are stored in a web page or a model file. (default: int8 in a page, "
            "unchanged in a model file)",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of a page.", show_default=False)] = "",
    about: Annotated[
        str,
        typer.Option(
            help="What the model was trained on, and its licence: for a page.", show_default=False
        ),
    ] = "",
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the sample in a .md. (default: 0)", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Write a model in another format: charrnn export RUN -o page.html

    A page is one file that generates offline, in any browser: send it to a friend.
    """
    from charrnn.api import load

    load(model).export(out, weights=weights, title=title, about=about, seed=seed)
    note(f"{out}: {out.stat().st_size / 1000:,.0f} kB", quiet)
