"""`charrnn evaluate`: measure how well a model predicts a corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn import config
from charrnn.cli.options import for_model, refuse_no_png, with_settings
from charrnn.cli.terminal import note, table


def build() -> Callable[..., None]:
    """The command, with an option for every setting that affects how files are read."""
    settings = [s for s in config.all_settings().values() if s.meta["when_reading"]]
    return with_settings(command, settings)


def command(
    ctx: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(metavar="RUN|FILE", help="Run directory or model file.", readable=False),
    ],
    corpus: Annotated[
        list[str], typer.Argument(help="Files, directories, or - for standard input.")
    ],
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda or mps.", envvar="CHARRNN_DEVICE", show_envvar=False),
    ] = "auto",
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG file for the spectrograms of recording and free run."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    **settings: Any,
) -> None:
    """Evaluate a model on text or recordings: charrnn evaluate RUN held-out.txt

    Prints the loss in nats, bits and perplexity; lower is better. For sound, also what the codec
    loses, and how free runs compare with the recording: 1 is ideal.
    """
    from charrnn.api import load

    loaded = load(model)
    if picture is not None:
        loaded.refuse_without_pictures()
    refuse_no_png(picture)
    given = for_model(ctx, settings, loaded.codec.name)
    report = loaded.evaluate(corpus, device=device, picture=picture, **given)
    for text in report.notes:
        note(text)
    typer.echo(json.dumps(report.values) if as_json else table(report.rows))
