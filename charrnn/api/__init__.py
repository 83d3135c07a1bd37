"""The Python interface: train, resume, load, sample, evaluate.  The commands use it too.

Nothing here changes the threads, the allocator or the signal handlers of the process, except
`tune=True` and `keep_freed_memory`, which exist for that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn import config, layering
from charrnn.api.encoding import encode, material, refuse_shared_directory
from charrnn.api.model import AnyPath, Model
from charrnn.api.running import TrainingRun
from charrnn.errors import UsageError
from charrnn.media.sources import Sources
from charrnn.presets import load_preset
from charrnn.processes import rank_and_size
from charrnn.run import Run, fresh, general_models
from charrnn.run import load as read_model

if TYPE_CHECKING:
    from charrnn.training.loop import Trainer
    from charrnn.training.prepare import Prepared

__all__ = ["Model", "TrainingRun", "encode", "keep_freed_memory", "load", "resume", "train"]


def train(
    files: AnyPath | Iterable[AnyPath],
    out: AnyPath | None = None,
    *,
    preset: str | None = None,
    force: bool = False,
    init_from: AnyPath | None = "auto",
    workers: int | None = 1,
    ignorable: Collection[str] = (),
    **settings: Any,
) -> TrainingRun:
    """Set up a run on files or directories; iterate over the result to train.

    Arguments are checked immediately.  The corpus is read later, when you ask for the first event
    or the plan.  Where torchrun has started several processes, all of them must call this; the
    first one gives the events, the others have none.

    Args:
        files: one path or several, or names of bundled corpora; or the folder that `encode` wrote.
        out: the run directory; None: a new one in `checkpoints/`.
        preset: name of a bundled preset, or a TOML file; `settings` override it.
        force: overwrite an existing run.
        init_from: a model file or run, or the name of a general model, whose weights to start
            from; "none" or None: random weights; "auto": a general model if it predicts the corpus
            well, no preset describes the network and no setting asks for another.
        workers: processes that read text in several files; None: chosen by its size.  With more
            than one, a script must call this under `if __name__ == "__main__":`.
        ignorable: names of settings that may have no effect, e.g. because they come from the
            environment; for all others that is an error.
        settings: any setting of `charrnn train --help` by name, e.g. `hidden=256, minutes=3`.

    Raises:
        CharrnnError: a subclass of it, with a message for the user.
    """
    if follows():
        return _following()
    given = config.from_flags(settings)
    named = [n for values in given.values() for n in values if n not in ignorable]
    source = None if init_from in (None, "none", "auto") else read_model(init_from)
    below = load_preset(preset)
    is_open = init_from == "auto" and not below["model"]
    general = list(general_models().values()) if is_open else []
    if source is not None:
        given["data"].setdefault("codec", source.codec.name)
    given = layering.over_preset(below, given)
    read = material(files, given, named, ignorable=ignorable, suited=source is None)
    sources = read.sources
    if out is not None:
        refuse_shared_directory(out)
    run = fresh(sources.name) if out is None else Run(Path(out))
    if read.folder is not None and run.path.resolve() == read.folder.path.resolve():
        raise UsageError(f"--out {out}: is the encoded corpus; choose a directory for the run")
    run.refuse_existing(force)

    def prepare(stack: ExitStack) -> Prepared:
        from charrnn.training.prepare import prepared

        place = fresh(sources.name) if out is None else run  # another run may have taken the name
        return stack.enter_context(
            prepared(
                sources,
                read.codec,
                read.reason,
                place,
                read.given,
                folder=read.folder,
                workers=workers,
                force=force,
                init_from=source,
                general_models=general,
            )
        )

    return TrainingRun(run, prepare=prepare, sources=sources)


def resume(
    path: AnyPath,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    minutes: float | None = None,
) -> TrainingRun:
    """Continue a run exactly where it was saved; iterate over the result to train.

    Args:
        path: the run directory.
        epochs: a new budget, counted from the beginning of the run; replaces the old one.
        steps: the same in optimizer updates.
        minutes: the same in minutes.

    Raises:
        UsageError: there is no run in this directory.
        ConfigError: the budget is out of range.
    """
    if follows():
        return _following()
    budget = config.from_flags({"epochs": epochs, "steps": steps, "minutes": minutes})
    run = Run(Path(path))
    if run.path.is_file():
        folder = run.path.parent
        if run.path.name == run.last.name:
            raise UsageError(f"{path}: name the run, not a file of it: --resume {folder}")
        raise UsageError(
            f"{path}: a model without the state to resume from; resume its run from "
            f"{run.last.name} (--resume {folder}), or start a new run from its weights "
            f"(--init-from {path})"
        )
    if not run.last.exists():
        raise UsageError(f"{path}: no run to resume (no {run.last.name})")

    def begin(stack: ExitStack) -> Trainer:
        from charrnn.training.group import Group
        from charrnn.training.loop import Trainer

        group = Group.joined()
        stack.enter_context(run.locked())
        run.sweep()
        trainer = Trainer.resumed(run, budget)
        trainer.lead(group)
        return trainer

    return TrainingRun(run, begin=begin)


def follows() -> bool:
    """Whether this process is one of several that train together (as torchrun starts them), and
    not the first, which decides and writes."""
    return rank_and_size()[0] > 0


def _following() -> TrainingRun:
    """The run that the first process begins, in one of the others; it has no events."""

    def begin(stack: ExitStack) -> Trainer:
        from charrnn.training.group import Group
        from charrnn.training.loop import Trainer

        return Trainer.following(Group.joined())

    return TrainingRun(Run(Path()), begin=begin)


def load(target: AnyPath | None = None) -> Model:
    """Open a model.

    Args:
        target: a model file, a run directory, or "english" or "german", the general models; None:
            the newest run in `checkpoints/`, or the general model for the user's language.

    Raises:
        CheckpointError: there is no model, or it is damaged.
    """
    return Model(read_model(target))


def default_path(sources: Sources) -> Path:
    """The directory in `checkpoints/` that a run on these files would get."""
    return fresh(sources.name).path


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for reuse, for the rest of the process; on Linux this
    makes training up to 20% faster."""
    from charrnn.model import device

    device.keep_freed_memory()
