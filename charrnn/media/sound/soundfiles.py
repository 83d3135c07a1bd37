"""Writes sound: WAV, FLAC and Ogg Vorbis files, and a WAV stream for a pipe."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from charrnn.errors import SamplingError
from charrnn.media.codec import ENDLESS
from charrnn.media.sound.stft import Samples

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG"}
UNKNOWN = 2**32 - 1  # bytes: the length of a WAV stream that has no end
WRITE_SAMPLES = 1 << 16  # at a time: more in one call can crash the Vorbis encoder


def refuse_too_long(rate: int, length: int, bits: int) -> None:
    """Raise if a sound is too long for the WAV format.

    Args:
        rate: samples per second.
        length: of the sound, in samples.
        bits: per sample.

    Raises:
        SamplingError: states the maximum length.
    """
    most = (2**32 - 64) // (bits // 8)
    if length > most:
        raise SamplingError(
            f"--length {length / rate:,.0f}: a WAV file holds at most 4 GB, here "
            f"{most // rate:,} seconds; give -o FILE.flac"
        )


class _ErrorKeeper:
    """Wraps a stream for libsndfile, which does not report errors of Python streams.

    Attributes:
        error: the first error; None: there was none.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell

    def write(self, data: bytes) -> int:
        """Write, unless an earlier write failed."""
        try:
            if self.error is None:
                return self._stream.write(data)
        except OSError as error:
            self.error = error
        return 0


class SoundFile:
    """Writes a sound file; the extension of its name sets the format.

    Args:
        stream: open for reading and writing bytes, at its beginning.
        path: with the extension .wav, .flac or .ogg.
        rate: samples per second.
        bits: per sample, 16 or 24; has no effect on .ogg.
        length: the total number of samples, if known.

    Raises:
        SamplingError: another extension, or more samples than such a file can hold.
        OSError: the disk is full.
    """

    def __init__(
        self, stream: BinaryIO, path: Path, rate: int, bits: int = 16, length: int = 0
    ) -> None:
        kind = path.suffix.lower()
        if kind not in FORMATS:
            raise SamplingError(
                f"{path}: sound is written as {', '.join(FORMATS)}; end the name in one of them"
            )
        if kind == ".wav":
            refuse_too_long(rate, length, bits)
        subtype = "VORBIS" if kind == ".ogg" else f"PCM_{bits}"
        self._stream = _ErrorKeeper(stream)
        with self._stream_errors():
            self._file = soundfile.SoundFile(
                self._stream, "w", rate, 1, subtype=subtype, format=FORMATS[kind], closefd=False
            )

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, sound: Samples) -> None:
        """Add samples, (n,); those beyond full scale are cut off."""
        for start in range(0, len(sound), WRITE_SAMPLES):
            with self._stream_errors():
                self._file.write(np.clip(sound[start : start + WRITE_SAMPLES], -1, 1))

    def close(self) -> None:
        """Write the remaining samples, and the length in the header."""
        with self._stream_errors():
            self._file.close()

    @contextmanager
    def _stream_errors(self) -> Iterator[None]:
        """Raise the original error of the stream instead of libsndfile's error."""
        try:
            yield
        except (AssertionError, soundfile.SoundFileError):
            if self._stream.error is None:
                raise
        if self._stream.error is not None:
            raise self._stream.error


def write_sound(
    blocks: Iterable[Samples],
    stream: BinaryIO,
    path: Path | None,
    rate: int,
    length: int,
    bits: int = 16,
) -> None:
    """Write blocks of samples to a file; without a path as WAV to a pipe.

    The arguments are those of `SoundFile` and `WaveStream`.
    """
    if path is None:
        wave = WaveStream(stream, rate, length, bits)
        for block in blocks:
            wave.write(block)
        wave.close()
        return
    with SoundFile(stream, path, rate, bits, length) as file:
        for block in blocks:
            file.write(block)


class WaveStream:
    """Writes a WAV stream to a pipe; its length must be known in advance.

    Args:
        stream: open for writing bytes.
        rate: samples per second.
        length: the total number of samples; ENDLESS: there is no end.
        bits: per sample, 16 or 24.
    """

    def __init__(self, stream: BinaryIO, rate: int, length: int, bits: int = 16) -> None:
        self._stream, self._bytes = stream, bits // 8
        size = whole = UNKNOWN
        if length < ENDLESS:
            refuse_too_long(rate, length, bits)
            size = length * self._bytes
            whole = 36 + size + size % 2
        layout = struct.pack("<HHIIHH", 1, 1, rate, rate * self._bytes, self._bytes, bits)
        stream.write(b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt ")
        stream.write(struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", size))
        self._odd = size != UNKNOWN and bool(size % 2)

    def write(self, sound: Samples) -> None:
        """Add samples, (n,); those beyond full scale are cut off."""
        most = 2 ** (8 * self._bytes - 1) - 1
        whole = np.round(np.clip(sound, -1, 1) * most).astype("<i4")
        parts = whole.view(np.uint8).reshape(-1, 4)[:, : self._bytes]
        self._stream.write(parts.tobytes())
        self._stream.flush()

    def close(self) -> None:
        """Pad the stream to an even number of bytes."""
        if self._odd:
            self._stream.write(b"\0")
        self._stream.flush()
