"""Tables: takes one field of each row of CSV, TSV, JSON lines or a JSON list."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import PurePath
from typing import Any

from charrnn.errors import CorpusError
from charrnn.media.sources import source_label

DELIMITERS = (",", "\t", ";", "|")
SUFFIXES = (".csv", ".tsv", ".tab")
MAX_JOINED = 1_000  # lines of a quoted field in a file with tabs
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
        missing: how many rows so far lacked the field.

    Raises:
        CorpusError: there is no such field, or a row is broken; names file and line.
    """

    def __init__(self, blocks: Iterable[str], name: str, field: str) -> None:
        self._blocks, self._name, self._field = blocks, source_label(name), field
        self.missing = 0

    def __iter__(self) -> Iterator[str]:
        lines = enumerate(_lines(self._blocks), 1)
        number, line = next(((n, text) for n, text in lines if text.strip()), (0, ""))
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
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._error(f"is not a JSON list ({error})") from None
        yield from self._objects(enumerate(values, 1), "item")

    def _json_lines(self, lines: Iterable[tuple[int, str]]) -> Iterator[str]:
        def values() -> Iterator[tuple[int, Any]]:
            for number, line in lines:
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except (ValueError, RecursionError) as error:
                        reason = str(error).partition(": line")[0]
                        raise self._error(
                            f"is not JSON ({reason}); each line must be one object (jq -c . FILE "
                            "writes them so)",
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
                raise self._error(f"{where}is not an object with fields")
            text = value.get(self._field)
            if self._field not in value:
                self.missing += 1
                if len(keys) < NAMED:
                    keys |= dict.fromkeys(value)
                continue
            count += 1
            if isinstance(text, dict | list):
                raise self._error(f"{where}{self._field} is not text")
            if text is not None:
                text = text if isinstance(text, str) else json.dumps(text)
                if any("\ud800" <= c <= "\udfff" for c in text):
                    raise self._error(f"{where}{self._field} has half of a surrogate pair")
                yield text
        if keys and not count:
            raise self._unknown(keys)

    def _cells(self, number: int, first: str, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
        """The texts of a file with delimiters."""
        headers = {delimiter: header_of(first, delimiter) for delimiter in DELIMITERS}
        fitting = [d for d, header in headers.items() if self._field in header]
        if not fitting:
            raise self._unknown(sorted(headers.values(), key=len)[-1])
        delimiter = max(fitting, key=lambda d: len(headers[d]))
        header = headers[delimiter]
        if header.count(self._field) > 1:
            raise self._error(f"has the field {self._field!r} twice", number)
        column, read = header.index(self._field), self._tabbed if delimiter == "\t" else self._csv
        rows = read(chain([(number, first)], lines), delimiter, len(header))
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
        self, lines: Iterator[tuple[int, str]], delimiter: str, width: int
    ) -> Iterator[tuple[int, list[str]]]:
        """The rows of a CSV file, each with the number of its last line."""
        place = 0

        def counted() -> Iterator[str]:
            nonlocal place
            for place, line in lines:  # noqa: B007 - read below
                yield line

        rows = csv.reader(counted(), delimiter=delimiter, strict=True)
        while True:
            began = place + 1
            try:
                with _long_fields():
                    row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                what = f"the quoting is broken ({error})"
                raise self._error(what, began if "end of data" in str(error) else place) from None
            if row:
                yield place, row

    def _tabbed(
        self, lines: Iterator[tuple[int, str]], delimiter: str, width: int
    ) -> Iterator[tuple[int, list[str]]]:
        """The rows of a file with tabs.

        Some programs quote fields there as in CSV, others write quotes as they are: a row is read
        as CSV if that gives as many fields as the header has.
        """
        waiting: list[tuple[int, str]] = []
        while (item := waiting.pop(0) if waiting else next(lines, None)) is not None:
            place, line = item
            if not line.strip("\r\n"):
                continue
            plain = line.rstrip("\r\n").split(delimiter)
            if not any(cell.startswith('"') for cell in plain):
                yield place, plain
                continue
            row, joined, used = None, line, 0
            while True:
                try:
                    with _long_fields():
                        row = next(csv.reader(_lines([joined]), delimiter=delimiter, strict=True))
                except csv.Error as error:
                    if "end of data" in str(error) and used < MAX_JOINED:
                        if used == len(waiting):
                            waiting += [more for more in [next(lines, None)] if more is not None]
                        if used < len(waiting):
                            joined, used = joined + waiting[used][1], used + 1
                            continue
                break
            if row is not None and len(row) == width:
                place = waiting[used - 1][0] if used else place
                del waiting[:used]
                yield place, row
            else:
                yield place, plain


def header_of(line: str, delimiter: str) -> list[str]:
    """The names of the fields in the first line of a table."""
    try:
        with _long_fields():
            cells = next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
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
