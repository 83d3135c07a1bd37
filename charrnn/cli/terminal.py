"""Output of all commands: notes on stderr, text safe for a terminal, readable numbers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

_FLUSH_EVERY_S = 0.05
_BARS = "▁▂▃▄▅▆▇█"
# Characters that could move the cursor, ring the bell or change colours: C0 except tab and
# newline, DEL, and C1.
_CONTROLS = dict.fromkeys((*range(128, 160), 127), 65533)
_CONTROLS |= {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}


def printable(text: str) -> str:
    """The text with control characters replaced by visible symbols, safe for a terminal."""
    return text.translate(_CONTROLS)


def note(text: str, quiet: bool = False) -> None:
    """Print a line on stderr, unless quiet.  If stderr cannot be written, ignore that: a run must
    not fail because of it."""
    if quiet:
        return
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)


def mute(stream: TextIO) -> None:
    """Discard the buffered output of a stream and everything written to it from now on."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def one_line(text: str) -> str:
    """The text with newlines, which file names may contain, replaced by a visible symbol."""
    return text.replace("\n", "\u240a")


class TextOut:
    """Writes text to a stream piece by piece: unchanged to files and pipes, made safe on a
    terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._pieces: list[str] = []
        self._flushed_at = 0.0
        self._ends_line = True

    def write(self, text: str) -> None:
        """Add a piece; it is written at most 50 ms later if more pieces follow.

        Pieces are buffered here, because writing each one to an unbuffered stream
        (PYTHONUNBUFFERED) takes as long as sampling a character.
        """
        self._pieces.append(text)
        if time.monotonic() - self._flushed_at > _FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write the buffered pieces."""
        if text := "".join(self._pieces):
            self._pieces.clear()
            self._ends_line = text.endswith("\n")
            self._stream.write(printable(text) if self._is_terminal else text)
        self._stream.flush()
        self._flushed_at = time.monotonic()

    def end(self, *, whole_lines: bool = False) -> None:
        """Flush; on a terminal, also end the last line, so that the prompt starts on a new one.

        Args:
            whole_lines: end the last line in files and pipes too, e.g. for a list of names.
        """
        self.flush()
        if (self._is_terminal or whole_lines) and not self._ends_line:
            self.write("\n")
            self.flush()


def duration(seconds: float) -> str:
    """A duration in readable form: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(number: float) -> str:
    """A number with three digits and a unit prefix: 950, 12.3 k, 1.25 M."""
    for limit, divisor, prefix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if number >= limit:
            return f"{number / divisor:.3g} {prefix}"
    return f"{number:,.0f}"


def sparkline(values: Sequence[float], encoding: str = "utf-8") -> str:
    """Values as bars of eight heights; empty if the terminal cannot show them."""
    if not values or "utf" not in encoding.lower():
        return ""
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in values)


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
