"""`charrnn train`: learn a corpus."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn import config
from charrnn.cli.failures import Interrupted, Interrupts
from charrnn.cli.options import setting, typed, unescaped
from charrnn.cli.terminal import note, one_line
from charrnn.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.cli.screen import Screen
    from charrnn.training.loop import Trainer

BUNDLED = "tales"  # what is learnt when no corpus is named


MODEL, REGULAR, DATA, SOUND = "Model", "Regularisation", "Corpus", "Sound"
BUDGETS, RATE, MACHINE = "Budget", "Optimization", "Machine"


def command(
    ctx: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, directories, or - for standard input; none: the bundled tales.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run directory; none: a new one under checkpoints/."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="Preset or TOML file.",
            envvar="CHARRNN_CONFIG",
            show_envvar=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this run, exactly; only the budget may be raised.", readable=False
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the weights of this model or run, on another corpus.", readable=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Events as JSON lines on standard output.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    epochs: Annotated[float | None, setting("epochs", BUDGETS)] = None,
    steps: Annotated[int | None, setting("steps", BUDGETS)] = None,
    minutes: Annotated[float | None, setting("minutes", BUDGETS)] = None,
    patience: Annotated[int | None, setting("patience", BUDGETS)] = None,
    eval_every: Annotated[int | None, setting("eval_every", BUDGETS)] = None,
    codec: Annotated[str | None, setting("codec", DATA)] = None,
    encoding: Annotated[str | None, setting("encoding", DATA)] = None,
    normalize: Annotated[str | None, setting("normalize", DATA)] = None,
    vocab_size: Annotated[int | None, setting("vocab_size", DATA)] = None,
    min_count: Annotated[int | None, setting("min_count", DATA)] = None,
    documents: Annotated[str | None, setting("documents", DATA)] = None,
    separator: Annotated[str | None, setting("separator", DATA)] = None,
    val_fraction: Annotated[float | None, setting("val_fraction", DATA)] = None,
    sample_rate: Annotated[int | None, setting("sample_rate", SOUND)] = None,
    n_fft: Annotated[int | None, setting("n_fft", SOUND)] = None,
    hop_length: Annotated[int | None, setting("hop_length", SOUND)] = None,
    components: Annotated[int | None, setting("components", SOUND)] = None,
    head: Annotated[str | None, setting("head", SOUND)] = None,
    input_norm: Annotated[str | None, setting("input_norm", SOUND)] = None,
    input_noise: Annotated[float | None, setting("input_noise", SOUND)] = None,
    seq_length: Annotated[int | None, setting("seq_length", DATA)] = None,
    batch_size: Annotated[int | None, setting("batch_size", DATA)] = None,
    bptt: Annotated[str | None, setting("bptt", DATA)] = None,
    targets: Annotated[str | None, setting("targets", DATA)] = None,
    cell: Annotated[str | None, setting("cell", MODEL)] = None,
    hidden: Annotated[int | None, setting("hidden", MODEL)] = None,
    layers: Annotated[int | None, setting("layers", MODEL)] = None,
    embedding: Annotated[int | None, setting("embedding", MODEL)] = None,
    dense: Annotated[int | None, setting("dense", MODEL)] = None,
    norm: Annotated[str | None, setting("norm", MODEL)] = None,
    cell_norm: Annotated[str | None, setting("cell_norm", MODEL)] = None,
    dropout: Annotated[float | None, setting("dropout", REGULAR)] = None,
    input_dropout: Annotated[float | None, setting("input_dropout", REGULAR)] = None,
    output_dropout: Annotated[float | None, setting("output_dropout", REGULAR)] = None,
    recurrent_dropout: Annotated[float | None, setting("recurrent_dropout", REGULAR)] = None,
    weight_drop: Annotated[float | None, setting("weight_drop", REGULAR)] = None,
    variational: Annotated[bool | None, setting("variational", REGULAR)] = None,
    weight_decay: Annotated[float | None, setting("weight_decay", REGULAR)] = None,
    optimizer: Annotated[str | None, setting("optimizer", RATE)] = None,
    lr: Annotated[float | None, setting("lr", RATE)] = None,
    schedule: Annotated[str | None, setting("schedule", RATE)] = None,
    warmup: Annotated[float | None, setting("warmup", RATE)] = None,
    lr_decay: Annotated[float | None, setting("lr_decay", RATE)] = None,
    lr_decay_after: Annotated[int | None, setting("lr_decay_after", RATE)] = None,
    lr_decay_every: Annotated[int | None, setting("lr_decay_every", RATE)] = None,
    lr_patience: Annotated[int | None, setting("lr_patience", RATE)] = None,
    rms_alpha: Annotated[float | None, setting("rms_alpha", RATE)] = None,
    momentum: Annotated[float | None, setting("momentum", RATE)] = None,
    clip: Annotated[float | None, setting("clip", RATE)] = None,
    clip_by: Annotated[str | None, setting("clip_by", RATE)] = None,
    seed: Annotated[int | None, setting("seed", MACHINE)] = None,
    device: Annotated[str | None, setting("device", MACHINE)] = None,
    precision: Annotated[str | None, setting("precision", MACHINE)] = None,
    threads: Annotated[str | None, setting("threads", MACHINE)] = None,
) -> None:
    """Learn a text, or recordings: charrnn train book.txt --minutes 3

    What is not given is chosen from the corpus and the machine. Every setting can also come from
    the environment, e.g. CHARRNN_DEVICE=cpu, or from a preset.
    """
    flags = {name: value for name, value in ctx.params.items() if name in config.FIELDS}
    flags["threads"], flags["separator"] = _threads(threads), unescaped(separator)
    given = config.from_flags(flags, dashed=True)
    chosen = [name for name in flags if typed(ctx, name)]
    with Interrupts() as interrupts:
        if resume is not None:
            raised = {name: flags[name] for name in config.BUDGET if typed(ctx, name)}
            budget = config.from_flags(raised, dashed=True)
            _resume(ctx, resume, budget, interrupts, json_lines, quiet)
            return
        source = None
        if init_from is not None:
            from charrnn.run import load

            source = load(init_from)
            given["data"].setdefault("codec", source.codec.name)
        given = config.over_preset(preset, given, chosen)
        _train(
            corpus or [BUNDLED],
            out,
            given,
            source,
            interrupts,
            force,
            dry_run,
            json_lines,
            quiet,
        )


def _threads(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return 0 if value == "auto" else int(value)
    except ValueError:
        raise ConfigError(f"--threads must be auto or a number, not {value!r}") from None


def _train(
    corpus: list[str],
    out: Path | None,
    given: config.Given,
    source: Checkpoint | None,
    interrupts: Interrupts,
    force: bool,
    dry_run: bool,
    json_lines: bool,
    quiet: bool,
) -> None:
    """A new run."""
    from charrnn.cli.screen import screen_for
    from charrnn.codec.sources import find
    from charrnn.run import Run, fresh

    if out is not None and (str(out) == "-" or Path.cwd().is_relative_to(os.path.realpath(out))):
        raise UsageError(f"--out {out}: wants a directory of its own for the run")
    sources = find(corpus, config.value(given, "codec"))
    if sources.skipped:
        shown = ", ".join(sources.skipped[:3]) + (", ..." if len(sources.skipped) > 3 else "")
        note(one_line(f"passed over {len(sources.skipped)} files of another kind: {shown}"), quiet)
    run = Run(out) if out else fresh(sources.name)
    if not dry_run:
        run.refuse_existing(force)
    more = " ..." if len(sources.files) > 3 else ""
    note(one_line(f"reading {', '.join(sources.files[:3])}{more}"), quiet)
    from charrnn.training.prepare import prepared

    with ExitStack() as scratch:
        place = run
        if dry_run:
            folder = scratch.enter_context(tempfile.TemporaryDirectory(prefix="charrnn-"))
            place = Run(Path(folder) / "run")
        with prepared(sources, place, given, force=force, init_from=source) as ready:
            screen = screen_for(json_lines, quiet)
            interrupts.polling = not dry_run  # from here on a signal saves: the plan promises it
            if dry_run:
                screen.planned(ready.plan, run.path)
                return
            trainer = ready.begin()
            _walk(trainer, screen, interrupts, quiet, lambda: screen.planned(ready.plan, run.path))


def _resume(
    ctx: typer.Context,
    path: Path,
    budget: config.Given,
    interrupts: Interrupts,
    json_lines: bool,
    quiet: bool,
) -> None:
    """Go on with a run."""
    allowed = {*config.BUDGET, "resume", "json_lines", "quiet"}
    extra = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in allowed and typed(ctx, parameter.name or "")
    ]
    if extra:
        raise UsageError(
            f"--resume goes on as the run began, so {', '.join(extra)} cannot be given with it; "
            "only --epochs, --steps and --minutes may be raised"
        )
    from charrnn.cli.screen import screen_for
    from charrnn.run import Run
    from charrnn.training.loop import Trainer

    run = Run(path)
    if not run.last.exists():
        raise UsageError(f"--resume {path}: no run to go on with there")
    with run.locked():
        interrupts.polling = True
        trainer = Trainer.resumed(run, budget)
        screen = screen_for(json_lines, quiet)
        _walk(trainer, screen, interrupts, quiet, lambda: screen.resumed(trainer))


def _walk(
    trainer: Trainer,
    screen: Screen,
    interrupts: Interrupts,
    quiet: bool,
    begin: Callable[[], None],
) -> None:
    """Show the beginning and the events of a run until it ends, or a signal or a reader that has
    gone stops it; what was begun is saved in any case."""
    from charrnn.cli.screen import describe_stop, resume_with

    farewell = f"left at once; the last save stands: {resume_with(trainer.run.path)}"
    interrupts.farewell = "" if quiet else farewell
    gone: list[OSError] = []
    try:
        with screen:
            try:
                begin()
            except OSError as error:  # the reader has gone, or its disk is full
                gone.append(error)
            for event in trainer.events(should_stop=lambda: bool(gone) or interrupts()):
                try:
                    if not gone:
                        screen.show(event)
                except OSError as error:
                    gone.append(error)
    except Interrupted:
        note(farewell, quiet)
        raise
    if gone:
        note(f"nobody reads the events; {describe_stop(trainer.run.path)}", quiet)
        raise gone[0]
    if interrupts():
        raise Interrupted(interrupts.number)
