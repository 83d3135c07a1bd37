"""`charrnn`: the commands, each in a file of its own."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import charrnn
from charrnn.cli import evaluate, failures, info, inspect, sample, train
from charrnn.cli.terminal import mute

app = typer.Typer(
    name="charrnn",
    help="Learn a text or a piece of music and go on with it.",
    epilog="Begin with: charrnn train, then: charrnn sample",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, module in {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "inspect": inspect,
    "info": info,
}.items():
    app.command(name)(failures.guarded(module.command))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {charrnn.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Learn a text or a piece of music and go on with it."""
    failures.debug = debug


def main() -> None:
    """Entry point of the `charrnn` command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace", newline="")
    try:
        app(prog_name="charrnn")
    except OSError as error:  # of what is shown without a command, as --help
        failures.say(f"standard output: {error.strerror}")
        mute(sys.stdout)
        sys.exit(1)
