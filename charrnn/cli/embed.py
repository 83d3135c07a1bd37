"""`charrnn embed`: a vector for each line of text, and lines that are similar to a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.options import ModelPath
from charrnn.cli.terminal import note, one_line, printable
from charrnn.errors import SamplingError, UsageError
from charrnn.files import replaced
from charrnn.media.report import BY, Passage

DIGITS = 5  # of a number in JSON


def build() -> Callable[..., None]:
    """The command, which has no settings."""
    return command


def command(
    model: ModelPath,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text with a line for each vector, or tunes, or recordings: files, directories, "
            "or - for standard input.",
            show_default="-",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(BY),
            help="A vector for each line, file or document. (default: line; for tunes and "
            "recordings file)",
        ),
    ] = None,
    average: Annotated[
        bool,
        typer.Option("--average", help="The mean of the states, not the state after the text."),
    ] = False,
    similar: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Rank the lines by similarity to this text."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write: .npy, an array with a row for each line."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --similar: one JSON object per line.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Turn lines of text into vectors: charrnn embed RUN lines.txt -o vectors.npy

    A vector consists of the outputs of all layers after the line. Without -o or --similar, each
    line gives a JSON object. Of tunes and recordings, each file gives a vector.
    """
    from charrnn.api import load

    if out is not None and out.suffix.lower() != ".npy":
        raise UsageError(f"--out {out}: vectors are written as .npy; without -o as JSON lines")
    if out is not None and similar is not None:
        raise UsageError("--similar ranks lines and writes no vectors: drop it, or --out")
    if as_json and out is not None:
        raise UsageError("--json has no effect with --out")
    loaded = load(model)
    notices: list[str] = []
    found = loaded.embed(files or ["-"], by, average=average, notices=notices)
    if similar is not None:
        own = loaded.vector(similar, average=average)
        _write_ranked(list(found), own, as_json)
    elif out is None:
        for passage, vector in found:
            values = _about(passage) | {"vector": [round(float(x), DIGITS) for x in vector]}
            sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        _write_array(out, list(found), quiet)
    for text in notices:
        note(one_line(text))


def _write_array(out: Path, found: list[tuple[Passage, Any]], quiet: bool) -> None:
    """Write the vectors as an array; say so if its rows are not those of the file."""
    import numpy as np

    rows = np.stack([vector for _, vector in found])
    with replaced(out, SamplingError) as stream:
        np.save(stream, rows)
    note(f"{out}: {len(rows):,} vectors of {rows.shape[1]:,} numbers", quiet)
    last = found[-1][0].number or len(rows)
    if last > len(rows):
        note(f"{last - len(rows):,} lines are empty or unknown, and have no row", quiet)


def _about(passage: Passage) -> dict[str, Any]:
    """Where a line is from and what it says."""
    return {name: value for name, value in passage.where.items() if value is not None}


def _write_ranked(found: list[tuple[Passage, Any]], own: Any, as_json: bool) -> None:
    """Write the lines, the most similar first."""
    import numpy as np

    from charrnn.insight.vectors import similarities

    scores = similarities(np.stack([vector for _, vector in found]), own).tolist()
    order: Iterable[int] = sorted(range(len(scores)), key=lambda index: -scores[index])
    for index in order:
        passage = found[index][0]
        if as_json:
            values = _about(passage) | {"similarity": round(scores[index], DIGITS)}
            sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")
        else:
            line = f"{scores[index]:+.3f}  {passage.title}"
            sys.stdout.write(printable(one_line(line)) + "\n")
    sys.stdout.flush()
