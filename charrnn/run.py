"""The run directory: best model, last checkpoint to resume from, corpus, metrics."""

from __future__ import annotations

import json
import locale
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn import hub
from charrnn.checkpoint import Checkpoint, read
from charrnn.data import corpus
from charrnn.data.corpus import Steps
from charrnn.errors import CheckpointError, RunError, UsageError
from charrnn.files import bundled, cannot_write, free_bytes, replacing

MAX_OWNER_BYTES = 200  # size of the file that names the process writing a run
OTHER_BYTES = 4 << 20  # disk space for a run's headers and metrics
CHECKPOINTS = Path("checkpoints")  # runs are created here by default
GENERAL = ("english", "german")  # the bundled models


@dataclass(frozen=True)
class Run:
    """A run directory and the files in it."""

    path: Path

    @property
    def best(self) -> Path:
        """The best model: the one to share."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """The latest model, with everything needed to resume."""
        return self.path / "last.safetensors"

    @property
    def first(self) -> Path:
        """The first save of a new run, until everything of an earlier one is removed."""
        return self.path / ".fresh.tmp"

    @property
    def metrics(self) -> Path:
        """The metrics: JSON lines, one object for each log line."""
        return self.path / "metrics.jsonl"

    @property
    def corpus(self) -> Path:
        """The encoded corpus."""
        return self.path / "corpus.npy"

    @property
    def previews(self) -> Path:
        """A directory with previews of the model's output, unless that is text."""
        return self.path / "previews"

    @property
    def board(self) -> Path:
        """A directory with event files for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def exists(self) -> bool:
        """Whether this directory contains a run."""
        return self.last.exists() or self.best.exists()

    @property
    def was_beginning(self) -> bool:
        """Whether a process was killed as it began a run here; then nothing here is of value."""
        return self.first.exists() and not self.last.exists()

    def refuse_existing(self, force: bool, *, locked: bool = False) -> None:
        """Raise unless a new run may be written here.

        Args:
            force: an existing run may be overwritten.
            locked: this process holds the lock.

        Raises:
            RunError: there is a run and `force` is not given, or the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; give a directory with --out")
        if force or self.was_beginning:
            return
        if not self.last.exists():
            for path in (self.best, self.corpus, self.metrics):
                if path.exists():
                    raise RunError(
                        f"{path}: would be overwritten; choose another --out, or --force"
                    )
            return
        if not locked:
            with self.locked():  # if another process is writing the run, that is the error
                pass
        raise RunError(
            f"{self.path}: already contains a run; resume it (--resume {self.path}), choose "
            "another directory (--out) or overwrite it (--force)"
        )

    def refuse_full_disk(self, model_bytes: int, last_bytes: int) -> None:
        """Raise unless there is disk space for the run's files.

        Each file is written before the one that it replaces is deleted.

        Raises:
            RunError: states the space needed and the space left.
        """
        there = sum(path.stat().st_size for path in (self.best, self.last) if path.exists())
        needed = 2 * (model_bytes + last_bytes) + OTHER_BYTES
        free = free_bytes(self.path) + there
        if free < needed:
            raise RunError(
                f"{self.path}: the run needs {needed / 1e6:,.0f} MB and its disk has "
                f"{free / 1e6:,.0f} MB left; make room, or choose another --out"
            )

    def sweep(self) -> None:
        """Remove partly written files of a killed process."""
        if self.was_beginning:
            self.clear()
            self.corpus.unlink(missing_ok=True)
        self.remove(".*.tmp", ".corpus.npy.partial*")

    def remove(self, *patterns: str) -> None:
        """Remove files whose names have one of these patterns."""
        for pattern in patterns:
            for path in self.path.glob(pattern):
                if path.is_symlink() or not path.is_dir():
                    path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the files of an earlier run, except the corpus; after the first, the rest is of no
        value if `first` is there."""
        others = (*self.previews.glob("step-*"), *self.board.glob("events.out.*"))
        for path in (self.last, self.best, self.metrics, *others):
            path.unlink(missing_ok=True)

    @contextmanager
    def removed_if_unused(self) -> Iterator[None]:
        """Remove the directories that are new at the end, unless something was written there."""
        new = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            yield
        finally:
            with suppress(OSError):  # there is none, or one is not empty
                there = {path.name for path in self.path.iterdir()} if new else set()
                for name in there if there <= {".lock", corpus.CHECKED} else ():
                    (self.path / name).unlink()
                for path in new:
                    path.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory against other processes; the lock of a dead process does not count.

        Raises:
            RunError: another process is writing; says which, and since when.
        """
        import filelock

        owner = self.path / ".owner.json"
        for path in (self.last, self.best, self.metrics, self.corpus):
            if path.exists() and not path.is_file():
                raise RunError(f"{path}: is not a file; remove it, or choose another directory")
        if (self.path / ".lock").is_symlink():
            raise RunError(f"{self.path}/.lock: is a link; remove it, or choose another directory")
        with cannot_write(self.path, RunError):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / ".lock", timeout=0)
            try:
                lock.acquire()
            except filelock.Timeout:  # an OSError, too
                raise RunError(f"{self.path}: is being written by {_described(owner)}") from None
        try:
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            with suppress(OSError), replacing(owner) as temporary:  # only for messages
                temporary.write_text(json.dumps({"pid": os.getpid(), "started_at": started}))
            yield
        finally:
            with suppress(OSError):
                owner.unlink()
            lock.release()

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to the metrics.

        Raises:
            RunError: the disk is full, or the directory no longer exists.
        """
        if not self.path.is_dir():
            raise RunError(f"{self.metrics}: cannot be written (the run's directory has gone)")
        with (
            cannot_write(self.metrics, RunError),
            open(self.metrics, "a", encoding="utf-8") as stream,
        ):
            stream.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete lines of the metrics."""
        if not self.metrics.exists():
            return []
        lines = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except (ValueError, RecursionError):  # cut short by a kill
                continue
        return [
            line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)
        ]

    def elapsed_s(self, step: int) -> float:
        """Seconds of training up to `step`, according to the metrics."""
        lines = [line for line in self.read_metrics() if line["step"] <= step]
        seconds = lines[-1].get("elapsed_s") if lines else 0.0
        return seconds if isinstance(seconds, float) and 0 <= seconds < math.inf else 0.0

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines after `step`: training resumes there and writes them again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        with replacing(self.metrics) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _described(owner: Path) -> str:
    """The process that holds the lock, according to the owner file."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        if owner.is_file() and owner.stat().st_size < MAX_OWNER_BYTES:
            values = json.loads(owner.read_text())
            if values["pid"] == os.getpid():
                return "another run in this process; close() that one"
            return f"process {values['pid']}, since {values['started_at']}"
    return "another process"


def fresh(name: str) -> Run:
    """A new directory in `checkpoints/`: the name, or name-2, name-3, ... if it exists."""
    path, number = CHECKPOINTS / name, 1
    while path.exists():
        number += 1
        path = CHECKPOINTS / f"{name}-{number}"
    return Run(path)


def run_of(checkpoint: Checkpoint) -> Run | None:
    """The run that a model belongs to; None: its file is not in the directory of a run."""
    run = Run(checkpoint.path.parent)
    return run if checkpoint.path.name in (run.best.name, run.last.name) else None


def corpus_of(checkpoint: Checkpoint) -> Steps:
    """The encoded corpus of the run that a model belongs to, (N,) or (N, F).

    Raises:
        UsageError: there is none.
        RunError: it is not readable, or does not fit the model.
    """
    run = run_of(checkpoint)
    if run is None or not run.corpus.exists():
        raise UsageError(
            f"{checkpoint.path}: has no corpus beside it (corpus.npy of its run); give --corpus"
        )
    steps = corpus.read(run.corpus)
    corpus.checked(run.corpus, steps, checkpoint.codec.step)
    return steps


def general_models() -> dict[str, Path]:
    """The bundled general models by name, which is the language they were trained on."""
    folder = bundled("checkpoints")
    files = {name: folder / f"{name}.safetensors" for name in GENERAL}
    return {name: path for name, path in files.items() if path.exists()}


def is_general(path: Path) -> bool:
    """Whether a file is one of the general models."""
    return path in general_models().values()


def page_about(path: Path) -> str | None:
    """The page about a general model, in Markdown; None: the file is none."""
    return path.with_suffix(".md").read_text(encoding="utf-8") if is_general(path) else None


def model_file(target: Path | None) -> Path:
    """The model file for a path: the file itself, or the best model of a run directory.

    Args:
        target: a path, or the name of a general model if there is no model at such a path; None:
            the newest run in `checkpoints/`, or without one the general model for the user's
            language.

    Raises:
        CheckpointError: there is no model.
    """
    if target is None:
        runs = [Run(path) for path in CHECKPOINTS.glob("*") if path.is_dir()]
        files = [_model_of(run) for run in runs if run.exists]
        if not files:
            return _of_the_users_language()
        return max(files, key=lambda path: path.stat().st_mtime)
    models = general_models()
    if target.is_file():
        return target
    if Run(target).exists:
        return _model_of(Run(target))
    if (general := models.get(str(target))) is not None:
        return general
    if target.is_dir():
        raise CheckpointError(f"{target}: no model in this directory")
    if target.exists():
        return target  # a pipe or a device, which is refused when it is read
    raise CheckpointError(
        f"{target}: no such file or run; the general models are {' and '.join(models)}"
    )


def _of_the_users_language() -> Path:
    """The general model for the language of messages, by the locale; otherwise English."""
    values = map(os.environ.get, ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"))
    language = next(filter(None, values), None) or locale.getlocale()[0] or ""
    # A language code, as in de_AT.UTF-8, or a Windows name, as in German_Austria.1252.
    code = re.split(r"[:_.@-]", language)[0].lower()
    name = "german" if code in ("de", "german") else "english"
    if (path := general_models().get(name)) is None:
        raise CheckpointError(
            f"no run under {CHECKPOINTS}/ yet, and this installation lacks the general model "
            f"{name}; train a run (charrnn train) or name a model file"
        )
    return path


def _model_of(run: Run) -> Path:
    return run.best if run.best.exists() else run.last


def load(target: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Read the model that `model_file` finds, or one on the hub, `hf://USER/NAME`.

    Raises:
        CheckpointError: there is none, or it is damaged.
        UsageError: an address of the hub is wrong, or its package is missing.
    """
    if target is not None and not os.fspath(target):
        raise CheckpointError("the name of a model is empty; is a shell variable unset?")
    if target is not None and hub.is_address(os.fspath(target)):
        return read(hub.fetched(os.fspath(target)))
    return read(model_file(None if target is None else Path(target)))
