"""Texts in one field of CSV, TSV, JSON lines and a JSON list."""

from __future__ import annotations

import json

import pytest

from charrnn.errors import CorpusError
from charrnn.media.text.tables import Table, fields_of

ROWS = ["plain", 'with "quotes"', "comma, and; more", "two\nlines", "tab\there", "ü 😀", ""]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


FILES = {
    "csv": "id,text\n" + "".join(f"{n},{quoted(row)}\n" for n, row in enumerate(ROWS)),
    "semicolons": "id;text\n" + "".join(f"{n};{quoted(row)}\n" for n, row in enumerate(ROWS)),
    "tsv": "id\ttext\n" + "".join(f"{n}\t{quoted(row)}\n" for n, row in enumerate(ROWS)),
    "json lines": "".join(json.dumps({"id": n, "text": r}) + "\n" for n, r in enumerate(ROWS)),
    "json list": json.dumps([{"id": n, "text": row} for n, row in enumerate(ROWS)], indent=1),
}


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("kind", FILES)
def test_all_formats_hold_the_same_texts(kind: str, size: int) -> None:
    text = FILES[kind]
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(Table(blocks, "a", "text")) == ROWS
    assert fields_of(text, "a.csv") == ["id", "text"]


def test_quotes_in_a_file_with_tabs_may_stand_for_themselves() -> None:
    lines = ['1\teng\t"Hello," he said.', '2\teng\t"open', "3\teng\tlast"]
    table = Table(["id\tlang\ttext\n" + "\n".join(lines)], "a", "text")
    assert list(table) == ['"Hello," he said.', '"open', "last"]


def test_lines_that_are_rows_by_themselves_are_no_quoted_field() -> None:
    assert list(Table(['id\ttext\n1\t"a\n2\tb"\n3\tc\n'], "a", "text")) == ['"a', 'b"', "c"]


@pytest.mark.parametrize(
    "text",
    [
        'id, text, n\n0, "a, b", 1\n1, c, 2\n',
        'sep=;\nid;text\n0;"a, b"\n1;c\n',
        '"the\nnumber",text\n0,"a, b"\n1,c\n',
    ],
    ids=["spaces", "sep", "line break in the header"],
)
def test_csv_as_programs_write_it(text: str) -> None:
    assert list(Table([text], "a", "text")) == ["a, b", "c"]


def test_numbers_are_kept_as_written_and_null_is_missing() -> None:
    values = ["12345678901234567890.5", "1e400", "null", "true", "1" * 5000]
    table = Table([f'{{"text": {value}}}\n' for value in values], "a", "text")
    assert list(table) == [value for value in values if value != "null"]
    assert table.missing == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,text\n1,a\n2,b,c\n", "a: line 3: has 3 fields and the header 2"),
        ('id,text\n1,"a\n2,b\n', "a: line 2: the quoting is broken"),
        ("id,body\n1,a\n", "a: has no field 'text'; its fields are id, body"),
        ('{"text": "a"}\n{"text": \n', "a: line 2: is not JSON"),
        ('{"body": "a"}\n', "a: has no field 'text'; its fields are body"),
        ('{"text": ["a"]}\n', "a: line 1: text is not text"),
    ],
)
def test_broken_tables(text: str, message: str) -> None:
    with pytest.raises(CorpusError) as error:
        list(Table([text], "a", "text"))
    assert message in str(error.value)


def test_prose_is_no_table() -> None:
    verses = "Roses are red, violets are blue\nSugar is sweet, and so are you\n" * 5
    assert fields_of(verses, "verses.txt") == []
