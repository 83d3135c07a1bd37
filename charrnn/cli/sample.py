"""`charrnn sample`: generate text, notes, sound or whatever the model was trained on."""

from __future__ import annotations

import io
import json
import math
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TextIO

import typer

from charrnn import config
from charrnn.cli.options import (
    AnyModelPath,
    for_model,
    numbers,
    refuse_no_png,
    typed,
    unescaped,
    with_settings,
)
from charrnn.cli.terminal import TextOut, note
from charrnn.errors import SamplingError, UsageError
from charrnn.files import cannot_write, replaced

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.media.codec import Prime
    from charrnn.media.product import Sample

BEAM, CONSTRAINTS = "Beam search", "Constraints"
REMEDY = "try another --seed or --temperature"


def build() -> Callable[..., None]:
    """The command, with an option for every sampling setting and every option of a medium."""
    settings = [s for s in config.all_settings().values() if s.section == "sampling"]
    return with_settings(command, [*settings, *config.all_options().values()], ("temperature",))


def command(
    ctx: typer.Context,
    model: AnyModelPath = None,
    length: Annotated[
        float | None,
        typer.Option(
            "--length",
            "-n",
            min=0,
            help="Length of a sample: characters (words, bytes) of text, at most; seconds of "
            "sound; bars of notes. (default: 1000, 10 s, or the whole tune)",
        ),
    ] = None,
    forever: Annotated[
        bool,
        typer.Option(
            help="Go on without end, until Ctrl-C, until nothing reads the pipe any more, or to a "
            "--stop; in place of --length."
        ),
    ] = False,
    prime: Annotated[
        str | None,
        typer.Option(
            "--prime",
            "-p",
            help="What to continue: text (\\n is a newline), or the file of a recording or a tune; "
            "- reads standard input.",
        ),
    ] = None,
    prime_file: Annotated[
        Path | None, typer.Option(help="File with what to continue.", readable=False)
    ] = None,
    primes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File with what to continue on each line: text, or the name of a file; "
            "- reads standard input. Each line gets --num samples.",
        ),
    ] = None,
    num: Annotated[int, typer.Option(min=1, help="Number of samples.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Random seed; the same seed gives the same sample. (default: a random one)",
            envvar="CHARRNN_SEED",
            show_envvar=False,
        ),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL:WEIGHT",
            help="Mix in another model of the same vocabulary: its probabilities count with this "
            "weight, e.g. runs/second:0.5. Can be given several times.",
        ),
    ] = None,
    no_copy: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="Never write N steps in a row that stand in the corpus of the run or in --corpus.",
            rich_help_panel=CONSTRAINTS,
        ),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="What --no-copy does not copy from: a file or a directory, in place of the corpus "
            "of the run. Can be given several times.",
            rich_help_panel=CONSTRAINTS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write, or directory for several samples; - is standard output.",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG file to draw the samples in: spectrograms, or piano rolls."),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Write one JSON object per sample.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    beam: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Beam search of this width for the most likely sample, instead of random "
            "sampling; --num gives the next best too.",
            rich_help_panel=BEAM,
        ),
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Compare samples of different length by log p / steps to the power of this; "
            "0 favours short ones. (default: 1)",
            rich_help_panel=BEAM,
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Generate text, notes or sound from a model: charrnn sample -n 500 -p "Once"

    Order: repetition penalty and constraints, temperature, top-k, top-p, min-p, typical-p. What
    you do not give is as the run was set up. A model of documents generates one per sample.
    """
    from charrnn.api import load
    from charrnn.run import CHECKPOINTS, is_general

    settings["temperature"] = numbers(settings["temperature"], "--temperature")
    stored = config.all_settings()
    config.from_flags({n: v for n, v in settings.items() if n in stored}, dashed=True)
    loaded = load(model)
    if model is None and is_general(loaded.path):
        note(
            f"no run in {CHECKPOINTS}/ yet, so this is the general model {loaded.path.stem}; "
            "train one of your own with: charrnn train CORPUS",
            quiet,
        )
    if mix:
        loaded = loaded.mixed(_weights(mix))
    given = for_model(ctx, settings, loaded.codec.name)
    if loaded.config.model.head == "mse" and not typed(ctx, "temperature"):
        given.pop("temperature", None)  # of the environment: it has no effect on this model
    _refuse_idle(ctx, loaded, given, beam, num)
    if picture is not None:
        loaded.refuse_without_pictures()
    refuse_no_png(picture)
    if length == math.inf and not forever and beam is None and loaded.codec.end is None:
        raise UsageError("--length inf: for a sample without end give --forever")
    if forever:
        _refuse_end(ctx, loaded, out, given)
        length, out = math.inf, Path("-")
    starts = _primes(loaded, prime, prime_file, primes)
    steps = loaded.codec.steps_in(length)
    if picture is not None and not (steps or prime or prime_file or primes):
        raise UsageError("--picture: there is nothing to draw; give a --length")
    paths: Iterator[Path | None] = iter(())
    converts = out is not None and out.suffix.lower() in loaded.codec.converted
    if in_files := bool(loaded.codec.suffixes) or converts:
        several = num > 1 or primes is not None
        paths = _paths(loaded, out, json_lines, seed, several=several)
    if seed is None and beam is None:
        seed = secrets.randbelow(2**31)
        note(f"{loaded.path}, seed {seed}", quiet)

    def continued() -> Iterator[Continued]:
        """All samples, those of each prime one after the other."""
        copying = {"no_copy": no_copy or 0, "corpus": corpus or None}
        index, shared = 0, {"num": num, **copying, **given}
        if beam is not None:  # of the environment: they have no effect
            shared = {k: v for k, v in shared.items() if k not in config.random_settings()}
        general = loaded.warnings(loaded.prime(), **given)
        for text in general:
            note(text)  # a warning, so -q does not hide it
        for line, start in starts:
            where = f"line {line:,}: " if line is not None else ""
            for text in loaded.warnings(start, **given):
                if text not in general:
                    note(where + text)
            shared |= {"prime": start, "tune": not index}
            samples: Iterable[Sample]
            if beam is not None:
                penalty = 1.0 if length_penalty is None else length_penalty
                samples = found = loaded.beam(beam, length, length_penalty=penalty, **shared)
                if len(found) < num:
                    note(f"{where}beam search found only {len(found)} samples", quiet)
            else:
                shared["scored"] = json_lines
                samples = loaded.samples(length, seed=seed, first=index, **shared)
            yield from (Continued(line, start, sample) for sample in samples)
            index += num

    if not in_files:
        _write_text(loaded, continued(), out, seed, json_lines)
        return
    _write_files(loaded, continued(), paths, picture, json_lines, quiet)


def _refuse_idle(
    ctx: typer.Context, loaded: Model, given: dict[str, Any], beam: int | None, num: int
) -> None:
    """Raise for flags that would have no effect in combination with the others.

    Raises:
        UsageError: names them.
    """
    window, penalty = typed(ctx, "repetition_window"), given.get("repetition_penalty")
    if window and (penalty or loaded.config.sampling.repetition_penalty) == 1:
        raise UsageError("--repetition-window has no effect without --repetition-penalty")
    if typed(ctx, "min_length") and loaded.codec.end is None:
        raise UsageError("--min-length has no effect: this model has no documents that end")
    if beam is None:
        if ctx.params["length_penalty"] is not None:
            raise UsageError("--length-penalty is for --beam")
        return
    loaded.refuse_without_beam()
    flags = [s.flag for name, s in config.random_settings().items() if typed(ctx, name)]
    if flags := flags + ["--seed"] * typed(ctx, "seed"):
        listed = ", ".join(flags)
        raise UsageError(f"--beam samples nothing at random, so {listed} cannot be given with it")
    if num > beam:
        raise UsageError(f"--beam {beam} finds at most {beam} samples; --num {num} asks for more")


def _refuse_end(ctx: typer.Context, loaded: Model, out: Path | None, given: dict[str, Any]) -> None:
    """Raise for what a sample without end cannot have.

    Raises:
        UsageError: names the flag.
    """
    if loaded.codec.end is not None:
        raise UsageError(
            "--forever: samples of this model are documents, which end by themselves; give --num"
        )
    waiting = ("length", "json_lines", "picture", "beam", "primes", "num")
    names = [name for name in waiting if typed(ctx, name)]
    if out is not None and str(out) != "-":
        names.append("out")
    if names:
        flag = "--json" if names[0] == "json_lines" else f"--{names[0]}"
        raise UsageError(f"{flag}: with --forever there is no end to wait for; drop one")
    if loaded.codec.suffixes and sys.stdout.isatty():
        raise UsageError("--forever: a terminal cannot play this; pipe it to a program that does")
    if given.get("no_repeat_ngram", loaded.config.sampling.no_repeat_ngram):
        raise UsageError(
            "--no-repeat-ngram: no sample can go on for ever with it; with --forever it must be 0"
        )


def _weights(mix: Sequence[str]) -> dict[str, float]:
    """The models and weights of --mix.

    Raises:
        UsageError: a value is not a model and a weight, or a model is given twice.
    """
    weights: dict[str, float] = {}
    for value in mix:
        target, _, weight = value.rpartition(":")
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not target or not 0 < number < 1:
            raise UsageError(f"--mix {value}: give MODEL:WEIGHT, with a weight between 0 and 1")
        if target in weights:
            raise UsageError(f"--mix {value}: this model is there already")
        weights[target] = number
    return weights


class Continued(NamedTuple):
    """A sample and what it continues."""

    line: int | None  # of the file of primes
    prime: Prime
    sample: Sample


def _primes(
    loaded: Model, value: str | None, file: Path | None, lines: str | None
) -> Iterable[tuple[int | None, Prime]]:
    """The primes from --prime, --prime-file or --primes, those from --primes with their line."""
    given = {"--prime": value, "--prime-file": file, "--primes": lines}
    flags = [flag for flag, value in given.items() if value is not None]
    if len(flags) > 1:
        raise UsageError(f"{' and '.join(flags)} both give a prime; drop one")
    if lines is not None:
        return loaded.primes(lines)
    if value == "-":
        return [(None, loaded.prime(file="-"))]
    if value and loaded.codec.primes_are_text:
        value = unescaped(value)
    return [(None, loaded.prime(value or "", None if file is None else str(file)))]


def _write_text(
    loaded: Model,
    continued: Iterable[Continued],
    out: Path | None,
    seed: int | None,
    json_lines: bool,
) -> None:
    """Write text to one stream while it is generated."""
    import numpy as np

    between = loaded.codec.separator
    with np.errstate(all="ignore"), _output(out) as stream:  # overflow raises an error later
        text_out = TextOut(stream)
        try:
            for index, (line, prime, sample) in enumerate(continued):
                if json_lines:
                    for _ in sample:
                        pass
                    values = _values(index, line) | {"seed": seed} | sample.to_dict()
                    text_out.write(json.dumps(values, ensure_ascii=False) + "\n")
                else:
                    text_out.write((between if index else "") + prime.text)
                    sample.keep = False  # however long it gets
                    for piece in sample:
                        text_out.write(piece)
                if sample.complaint:
                    text_out.flush()
                    note(f"sample {index + 1}: {sample.complaint}; {REMEDY}")
                text_out.flush()  # the next sample may take long
        finally:  # also after Ctrl-C, to write what is complete
            text_out.end(whole_lines=loaded.codec.end is not None and not json_lines)


def _values(index: int, line: int | None) -> dict[str, Any]:
    """What --json says of every sample."""
    return {"index": index} | ({} if line is None else {"line": line})


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is created only when it is complete."""
    if path is None or str(path) == "-":
        yield sys.stdout
        return
    with (
        replaced(path, SamplingError) as stream,
        io.TextIOWrapper(stream, encoding="utf-8", newline="") as text,
    ):
        yield text


def _paths(
    loaded: Model, out: Path | None, json_lines: bool, seed: int | None, *, several: bool
) -> Iterator[Path | None]:
    """The file for each sample; None: standard output."""
    codec = loaded.codec
    suffixes = codec.suffixes or tuple(codec.converted)
    stem = f"{loaded.path.resolve().parent.name}-{0 if seed is None else seed}"
    if out is None and (sys.stdout.isatty() or json_lines or several):
        out = Path(f"{stem}{suffixes[0]}")
    elif out is not None and (out.is_dir() or (several and not out.suffix and str(out) != "-")):
        with cannot_write(out, SamplingError):
            out.mkdir(parents=True, exist_ok=True)
        out /= f"{stem}{suffixes[0]}"
    if out is None or str(out) == "-":
        if sys.stdout.isatty():
            raise UsageError(
                f"a terminal cannot show {suffixes[0]}; give -o FILE{suffixes[0]}, or pipe it"
            )
        if json_lines:
            raise UsageError(
                "--json and the sample cannot both go to standard output: "
                f"give -o FILE{suffixes[0]}"
            )
        if several:
            raise UsageError(f"a stream holds one sample: give -o FILE{suffixes[0]} for several")
        return iter([None])
    if out.suffix.lower() not in suffixes:
        raise UsageError(
            f"--out {out}: samples of the {codec.name} codec are written as "
            f"{', '.join(suffixes)}; end the name in one of them"
        )
    if not several:
        return iter([out])
    return (out.with_stem(f"{out.stem}-{number}") for number in count(1))


def _write_files(
    loaded: Model,
    continued: Iterable[Continued],
    paths: Iterator[Path | None],
    picture: Path | None,
    json_lines: bool,
    quiet: bool,
) -> None:
    """Write each sample to its own file, or a single one to standard output."""
    panels: list[tuple[str, Any]] = []
    drawn: Prime | None = None
    for line, prime, sample in continued:
        path = next(paths)
        if picture is not None and prime is not drawn and len(prime.steps):
            panels.append(("prime", prime.steps))
        drawn = prime
        sample.keep, sample.keep_steps = False, picture is not None
        name = str(path) if path else "standard output"
        if path is None:
            sample.write(sys.stdout.buffer)
        else:
            sample.save(path)
        if sample.complaint:
            note(f"{name}: {sample.complaint}; {REMEDY}")
        if sample.kept_steps:
            panels.append((Path(name).name, _joined(sample.kept_steps)))
        if json_lines:
            values = _values(sample.index, line) | {"seed": sample.seed, "path": name}
            values |= sample.to_dict()
            sys.stdout.write(json.dumps(values) + "\n")
            sys.stdout.flush()
        elif path is not None:
            note(f"{path}: {sample.describe()}", quiet)
    if panels and picture is not None:
        with cannot_write(picture, SamplingError):
            loaded.codec.draw(picture, panels)


def _joined(blocks: list[Any]) -> Any:
    import numpy as np

    return np.concatenate(blocks)
