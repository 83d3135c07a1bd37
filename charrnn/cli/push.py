"""`charrnn push`: publish a model on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.terminal import note


def build() -> Callable[..., None]:
    """The command, which has no settings."""
    return command


def command(
    model: Annotated[
        Path,
        typer.Argument(metavar="RUN|FILE", help="Run directory or model file.", readable=False),
    ],
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    title: Annotated[str, typer.Option(help="Title of its page.", show_default=False)] = "",
    about: Annotated[
        str, typer.Option(help="What the model was trained on.", show_default=False)
    ] = "",
    licence: Annotated[
        str,
        typer.Option(
            "--license", help="Short name of its licence, e.g. cc0-1.0.", show_default=False
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample on its page.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Publish a model on the Hugging Face Hub: charrnn push RUN USER/NAME

    Then anyone can use it: charrnn sample hf://USER/NAME. Log in first with: hf auth login
    """
    from charrnn.api import load

    address = load(model).push(
        name, private=private, title=title, about=about, licence=licence, seed=seed
    )
    typer.echo(address)
    note(f"sample from it with: charrnn sample hf://{name}", quiet)
