"""How text is prepared before it is cut into steps: normalisation, and the ends of documents."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from charrnn.errors import CheckpointError, ConfigError, CorpusError

# Stands for the end of a document in the stream of text.  Unicode keeps this code point free for
# such uses inside a program; a text has no business with it.
MARK = "\ufdd0"
FORMS: dict[str, Callable[[str], str]] = {"none": str} | {
    form: partial(unicodedata.normalize, form) for form in ("NFC", "NFD", "NFKC", "NFKD")
}
LONGEST = 1_000  # characters of a separator
DOCUMENTS = ("none", "line", "file", "record")


@dataclass(frozen=True)
class Reading:
    """What happens to a text on its way to a codec; a model keeps it for primes to come.

    Args:
        normalize: "none" or a Unicode normalisation form.
        documents: what is a document of its own: nothing, a "line", a "file", or a "record".
        separator: the text between records.
    """

    normalize: str = "none"
    documents: str = "none"
    separator: str = ""

    def __post_init__(self) -> None:
        if self.documents == "record" and not 0 < len(self.separator) <= LONGEST:
            raise ConfigError(
                f"--documents record needs a --separator of 1 to {LONGEST} characters, "
                f"not {len(self.separator):,}"
            )

    @property
    def has_documents(self) -> bool:
        """Whether the ends of documents are steps of their own."""
        return self.documents != "none"

    @property
    def between(self) -> str:
        """What parts two documents where they are written one after the other."""
        return {"line": "\n", "record": self.separator, "file": "\n"}.get(self.documents, "")

    def normalized(self, text: str) -> str:
        """A text as the codec wants it."""
        return FORMS[self.normalize](text)

    def stream(self, files: Iterable[Iterable[str]]) -> Iterator[str]:
        """The text of all files in blocks, normalised, with a MARK after each document.

        Empty documents are left out: an empty line is no name.

        Raises:
            CorpusError: documents are asked for, and the text has a MARK of its own.
        """
        for blocks in files:
            if self.normalize != "none":
                blocks = _normalized(blocks, FORMS[self.normalize])
            yield from self._parted(blocks) if self.has_documents else blocks

    def _parted(self, blocks: Iterable[str]) -> Iterator[str]:
        """One file's documents."""
        if self.documents == "file":
            begun = False
            for block in blocks:
                begun = begun or bool(block)
                yield _without_mark(block)
            yield MARK if begun else ""
            return
        separator = "\n" if self.documents == "line" else self.separator
        pattern = re.compile(re.escape(separator).replace("\\\n", "\r?\n"))
        around = "" if separator.strip("\n") else "\r\n"  # line ends beside it belong to it
        rest, begun = "", False
        for block in blocks:
            *whole, rest = pattern.split(rest + _without_mark(block))
            pieces = []  # given together: there may be millions of documents
            for document in whole:
                text = document.rstrip(around) if begun else document.strip(around)
                pieces.append(text + MARK if text or begun else "")
                begun = False
            # What is left goes on, but for what may be a part of a separator, or stand before it.
            keep = max(2 * len(separator), len(rest) - len(rest.rstrip("\r\n")))
            cut = max(0, len(rest) - keep)
            text, rest = rest[:cut], rest[cut:]
            text = text if begun else text.lstrip(around)
            begun = begun or bool(text)
            yield "".join([*pieces, text])
        rest = rest.rstrip("\r\n")  # the file's last line ends, but its record goes on
        rest = rest if begun else rest.lstrip("\r\n")
        if rest or begun:
            yield rest + MARK

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON and for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reading:
        """Rebuild from a checkpoint; what is missing was not done.

        Raises:
            CheckpointError: a form or a kind of documents that there is not.
        """
        reading = {k: values.get(k, v) for k, v in {
            "normalize": "none", "documents": "none", "separator": ""}.items()}  # fmt: skip
        if not (
            reading["normalize"] in FORMS
            and reading["documents"] in DOCUMENTS
            and isinstance(reading["separator"], str)
            and is_unicode(reading["separator"])
            and (0 < len(reading["separator"]) <= LONGEST or reading["documents"] != "record")
        ):
            raise CheckpointError(f"the codec's reading is broken: {reading!r:.200}")
        return cls(**reading)


def is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which no file could hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_mark(block: str) -> str:
    if MARK in block:
        raise CorpusError("the text has a character U+FDD0, which stands for an end here")
    return block


def _normalized(blocks: Iterable[str], normal: Callable[[str], str]) -> Iterator[str]:
    """Normalise a stream; what might still combine with the next block waits for it."""
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
    """Whether a character may change with the one before it: marks, and vowels and finals of
    Hangul."""
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
