"""The one place where what goes wrong becomes a line on stderr and an exit code."""

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

FULL = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF)  # what writing may meet
GRACE_S = 0.3  # for Python to leave by itself
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
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup, and shells, ask for that
                signal.signal(number, _end)
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except CharrnnError as error:
            if debug:
                raise
            say(str(error))
            raise typer.Exit(error.exit_code) from None
        except Interrupted as stop:
            _hear_no_more()
            raise typer.Exit(stop.exit_code) from None
        except KeyboardInterrupt:
            _hear_no_more()
            raise typer.Exit(128 + signal.SIGINT) from None
        except BrokenPipeError:
            # The reader has had enough.  What is still buffered has nowhere to go.
            mute(sys.stdout)
            mute(sys.stderr)
            raise typer.Exit(0) from None
        except OSError as error:
            if debug:
                raise
            where = error.filename or ("standard output" if error.errno in FULL else "")
            say(f"{where}{': ' * bool(where)}{error.strerror or error}")
            if not error.filename:
                mute(sys.stdout)  # what it still holds would fail once more
            raise typer.Exit(1) from None
        except MemoryError:
            say("out of memory; try a smaller --hidden or --batch-size")
            raise typer.Exit(1) from None

    return run


def say(message: str) -> None:
    """An error in one line, whatever stands in the names it mentions."""
    if len(message) > LONGEST:  # what a hostile file has in it is no line
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
    note("charrnn: " + one_line(message))


def _hear_no_more() -> None:
    """While Python takes itself down, another signal would only end in a traceback."""
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: object) -> None:
    raise Interrupted(number)


class Interrupts:
    """Ctrl-C and SIGTERM while training: the first asks to stop, a second Ctrl-C stops at once.
    Others may come in twos and threes, as when a session ends, and ask for the same.

    Before `polling` is set there is nothing to save, and the first ends the command as well.
    Python looks at signals between two of its own instructions only, and a step of training is
    one of those: where the second finds it there, a thread ends the process.

    Attributes:
        polling: whether the first signal is asked for between two steps.
        farewell: what is said when the second one leaves the run as it is.
    """

    def __init__(self) -> None:
        self.polling = False
        self.farewell = ""
        self.number = 0
        self._presses = 0  # of Ctrl-C

    def __enter__(self) -> Interrupts:
        numbers = (signal.SIGINT, *ENDING)
        heard = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._caught) for number in heard}
        self._reader, self._writer = socket.socketpair()  # Windows cannot do it with a pipe
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
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.number != 0

    def _caught(self, number: int, frame: object) -> None:
        self._presses += number == signal.SIGINT
        if self._presses > 1 or not self.polling:
            raise Interrupted(number)
        self.number = self.number or number

    def _watch(self) -> None:
        """Wait for signals, whose numbers are written to the socket as they come."""
        presses = 0
        while number := self._reader.recv(1)[0]:
            presses += number == signal.SIGINT
            if presses > 1 and not self._over.wait(GRACE_S):
                # What is said may find nobody, or a pipe that is full.
                threading.Timer(GRACE_S, os._exit, [128 + number]).start()
                with suppress(OSError):
                    os.write(2, f"{self.farewell}\n".encode() if self.farewell else b"")
                os._exit(128 + number)
