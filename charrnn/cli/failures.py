"""The one place where what goes wrong becomes a line on stderr and an exit code."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from charrnn.cli.terminal import printable
from charrnn.errors import CharrnnError

LONGEST = 2_000  # characters of a message
debug = False  # set by `charrnn --debug`


# A polite kill; the terminal or the connection is gone (where the system knows that one).
ENDING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Interrupted(BaseException):
    """A signal ended the command; what had to be saved is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number  # 130 after Ctrl-C, 143 after SIGTERM


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Run a command so that errors end in one line and the right exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        for number in ENDING:
            signal.signal(number, _end)
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except CharrnnError as error:
            if debug:
                raise
            _say(str(error))
            raise typer.Exit(error.exit_code) from None
        except Interrupted as stop:
            _hear_no_more()
            raise typer.Exit(stop.exit_code) from None
        except KeyboardInterrupt:
            _hear_no_more()
            raise typer.Exit(128 + signal.SIGINT) from None
        except BrokenPipeError:
            # The reader has had enough.  What is still buffered has nowhere to go.
            for stream in (sys.stdout, sys.stderr):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            if debug:
                raise
            _say(f"{error.filename or 'standard output'}: {error.strerror or error}")
            raise typer.Exit(1) from None
        except MemoryError:
            _say("out of memory; try a smaller --hidden or --batch-size")
            raise typer.Exit(1) from None

    return run


def _say(message: str) -> None:
    """One line, whatever stands in the names it mentions."""
    if len(message) > LONGEST:  # what a hostile file has in it is no line
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
    print("charrnn: " + printable(message).replace("\n", "\u240a"), file=sys.stderr)


def _hear_no_more() -> None:
    """While Python takes itself down, another signal would only end in a traceback."""
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: object) -> None:
    raise Interrupted(number)


class Interrupts:
    """Ctrl-C and SIGTERM while training: the first asks to stop, the second Ctrl-C stops at once.

    Before `polling` is set there is nothing to save, and the first ends the command as well.
    """

    def __init__(self) -> None:
        self.polling = False
        self.number = 0

    def __enter__(self) -> Interrupts:
        numbers = (signal.SIGINT, *ENDING)
        self._before = {number: signal.signal(number, self._caught) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.number != 0

    def _caught(self, number: int, frame: object) -> None:
        if self.number or not self.polling:
            raise Interrupted(number)
        self.number = number
