"""`charrnn evaluate`: how well a model predicts a text."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from charrnn import config
from charrnn.cli.terminal import note, table
from charrnn.errors import CorpusError


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="Run directory or model file.")],
    corpus: Annotated[
        list[str], typer.Argument(help="Files, directories, or - for standard input.")
    ],
    encoding: Annotated[
        str, typer.Option(help=config.doc("encoding"), envvar="CHARRNN_ENCODING", show_envvar=False)
    ] = "utf-8",
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda or mps.", envvar="CHARRNN_DEVICE", show_envvar=False),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Score a text under a model: charrnn evaluate RUN held-out.txt

    Fewer nats (or bits) per character are better; the text is read from end to end.
    """
    from charrnn.codec.sources import decoded, find
    from charrnn.data import corpus as arrays
    from charrnn.model.device import pick
    from charrnn.run import load
    from charrnn.training.evaluate import evaluate

    loaded = load(model)
    sources = find(corpus)
    chosen = pick(device)
    unknown: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="charrnn-") as scratch:
        path = Path(scratch) / "corpus.npy"
        blocks = loaded.codec.encoded(decoded(sources, encoding), unknown)
        count = arrays.write(path, blocks)
        if count < 2:
            raise CorpusError(
                f"{', '.join(sources.files)}: {count} characters that the model knows; "
                "at least 2 are needed"
            )
        evaluation = evaluate(loaded.network().to(chosen), arrays.read(path))
    if unknown:
        note(
            f"warning: left out {sum(unknown.values()):,} characters that the model has never "
            f"seen ({len(unknown)} different, e.g. {next(iter(unknown))!r})"
        )
    values = {
        "nats_per_step": evaluation.nats_per_step,
        "bits_per_step": evaluation.bits_per_step,
        "perplexity": evaluation.perplexity,
        "steps": evaluation.steps,
    }
    if as_json:
        typer.echo(json.dumps(values))
        return
    unit = loaded.codec.unit
    typer.echo(
        table(
            [
                (f"nats per {unit}", f"{evaluation.nats_per_step:.4f}"),
                (f"bits per {unit}", f"{evaluation.bits_per_step:.4f}"),
                ("perplexity", f"{evaluation.perplexity:.3f}"),
                (f"{unit}s", f"{evaluation.steps:,}"),
            ]
        )
    )
