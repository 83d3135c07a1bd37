"""What `charrnn insight` prints: tables, lists and coloured text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text as Coloured

from charrnn.cli.terminal import one_line, printable, sparkline
from charrnn.insight.report import HELD_OUT, SAMPLED, Insight, Text, costly_parts
from charrnn.insight.values import copied
from charrnn.insight.verdict import verdict

TITLE = 14  # width of the titles of a verdict
SHOWN_STEPS = 1_000  # of the text that is coloured or listed
LINE = 60  # steps of a line, if the medium has no lines
POINTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # of context, in the table
LAGS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
COPY = 400  # characters of a copy
CLOSED, OPEN = 0.1, 0.9  # as in Karpathy, Johnson and Fei-Fei 2015
SALIENT = 40  # steps before the last one in the list
SAMPLES, SAMPLE_LINES = 4, 8
MAP_WIDTH, MAP_HEIGHT = 78, 22
CURVE = 40  # characters of a curve
# Backgrounds under black text: from little to much surprise, and from -1 over 0 to 1.
SURPRISE = ("#ffffff", "#fff3c4", "#ffdd8a", "#ffb95e", "#ff8c5a", "#ff5f5f")
NATS = (0.3, 1.0, 2.0, 3.5, 5.5)  # limits between these colours
SIGNED = ("#5f9fff", "#9cc4ff", "#d4e5ff", "#ffffff", "#ffe0d4", "#ffb59c", "#ff7a5f")
# Why a section may have nothing to show.
REASONS = {
    "surprise": "these steps are not symbols",
    "losses": "these steps have no kinds and no parts with a name",
    "cells": "the text is too short",
    "gates": "this cell has no gates",
    "memory": "the text is too short",
    "saliency": "the text is too short",
    "map": "these steps are not symbols",
    "copies": "there is no corpus beside the model, or its steps are never equal",
    "learning": "there are no metrics beside the model",
}

Lines = Iterator[str | Coloured]


class Out(Console):
    """A console whose closed pipe is the error that it is everywhere."""

    def on_broken_pipe(self) -> None:
        """As in `Console`, which would end the process with an exit code of 1."""
        raise BrokenPipeError


class Shown:
    """The sections of an insight as lines for a terminal, a file or a pipe.

    Args:
        found: what was found.
        values: the same as plain values.
        width: of a line.
        has_colours: whether text is coloured; otherwise it is listed with figures.
    """

    def __init__(
        self, found: Insight, values: dict[str, Any], width: int, *, has_colours: bool
    ) -> None:
        self._found, self._values, self._width = found, values, width
        self._codec, self._has_colours = found.checkpoint.codec, has_colours

    def lines(self, section: str) -> list[str | Coloured]:
        """The lines of a section; if it has nothing to show, the reason."""
        sections: dict[str, Callable[[], Lines]] = {
            "verdict": self._verdict,
            "surprise": self._text,
            "losses": self._losses,
            "cells": self._cells,
            "gates": self._gates,
            "memory": self._memory,
            "saliency": self._saliency,
            "map": self._map,
            "copies": self._copies,
            "learning": self._learning,
        }
        return list(sections[section]()) or [f"nothing to show: {REASONS[section]}"]

    def _verdict(self) -> Lines:
        for finding in verdict(self._found):
            yield from self._hanging(finding.title, finding.text)
            if finding.advice:
                yield from self._hanging("", f"try: {finding.advice}")

    def _hanging(self, title: str, text: str) -> Iterator[str]:
        """A title, and beside it a text of several lines."""
        first, width = f"{title:<{TITLE}}", max(40, self._width)
        yield from textwrap.wrap(
            one_line(text), width, initial_indent=first, subsequent_indent=" " * TITLE
        )

    def _losses(self) -> Lines:
        surprise, unit = self._values["surprise"], self._codec.unit
        for group in surprise["groups"]:
            heading = (group["name"], f"of the {unit}s", "nats", "learnt", "of the loss")
            if not group["rows"]:  # e.g. of places in words, of a text without any
                continue
            rows = [list(heading)]
            for row in group["rows"]:
                learnt = "" if row["learnt"] is None else f"{row['learnt']:.3f}"
                figures = [f"{row['share']:.1%}", f"{row['held_out']:.3f}", learnt]
                rows.append([row["kind"], *figures, f"{row['part']:.1%}"])
            yield from _table(rows)
            yield ""
        text = self._found.text
        for parts in text.traits.parts:
            rows = [[f"dearest {parts.name}", "nats", "times"]]
            for part in costly_parts(text, parts):
                named = _cut(part.text, max(20, self._width - 20))
                rows.append([named, f"{part.nats:.1f}", str(part.count)])
            yield from _table(rows)
            yield ""

    def _cells(self) -> Lines:
        cells, unit = self._values["cells"], self._codec.unit
        if cells["found"]:
            rows = [["follows", "unit", "score", "table", "beyond"]]
            for cell in cells["found"]:
                scores = [f"{cell[key]:+.2f}" for key in ("score", "table", "beyond")]
                rows.append([cell["follows"], _unit_name(cell), *scores])
            yield from _table(rows)
            yield from textwrap.wrap(
                f"unit: layer:unit, h the output, c the cell state; score: its correlation; table: "
                f"that of what the last two {unit}s predict; beyond: the unit's without that",
                max(40, self._width),
            )
        elif cells["nothing"]:
            yield cells["nothing"]
        for half in cells["half_lives"]:
            yield (
                f"layer {half['layer']} forgets half within {half['median']:.1f} {unit}s "
                f"(median of its units; the slowest: {half['longest']:,.0f})"
            )

    def _gates(self) -> Lines:
        trace = self._found.text.trace
        rows = [["gate", "layer", "mean", f"below {CLOSED}", f"above {OPEN}"]]
        for name, values in trace.gates.items():
            for layer, own in enumerate(np.moveaxis(values, 1, 0), 1):
                shares = (own < CLOSED).mean(), (own > OPEN).mean()
                rows.append([name, str(layer), f"{own.mean():.2f}", *(f"{x:.1%}" for x in shares)])
        if trace.gates:
            yield from _table(rows)
        if self._found.cell is None:
            return
        yield ""
        layer, unit = self._found.cell
        states = trace.states[:, layer, :, unit]
        names = ["output", "cell state"][: states.shape[1]]
        rows = [[self._codec.unit, *names, *trace.cell_gates]]
        for place in range(min(len(states), SALIENT)):
            gates = [f"{values[place]:.2f}" for values in trace.cell_gates.values()]
            own = [f"{value:+.2f}" for value in states[place].tolist()]
            rows.append([self._label(trace.steps[place]) or str(place), *own, *gates])
        yield from _table(rows)

    def _label(self, step: Any) -> str:
        """A step in readable form; of a vector nothing."""
        symbols = self._codec.symbols
        return "" if symbols is None else one_line(self._codec.symbol_label(symbols[int(step)]))

    def _memory(self) -> Lines:
        memory, unit = self._values["memory"], self._codec.unit
        if curves := memory["curves"]:
            places = [place for place in POINTS if place <= max(curves[0]["x"])]
            rows = [[f"{unit}s of context", *map(str, places), "all"]]
            for each in curves:
                rows.append([each["name"], *_at(each, places), f"{each['full']:.3f}"])
            yield from _table(rows)
            for each in curves:
                time = f" ({each['used_as']})" if each["used_as"] else ""
                more = "more than " if each["rest"] else ""
                yield f"{each['name']} uses {more}{each['used']} {unit}s{time}"
        if slopes := memory["gradients"]:
            yield ""
            places = [place for place in LAGS if place <= max(slopes[0]["x"])]
            rows = [[f"gradient, {unit}s back", *map(str, places)]]
            rows += [[each["name"], *_at(each, places)] for each in slopes]
            yield from _table(rows)
            for each in slopes:
                yield f"{each['name']}: 90% of the gradient lies within {each['within']} {unit}s"

    def _saliency(self) -> Lines:
        if self._found.saliency is None:
            return
        norms = self._found.saliency[-SALIENT:].tolist()
        steps = self._found.text.trace.steps[-len(norms) - 1 :]
        yield f"what the prediction of {self._label(steps[-1]) or 'the last step'} leans on:"
        most = max(*norms, 1e-300)
        rows = [[f"{self._codec.unit}", "gradient", ""]]
        for place, (step, norm) in enumerate(zip(steps, norms, strict=False)):
            label = self._label(step) or str(place - len(norms))
            rows.append([label, f"{norm:.4f}", "█" * round(20 * norm / most)])
        for label, figure, bar in rows:
            yield f"{label:<12}  {figure:>9}  {bar}".rstrip()

    def _map(self) -> Lines:
        symbols = self._values["map"].get("symbols")
        if not symbols:
            return
        width = min(self._width, MAP_WIDTH)
        grid = [[" "] * width for _ in range(MAP_HEIGHT)]
        for each in symbols:
            label = one_line(each["label"])[:width]
            x = round((each["x"] + 1) / 2 * (width - len(label)))
            y = round((1 - each["y"]) / 2 * (MAP_HEIGHT - 1))
            place = slice(x, x + len(label))
            if not "".join(grid[y][place]).strip():  # of two labels at one place, the first
                grid[y][place] = list(label)
        yield from ("".join(line).rstrip() for line in grid)
        yield (
            f"what the network reads for each {self._codec.unit}: two principal components, with "
            f"{self._values['map']['symbols_explained']:.0%} of the variance"
        )

    def _copies(self) -> Lines:
        copies, unit = self._values.get("copies"), self._codec.unit
        if copies is None:
            return
        assert self._found.copies is not None
        for name, found in zip((SAMPLED, HELD_OUT), self._found.copies, strict=True):
            own = copied(self._found, name, found)
            said = _cut(repr(own.text), COPY)
            yield from self._hanging(name, f"{own.longest} {unit}s, {own.place}: {said}")
        rows = [[f"in such stretches of so many {unit}s", SAMPLED, HELD_OUT]]
        for row in copies["histogram"]:
            shares = (f"{row[key]:.0%}" for key in ("sample", "held_out"))
            rows.append([f"{row['length']} or more", *shares])
        yield from _table(rows)

    def _learning(self) -> Lines:
        learning = self._found.learning
        if learning is None:
            return
        for curve in learning.curves:
            line = sparkline(_thinned(curve.values, CURVE))
            ends = f"{_amount(curve.values[0])} to {_amount(curve.values[-1])} {curve.unit}"
            yield f"{curve.name:<{TITLE}}{line}  {ends}".rstrip()
        samples = learning.samples
        for sample in samples[:: -(-len(samples) // SAMPLES) or 1]:
            yield ""
            yield f"sample after {sample.update:,} updates:"
            yield from sample.text.splitlines()[:SAMPLE_LINES]

    def _text(self) -> Lines:
        """The text, coloured by surprise or by a unit; without colours with figures."""
        found = self._found
        for text in found.texts if found.cell is None else found.texts[:1]:
            if self._codec.symbols is None:
                return
            yield f"{text.name}, {text.trace.nats_per_step:.4f} nats per {self._codec.unit}"
            if self._has_colours:
                yield self._coloured(text)
            else:
                yield from self._listed(text)
            yield ""

    def _shown_values(self, text: Text) -> Any:
        """What a text is coloured by, (N,): the output of the chosen unit, or the loss."""
        if self._found.cell is None:
            return text.trace.nats
        layer, unit = self._found.cell
        return text.trace.states[:, layer, 0, unit]

    def _coloured(self, text: Text) -> Coloured:
        result, symbols = Coloured(), self._codec.symbols
        assert symbols is not None
        values = self._shown_values(text)[:SHOWN_STEPS].tolist()
        for step, value in zip(text.trace.steps.tolist(), values, strict=False):
            if self._found.cell is None:
                colour = SURPRISE[sum(value > limit for limit in NATS)]
            else:
                colour = SIGNED[round((max(-1.0, min(1.0, value)) + 1) / 2 * (len(SIGNED) - 1))]
            own = symbols[step]
            if not (own.isprintable() or own == "\n"):
                own = self._codec.symbol_label(own)
            result.append(printable(own), style=f"black on {colour}")
        return result

    def _listed(self, text: Text) -> Iterator[str]:
        """Each line with its mean, and its most surprising step with what was likelier."""
        codec, trace, values = self._codec, text.trace, self._shown_values(text)
        end = min(len(trace.steps), SHOWN_STEPS)
        spans: Sequence[tuple[int, int]] = [(k, k + LINE) for k in range(0, end, LINE)]
        parts = text.traits.parts
        if parts and sum(b - a for a, b in parts[-1].spans) > len(trace.steps) / 2:
            spans = parts[-1].spans
        for begin, stop in spans:
            if begin >= end:
                return
            own = values[begin : min(stop, end)]
            line = _cut(codec.shown(trace.steps[begin:stop]), self._width - 12)
            sign = "" if self._found.cell is None else "+"
            yield f"{own.mean():{sign}7.2f}  {line}"
            if self._found.cell is None:
                dearest = begin + int(np.argmax(own))
                pairs = zip(trace.likely[dearest, :3], trace.likely_nats[dearest, :3], strict=True)
                likely = ", ".join(f"{self._label(k)} {np.exp(-nats):.2f}" for k, nats in pairs)
                odds = f"{self._label(trace.steps[dearest])} {np.exp(-trace.nats[dearest]):.1g}"
                yield f"{'':9}dearest: {odds}; likelier: {likely}"


def _unit_name(cell: dict[str, Any]) -> str:
    return f"{cell['layer']}:{cell['unit']} {cell['part']}"


def _cut(text: str, width: int) -> str:
    text = one_line(text)
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns, the first aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [f"{each:>{width}}" for each, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"{first:<{widths[0]}}", *cells]).rstrip()


def _at(curve: dict[str, Any], places: Sequence[int]) -> list[str]:
    """The values of a curve at these places, or at the nearest ones before them."""
    values = [curve["y"][max(0, sum(x <= place for x in curve["x"]) - 1)] for place in places]
    return [f"{value:.3f}" if abs(value) >= 0.0995 else f"{value:.1e}" for value in values]


def _amount(value: float) -> str:
    """A number with four digits."""
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"


def _thinned(values: Sequence[float], count: int) -> list[float]:
    """At most so many of the values, equally far apart."""
    count = min(len(values), count)
    return [values[k * len(values) // count] for k in range(count)]
