"""Prepares text before it is cut into steps: Unicode normalisation and document boundaries."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from charrnn.errors import CheckpointError, ConfigError, CorpusError

# Marks the end of a document in the stream of text.  Unicode reserves this code point (a
# noncharacter) for internal use by programs, so text should not contain it.
MARK = "\ufdd0"
FORMS: dict[str, Callable[[str], str]] = {"none": str} | {
    form: partial(unicodedata.normalize, form) for form in ("NFC", "NFD", "NFKC", "NFKD")
}
MAX_SEPARATOR = 1_000  # characters
DOCUMENTS = ("none", "line", "file", "record")


@dataclass(frozen=True)
class Reading:
    """How text is prepared for a codec; stored in the model, because primes need the same.

    Args:
        normalize: "none" or a Unicode normalisation form.
        documents: what a document is: "line", "file" or "record"; "none": there are no documents.
        separator: the text between records.
    """

    normalize: str = "none"
    documents: str = "none"
    separator: str = ""

    def __post_init__(self) -> None:
        if self.documents == "record" and not 0 < len(self.separator) <= MAX_SEPARATOR:
            raise ConfigError(
                f"--documents record needs a --separator of 1 to {MAX_SEPARATOR} characters, "
                f"not {len(self.separator):,}"
            )

    @property
    def has_documents(self) -> bool:
        """Whether each document ends with a special step."""
        return self.documents != "none"

    @property
    def between(self) -> str:
        """The text between two documents in output."""
        return {"line": "\n", "record": self.separator, "file": "\n"}.get(self.documents, "")

    def normalized(self, text: str) -> str:
        """Normalise a text."""
        return FORMS[self.normalize](text)

    def stream(self, files: Iterable[Iterable[str]]) -> Iterator[str]:
        """The text of all files in blocks, normalised, with a MARK after each document.

        Empty documents are left out, e.g. empty lines in a list of names.

        Raises:
            CorpusError: the corpus has documents, and the text itself contains a MARK.
        """
        for blocks in files:
            if self.normalize != "none":
                blocks = _normalized(blocks, FORMS[self.normalize])
            yield from self._marked(blocks) if self.has_documents else blocks

    def _marked(self, blocks: Iterable[str]) -> Iterator[str]:
        """The text of one file, with a MARK after each document."""
        if self.documents == "file":
            begun = False
            for block in blocks:
                begun = begun or bool(block)
                yield _without_mark(block)
            yield MARK if begun else ""
            return
        separator = "\n" if self.documents == "line" else self.separator
        pattern = re.compile(re.escape(separator).replace("\\\n", "\r?\n"))
        around = "" if separator.strip("\n") else "\r\n"  # newlines next to it belong to it
        rest, begun = "", False
        for block in blocks:
            *whole, rest = pattern.split(rest + _without_mark(block))
            pieces = []  # joined before the yield: there may be millions of documents
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
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reading:
        """Rebuild from a checkpoint; missing values have their defaults.

        Raises:
            CheckpointError: a value is invalid.
        """
        reading = {k: values.get(k, v) for k, v in {
            "normalize": "none", "documents": "none", "separator": ""}.items()}  # fmt: skip
        if not (
            reading["normalize"] in FORMS
            and reading["documents"] in DOCUMENTS
            and isinstance(reading["separator"], str)
            and is_unicode(reading["separator"])
            and (0 < len(reading["separator"]) <= MAX_SEPARATOR or reading["documents"] != "record")
        ):
            raise CheckpointError(f"the codec's text settings are invalid: {reading!r:.200}")
        return cls(**reading)


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogate, which cannot be written to a file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_mark(block: str) -> str:
    if MARK in block:
        raise CorpusError(
            "the text contains U+FDD0, which charrnn uses for the end of a document; remove it"
        )
    return block


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
