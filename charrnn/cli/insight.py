"""`charrnn insight`: see what a model has learnt."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.options import AnyModelPath
from charrnn.cli.terminal import note, one_line, printable
from charrnn.errors import SamplingError, UsageError
from charrnn.files import replaced

DEFAULT = "verdict,losses,cells,memory,copies"
WIDTH = 100  # of a line where there is no terminal
LONGEST = 20  # characters of --cell


def build() -> Callable[..., None]:
    """The command, which has no settings."""
    return command


def command(
    model: AnyModelPath = None,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            help="What the model reads: files, directories, or - for standard input. (default: "
            "what the run held out, and a sample)",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="HTML page to write, with everything in it, for a browser."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN|FILE", help="Another model: shows its memory beside this one."),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT,...",
            help="What to print: verdict, surprise (coloured text), losses, cells, gates, memory, "
            f"saliency, map, copies, learning; or all. (default: {DEFAULT})",
            show_default=False,
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER:UNIT",
            help="Colour the text by this unit, and list its gates; layers count from 1.",
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            "--length", "-n", min=2, help="Steps to read, at most. (default: a few seconds' worth)"
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of the sample.", envvar="CHARRNN_SEED", show_envvar=False),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """See what a model has learnt: charrnn insight RUN -o page.html

    Says whether it fits or overfits and what to try, where its loss is, what its units follow, how
    far back it remembers, and what it copies.
    """
    from charrnn.api import load
    from charrnn.insight.report import SHOWN
    from charrnn.insight.values import by_step, for_page, values

    wanted = _wanted(show or DEFAULT, SHOWN)
    chosen = None if cell is None else _cell(cell)
    if chosen is not None:
        wanted = list(dict.fromkeys([*wanted, "surprise"])) if show else ["surprise", "gates"]
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: a page ends in .html")
    loaded = load(model)
    found = loaded.insight(
        text or None,
        against=against,
        show=SHOWN if out is not None else wanted,
        length=length,
        seed=seed,
        cell=chosen,
    )
    for each in found.notes:
        note(one_line(each), quiet)
    if out is not None:
        from charrnn.insight.page import page

        html = page(loaded.checkpoint, for_page(found))
        with replaced(out, SamplingError) as stream:
            stream.write(html.encode())
        note(f"{out}: contains the model, and parts of its corpus", quiet)
    found.shown = wanted  # not all that the page has
    if as_json:
        sys.stdout.write(json.dumps(values(found) | by_step(found), ensure_ascii=False) + "\n")
        return
    from charrnn.cli.insight_text import Out, Shown

    console = Out(soft_wrap=True, highlight=False, emoji=False)
    width = console.width if console.is_terminal else WIDTH
    has_colours = console.color_system is not None and not console.no_color
    shown = Shown(found, values(found), width, has_colours=has_colours)
    for index, name in enumerate(each for each in SHOWN if each in wanted):
        if index:
            console.print()
        if len(wanted) > 1 and name != "verdict":
            console.print(name, style="bold")
        for line in shown.lines(name):
            console.print(printable(line) if isinstance(line, str) else line, markup=False)


def _wanted(show: str, known: Sequence[str]) -> list[str]:
    """The sections of --show.

    Raises:
        UsageError: there is no such section.
    """
    names = [name.strip() for name in show.split(",") if name.strip()]
    if names == ["all"]:
        return list(known)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        first = unknown[0] if unknown else show
        raise UsageError(f"--show {first}: there is {', '.join(known)}, and all")
    return names


def _cell(value: str) -> tuple[int, int]:
    """The layer and unit of --cell, from 0.

    Raises:
        UsageError: the value is no such pair.
    """
    layer, _, unit = value.partition(":")
    if not (layer.isdecimal() and unit.isdecimal()) or len(value) > LONGEST:
        raise UsageError(f"--cell {value}: give LAYER:UNIT, e.g. 1:17")
    return int(layer) - 1, int(unit)
