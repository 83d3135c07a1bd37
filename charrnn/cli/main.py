"""The `charrnn` command; each subcommand has its own file."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection
from typing import Annotated, Any

import typer

import charrnn
from charrnn.cli import (
    embed,
    encode,
    evaluate,
    export,
    failures,
    info,
    insight,
    inspect,
    push,
    sample,
    train,
)
from charrnn.cli.options import only_documented
from charrnn.cli.terminal import mute

HELP = "Learn text or music and generate more like it."
COMPLETION = "_CHARRNN_COMPLETE"  # set in the environment while a shell completes a command
COMMANDS: dict[str, Any] = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "insight": insight,
    "embed": embed,
    "encode": encode,
    "export": export,
    "push": push,
    "inspect": inspect,
    "info": info,
}


def build(words: Collection[str]) -> typer.Typer:
    """The program, with the options of those commands that are among the words typed.

    Making the options of all of them would take longer than showing the list of commands.
    """
    app = typer.Typer(
        name="charrnn",
        help=HELP,
        epilog="Start with: charrnn train, then: charrnn sample",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, module in COMMANDS.items():
        command = module.build() if name in words else only_documented(module.command)
        app.command(name)(failures.guarded(command))
    app.callback()(_options)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {charrnn.__version__}")
        raise typer.Exit()


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    failures.debug = debug


_options.__doc__ = HELP


def main() -> None:
    """Entry point of the `charrnn` command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: discard all output
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace", newline="")
    # cuDNN has to copy weights that dropout has changed.
    warnings.filterwarnings("ignore", message="RNN module weights are not part of single")
    try:
        words = COMMANDS if COMPLETION in os.environ else sys.argv[1:]
        build(words)(prog_name="charrnn")
    except OSError as error:  # from output outside a subcommand, e.g. --help
        failures.print_error(f"standard output: {error.strerror}")
        mute(sys.stdout)
        sys.exit(1)
