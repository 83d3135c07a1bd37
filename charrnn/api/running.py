"""A training run: an iterator over its events."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.api.model import Model
from charrnn.errors import UsageError
from charrnn.media.sources import Sources
from charrnn.run import Run, fresh
from charrnn.run import load as read_model

if TYPE_CHECKING:
    from charrnn.training.events import Event
    from charrnn.training.loop import Trainer
    from charrnn.training.plan import Plan
    from charrnn.training.prepare import Prepared


class TrainingRun:
    """A training run; iterating over it trains and yields events (`charrnn.training.events`).

    If you leave the loop early, a new loop continues from there.  The run directory is locked until
    training ends or `close` is called; a `with` statement calls it for you.

    Attributes:
        path: the run directory.
        sources: the files of a new run; None if it is resumed.
        should_stop: called between updates; if it returns True, the run is saved and stops.
    """

    def __init__(
        self,
        run: Run,
        *,
        prepare: Callable[[ExitStack], Prepared] | None = None,
        begin: Callable[[ExitStack], Trainer] | None = None,
        sources: Sources | None = None,
    ) -> None:
        self.path, self.sources = run.path, sources
        self.should_stop: Callable[[], bool] = lambda: False
        self._prepare, self._begin = prepare, begin
        self._prepared: Prepared | None = None
        self._trainer: Trainer | None = None
        self._events: Iterator[Event] | None = None
        self._stack = ExitStack()
        self._finalizer = weakref.finalize(self, self._stack.close)

    def __repr__(self) -> str:
        state = "new" if self._trainer is None else f"step {self._trainer.progress.update:,}"
        return f"<TrainingRun {self.path}, {state}>"

    @property
    def plan(self) -> Plan:
        """The settings and expected cost of a new run; the first access reads the corpus and
        measures the speed.

        Raises:
            CharrnnError: as in training.
        """
        if self._prepared is None:
            if self._prepare is None:
                raise UsageError(f"{self.path}: a resumed run has no plan")
            self._prepared = self._prepare(self._stack)
        return self._prepared.plan

    @property
    def default_path(self) -> Path:
        """The directory in `checkpoints/` that a new run would get by default."""
        return fresh("corpus" if self.sources is None else self.sources.name).path

    @property
    def trainer(self) -> Trainer:
        """The trainer; the first access writes the run to disk."""
        if self._trainer is None:
            if self._begin is not None:
                self._trainer = self._begin(self._stack)
            else:
                _ = self.plan
                assert self._prepared is not None
                self._trainer = self._prepared.begin()
        return self._trainer

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            if self._events is None:
                self._events = self.trainer.events(lambda: self.should_stop())
            return next(self._events)
        except BaseException:  # including StopIteration
            self.close()
            raise

    def run(self) -> TrainingRun:
        """Train to the end of the budget."""
        for _ in self:
            pass
        return self

    @property
    def model(self) -> Model:
        """The best model so far.

        Raises:
            CheckpointError: there is none yet.
        """
        return Model(read_model(self.path))

    def close(self) -> None:
        """Release the lock on the run directory; a saved run can be resumed."""
        self._stack.close()

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
