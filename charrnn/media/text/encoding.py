"""Decodes text files in blocks, and recognises text."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

from charrnn.errors import ConfigError, CorpusError
from charrnn.media.sources import Sources, head_of, opened, source_label

READ_BYTES = 1 << 20  # at a time
BEGINNING = 16  # bytes at the beginning of a file by which its format is recognised
BOM_8 = codecs.BOM_UTF8
BOM_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BOM_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # the first starts like that of UTF-16


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins with `head` is text: no NUL byte, or a byte-order mark."""
    return b"\0" not in head or head.startswith(BOM_16)


def first_binary(sources: Sources) -> str | None:
    """The first file that is not text, or None; pipes are not checked."""
    return next((name for name in sources.files if not looks_like_text(head_of(name))), None)


def decoded(sources: Sources, encoding: str = "utf-8") -> Iterator[Iterator[str]]:
    """Yield an iterator over the text of each file, in blocks; read them in this order.

    A byte-order mark is dropped; line ends are not changed.

    Raises:
        CorpusError: a file cannot be opened, or is not text in `encoding`; names file and byte
            offset, and suggests a flag.
        ConfigError: the encoding is unknown.
    """
    make_decoder = _decoder_of(encoding)
    for name in sources.files:
        yield _decoded(name, make_decoder(), encoding)


def _decoded(name: str, decoder: codecs.IncrementalDecoder, encoding: str) -> Iterator[str]:
    """The text of one file, in blocks."""
    offset, pending, begins = 0, 0, b""
    try:
        with opened(name) as stream:
            begins = head = stream.read(BEGINNING)
            if is_utf8(encoding) and head.startswith(BOM_8):
                head, offset = head[len(BOM_8) :], len(BOM_8)
            while True:
                block, head = head + stream.read(READ_BYTES), b""
                pending = len(decoder.getstate()[0])
                text = decoder.decode(block, final=not block)
                if text:
                    yield text
                if not block:
                    break
                offset += len(block)
    except UnicodeDecodeError as error:
        where = offset - pending + error.start
        raise CorpusError(
            f"{source_label(name)}: byte 0x{error.object[error.start]:02x} at offset {where} is "
            f"not {encoding} text; {_remedy(begins, encoding)}"
        ) from None
    except UnicodeError as error:  # e.g. UTF-16 without a byte-order mark
        raise CorpusError(
            f"{source_label(name)}: not {encoding} text ({error}); name the byte order too, "
            f"--encoding {encoding}-le or {encoding}-be"
        ) from None


def _remedy(begins: bytes, encoding: str) -> str:
    """A hint for the user, given the first bytes of a file."""
    from charrnn.media import recognised

    if (other := recognised(begins)) is not None:
        return f"it looks like {other.name}: --codec {other.codecs[0]} reads that"
    likely = "utf-32" if begins.startswith(BOM_32) else "utf-16"
    if not begins.startswith(BOM_16 + BOM_32):
        likely = "cp1252"
    if codecs.lookup(encoding).name.startswith(likely):
        return "is it cut short?"
    return (
        f"give its encoding, e.g. --encoding {likely} (--encoding latin-1 accepts every byte), or "
        "read it as bytes with --codec byte"
    )


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
        raise ConfigError(f"unknown encoding {encoding!r}; try utf-8, cp1252, latin-1 or utf-16")
    return codecs.getincrementaldecoder(encoding)
