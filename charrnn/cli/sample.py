"""`charrnn sample`: go on after a prime, as the corpus would."""

from __future__ import annotations

import json
import math
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from charrnn import config
from charrnn.cli.options import numbers, setting, typed, unescaped
from charrnn.cli.terminal import TextOut, note
from charrnn.errors import SamplingError, UsageError

if TYPE_CHECKING:
    from charrnn.codec import Codec, TextCodec
    from charrnn.sampling.generate import TextStream

LENGTH = 1000  # steps of a text
SEPARATOR = "\n---\n"  # between samples, where there are several


SOUND = "Sound"
FOR_SOUND = ("griffin_lim", "include_prime", "bits", "picture")
FOR_BOTH = ("model", "length", "prime", "temperature", "num", "seed", "out", "json_lines", "quiet")
DRAWING, RULES, BEAM = "Drawing", "Against loops, and what may be written", "Beam search"
SETTINGS = [field.name for field in fields(config.SamplingConfig)]
DRAWN = ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed")


def command(
    ctx: typer.Context,
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|FILE]",
            help="Run directory or model file; none: the newest run under checkpoints/.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    length: Annotated[
        float | None,
        typer.Option(
            "--length",
            "-n",
            min=0,
            help="Characters (or words, or bytes) to write, of documents: at most; or seconds of "
            "sound. [default: 1000, or 10 s]",
        ),
    ] = None,
    prime: Annotated[
        str | None,
        typer.Option(
            "--prime",
            "-p",
            help="Text, or a recording's file, to go on after in each sample; - reads standard "
            "input.",
        ),
    ] = None,
    prime_file: Annotated[
        Path | None, typer.Option(help="File with the text to go on after.", readable=False)
    ] = None,
    griffin_lim: Annotated[int | None, setting("griffin_lim", SOUND)] = None,
    include_prime: Annotated[
        bool,
        typer.Option(
            "--include-prime",
            help="Begin with the recording to go on after.",
            rich_help_panel=SOUND,
        ),
    ] = False,
    bits: Annotated[
        int | None,
        typer.Option(
            help="Of a sample in the file, 16 or 24. [default: 16]", rich_help_panel=SOUND
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG file for the spectrograms of what is made.", rich_help_panel=SOUND),
    ] = None,
    temperature: Annotated[str | None, setting("temperature", DRAWING, "-t")] = None,
    top_k: Annotated[int | None, setting("top_k", DRAWING)] = None,
    top_p: Annotated[float | None, setting("top_p", DRAWING)] = None,
    min_p: Annotated[float | None, setting("min_p", DRAWING)] = None,
    typical_p: Annotated[float | None, setting("typical_p", DRAWING)] = None,
    repetition_penalty: Annotated[float | None, setting("repetition_penalty", RULES)] = None,
    repetition_window: Annotated[int | None, setting("repetition_window", RULES)] = None,
    no_repeat_ngram: Annotated[int | None, setting("no_repeat_ngram", RULES)] = None,
    allow: Annotated[str | None, setting("allow", RULES)] = None,
    forbid: Annotated[str | None, setting("forbid", RULES)] = None,
    unk: Annotated[bool | None, setting("unk", RULES)] = None,
    beam: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Draw nothing: write the likeliest text that a beam search this wide finds; "
            "--num gives the next best too.",
            rich_help_panel=BEAM,
        ),
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Beam search: texts of different length are compared by log p / steps to the "
            "power of this; 0 favours short ones. [default: 1]",
            rich_help_panel=BEAM,
        ),
    ] = None,
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
        str,
        typer.Option(
            help="End a sample before this text would appear; \\n is a line's end.",
            show_default=False,
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; - is standard output.")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a sample.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Write text, or sound, as the model has learnt it: charrnn sample -n 500 -p "Once"

    The order: repetition penalty and forbidden steps, temperature, top-k, top-p, min-p, typical.
    What is not given is as the run was set up. A model of documents writes one a sample.
    """
    from charrnn.run import load

    flags = {name: value for name, value in ctx.params.items() if name in SETTINGS}
    flags["temperature"] = numbers(temperature, "--temperature")
    flags |= {"allow": unescaped(allow), "forbid": unescaped(forbid)}
    stop = unescaped(stop) or ""
    asked = config.from_flags(flags, dashed=True)["sampling"]
    loaded = load(model)
    codec = loaded.codec
    settings = replace(loaded.config.sampling, **asked)
    _refuse_other_kind(ctx, codec)
    _refuse_idle(ctx, beam, num)
    if codec.medium == "sound":
        from charrnn.cli.sound import Wish, write_samples

        if bits not in (None, 16, 24):
            raise UsageError(f"--bits must be 16 or 24, not {bits}")
        if seed is None:
            seed = secrets.randbelow(2**31)
            note(f"{loaded.path}, seed {seed}", quiet)
        write_samples(
            loaded,
            codec,
            Wish(
                length,
                num,
                prime or "",
                include_prime,
                settings,
                typed(ctx, "temperature"),
                seed,
                out,
                bits,
                picture,
                json_lines,
                quiet,
            ),
        )
        return
    primed = _prime(prime, prime_file)
    steps = _whole(length)
    if typed(ctx, "repetition_window") and settings.repetition_penalty == 1:
        raise UsageError("--repetition-window has no effect without --repetition-penalty")
    import numpy as np

    from charrnn.sampling.runtime import Runtime

    runtime = Runtime.of(loaded)
    _warn(codec, primed, stop)
    if seed is None and beam is None:
        seed = secrets.randbelow(2**31)
        note(f"{loaded.path}, seed {seed}", quiet)
    samples: Iterable[TextStream]
    if beam is not None:
        from charrnn.sampling.beam import search, text_of

        penalty = 1.0 if length_penalty is None else length_penalty
        found = search(
            runtime,
            codec,
            length=steps,
            width=beam,
            length_penalty=penalty,
            prime=primed,
            config=settings,
            stop=stop,
        )
        samples = [text_of(codec, hypothesis, primed, stop) for hypothesis in found[:num]]
        if len(samples) < num:
            note(f"there are no more than {len(samples)} such texts", quiet)
    else:
        from charrnn.sampling import generate

        samples = generate.samples(
            runtime,
            codec,
            length=steps,
            num=num,
            prime=primed,
            config=settings,
            seed=seed or 0,
            stop=stop,
            scored=json_lines,
        )
    between = codec.reading.between if codec.reading.documents in ("line", "record") else SEPARATOR
    with np.errstate(all="ignore"), _output(out) as stream:  # absurd weights end in an error
        text_out = TextOut(stream)
        try:
            for index, pieces in enumerate(samples):
                if json_lines:
                    line = {
                        "index": index,
                        "seed": seed,
                        "text": primed + "".join(pieces),
                        "steps": pieces.steps,
                        "nats_per_step": pieces.nats_per_step,
                        "ended": pieces.stopped,
                    }
                    text_out.write(json.dumps(line, ensure_ascii=False) + "\n")
                else:
                    text_out.write((between if index else "") + primed)
                    for piece in pieces:
                        text_out.write(piece)
                text_out.flush()  # the next one may take its time
        finally:  # after Ctrl-C too, what there is
            text_out.end(whole_lines=codec.end is not None and not json_lines)


def _whole(length: float | None) -> int:
    """Steps of a text."""
    if length is None:
        return LENGTH
    if not math.isfinite(length) or length != int(length):
        raise UsageError(f"--length {length:g}: text is written by whole characters")
    return int(length)


def _refuse_other_kind(ctx: typer.Context, codec: Codec) -> None:
    """Refuse flags of text for a model of sound, and of sound for one of text.

    Raises:
        UsageError: names them.
    """
    names = [parameter.name or "" for parameter in ctx.command.params]
    if codec.medium == "sound":
        names = [name for name in names if name not in FOR_SOUND + FOR_BOTH]
    else:
        names = list(FOR_SOUND)
    idle = [f"--{name.replace('_', '-')}" for name in names if typed(ctx, name)]
    if idle:
        other = "text" if codec.medium == "sound" else "sound"
        raise UsageError(f"this is a model of {codec.medium}; {', '.join(idle)} is for {other}")


def _refuse_idle(ctx: typer.Context, beam: int | None, num: int) -> None:
    """Refuse flags that would have no effect beside others.

    Raises:
        UsageError: names them.
    """
    if beam is None:
        if ctx.params["length_penalty"] is not None:
            raise UsageError("--length-penalty is for --beam")
        return
    idle = [name for name in DRAWN if typed(ctx, name)]
    if idle:
        flags = ", ".join("--" + name.replace("_", "-") for name in idle)
        raise UsageError(f"--beam draws nothing, so {flags} cannot be given with it")
    if num > beam:
        raise UsageError(f"--beam {beam} finds at most {beam} texts; --num {num} asks for more")


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


def _warn(codec: TextCodec, prime: str, stop: str) -> None:
    """Say what the model cannot read or write; this is no chatter, so -q keeps it."""
    unknown = codec.encode(prime)[1]
    if unknown and codec.unit == "word":
        note(f"warning: read as <unk>, the model does not know: {_listed(unknown)}")
    elif unknown:
        note(f"warning: skipped in the prime, the model has never seen: {_named(unknown)}")
    never = codec.encode(stop)[1]
    if never and codec.unit == "word":
        note(f"warning: --stop may not be met, the model never writes: {_listed(never)}")
    elif never:
        note(f"warning: --stop will not be met, the model never writes: {_named(never)}")


def _listed(words: Sequence[str]) -> str:
    return " ".join(words[:10]) + (f" and {len(words) - 10} more" if len(words) > 10 else "")


def _named(characters: Sequence[str]) -> str:
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
