"""Turns errors and signals into a line on stderr and an exit code."""

from __future__ import annotations

import errno
import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import typer

from charrnn.cli.terminal import mute, note, one_line
from charrnn.errors import CharrnnError

WRITE_ERRORS = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF)
GRACE_S = 0.3  # time for Python to exit by itself
MAX_MESSAGE = 2_000  # characters
debug = False  # set by `charrnn --debug`


# SIGTERM asks to stop; SIGHUP (not on Windows) says that the terminal or connection is gone.
END_SIGNALS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class SignalExit(BaseException):
    """A signal stops the command."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number  # 130 after Ctrl-C, 143 after SIGTERM


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that each error prints one line and sets the right exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        for number in END_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and some shells set it
                signal.signal(number, _end)
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except CharrnnError as error:
            if debug:
                raise
            print_error(str(error))
            raise typer.Exit(error.exit_code) from None
        except SignalExit as stop:
            ignore_signals()
            raise typer.Exit(stop.exit_code) from None
        except KeyboardInterrupt:
            ignore_signals()
            raise typer.Exit(128 + signal.SIGINT) from None
        except BrokenPipeError:
            # The reader of our output is gone; discard what is still buffered.
            mute(sys.stdout)
            mute(sys.stderr)
            raise typer.Exit(0) from None
        except OSError as error:
            if debug:
                raise
            where = error.filename or ("standard output" if error.errno in WRITE_ERRORS else "")
            print_error(f"{where}{': ' * bool(where)}{error.strerror or error}")
            if not error.filename:
                mute(sys.stdout)  # flushing it would fail again
            raise typer.Exit(1) from None
        except MemoryError:
            print_error("out of memory; try a smaller --hidden or --batch-size")
            raise typer.Exit(1) from None

    return run


def print_error(message: str) -> None:
    """Print an error on one line, even if names in it contain newlines."""
    if len(message) > MAX_MESSAGE:  # it may quote text from a hostile file
        message = f"{message[: MAX_MESSAGE // 2]} ... {message[-MAX_MESSAGE // 2 :]}"
    note("charrnn: " + one_line(message))


def ignore_signals() -> None:
    """Ignore further signals: while Python shuts down, they would only cause a traceback."""
    for number in (signal.SIGINT, *END_SIGNALS):
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: object) -> None:
    raise SignalExit(number)


class StopSignals:
    """Handles Ctrl-C and other signals during training.

    The first signal asks training to stop; a second Ctrl-C aborts.  Other signals may arrive
    several times, e.g. at the end of a login session, and only ask to stop.

    Before `polling` is set there is nothing to save, so the first signal aborts.  Python runs
    signal handlers only between two of its instructions, and an update may be one long
    instruction; so a thread ends the process if a second Ctrl-C comes during one.

    Attributes:
        polling: set by the caller when it begins to poll for the first signal by calling this
            object.
        last_words: is printed when a second Ctrl-C aborts.
        number: the number of the first signal; 0: none yet.
    """

    def __init__(self) -> None:
        self.polling = False
        self.last_words = ""
        self.number = 0
        self._presses = 0  # how often Ctrl-C was pressed

    def __enter__(self) -> StopSignals:
        numbers = (signal.SIGINT, *END_SIGNALS)
        handled = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._caught) for number in handled}
        self._reader, self._writer = socket.socketpair()  # on Windows a pipe does not work
        self._writer.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        signal.set_wakeup_fd(self._fd_before)
        self._writer.send(b"\0")
        self._thread.join()
        self._reader.close()
        self._writer.close()
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._caught:  # and not ignored
                signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.number != 0

    def _caught(self, number: int, frame: object) -> None:
        self._presses += number == signal.SIGINT
        if self._presses > 1 or not self.polling:
            raise SignalExit(number)
        self.number = self.number or number

    def _watch(self) -> None:
        """Wait for signals; Python writes their numbers to the socket when they arrive."""
        presses = 0
        while number := self._reader.recv(1)[0]:
            presses += number == signal.SIGINT
            if presses > 1 and not self._over.wait(GRACE_S):
                # Printing may block if the pipe is full, so exit after a while in any case.
                threading.Timer(GRACE_S, os._exit, [128 + number]).start()
                with suppress(OSError):
                    os.write(2, f"{self.last_words}\n".encode() if self.last_words else b"")
                os._exit(128 + number)
