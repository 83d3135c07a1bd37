"""`charrnn evaluate`: how well a model predicts a text."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn import config
from charrnn.cli.options import refuse_no_png, typed
from charrnn.cli.terminal import note, table
from charrnn.errors import CorpusError, SamplingError, UsageError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.codec import TextCodec
    from charrnn.codec.sources import Sources
    from charrnn.codec.spectrogram import SpectrogramCodec
    from charrnn.model.network import Network


def command(
    ctx: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(metavar="RUN|FILE", help="Run directory or model file.", readable=False),
    ],
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
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG file for the spectrograms of recording and free run."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Score a text, or a recording, under a model: charrnn evaluate RUN held-out.txt

    Fewer nats (or bits) per character are better; the text is read from end to end. Of sound also
    what the frames leave out, and how a free run compares with the recording: 1 is as it should be.
    """
    from charrnn.codec import stream
    from charrnn.codec.sources import find
    from charrnn.data import corpus as arrays
    from charrnn.model.device import pick
    from charrnn.run import load
    from charrnn.training.evaluate import evaluate

    loaded = load(model)
    codec = loaded.codec
    sources = find(corpus, codec.name)
    chosen = pick(device)
    network = loaded.network()  # whatever is wrong with it comes before the work
    if codec.medium == "sound":
        if typed(ctx, "encoding"):
            raise UsageError("--encoding is for text, and this is a model of sound")
        refuse_no_png(picture)
        _evaluate_sound(loaded, codec, sources, network.to(chosen), picture, as_json)
        return
    if picture is not None:
        raise UsageError("--picture is for models of sound")
    if codec.name == "byte" and not typed(ctx, "encoding"):
        encoding = "utf-8"  # what the environment says is for text
    unknown: dict[str, int] = {}
    characters = 0

    def counted(blocks: Iterator[str]) -> Iterator[str]:
        nonlocal characters
        for block in blocks:
            characters += codec.characters_in(block)
            yield block

    with tempfile.TemporaryDirectory(prefix="charrnn-") as scratch:
        path = Path(scratch) / "corpus.npy"
        blocks = counted(stream(codec.name, sources, encoding, codec.reading))
        count = arrays.write(path, codec.encoded(blocks, unknown))
        if count < 2:
            raise CorpusError(
                f"{', '.join(sources.files)}: {count} {codec.unit}s that the model knows; "
                "at least 2 are needed"
            )
        steps = arrays.read(path)
        characters -= len(codec.decode(steps[:1].tolist()))  # the first step is not predicted
        evaluation = evaluate(network.to(chosen), steps)
    if unknown:
        note(_describe(codec, unknown))
    values = {
        "nats_per_step": evaluation.nats_per_step,
        "bits_per_step": evaluation.bits_per_step,
        "perplexity": evaluation.perplexity,
        "steps": evaluation.steps,
    }
    rows = [
        (f"nats per {codec.unit}", f"{evaluation.nats_per_step:.4f}"),
        (f"bits per {codec.unit}", f"{evaluation.bits_per_step:.4f}"),
        ("perplexity", f"{evaluation.perplexity:.3f}"),
        (f"{codec.unit}s", f"{evaluation.steps:,}"),
    ]
    if codec.unit != "character":
        nats = codec.surprise(evaluation.nats_per_step * evaluation.steps, unknown)
        values["bits_per_character"] = nats / math.log(2) / max(1, characters)
        rows.insert(2, ("bits per character", f"{values['bits_per_character']:.4f}"))
    typer.echo(json.dumps(values) if as_json else table(rows))


def _evaluate_sound(
    loaded: Checkpoint,
    codec: SpectrogramCodec,
    sources: Sources,
    network: Network,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Nats per frame, what the codec leaves out, and a free run against the recordings."""
    from threadpoolctl import threadpool_limits

    from charrnn.codec.spectrogram import Loss
    from charrnn.data import corpus as arrays
    from charrnn.sampling.runtime import Runtime
    from charrnn.training.evaluate import evaluate
    from charrnn.training.freerun import FreeRuns

    loss = Loss()
    threadpool_limits(1, user_api="blas")  # two wait for each other on a busy machine
    with tempfile.TemporaryDirectory(prefix="charrnn-") as scratch:
        path = Path(scratch) / "corpus.npy"
        count = arrays.write(path, codec.encode(sources, loss))
        if count < 2:
            raise CorpusError(f"{', '.join(sources.files)}: too short to be judged")
        steps = arrays.read(path)
        evaluation = evaluate(network, steps)
        free = FreeRuns(codec, steps).run(Runtime.of(loaded), loaded.config.sampling)
    if picture is not None:
        try:
            free.draw(picture)
        except OSError as error:
            raise SamplingError(f"{picture}: cannot be written ({error.strerror})") from None
    values: dict[str, Any] = {"steps": evaluation.steps}
    rows = [("frames", f"{evaluation.steps:,}, {evaluation.steps / codec.steps_per_s:.1f} s")]
    if loaded.config.model.head == "gaussian":  # the others have no density
        values["nats_per_step"] = evaluation.nats_per_step
        rows.append(("nats per frame", f"{evaluation.nats_per_step:.2f}"))
    values |= {"codec_db": loss.decibels, "free_run": free.figures.to_dict()}
    if not codec.is_linear:
        rows.append(("left out", f"{loss.decibels:.1f} dB (spectral convergence of the codec)"))
    rows += [(f"free run, {k}", f"{v:.2f}") for k, v in free.figures.to_dict().items()]
    typer.echo(json.dumps(values) if as_json else table(rows))


def _describe(codec: TextCodec, unknown: dict[str, int]) -> str:
    """What the model does not know of a text, and what became of it."""
    total, example = sum(unknown.values()), next(iter(unknown))
    different = f"({len(unknown):,} different, e.g. {example!r})"
    if codec.unit == "word":
        return (
            f"{total:,} words that the model does not know {different} are read as <unk>; "
            "bits per character have their spelling in them"
        )
    return f"warning: left out {total:,} characters that the model has never seen {different}"
