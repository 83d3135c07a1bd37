"""Options of settings: documented where the setting is declared, settable by environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from charrnn import config
from charrnn.errors import ConfigError, UsageError


def setting(name: str, panel: str | None = None, short: str | None = None) -> Any:
    """The option of a setting of `charrnn.config`."""
    flag = "--" + name.replace("_", "-")
    field = config.FIELDS[name][1]
    if field.default is True or field.default is False:
        flag += "/--no-" + name.replace("_", "-")
    choices = field.metadata["choices"]
    return typer.Option(
        *((short, flag) if short else (flag,)),
        help=config.doc(name),
        envvar=f"CHARRNN_{name.upper()}",
        show_envvar=False,
        rich_help_panel=panel,
        metavar="|".join(choices) if choices else None,
    )


def typed(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter was typed, and does not come from the environment."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_no_png(picture: Path | None) -> None:
    """Refuse a picture whose name says that it is something else.

    Raises:
        UsageError: it does not end in .png, or cannot be there.
    """
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: pictures are PNG; end the name in .png")
    if picture is not None and not picture.parent.is_dir():
        raise UsageError(f"--picture {picture}: there is no directory {picture.parent}")


def numbers(text: str | None, flag: str) -> Sequence[float] | None:
    """Numbers parted by commas.

    Raises:
        ConfigError: something else is among them.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{flag} must be a number, or several with commas as in 1,0.5,0.2, not {text!r}"
        ) from None


def unescaped(text: str | None) -> str | None:
    """A text in which backslash n, t and r mean what they do in C: shells leave them as typed."""
    if text is None:
        return None
    pieces = [
        piece.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
        for piece in text.split("\\\\")
    ]
    return "\\".join(pieces)
