"""A training run: an iterator over its events."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from charrnn.api.model import Model
from charrnn.errors import RunError, UsageError
from charrnn.media.sources import Sources
from charrnn.run import Run
from charrnn.run import load as read_model

if TYPE_CHECKING:
    from charrnn.training.events import Event
    from charrnn.training.loop import Trainer
    from charrnn.training.plan import Plan
    from charrnn.training.prepare import Prepared


class TrainingRun:
    """A training run; iterating over it trains and yields events (`charrnn.training.events`).

    If you leave the loop early, a new loop continues from there; after an error or `close`, use
    `charrnn.resume`.  The run directory is locked until training ends or `close` is called; a
    `with` statement calls it for you.

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
        self._is_finished = False
        self._ended_by = ""  # an error, or a call of `close`
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
            self._refuse_ended()
            self._prepared = self._prepare(self._stack)
            self.path = self._prepared.run.path
        return self._prepared.plan

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
        self._refuse_ended()
        try:
            if self._events is None:
                me = weakref.ref(self)  # a reference would keep this object, and its lock, alive
                self._events = self.trainer.events(
                    lambda: (run := me()) is None or run.should_stop()
                )
            return next(self._events)
        except StopIteration:
            self._is_finished = True
            self._stack.close()
            raise
        except BaseException as error:
            self._end(type(error).__name__)
            raise

    def _end(self, reason: str) -> None:
        """Release the run directory; training cannot go on."""
        self._ended_by, self._events = self._ended_by or reason, None
        self._stack.close()

    def _refuse_ended(self) -> None:
        if not self._ended_by:
            return
        what = f"{self.path}: training was ended by {self._ended_by}"
        if self._trainer is None:
            raise RunError(f"{what} before it started; set it up again")
        raise RunError(
            f"{what}; continue from the last save with charrnn.resume({str(self.path)!r})"
        )

    def run(self) -> TrainingRun:
        """Train to the end of the budget.

        Raises:
            RunError: training was ended by an error or by `close`.
        """
        for _ in self:
            pass
        return self

    @property
    def model(self) -> Model:
        """The best model so far.

        Raises:
            CheckpointError: there is none yet.
            RunError: training has not started.
        """
        if self._prepare is not None and self._trainer is None:
            raise RunError(f"{self.path}: training has not started; iterate, or call run()")
        return Model(read_model(self.path))

    def close(self) -> None:
        """Release the lock on the run directory; a saved run can be resumed."""
        if not self._is_finished:
            self._end("close()")

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
