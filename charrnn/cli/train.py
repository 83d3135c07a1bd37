"""`charrnn train`: train a model on a corpus."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn import config
from charrnn.cli.failures import SignalExit, StopSignals, ignore_signals
from charrnn.cli.options import Workers, typed, with_settings
from charrnn.cli.processes import follow, launch
from charrnn.cli.terminal import note, one_line
from charrnn.errors import ConfigError, FinishedError, PeerError, UsageError
from charrnn.processes import rank_and_size
from charrnn.settings import BUDGET

if TYPE_CHECKING:
    from charrnn.api import TrainingRun
    from charrnn.cli.screen import Screen
    from charrnn.media.sources import Sources

BUNDLED = "tales"  # the default corpus
AUTO = "auto"  # instead of a run to resume
FITTED = ("batch_size", "seq_length", "val_fraction")  # settings that a run may adapt to its corpus
# The headings of `--help`, in order; "*" is replaced by the headings of the media.
GROUPS = ("Budget", "Corpus", "*", "Model", "Regularisation", "Optimization", "Machine")


def build() -> Callable[..., None]:
    """The command, with an option for every setting except those of sampling."""
    settings = [s for s in config.all_settings().values() if s.section != "sampling"]
    known = list(dict.fromkeys(s.meta["group"] for s in settings))
    others = [group for group in known if group not in GROUPS]
    star = GROUPS.index("*")
    order = [*GROUPS[:star], *others, *GROUPS[star + 1 :]]
    settings.sort(key=lambda setting: order.index(setting.meta["group"]))
    return with_settings(command, settings, texts=("threads",))


def command(
    ctx: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, directories, or - for standard input. (default: the bundled tales)",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run directory. (default: a new one in checkpoints/)"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="Preset, or TOML file with settings.",
            envvar="CHARRNN_CONFIG",
            show_envvar=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|auto",
            help="Resume this run exactly; only the budget can be raised. auto: the run in --out, "
            "which is begun if it is not there yet, so that a job can be given again as it is.",
            readable=False,
        ),
    ] = None,
    init_from: Annotated[
        str,
        typer.Option(
            metavar="none|NAME|RUN|FILE",
            help="Fine-tune: start from the weights of a general model (english, german), a run or "
            "a model file; none: from random weights. (default: a general model if it predicts "
            "the corpus well)",
            show_default=False,
        ),
    ] = "auto",
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write the metrics and samples as event files for TensorBoard, in the run "
            "directory (needs: pip install tensorboard).",
        ),
    ] = False,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes that train together, each with its share of the batch; on GPUs, one "
            "for each GPU. torchrun can start them, too, also on several machines.",
            rich_help_panel="Machine",
        ),
    ] = 1,
    workers: Workers = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a run that is already there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan without training.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Write events as JSON lines to standard output.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    **settings: Any,
) -> None:
    """Train a model on text, tunes or recordings: charrnn train book.txt --minutes 3

    What you do not give is chosen from the corpus and the machine. Every setting can also come
    from the environment, e.g. CHARRNN_DEVICE=cpu, or from a preset.
    """
    from charrnn import api
    from charrnn.api.encoding import refuse_shared_directory

    if processes > 1 and rank_and_size()[1] == 1:
        launch(processes)
        return
    if api.follows():
        follow()
        return
    settings["threads"] = _threads(settings["threads"])
    config.from_flags(settings, dashed=True)
    if tensorboard and find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the package tensorboard: pip install tensorboard")
    if is_auto := resume == Path(AUTO):
        if force:
            raise UsageError("--resume auto continues the run in --out, --force overwrites it")
        resume, budget = _continued(ctx, out, settings)
        if resume is not None and dry_run:
            note(f"{resume}: would be resumed", quiet)
            return
    elif resume is not None:
        _refuse_with_resume(ctx)
        budget = {name: settings[name] for name in BUDGET if typed(ctx, name)}
    with StopSignals() as signals, ExitStack() as scratch:
        if resume is not None:
            run = scratch.enter_context(api.resume(resume, **budget))
            try:
                _follow(run, signals, json_lines, quiet, tensorboard)
            except FinishedError:
                if not is_auto:
                    raise
                note(f"{resume}: has finished already", quiet)
            return
        if dry_run:
            if out is not None:
                refuse_shared_directory(out)
            folder = scratch.enter_context(tempfile.TemporaryDirectory(prefix="charrnn-"))
        given = {name: value for name, value in settings.items() if value is not None}
        run = scratch.enter_context(
            api.train(
                corpus or [BUNDLED],
                Path(folder) / "run" if dry_run else out,
                preset=preset,
                force=force,
                init_from=init_from,
                workers=workers,
                ignorable=[name for name in given if not typed(ctx, name)],
                **given,
            )
        )
        assert run.sources is not None
        describe_sources(run.sources, quiet)
        if not dry_run:
            _follow(run, signals, json_lines, quiet, tensorboard)
            return
        from charrnn.cli.screen import screen_for

        assert run.sources is not None
        screen_for(json_lines, quiet).planned(run.plan, out or api.default_path(run.sources))


def _continued(
    ctx: typer.Context, out: Path | None, settings: dict[str, Any]
) -> tuple[Path | None, dict[str, Any]]:
    """The run that `--resume auto` resumes, and what of its budget is new; None: it has not begun.

    Raises:
        UsageError: there is no --out, or settings are not those of its run.
    """
    from charrnn import checkpoint
    from charrnn.run import Run

    if out is None:
        raise UsageError("--resume auto resumes the run in --out; give one")
    last = Run(out).last
    if not last.exists():
        return None, {}
    stored = checkpoint.read(last).config.to_dict()
    data = {name: value for name, value in stored["data"].items() if name not in FITTED}
    own = stored["model"] | stored["training"] | data
    given = {name: value for name, value in settings.items() if typed(ctx, name) and name in own}
    new = {n: v for n, v in given.items() if v != "auto" and str(v) != str(own[n])}
    for name, value in new.items():
        if name not in BUDGET:
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: the run in {out} has {own[name]}; resume it "
                "as it began, or choose another --out"
            )
    return out, new


def _threads(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return 0 if value == "auto" else int(value)
    except ValueError:
        raise ConfigError(f"--threads must be auto or a number, not {value!r}") from None


def _refuse_with_resume(ctx: typer.Context) -> None:
    """Refuse flags that cannot be changed when a run is resumed."""
    allowed = {*BUDGET, "resume", "json_lines", "quiet", "tensorboard", "processes"}
    extra = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in allowed and typed(ctx, parameter.name or "")
    ]
    if extra:
        raise UsageError(
            f"{', '.join(extra)} cannot be given with --resume, which continues the run as it "
            "began; only --epochs, --steps and --minutes can be raised"
        )


def describe_sources(sources: Sources, quiet: bool) -> None:
    """Print which files are read and which are skipped."""
    files = sources.files
    for text in sources.notices:
        note(one_line(text), quiet)
    more = " ..." if len(files) > 3 else ""
    note(one_line(f"reading {', '.join(files[:3])}{more}"), quiet)


def _follow(
    run: TrainingRun, signals: StopSignals, json_lines: bool, quiet: bool, tensorboard: bool
) -> None:
    """Train and show the run until it ends, a signal arrives, or the reader of our output is gone.

    The run is saved in any case.
    """
    from charrnn import api
    from charrnn.cli.board import Board
    from charrnn.cli.screen import resume_hint, screen_for
    from charrnn.run import Run

    api.keep_freed_memory()
    hint = resume_hint(run.path)
    aborted = f"aborted; resume from the last checkpoint: {hint}"
    signals.last_words = "" if quiet else aborted
    gone: list[OSError] = []
    if run.sources is not None:
        _ = run.plan
    signals.polling = True  # from here on, a signal saves the run
    _ = run.trainer  # saves the new run before the first update
    screen = screen_for(json_lines, quiet)
    board = Board(Run(run.path).board, run.trainer.progress.update + 1) if tensorboard else None
    run.should_stop = lambda: bool(gone) or signals()
    try:
        with screen:
            _show(gone, lambda: _begin(screen, run))
            for event in run:
                _show(gone, lambda event=event: screen.show(event))  # type: ignore[misc]
                if board is not None:
                    board.show(event)
    except SignalExit:
        note(aborted, quiet)
        raise
    except PeerError:
        ignore_signals()  # the launcher ends this process, too; it must still say why
        raise
    if gone:
        note(f"standard output was closed; saved, resume with: {hint}", quiet)
        raise gone[0]
    if signals():
        raise SignalExit(signals.number)


def _begin(screen: Screen, run: TrainingRun) -> None:
    """Show the plan of a new run, or the progress of a resumed one."""
    if run.sources is None:
        screen.resumed(run.trainer)
    else:
        screen.planned(run.plan, run.path)


def _show(gone: list[OSError], draw: Callable[[], None]) -> None:
    """Call `draw` unless an earlier call failed because the reader is gone or its disk is full."""
    if not gone:
        try:
            draw()
        except OSError as error:
            gone.append(error)
