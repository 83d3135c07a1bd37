"""`charrnn sample`: go on after a prime, as the corpus would."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from charrnn import config
from charrnn.cli.terminal import TextOut, note
from charrnn.errors import SamplingError, UsageError

if TYPE_CHECKING:
    from charrnn.codec import Codec

SEPARATOR = "\n---\n"  # between samples, where there are several


def command(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|FILE]",
            help="Run directory or model file; none: the newest run under checkpoints/.",
            show_default=False,
        ),
    ] = None,
    length: Annotated[
        int, typer.Option("--length", "-n", min=0, help="Characters to write.")
    ] = 1000,
    prime: Annotated[
        str | None,
        typer.Option("--prime", "-p", help="Text to go on after; - reads standard input."),
    ] = None,
    prime_file: Annotated[
        Path | None, typer.Option(help="File with the text to go on after.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", "-t", help=config.doc("temperature"))
    ] = None,
    top_k: Annotated[int | None, typer.Option(help=config.doc("top_k"))] = None,
    top_p: Annotated[float | None, typer.Option(help=config.doc("top_p"))] = None,
    num: Annotated[int, typer.Option(min=1, help="Samples to draw.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Same seed, same text; none: another one each time.",
            envvar="CHARRNN_SEED",
            show_envvar=False,
        ),
    ] = None,
    stop: Annotated[
        str, typer.Option(help="End a sample before this text would appear.", show_default=False)
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; - is standard output.")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a sample.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Write text as the model has learnt it: charrnn sample -n 500 -p "Once"

    Temperature comes first, then top-k, then top-p; what is not given is as the run was set up.
    """
    import torch

    from charrnn.run import load
    from charrnn.sampling.generate import sample

    primed = _prime(prime, prime_file)
    loaded = load(model)
    flags = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    asked = config.from_flags(flags, dashed=True)["sampling"]
    settings = replace(loaded.config.sampling, **asked)
    torch.set_num_threads(1)  # a step is too small to share
    network = loaded.network()
    _warn(loaded.codec, primed, stop)
    if seed is None:
        seed = secrets.randbelow(2**31)
        note(f"{loaded.path}, seed {seed}", quiet)
    with _output(out) as stream:
        text_out = TextOut(stream)
        for index in range(num):
            pieces = sample(
                network,
                loaded.codec,
                length=length,
                prime=primed,
                config=settings,
                seed=seed,
                index=index,
                stop=stop,
            )
            if json_lines:
                line = {
                    "index": index,
                    "seed": seed,
                    "text": primed + "".join(pieces),
                    "steps": pieces.steps,
                    "nats_per_step": pieces.nats_per_step,
                }
                text_out.write(json.dumps(line, ensure_ascii=False) + "\n")
                continue
            text_out.write((SEPARATOR if index else "") + primed)
            for piece in pieces:
                text_out.write(piece)
        text_out.end()


def _prime(text: str | None, file: Path | None) -> str:
    """The prime of whichever option was given."""
    if text is not None and file is not None:
        raise UsageError("--prime and --prime-file both give a prime; drop one")
    if file is None and text != "-":
        if any(0xD800 <= ord(character) < 0xE000 for character in text or ""):
            raise SamplingError("--prime is not UTF-8 text")
        return text or ""
    if str(file) == "-":
        file = None
    name = "standard input" if file is None else str(file)
    if file is None and sys.stdin is None:
        raise SamplingError("standard input (-) is closed")
    try:
        data = sys.stdin.buffer.read() if file is None else file.read_bytes()
    except OSError as error:
        raise SamplingError(f"{name}: cannot be read ({error.strerror})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SamplingError(
            f"{name}: the prime is not UTF-8 text (byte 0x{data[error.start]:02x} "
            f"at offset {error.start})"
        ) from None


def _warn(codec: Codec, prime: str, stop: str) -> None:
    """Say what the model cannot read or write; this is no chatter, so -q keeps it."""
    unknown = codec.encode(prime)[1]
    if unknown:
        note(f"warning: skipped in the prime, the model has never seen: {_named(unknown)}")
    never = codec.encode(stop)[1]
    if never:
        hint = " (in bash, $'\\n' is a line's end)" if "\\" in never else ""
        note(f"warning: --stop will not be met, the model never writes: {_named(never)}{hint}")


def _named(characters: str) -> str:
    shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in characters[:10])
    return shown + (f" and {len(characters) - 10} more" if len(characters) > 10 else "")


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is whole."""
    if path is None or str(path) == "-":
        yield sys.stdout
        return
    from charrnn.files import replacing

    try:
        path = path.resolve()  # a link stays a link
        if path.exists() and not path.is_file():  # a pipe or a device
            with open(path, "w", encoding="utf-8", newline="") as stream:
                yield stream
            return
        with (
            replacing(path) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as stream,
        ):
            yield stream
    except OSError as error:
        raise SamplingError(f"{path}: cannot be written ({error.strerror})") from None
