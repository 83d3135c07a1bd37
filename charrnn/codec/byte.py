"""Any file by its bytes: 256 steps, and text out of them that never has half a character."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from charrnn.codec.reading import MARK, Reading
from charrnn.codec.text import Learner, Opening, Steps, TextCodec, common, points
from charrnn.errors import SamplingError

BYTES = "".join(map(chr, range(256)))  # a byte as the code point of its number: Latin-1
END = 256


class ByteCodec(TextCodec):
    """One step is one byte; the end of a document, where there are any, is a 257th.

    Text goes in and out as UTF-8.  In streams, a byte stands as the character of its number.
    """

    name = "byte"
    unit = "byte"

    def __init__(
        self, start: str = "", reading: Reading | None = None, characters_per_step: float = 1.0
    ) -> None:
        has_documents = reading is not None and reading.has_documents
        symbols = BYTES + MARK * has_documents
        super().__init__(symbols, start or "\n", reading, characters_per_step)

    def _encode(self, text: str) -> tuple[Steps, list[str]]:
        """Steps of a stream's characters: every byte is known."""
        return _steps(text), []

    def encode(self, text: str) -> tuple[Steps, tuple[str, ...]]:
        """Turn text into the bytes of its UTF-8, (N,); nothing is unknown."""
        data = self.reading.normalized(text).encode("utf-8", errors="surrogatepass")
        return np.frombuffer(data, np.uint8).astype(np.int64), ()

    def characters_in(self, text: str) -> int:
        """How many characters begin in a block of a stream, if it is UTF-8."""
        return _beginnings(_steps(text))

    def decoder(self) -> ByteDecoder:
        """A decoder for a stream of steps."""
        return ByteDecoder(self.reading.between)

    def never(self, allow: str = "", forbid: str = "", unk: bool = False) -> Steps:
        """As in `TextCodec`; other characters than ASCII ones are several steps."""
        if not (allow + forbid).isascii():
            raise SamplingError(
                "a byte model writes other characters than ASCII in pieces, so --allow and "
                "--forbid cannot name them; train with --codec char"
            )
        return super().never(allow, forbid, unk)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ByteCodec:
        """Rebuild a codec from a checkpoint."""
        has_documents = Reading.from_dict(values).has_documents
        return cls(**common(values, BYTES + MARK * has_documents))


class ByteDecoder:
    """Holds bytes back until they are a whole character; what is none becomes U+FFFD."""

    def __init__(self, between: str) -> None:
        self._between = between
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, step: int) -> str:
        """The character that this byte completes, if it does."""
        if step == END:
            rest = self._decoder.decode(b"", final=True)
            self._decoder.reset()
            return rest + self._between
        return self._decoder.decode(bytes([step]))

    def flush(self) -> str:
        """Half a character at the end is dropped."""
        self._decoder.reset()
        return ""


class ByteLearner(Learner):
    """Bytes need not be learnt; it counts characters for the comparison with other codecs."""

    def __init__(self, blocks: Iterable[str], reading: Reading) -> None:
        self._blocks, self._reading = blocks, reading
        self._opening = Opening()
        self._bytes = self._characters = 0

    def __iter__(self) -> Iterator[Steps]:
        for text in self._blocks:
            self._opening.look(text)
            steps = _steps(text)
            self._bytes += len(steps)
            self._characters += _beginnings(steps)
            yield steps

    @property
    def codec(self) -> ByteCodec:
        """The codec of all that was read so far."""
        per_step = max(self._characters, 1) / max(self._bytes, 1)
        return ByteCodec(self._opening.start, self._reading, per_step)


def _steps(text: str) -> Steps:
    """Bytes as characters, with MARKs, to steps, (N,)."""
    there = points(text)
    return np.where(there < END, there, END).astype(np.int64)


def _beginnings(steps: Steps) -> int:
    """Steps that begin a character: all but the continuation bytes of UTF-8."""
    return int(np.count_nonzero((steps < 0x80) | (steps >= 0xC0)))
