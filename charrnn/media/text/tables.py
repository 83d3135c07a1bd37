"""Tables: takes one field of each row of CSV, TSV, JSON lines or a JSON list."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import PurePath
from typing import Any

from charrnn.errors import CorpusError
from charrnn.media.sources import source_label

DELIMITERS = (",", "\t", ";", "|")
BEFORE_HEADER = re.compile(r"\s*+(sep=.)?\s*+")  # nothing, or a line for Excel
SUFFIXES = (".csv", ".tsv", ".tab")
MAX_JOINED = 1_000  # lines of a quoted field in a header, or in a file with tabs
SEEN_ROWS = 20  # that must have as many cells as the header before a file is called a table
NAMED = 12  # a message lists at most this many fields


class Table:
    """The texts in one field of a table; iterate for one text per row, in constant memory except
    for a JSON list.

    JSON is recognised by its first character.  For other files the delimiter is the one with which
    the header has the field.  Quotes and escapes are read as RFC 4180 and RFC 8259 define them;
    with tabs, quotes that do not surround a whole field stand for themselves.

    Args:
        blocks: the text of the file.
        name: of the file, for messages.
        field: the name of a column or of a key.

    Attributes:
        missing: how many rows so far lacked the field, or had null there.

    Raises:
        CorpusError: there is no such field, or a row is broken; names file and line.
    """

    def __init__(self, blocks: Iterable[str], name: str, field: str) -> None:
        self._blocks, self._name, self._field = blocks, source_label(name), field
        self.missing = 0

    def __iter__(self) -> Iterator[str]:
        lines = enumerate(_lines(self._blocks), 1)
        number, line = next((x for x in lines if not BEFORE_HEADER.fullmatch(x[1])), (0, ""))
        if not line:
            return
        begin = line.lstrip()[0]
        if begin == "[":
            yield from self._json_list(line + "".join(text for _, text in lines))
        elif begin == "{":
            yield from self._json_lines(chain([(number, line)], lines))
        else:
            yield from self._cells(number, line, lines)

    def _error(self, what: str, line: int | None = None) -> CorpusError:
        where = "" if line is None else f"line {line:,}: "
        return CorpusError(f"{self._name}: {where}{what}")

    def _unknown(self, fields: Iterable[str]) -> CorpusError:
        return self._error(f"has no field {self._field!r}; its fields are {listed(fields)}")

    def _json_list(self, text: str) -> Iterator[str]:
        try:
            values = _json(text)
        except (ValueError, RecursionError) as error:
            raise self._error(f"is not a JSON list ({error})") from None
        yield from self._objects(enumerate(values, 1), "item")

    def _json_lines(self, lines: Iterable[tuple[int, str]]) -> Iterator[str]:
        def values() -> Iterator[tuple[int, Any]]:
            for number, line in lines:
                if line.strip():
                    try:
                        yield number, _json(line)
                    except (ValueError, RecursionError) as error:
                        reason = str(error).partition(": line")[0]
                        raise self._error(
                            f"is not JSON ({reason}); each line must be one object (jq -c . writes "
                            "JSON so)",
                            number,
                        ) from None

        yield from self._objects(values(), "line")

    def _objects(self, values: Iterable[tuple[int, Any]], kind: str) -> Iterator[str]:
        """The texts of JSON objects."""
        keys: dict[str, None] = {}
        count = 0
        for number, value in values:
            where = f"{kind} {number:,}: "
            if not isinstance(value, dict):
                raise self._error(f"{where}is not an object with fields such as {self._field!r}")
            text = value.get(self._field)
            if self._field not in value:
                self.missing += 1
                if len(keys) < NAMED:
                    keys |= dict.fromkeys(value)
                continue
            count += 1
            if text is None:
                self.missing += 1
                continue
            if isinstance(text, dict | list):
                raise self._error(f"{where}{self._field} is not text")
            text = text if isinstance(text, str) else json.dumps(text)
            if any("\ud800" <= c <= "\udfff" for c in text):
                raise self._error(f"{where}{self._field} has half of a surrogate pair")
            yield text
        if keys and not count:
            raise self._unknown(keys)

    def _cells(self, number: int, first: str, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
        """The texts of a file with delimiters."""
        if first.count('"') % 2:  # a line break in a quoted name
            first, lines = _with_open_quote(first, lines)
        headers = {delimiter: header_of(first, delimiter) for delimiter in DELIMITERS}
        fitting = [d for d, header in headers.items() if self._field in header]
        if not fitting:
            raise self._unknown(sorted(headers.values(), key=len)[-1])
        delimiter = max(fitting, key=lambda d: len(headers[d]))
        header = headers[delimiter]
        if header.count(self._field) > 1:
            raise self._error(f"has the field {self._field!r} twice; rename one", number)
        column, lines = header.index(self._field), chain([(number, first)], lines)
        if delimiter == "\t":
            rows = self._tabbed(lines, len(header))
        else:
            spaced = first.count(delimiter) == first.count(f"{delimiter} ")
            rows = self._csv(lines, delimiter, spaced=spaced)
        next(rows)  # the header
        for place, row in rows:
            while len(row) > len(header) and not row[-1]:
                row.pop()
            if len(row) != len(header):
                raise self._error(
                    f"has {len(row)} fields and the header {len(header)}; a field that contains "
                    "the delimiter or a line break must be quoted",
                    place,
                )
            yield row[column]

    def _csv(
        self, lines: Iterator[tuple[int, str]], delimiter: str, *, spaced: bool
    ) -> Iterator[tuple[int, list[str]]]:
        """The rows of a CSV file, each with the number of its last line.

        Args:
            lines: with their numbers.
            delimiter: between fields.
            spaced: whether a space follows each.
        """
        place = 0

        def counted() -> Iterator[str]:
            nonlocal place
            for place, line in lines:  # noqa: B007 - read below
                yield line

        form: Any = {"delimiter": delimiter, "skipinitialspace": spaced, "strict": True}
        rows = csv.reader(counted(), **form)
        while True:
            began = place + 1
            try:
                with _long_fields():
                    row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                what = f"the quoting is broken ({error}); a quote in a quoted field is doubled"
                raise self._error(what, began if "end of data" in str(error) else place) from None
            if row:
                yield place, row

    def _tabbed(
        self, lines: Iterator[tuple[int, str]], width: int
    ) -> Iterator[tuple[int, list[str]]]:
        """The rows of a file with tabs.

        Some programs quote fields there as in CSV, others write quotes as they are: a row is read
        as CSV if that gives `width` fields, and its lines are not rows by themselves.
        """
        ahead: deque[tuple[int, str]] = deque()

        def following() -> tuple[int, str] | None:
            return ahead.popleft() if ahead else next(lines, None)

        while (item := following()) is not None:
            place, line = item
            plain = line.rstrip("\r\n").split("\t")
            if plain == [""]:
                continue
            joined, row = [item], None
            if any(cell.startswith('"') for cell in plain):
                row = _tabbed_row(line)
                while row is None and len(joined) <= MAX_JOINED and (more := following()):
                    joined.append(more)
                    if '"' in more[1]:
                        row = _tabbed_row("".join(text for _, text in joined))
            are_rows = len(joined) > 1 and all(text.count("\t") == width - 1 for _, text in joined)
            if row is None or len(row) != width or are_rows:
                ahead.extendleft(reversed(joined[1:]))
                yield place, plain
            else:
                yield joined[-1][0], row


def _tabbed_row(text: str) -> list[str] | None:
    """The fields of a row with tabs, read as CSV; empty: it is broken; None: a quote is open."""
    try:
        with _long_fields():
            return next(csv.reader(_lines([text]), delimiter="\t", strict=True), [])
    except csv.Error as error:
        return None if "end of data" in str(error) else []


def _with_open_quote(
    first: str, lines: Iterator[tuple[int, str]]
) -> tuple[str, Iterator[tuple[int, str]]]:
    """A header in which a quote is open, up to the line that closes it, and the other lines."""
    taken: list[tuple[int, str]] = []
    for item in islice(lines, MAX_JOINED):
        taken.append(item)
        if item[1].count('"') % 2:
            return first + "".join(text for _, text in taken), lines
    return first, chain(taken, lines)  # it is only a quote


def _json(text: str) -> Any:
    """A JSON value; numbers are kept as they are written."""
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)


def header_of(line: str, delimiter: str) -> list[str]:
    """The names of the fields in the first line of a table."""
    try:
        with _long_fields():
            lines = [line.rstrip("\r\n")]
            cells = next(csv.reader(lines, delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def fields_of(text: str, name: str) -> list[str]:
    """The fields of a file that begins with `text`, if it is a table; otherwise empty."""
    text = text.lstrip()
    if text[:1] in ("{", "["):
        begin = text[1:].lstrip() if text[0] == "[" else text
        try:
            value, _ = json.JSONDecoder().raw_decode(begin)
        except (ValueError, RecursionError):
            return []
        return list(value) if isinstance(value, Mapping) else []
    lines = text.split("\n")[: SEEN_ROWS + 1]
    header = max((header_of(lines[0], d) for d in DELIMITERS), key=len)
    delimiter = next(d for d in DELIMITERS if header_of(lines[0], d) == header)
    if len(header) < 2:
        return []
    if PurePath(name).suffix.lower() in SUFFIXES:
        return header
    # Otherwise only what can hardly be prose: simple names, and the same number of cells in rows.
    rows = [header_of(line, delimiter) for line in lines[1:-1] if line]
    is_plain = all(re.fullmatch(r"[^\W\d][\w.-]*", cell) for cell in header)
    return header if is_plain and len(rows) > 2 and {len(r) for r in rows} == {len(header)} else []


def listed(fields: Iterable[str]) -> str:
    """The names of fields for a message."""
    names = [repr(name) if not name.isprintable() or not name else name[:40] for name in fields]
    return ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    """The lines of a text in blocks, each with its end; only a line feed ends a line."""
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).split("\n")
        yield from (line + "\n" for line in whole)
    if rest:
        yield rest


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read fields of any length; its limit belongs to the whole process."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
