"""`charrnn evaluate`: measure how well a model predicts a corpus."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn import config
from charrnn.cli.options import ModelPath, for_model, refuse_no_png, with_settings
from charrnn.cli.terminal import note, one_line, printable, table
from charrnn.errors import UsageError
from charrnn.media.report import BY

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.media.report import Report

LOSS = "nats_per_step"
# Columns of the table with --by: key of `Report.values`, heading, format.
COLUMNS = (
    (LOSS, "nats/{unit}", ".4f"),
    ("bits_per_character", "bits/character", ".4f"),
    ("nats", "nats", ".2f"),
    ("steps", "{unit}s", ",d"),
    ("unknown", "unknown", ",d"),
)
WIDTH = 10  # of a column, at least


def build() -> Callable[..., None]:
    """The command, with an option for every setting that affects how files are read."""
    settings = [s for s in config.all_settings().values() if s.meta["when_reading"]]
    return with_settings(command, settings)


def command(
    ctx: typer.Context,
    model: ModelPath,
    corpus: Annotated[
        list[str], typer.Argument(help="Files, directories, or - for standard input.")
    ],
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda or mps.", envvar="CHARRNN_DEVICE", show_envvar=False),
    ] = "auto",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(BY),
            help="Evaluate each line, file or document by itself: one row, or one JSON object, "
            "for each.",
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            min=0, help="With --by: also the N most likely next steps after each.", metavar="N"
        ),
    ] = 0,
    sort: Annotated[bool, typer.Option("--sort", help="With --by: the lowest loss first.")] = False,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="Adapt the model to the text while reading it (dynamic evaluation); the file of "
            "the model stays as it is. Slow.",
        ),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG file that shows corpus and free run: spectrograms or piano rolls."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    **settings: Any,
) -> None:
    """Evaluate a model on text, tunes or recordings: charrnn evaluate RUN held-out.txt

    Prints the loss in nats, bits and perplexity; lower is better. For sound and notes, also how
    free runs compare with the files: 1 is ideal. For sound, also how well frames of free runs are
    told apart from the recording (0.5: not at all), what share is copied, and what the codec loses.
    """
    from charrnn.api import load

    if by is None and (top or sort):
        raise UsageError(f"{'--top' if top else '--sort'} has no effect without --by")
    if by is not None and picture is not None:
        raise UsageError("--picture shows all files: drop it, or --by")
    if by is not None and dynamic:
        raise UsageError("--dynamic adapts to all files, one after the other: drop it, or --by")
    loaded = load(model)
    if picture is not None:
        loaded.refuse_without_pictures()
    refuse_no_png(picture)
    given = for_model(ctx, settings, loaded.codec.name)
    if by is not None:
        reports = loaded.evaluate_each(corpus, by, top=top, device=device, **given)
        if sort:
            reports = iter(sorted(reports, key=_loss))
        has_several = len(corpus) > 1 or Path(corpus[0]).is_dir()
        _write_each(loaded, reports, as_json, names_files=has_several)
        return
    report = loaded.evaluate(corpus, device=device, picture=picture, dynamic=dynamic, **given)
    for text in report.notes:
        note(one_line(text))
    typer.echo(json.dumps(report.values) if as_json else table(report.rows))


def _loss(report: Report) -> float:
    loss = report.values.get(LOSS)
    return math.inf if loss is None else float(loss)


def _write_each(
    loaded: Model, reports: Iterable[Report], as_json: bool, *, names_files: bool
) -> None:
    """Write a line for each report: JSON, or a row of a table."""
    notes: list[str] = []
    rows = _rows(loaded, reports, notes, names_files=names_files)
    for line in _json(reports, notes) if as_json else rows:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    for text in notes:
        note(one_line(text))


def _json(reports: Iterable[Report], notes: list[str]) -> Iterator[str]:
    for report in reports:
        notes += report.notes
        yield json.dumps(report.values, ensure_ascii=False)


def _rows(
    loaded: Model, reports: Iterable[Report], notes: list[str], *, names_files: bool
) -> Iterator[str]:
    """The rows, cut at the width of a terminal."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    columns: list[tuple[str, str, str]] = []  # key, heading, format
    for report in reports:
        notes += report.notes
        values = report.values
        if not columns:
            present = [column for column in COLUMNS if column[0] in values]
            columns = [
                (key, text.format(unit=loaded.codec.unit), form) for key, text, form in present
            ]
            yield "  ".join([*(f"{heading:>{WIDTH}}" for _, heading, _ in columns), "what"])
        cells = []
        for key, heading, form in columns:
            cell = "-" if values.get(key) is None else format(values[key], form)
            cells.append(f"{cell:>{max(WIDTH, len(heading))}}")
        is_part = values["number"] is not None
        cells.append(f"{values['file']}:" * (is_part and names_files) + report.title)
        yield printable(one_line("  ".join(cells)))[:width]
        if "next" in values:
            likely = ", ".join(_likely(loaded, each) for each in values["next"])
            yield f"    next: {likely}"[:width]


def _likely(loaded: Model, likely: dict[str, Any]) -> str:
    """A next step and its probability, in readable form."""
    codec, step = loaded.codec, likely["step"]
    label = str(step) if codec.symbols is None else codec.symbol_label(codec.symbols[step])
    return f"{label} {likely['probability']:.3f}"
