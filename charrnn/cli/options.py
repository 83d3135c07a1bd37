"""Builds command-line options from the declarations of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn import layering
from charrnn.config import Setting
from charrnn.errors import ConfigError, UsageError

SHORT = {"temperature": "-t"}
_MODEL = (
    "Run directory, model file, hf://USER/NAME on the Hugging Face Hub, or a general model: "
    "english or german."
)
_NEWEST = "(default: the newest run in checkpoints/, otherwise the general model for your language)"

# The model that a command works with; of the second it finds one if none is given.
ModelPath = Annotated[Path, typer.Argument(metavar="RUN|FILE|NAME", help=_MODEL, readable=False)]
AnyModelPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RUN|FILE|NAME]", help=f"{_MODEL} {_NEWEST}", show_default=False, readable=False
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=256,
        help="Processes that read text in several files. (default: one; with 256 MB or more, one "
        "for each processor, at most 8)",
        rich_help_panel="Machine",
        show_default=False,
    ),
]


def with_settings(
    command: Callable[..., None], settings: Sequence[Setting], texts: Sequence[str] = ()
) -> Callable[..., None]:
    """Add an option for each setting to a command whose last parameter is `**settings`.

    Args:
        command: is called with all settings by name; None means "not given".
        settings: in the order of `--help`.
        texts: names of settings whose option accepts any text, which the command parses itself.
    """
    signature = inspect.signature(command, eval_str=True)
    *own, rest = signature.parameters.values()
    assert rest.kind is inspect.Parameter.VAR_KEYWORD
    options = [_parameter(setting, setting.name in texts) for setting in settings]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + options

    escaped = [setting.name for setting in settings if setting.meta["escapes"]]

    def run(**values: Any) -> None:
        command(**values | {name: unescaped(values[name]) for name in escaped})

    run.__doc__, run.__name__ = _unwrapped(command.__doc__), command.__name__
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def only_documented(command: Callable[..., None]) -> Callable[..., None]:
    """A command without its options, for the list of commands."""

    def run() -> None:
        raise AssertionError("built without options")

    run.__doc__ = _unwrapped(command.__doc__)
    return run


def _unwrapped(text: str | None) -> str:
    """A docstring with a line for each paragraph."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _parameter(setting: Setting, is_text: bool) -> inspect.Parameter:
    """The option for a setting; those stored in a model can also come from the environment."""
    names = [setting.flag]
    if setting.hint is bool:
        names[0] += f"/--no-{setting.flag[2:]}" if setting.section else ""
    if setting.name in SHORT:
        names.insert(0, SHORT[setting.name])
    option = typer.Option(
        *names,
        help=setting.meta["doc"],
        envvar=f"CHARRNN_{setting.name.upper()}" if setting.section else None,
        show_envvar=False,
        rich_help_panel=setting.meta["group"],
        metavar="|".join(setting.choices) if setting.choices else None,
    )
    optional: Any = (str if is_text else setting.hint) | None
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[optional, option],
    )


def typed(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter was given on the command line, not by the environment or a default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def for_model(ctx: typer.Context, settings: dict[str, Any], codec: str) -> dict[str, Any]:
    """The settings that belong to a model; others may come from the environment only.

    Args:
        ctx: of the command.
        settings: name -> value; None: not given.
        codec: of the model.

    Raises:
        UsageError: lists those typed that do not belong to it.
    """
    return layering.for_model(settings, [name for name in settings if typed(ctx, name)], codec)


def refuse_no_png(picture: Path | None) -> None:
    """Raise if a picture cannot be written under this name.

    Raises:
        UsageError: it does not end in .png, or its directory does not exist.
    """
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: pictures are PNG; end the name in .png")
    if picture is not None and not picture.parent.is_dir():
        raise UsageError(f"--picture {picture}: there is no directory {picture.parent}")


def numbers(text: str | None, flag: str) -> Sequence[float] | None:
    """Parse numbers separated by commas.

    Raises:
        ConfigError: a part is not a number.
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
    r"""Replace \n, \t, \r and \\ as in C; a shell does not do that."""
    if text is None:
        return None
    pieces = [
        piece.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
        for piece in text.split("\\\\")
    ]
    return "\\".join(pieces)
