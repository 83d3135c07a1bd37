"""Any file as bytes; decoding never outputs half a character."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.errors import ConfigError, SamplingError
from charrnn.media.codec import Piece
from charrnn.media.sources import Sources
from charrnn.media.text.codec import Steps, TextCodec, TextLearner, common, points
from charrnn.media.text.encoding import Decoded, may_be_bytes
from charrnn.media.text.reading import MARK, Reading, TextFiles

BYTES = "".join(map(chr, range(256)))  # byte b is represented by code point b, as in Latin-1
END = 256


class ByteCodec(TextCodec):
    """One step is one byte; if there are documents, step 256 is the end of a document.

    Text is encoded and decoded as UTF-8.  In streams, byte b is represented by code point b.
    """

    name = "byte"
    unit = "byte"
    listed = 0

    def __init__(
        self, start: str = "", reading: Reading | None = None, characters_per_step: float = 1.0
    ) -> None:
        has_documents = reading is not None and reading.has_documents
        symbols = BYTES + MARK * has_documents
        super().__init__(symbols, start or "\n", reading, characters_per_step)

    def _encode(self, text: str) -> tuple[Steps, list[str]]:
        """The steps of a stream's characters; no byte is unknown."""
        return _steps(text).astype(np.int64), []

    def encode(self, text: str) -> tuple[Steps, tuple[str, ...]]:
        """As in `TextCodec`: the bytes of the text in UTF-8, (N,); nothing is unknown."""
        data = self.reading.normalized(text).encode("utf-8", errors="surrogatepass")
        return np.frombuffer(data, np.uint8).astype(np.int64), ()

    def characters_in(self, text: str) -> int:
        """As in `TextCodec`: the number of UTF-8 characters that begin in a block of a stream."""
        return _beginnings(_steps(text))

    def readable(self, text: str) -> str:
        """As in `TextCodec`: decoded as UTF-8."""
        return text.encode("latin-1", errors="replace").decode(errors="replace")

    def symbol_label(self, symbol: str) -> str:
        """As in `Codec`: a byte that is not ASCII as a number."""
        return (
            super().symbol_label(symbol)
            if symbol == MARK or symbol < "\x80"
            else f"0x{ord(symbol):02X}"
        )

    def decoder(self) -> ByteDecoder:
        """A decoder for a stream of steps."""
        return ByteDecoder(self.reading.between)

    @classmethod
    def files(cls, sources: Sources, encoding: str, reading: Reading) -> TextFiles:
        """As in `TextCodec`: byte b becomes code point b."""
        if not may_be_bytes(encoding) or reading.normalize != "none":
            raise ConfigError("bytes are read as they are: drop --encoding and --normalize")
        separator = reading.separator.encode().decode("latin-1")
        reading = replace(reading, separator=separator)
        return TextFiles(Decoded(sources, "latin-1"), reading, tables=False)

    def encode_text(self, text: str) -> tuple[Steps, list[Piece]]:
        """As in `Codec`; a piece is a character."""
        text = self.reading.normalized(text)
        return self.encode(text)[0], [Piece(c, len(self.encode(c)[0])) for c in text]

    def never(self, settings: Any) -> Steps:
        """As in `TextCodec`; only for ASCII, since other characters take several steps."""
        if not (settings.allow + settings.forbid).isascii():
            raise SamplingError(
                "--allow and --forbid can only name ASCII characters with a byte model, which "
                "writes others byte by byte; train with --codec char"
            )
        return super().never(settings)

    @classmethod
    def learner(cls, files: TextFiles, reading: Reading, settings: Any) -> ByteLearner:
        """As in `TextCodec`."""
        return ByteLearner(files, reading)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ByteCodec:
        """Rebuild a codec from a checkpoint."""
        has_documents = Reading.from_dict(values).has_documents
        return cls(**common(values, BYTES + MARK * has_documents))


class ByteDecoder:
    """Turns bytes into characters, holding back incomplete ones; invalid bytes become U+FFFD."""

    def __init__(self, between: str) -> None:
        self._between = between
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, step: int) -> str:
        """The character that this byte completes; may be empty."""
        if step == END:
            rest = self._decoder.decode(b"", final=True)
            self._decoder.reset()
            return rest + self._between
        return self._decoder.decode(bytes([step]))

    def flush(self) -> str:
        """An incomplete character at the end is dropped."""
        self._decoder.reset()
        return ""


class ByteLearner(TextLearner):
    """The `Learner` of bytes: only counts characters, so that losses can be compared."""

    def __init__(self, files: TextFiles, reading: Reading) -> None:
        super().__init__(files, reading)
        self._bytes = self._characters = 0

    def _encoded(self, blocks: Iterator[str]) -> Iterator[Steps]:
        for text in blocks:
            steps = _steps(text)
            self._bytes += len(steps)
            self._characters += _beginnings(steps)
            yield steps

    def learnt(self) -> dict[str, Any]:
        """As in `Learner`."""
        return super().learnt() | {"bytes": self._bytes, "characters": self._characters}

    def _join(self, part: Mapping[str, Any]) -> None:
        """As in `TextLearner`: bytes have the same steps everywhere."""
        self._bytes += part["bytes"]
        self._characters += part["characters"]

    @property
    def codec(self) -> ByteCodec:
        """The codec learnt from the corpus."""
        per_step = max(self._characters, 1) / max(self._bytes, 1)
        return ByteCodec(self._starts.start, self._reading, per_step)


def _steps(text: str) -> Steps:
    """The steps, (N,), of a stream whose characters represent bytes, with MARKs."""
    if MARK not in text:
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    return np.minimum(points(text), END)


def _beginnings(steps: Steps) -> int:
    """The number of steps that begin a character, i.e. are not UTF-8 continuation bytes."""
    return int(np.count_nonzero((steps < 0x80) | (steps >= 0xC0)))
