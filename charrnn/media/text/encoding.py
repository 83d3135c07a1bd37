"""Bytes to text: finds or checks the encoding of files, and tells text from other files."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from charrnn.errors import ConfigError, CorpusError
from charrnn.media.codec import first_of
from charrnn.media.sources import Sources, head_of, opened, source_label

READ_BYTES = 1 << 20  # at a time
BEGINNING = 16  # bytes at the beginning of a file by which its format is recognised
DETECT_BYTES = 1 << 16  # of lines with non-ASCII bytes that the detector sees
BOM_8 = codecs.BOM_UTF8
BOM_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BOM_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # the first starts like that of UTF-16
# The marks that decoders do not drop: the encoding names the byte order, or there is none.
MARKS = {"utf-8": BOM_8} | {
    f"utf-{bits}-{order}": mark
    for bits, marks in ((16, BOM_16), (32, BOM_32))
    for order, mark in zip(("le", "be"), marks, strict=True)
}
AUTO = "auto"
CONVERT = "convert it to UTF-8"  # a remedy where there is no flag


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins with `head` is text: no NUL byte, or a byte-order mark."""
    return b"\0" not in head or head.startswith(BOM_16)


def first_binary(sources: Sources) -> str | None:
    """The first file that is not text, or None; pipes are not checked."""
    return next((name for name in sources.files if not looks_like_text(head_of(name))), None)


class Decoded:
    """The text of files: iterate for the name of each file and an iterator over its blocks.

    A byte-order mark is dropped; line ends are not changed.

    Args:
        sources: the files.
        encoding: of all files; auto: found for each file: by its byte-order mark, else UTF-8, else
            what the detector (chardet) says.
        remedy: what a user whose text is read wrongly can do; empty: give a flag.
        at_once: yield what a pipe has, instead of waiting for a whole block.

    Attributes:
        notices: for the user, about what has been read so far.

    Raises:
        CorpusError: a file cannot be opened, or is not text in this encoding; names file and byte
            offset, and suggests a flag.  A file found in a directory that may not be opened is left
            out.
        ConfigError: the encoding is unknown.
    """

    def __init__(
        self, sources: Sources, encoding: str = AUTO, *, remedy: str = "", at_once: bool = False
    ) -> None:
        self._sources, self._encoding, self._at_once = sources, encoding, at_once
        self._remedy = remedy
        if not _is_auto(encoding):
            _decoder_of(encoding)
        self._detected: dict[tuple[str, float], list[str]] = {}
        self._left_out: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, Iterator[str]]]:
        for name in self._sources.files:
            if name in self._sources.found and not os.access(name, os.R_OK):
                self._left_out.append(f"{name}: cannot be read")
                continue
            yield name, self._blocks(name)
        if not self._sources.is_part:
            self.refuse_none()

    def refuse_none(self) -> None:
        """Raise if no file could be read."""
        if self._left_out and len(self._left_out) == len(self._sources.files):
            raise CorpusError(f"none of the files can be read, the first is {self._left_out[0]}")

    def seen(self) -> dict[str, Any]:
        """What `notices` says, as values that JSON can hold."""
        return {"detected": [[*k, v] for k, v in self._detected.items()], "out": self._left_out}

    def see(self, seen: Mapping[str, Any]) -> None:
        """Add what another process has seen in the files that follow."""
        for encoding, certainty, names in seen["detected"]:
            self._detected.setdefault((encoding, certainty), []).extend(names)
        self._left_out += seen["out"]

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the files read so far."""
        found = [
            f"{first_of(names, 3)} read as {encoding} (certainty {certainty:.2f}); "
            f"if that is wrong, {self._remedy or 'give --encoding'}"
            for (encoding, certainty), names in self._detected.items()
        ]
        return (*found, *(f"left out {problem}" for problem in self._left_out))

    def _blocks(self, name: str) -> Iterator[str]:
        """The text of one file, in blocks."""
        with opened(name) as stream:
            read = stream.read1 if self._at_once else stream.read  # type: ignore[attr-defined]
            block: bytes = read(max(BEGINNING, READ_BYTES))
            while self._at_once and _may_be_marked(block) and (more := read(BEGINNING)):
                block += more
            encoding, skipped = self._encoding, 0
            if _is_auto(encoding):
                encoding, skipped = _marked_encoding(block)
            else:
                mark = MARKS.get(codecs.lookup(encoding).name, b"")
                skipped = len(mark) if block.startswith(mark) else 0
            begins = block[:BEGINNING]
            is_auto = _is_auto(self._encoding)
            reader = _FileDecoder(name, encoding, begins, is_auto=is_auto, remedy=self._remedy)
            reader.offset = skipped
            while block:
                more = b"" if self._at_once else read(READ_BYTES)
                final = not (more or self._at_once)
                if text := reader.decode(block[skipped:], final=final):
                    yield text
                block, skipped = read(READ_BYTES) if self._at_once else more, 0
            if text := reader.decode(b"", final=True):
                yield text
            if reader.certainty is not None:
                key = (reader.encoding, round(reader.certainty, 2))
                self._detected.setdefault(key, []).append(source_label(name))


class _FileDecoder:
    """Decodes one file block by block.

    With `is_auto`, a file that begins as UTF-8 and turns out not to be is read in the encoding
    that the detector finds.  That is possible as long as everything before was ASCII, which most
    encodings share.
    """

    def __init__(
        self, name: str, encoding: str, begins: bytes, *, is_auto: bool, remedy: str
    ) -> None:
        self.encoding, self.offset = encoding, 0
        self.certainty: float | None = None  # of the detector, if it was asked
        self._name, self._begins, self._given_remedy = source_label(name), begins, remedy
        self._may_detect = is_auto and is_utf8(encoding)
        self._is_auto, self._is_ascii = is_auto, True
        self._decoder = _decoder_of(encoding)()

    def decode(self, block: bytes, *, final: bool) -> str:
        """The text of the next bytes of the file.

        Raises:
            CorpusError: they are not text.
        """
        pending = self._decoder.getstate()[0]
        whole = pending + block if self._may_detect else block
        try:
            text = self._decoder.decode(block, final=final)
        except UnicodeDecodeError as error:
            where = self.offset - len(pending) + error.start
            if self._may_detect and self._is_ascii and whole[: error.start].isascii():
                self.offset -= len(pending)
                return self._detected(whole, error.start, final=final)
            raise self._broken(error.object[error.start], where) from None
        except UnicodeError as error:  # e.g. UTF-16 without a byte-order mark
            raise CorpusError(
                f"{self._name}: not {self.encoding} text ({error}); name the byte order too, "
                f"--encoding {self.encoding}-le or {self.encoding}-be"
            ) from None
        self.offset += len(block)
        self._is_ascii = self._is_ascii and text.isascii()
        return text

    def _detected(self, block: bytes, bad: int, *, final: bool) -> str:
        """The text of a block that is not UTF-8 from `bad` on, in the encoding that is found."""
        found = None if _other_medium(self._begins) else _detect(block)
        if found is None:
            raise self._broken(block[bad], self.offset + bad)
        self.encoding, self.certainty = found
        self._may_detect = False
        self._decoder = _decoder_of(self.encoding)()
        return self.decode(block, final=final)

    def _broken(self, byte: int, where: int) -> CorpusError:
        """The error for a byte that is not text."""
        what = f"{self._name}: byte 0x{byte:02x} at offset {where} is not {self.encoding} text"
        return CorpusError(f"{what}; {self._remedy()}")

    def _remedy(self) -> str:
        """A hint for the user."""
        if other := _other_medium(self._begins):
            return other
        if self._given_remedy:
            return self._given_remedy
        as_bytes = "read it as bytes with --codec byte"
        if not self._is_auto:
            if codecs.lookup(self.encoding).name.startswith("utf-16"):
                return f"is it cut short? Try --encoding auto, or {as_bytes}"
            return f"--encoding auto finds the encoding of each file; or {as_bytes}"
        if not self._is_ascii and is_utf8(self.encoding):
            return (
                "the text before it is; repair the file (iconv -c -f utf-8 -t utf-8 FILE drops "
                f"such bytes), or {as_bytes}"
            )
        return f"--encoding latin-1 accepts every byte; or {as_bytes}"


def _other_medium(begins: bytes) -> str:
    """A hint if these first bytes of a file are those of another medium; otherwise empty."""
    from charrnn.media import recognised

    if (other := recognised(begins)) is None:
        return ""
    return f"it looks like {other.name}, which is learnt with --codec {other.codecs[0]}"


def _marked_encoding(head: bytes) -> tuple[str, int]:
    """The encoding that a byte-order mark names, UTF-8 without one, and the length of the mark to
    skip (the UTF-16 and UTF-32 decoders need theirs)."""
    if head.startswith(BOM_32):
        return "utf-32", 0
    if head.startswith(BOM_16):
        return "utf-16", 0
    return "utf-8", len(BOM_8) if head.startswith(BOM_8) else 0


def _may_be_marked(block: bytes) -> bool:
    """Whether these first bytes of a file could become a byte-order mark."""
    marks = (BOM_8, *BOM_16, *BOM_32)
    return any(mark.startswith(block) and mark != block for mark in marks)


def _detect(block: bytes) -> tuple[str, float] | None:
    """The encoding of bytes that are not UTF-8, and its certainty, 0 to 1; None: none found."""
    import chardet

    lines = [line for line in block.splitlines(keepends=True) if not line.isascii()]
    seen = b"".join(lines)[:DETECT_BYTES]
    result = chardet.detect(seen)
    name, certainty = str(result["encoding"] or ""), float(result["confidence"] or 0.0)
    with suppress(LookupError, ConfigError):
        _decoder_of(name)
        return codecs.lookup(name).name, certainty
    return None


def _is_auto(encoding: str) -> bool:
    return encoding.lower() == AUTO


def may_be_bytes(encoding: str) -> bool:
    """Whether this setting leaves open that a file is not text at all: auto, or UTF-8."""
    return _is_auto(encoding) or is_utf8(encoding)


def is_utf8(encoding: str) -> bool:
    """Whether this is a name of UTF-8."""
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except (LookupError, ValueError):
        return False


def _decoder_of(encoding: str) -> Callable[[], codecs.IncrementalDecoder]:
    """The incremental decoder of a text encoding."""
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        info = None
    # Python itself uses `_is_text_encoding` to exclude codecs such as hex and zip.
    if info is None or info.incrementaldecoder is None or not info._is_text_encoding:
        known = "auto, utf-8, cp1252, latin-1 or utf-16"
        raise ConfigError(f"unknown encoding {encoding!r}; try {known}")
    return codecs.getincrementaldecoder(encoding)
