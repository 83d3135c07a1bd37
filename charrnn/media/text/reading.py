"""Prepares text before it is cut into steps: line ends, tables, normalisation, documents."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.media.sources import source_label
from charrnn.media.text.encoding import Decoded
from charrnn.media.text.tables import Table, fields_of, listed

# Marks the end of a document in the stream of text.  Unicode reserves this code point (a
# noncharacter) for internal use by programs, so text should not contain it.
MARK = "\ufdd0"
FORMS: dict[str, Callable[[str], str]] = {"none": str} | {
    form: partial(unicodedata.normalize, form) for form in ("NFC", "NFD", "NFKC", "NFKD")
}
MAX_SEPARATOR = 1_000  # characters
TUNE = "\nX:"  # the beginning of a tune in ABC notation
DOCUMENTS = ("none", "line", "file", "record", "row", "tune")
NEWLINES = ("lf", "keep")
LINE_ENDS = {"\r\n": "Windows line ends (CRLF)", "\r": "old Mac line ends (CR)"}
JOINED_CHARACTERS = 1 << 16  # rows of a table are yielded in blocks of this size


@dataclass(frozen=True)
class Reading:
    """How text is prepared for a codec; stored in the model, because primes need the same.

    Args:
        normalize: "none" or a Unicode normalisation form.
        documents: what a document is: "line", "file", "record", "row" of a table, or "tune" in ABC
            notation; "none": there are no documents.
        separator: the text between records.
        newline: "lf": every line ends in a line feed; "keep": line ends are as in the file.
        field: of a table, the field with the text.
    """

    normalize: str = "none"
    documents: str = "none"
    separator: str = ""
    newline: str = "keep"
    field: str = ""

    def __post_init__(self) -> None:
        if self.documents == "record" and not 0 < len(self.separator) <= MAX_SEPARATOR:
            raise ConfigError(
                f"--documents record needs a --separator of 1 to {MAX_SEPARATOR} characters, "
                f"not {len(self.separator):,}"
            )
        if self.documents == "row" and not self.field:
            raise ConfigError("--documents row needs the --field of a table")
        if self.field and self.documents != "row":
            raise ConfigError(
                f"--field makes each row a document; drop --documents {self.documents}"
            )

    @property
    def has_documents(self) -> bool:
        """Whether each document ends with a special step."""
        return self.documents != "none"

    @property
    def between(self) -> str:
        """The text between two documents in output."""
        known = {"none": "", "record": self.separator, "tune": "\n\n"}
        return known.get(self.documents, "\n")

    def normalized(self, text: str) -> str:
        """Normalise line ends and characters of a whole text."""
        return FORMS[self.normalize](self.with_newlines(text))

    def with_newlines(self, text: str) -> str:
        """A whole text with normalised line ends."""
        return text if self.newline == "keep" else text.replace("\r\n", "\n").replace("\r", "\n")

    def rows(self, table: Table) -> Iterator[str]:
        """The rows of a table in blocks, normalised, with a MARK after each."""
        gathered, size = [], 0
        for row in table:
            if text := self.normalized(without_mark(row)):
                gathered.append(text + MARK)
                size += len(text)
            if size > JOINED_CHARACTERS:
                yield "".join(gathered)
                gathered, size = [], 0
        yield "".join(gathered)

    def marked(self, blocks: Iterable[str]) -> Iterator[str]:
        """The text of one file with normalised characters and a MARK after each document.

        Empty documents are left out, e.g. empty lines in a list of names.

        Raises:
            CorpusError: the corpus has documents, and the text itself contains a MARK.
        """
        if self.normalize != "none":
            blocks = _normalized(blocks, FORMS[self.normalize])
        yield from self._marked(blocks) if self.has_documents else blocks

    def _marked(self, blocks: Iterable[str]) -> Iterator[str]:
        """The text of one file, with a MARK after each document."""
        if self.documents == "tune":
            blocks = _from_first_tune(blocks)
        if self.documents == "file":
            begun = False
            for block in blocks:
                begun = begun or bool(block)
                yield without_mark(block)
            yield MARK if begun else ""
            return
        separator = "\n" if self.documents == "line" else self.separator
        pattern = re.compile(re.escape(separator).replace("\\\n", "\r?\n"))
        if self.documents == "tune":
            separator, pattern = TUNE, re.compile("\r?\n(?=X:)")
        is_blank = not separator.strip("\n") or self.documents == "tune"
        around = "\r\n" if is_blank else ""  # newlines next to it belong to it
        rest, begun = "", False
        for block in blocks:
            text = rest + without_mark(block)
            pieces = []  # joined before the yield: there may be millions of documents
            if separator == "\n" and "\r" not in text:  # then the same is done faster
                lines, end, rest = text.rpartition("\n")
                pieces.append(_marked_lines(lines + end if begun else (lines + end).lstrip("\n")))
                begun = begun and not end
            else:
                *whole, rest = pattern.split(text)
                for document in whole:
                    text = document.rstrip(around) if begun else document.strip(around)
                    pieces.append(text + MARK if text or begun else "")
                    begun = False
            # Yield the rest, except its end, which may be part of a separator or precede one.
            keep = max(2 * len(separator), len(rest) - len(rest.rstrip("\r\n")))
            cut = max(0, len(rest) - keep)
            text, rest = rest[:cut], rest[cut:]
            text = text if begun else text.lstrip(around)
            begun = begun or bool(text)
            yield "".join([*pieces, text])
        rest = rest.rstrip("\r\n")  # the newline at the end of the file is not part of a record
        rest = rest if begun else rest.lstrip("\r\n")
        if rest or begun:
            yield rest + MARK

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold, for `from_dict`."""
        absent = {"newline": "keep", "field": ""}  # as in the models of earlier versions
        return {k: v for k, v in asdict(self).items() if k not in absent or v != absent[k]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reading:
        """Rebuild from a checkpoint; missing values have their defaults.

        Raises:
            CheckpointError: a value is invalid.
        """
        reading = {field.name: values.get(field.name, field.default) for field in fields(cls)}
        if not (
            all(isinstance(value, str) for value in reading.values())
            and reading["normalize"] in FORMS
            and reading["newline"] in NEWLINES
            and reading["documents"] in DOCUMENTS
            and is_unicode(reading["separator"] + reading["field"])
            and max(map(len, reading.values())) <= MAX_SEPARATOR
            and (0 < len(reading["separator"]) <= MAX_SEPARATOR or reading["documents"] != "record")
        ):
            raise CheckpointError(f"the codec's text settings are invalid: {reading!r:.200}")
        return cls(**reading)


class TextFiles:
    """The text of files, prepared for a codec: iterate for an iterator over the blocks of each.

    Args:
        decoded: the text as it is in the files.
        reading: how to prepare it.
        tables: whether to look for tables that are read as plain text.

    Attributes:
        notices: for the user, about what has been read so far.

    Raises:
        CorpusError: as in `Decoded`, `Table` and `Reading`.
    """

    def __init__(self, decoded: Decoded, reading: Reading, *, tables: bool = True) -> None:
        self._decoded, self._reading, self._looks_for_tables = decoded, reading, tables
        self._line_ends: Counter[str] = Counter()  # files with each kind
        self._table = ""
        self._missing = 0

    def __iter__(self) -> Iterator[Iterator[str]]:
        return (blocks for _, blocks in self.named())

    def named(self) -> Iterator[tuple[str, Iterator[str]]]:
        """The name of each file, and the iterator over its blocks."""
        for name, blocks in self._decoded:
            yield name, self._prepared(name, blocks)

    def joined(self) -> Iterator[str]:
        """The blocks of all files."""
        for blocks in self:
            yield from blocks

    def _prepared(self, name: str, blocks: Iterable[str]) -> Iterator[str]:
        if self._reading.newline == "lf":
            blocks = self._with_line_feeds(blocks)
        if self._reading.documents == "row":
            table = Table(blocks, name, self._reading.field)
            yield from self._reading.rows(table)
            self._missing += table.missing
            return
        if self._looks_for_tables and not self._table:
            blocks = self._looked_at(name, blocks)
        is_empty = True
        for block in self._reading.marked(blocks):
            is_empty = is_empty and not block
            yield block
        if is_empty and self._reading.documents == "tune":
            raise CorpusError(
                f"{source_label(name)}: has no tune in ABC notation, which would begin with X:; "
                "is --documents tune right?"
            )

    def _with_line_feeds(self, blocks: Iterable[str]) -> Iterator[str]:
        decoder = io.IncrementalNewlineDecoder(None, translate=True)
        for block in blocks:
            if text := decoder.decode(block):
                yield text
        yield decoder.decode("", final=True)
        seen = decoder.newlines or ()
        kinds = (seen,) if isinstance(seen, str) else seen
        self._line_ends.update(kind for kind in kinds if kind in LINE_ENDS)

    def _looked_at(self, name: str, blocks: Iterable[str]) -> Iterator[str]:
        """The blocks; if the first one is that of a table, the user is told."""
        is_first = True
        for block in blocks:
            if is_first and (names := fields_of(block, name)):
                self._table = f"{source_label(name)} has the fields {listed(names)}"
            is_first = False
            yield block

    def seen(self) -> dict[str, Any]:
        """What `notices` says, as values that JSON can hold."""
        own = {"line_ends": self._line_ends, "table": self._table, "missing": self._missing}
        return own | self._decoded.seen()

    def see(self, seen: Mapping[str, Any]) -> None:
        """Add what another process has seen in the files that follow."""
        self._decoded.see(seen)
        self._line_ends.update(seen["line_ends"])
        self._table = self._table or seen["table"]
        self._missing += seen["missing"]

    def refuse_none(self) -> None:
        """Raise if no file could be read."""
        self._decoded.refuse_none()

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the files read so far."""
        found = list(self._decoded.notices)
        for kind, count in self._line_ends.items():
            which = "1 file" if count == 1 else f"{count:,} files"
            found.append(f"{LINE_ENDS[kind]} in {which} are read as LF; --newline keep keeps them")
        if self._table:
            found.append(f"{self._table} and is read as it is; --field NAME reads one of them")
        if self._missing:
            field = self._reading.field
            found.append(f"{self._missing:,} rows without text in {field} were left out")
        return tuple(found)


def split(blocks: Iterable[str], end: str) -> Iterator[str]:
    """The parts of a text in blocks that `end`, one character, ends; the last one may lack it."""
    parts: list[str] = []
    for block in blocks:
        *whole, rest = block.split(end)
        for piece in whole:
            yield "".join([*parts, piece])
            parts.clear()
        parts.append(rest)
    if rest := "".join(parts):
        yield rest


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogate, which cannot be written to a file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_mark(block: str) -> str:
    """A block of text, which must not contain a MARK.

    Raises:
        CorpusError: it does.
    """
    if MARK in block:
        raise CorpusError(
            "the text contains U+FDD0, which charrnn uses for the end of a document; remove it"
        )
    return block


def _marked_lines(text: str) -> str:
    """Lines with a MARK in place of each end, or of several ends in a row."""
    text = text.replace("\n", MARK)
    while 2 * MARK in text:
        text = text.replace(2 * MARK, MARK)
    return text


def _from_first_tune(blocks: Iterable[str]) -> Iterator[str]:
    """The text of a book in ABC notation without what precedes its first tune."""
    blocks = iter(blocks)
    head = ""
    for block in blocks:
        head += block
        if found := re.search(r"(?m)^X:", head):
            yield head[found.start() :]
            yield from blocks
            return


def _normalized(blocks: Iterable[str], normal: Callable[[str], str]) -> Iterator[str]:
    """Normalise a stream; characters that may combine with the next block are kept for it."""
    rest = ""
    for block in blocks:
        rest += block
        cut = len(rest) - 1
        while cut > 0 and _combines(rest[cut]):
            cut -= 1
        if cut > 0:
            yield normal(rest[:cut])
            rest = rest[cut:]
    if rest:
        yield normal(rest)


def _combines(character: str) -> bool:
    """Whether a character may combine with the previous one: marks, Hangul vowels and finals."""
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
