"""What all commands share at the terminal: plain notes, safe text, numbers for people."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TextIO

_FLUSH_EVERY_S = 0.05
# What could move the cursor, ring or recolour: C0 but tab and newline, DEL and C1.
_CONTROLS = dict.fromkeys((*range(128, 160), 127), 65533)
_CONTROLS |= {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}


def printable(text: str) -> str:
    """The text with control characters shown as pictures, fit for a terminal."""
    return text.translate(_CONTROLS)


def note(text: str, quiet: bool = False) -> None:
    """A line for the user on stderr, unless quiet; where stderr cannot be written, nobody looks,
    and that is no reason to lose a run."""
    if quiet:
        return
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)


def mute(stream: TextIO) -> None:
    """Have a stream go nowhere from here on, with what it still holds."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def one_line(text: str) -> str:
    """The text without line ends: names of files may have some."""
    return text.replace("\n", "\u240a")


class TextOut:
    """Writes text to a stream as it is made: raw into files and pipes, safe onto a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._pieces: list[str] = []
        self._flushed_at = 0.0
        self._ends_line = True

    def write(self, text: str) -> None:
        """Write a piece; while more is written it becomes visible within a twentieth of a second.

        Pieces are gathered here: a stream may pass each on by itself (PYTHONUNBUFFERED), which
        costs as much as drawing a character.
        """
        self._pieces.append(text)
        if time.monotonic() - self._flushed_at > _FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Make visible what was written."""
        if text := "".join(self._pieces):
            self._pieces.clear()
            self._ends_line = text.endswith("\n")
            self._stream.write(printable(text) if self._is_terminal else text)
        self._stream.flush()
        self._flushed_at = time.monotonic()

    def end(self, *, whole_lines: bool = False) -> None:
        """Flush, and on a terminal end the line, so that the prompt stands on its own.

        `whole_lines`: end it in any case, as lists of names do.
        """
        self.flush()
        if (self._is_terminal or whole_lines) and not self._ends_line:
            self.write("\n")
            self.flush()


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(number: float) -> str:
    """A number for people, to three digits: 950, 12.3 k, 1.25 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            scaled = number / (1e3 if unit == "k" else limit)
            return f"{scaled:.3g} {unit}"
    return f"{number:,.0f}"


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
