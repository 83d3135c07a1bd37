"""Recordings in, as mono sound at the model's rate, and sound out; both block by block.

Any file that libsndfile reads is a recording.  Two walks are made through each: one to find its
level and where the silence at both ends begins, one to read it.  Memory stays flat but for standard
input, which is kept.
"""

from __future__ import annotations

import io
import shlex
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from charrnn.codec.sources import STDIN, is_pipe, shown
from charrnn.codec.stft import Samples
from charrnn.errors import CorpusError, SamplingError

BLOCK = 1 << 16  # samples read at a time
CHUNK = 1 << 10  # samples in which silence is looked for
SILENCE = 1e-3  # of the loudest sample: -60 dB
LEVEL = 0.1  # root mean square of every recording: -20 dB of full scale
RATES = (2_000, 768_000)  # samples a second that a file may have
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG"}
OGG, OGG_PAGE, OGG_LAST = b"OggS", 1 << 16, 4  # how a page begins, its most bytes, the end's flag
FAINT = 1e-8  # of full scale: no recording is made of less
NEVER_WRITTEN = 0x7FFFF000  # a length from here on stands for "unknown" in a stream of WAV


@dataclass(frozen=True)
class Recording:
    """A file that can be read, and what is to be heard of it."""

    name: str  # a path, or "-"
    begin: int  # samples at its own rate
    end: int
    gain: float
    _held: bytes | None = None  # standard input, which cannot be read twice

    def sound(self, rate: int) -> Iterator[Samples]:
        """The sound without silence at its ends, at a level of LEVEL, in blocks, (n,).

        Args:
            rate: samples a second.

        Raises:
            CorpusError: the file cannot be read any more.
        """
        with _opened(self.name, self._held) as file:
            resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
            place = 0
            for block in _mono(file):
                heard = block[max(0, self.begin - place) : max(0, self.end - place)]
                place += len(block)
                is_last = place >= self.end
                if len(heard):
                    louder = np.clip(heard * np.float32(self.gain), -1e3, 1e3)
                    yield resampler.resample_chunk(louder, last=is_last)
                if is_last:
                    return
        raise CorpusError(f"{shown(self.name)}: changed while it was being read")


def recording(name: str) -> Recording:
    """Look through a file.

    Args:
        name: a path, or "-" for standard input.

    Raises:
        CorpusError: not a sound file, cut short, silent, or with samples that are no numbers.
    """
    held = _through(name) if is_pipe(name) else None
    loudest: list[float] = []
    squares: list[float] = []
    count = 0
    with _opened(name, held) as file:
        rate = file.samplerate
        for block in _mono(file):
            bad = np.flatnonzero(~np.isfinite(block))
            if len(bad):
                raise CorpusError(
                    f"{shown(name)}: the sample at {(count + bad[0]) / rate:.3f} s is not a finite "
                    "number; mend it, or leave the file out"
                )
            for start in range(0, len(block), CHUNK):
                chunk = block[start : start + CHUNK]
                loudest.append(float(np.abs(chunk).max()))
                squares.append(float(np.square(chunk, dtype=np.float64).sum()))
            count += len(block)
    if not count:
        raise CorpusError(f"{shown(name)}: has no samples")
    heard = np.flatnonzero(np.array(loudest) > max(FAINT, SILENCE * max(loudest)))
    if not len(heard):
        raise CorpusError(f"{shown(name)}: is silent from end to end")
    first, last = int(heard[0]), int(heard[-1]) + 1
    begin, end = first * CHUNK, min(count, last * CHUNK)
    level = float(np.sqrt(np.sum(squares[first:last]) / (end - begin)))
    return Recording(name, begin, end, LEVEL / level, held)


def _through(name: str) -> bytes:
    """All that comes through a pipe, or standard input."""
    if name != STDIN:
        return Path(name).read_bytes()
    if sys.stdin is None:
        raise CorpusError("standard input (-) is closed")
    return sys.stdin.buffer.read()


@contextmanager
def _opened(name: str, held: bytes | None) -> Iterator[Any]:
    """The file, open for reading.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        stream = io.BytesIO(held) if held is not None else open(name, "rb")  # noqa: SIM115
    except OSError as error:
        raise CorpusError(f"{shown(name)}: cannot be read ({error.strerror})") from None
    with stream:
        _refuse_cut_short(stream, shown(name))
        try:
            with soundfile.SoundFile(stream) as file:
                if not RATES[0] <= file.samplerate <= RATES[1]:
                    raise CorpusError(
                        f"{shown(name)}: {file.samplerate:,} samples a second cannot be right; "
                        f"from {RATES[0]:,} to {RATES[1]:,} are read"
                    )
                yield file
        except soundfile.SoundFileError as error:
            raise CorpusError(
                f"{shown(name)}: cannot be read as sound ({_reason(error)}); {_remedy(name)}"
            ) from None


def _refuse_cut_short(stream: Any, name: str) -> None:
    """Libsndfile reads what there is of a file and says nothing of what is missing."""
    head = stream.read(12)
    there = stream.seek(0, io.SEEK_END)
    missing = ""
    if head[:4] in (b"RIFF", b"RIFX", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        order = "little" if head[:4] == b"RIFF" else "big"
        promised = int.from_bytes(head[4:8], order) + 8  # type: ignore[arg-type]
        if there + 1 < promised < NEVER_WRITTEN:
            missing = f"its header promises {promised:,} bytes, {there:,} are there"
    elif head[:4] == OGG:
        stream.seek(max(0, there - OGG_PAGE))
        tail = stream.read()
        if not _is_end(tail[tail.rfind(OGG) :]):
            missing = "its stream does not end"
    stream.seek(0)
    if missing:
        raise CorpusError(
            f"{name}: cut short: {missing}; ffmpeg -i FILE whole.wav makes a file of what there is"
        )


def _is_end(page: bytes) -> bool:
    """Whether a page of Ogg (RFC 3533, section 6) is whole and the last of its stream."""
    if len(page) < 27 or not page[5] & OGG_LAST:
        return False
    sizes = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(sizes)


def _reason(error: Exception) -> str:
    """What libsndfile says, without the file's name, on one line."""
    return str(error).rpartition(": ")[2].strip().rstrip(".") or "unknown format"


def _remedy(name: str) -> str:
    return f"convert it: ffmpeg -i {shlex.quote(name)} converted.wav"


def _mono(file: Any) -> Iterator[Samples]:
    """The mean of the channels, in blocks, (n,)."""
    for block in file.blocks(BLOCK, dtype="float32", always_2d=True):
        mono: Samples = block.mean(axis=1, dtype=np.float32)
        yield mono


def refuse_too_long(rate: int, length: int, bits: int) -> None:
    """Raise where a sound is longer than a file of WAV can say.

    Raises:
        SamplingError: names the longest.
    """
    most = (2**32 - 64) // (bits // 8)
    if length > most:
        raise SamplingError(
            f"--length {length / rate:,.0f}: WAV holds 4 GB, {most // rate:,} seconds of this; "
            "give -o FILE.flac"
        )


class _Kept:
    """A stream for libsndfile, which has no way to hand on what goes wrong in it.

    Attributes:
        error: the first thing that did.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell

    def write(self, data: bytes) -> int:
        """Write; nothing where something has gone wrong."""
        try:
            if self.error is None:
                return self._stream.write(data)
        except OSError as error:
            self.error = error
        return 0


class SoundFile:
    """Sound being written to a file, whose name says the format.

    Args:
        stream: open for reading and writing bytes, from its beginning.
        path: whose ending is .wav, .flac or .ogg.
        rate: samples a second.
        bits: of a sample, 16 or 24; .ogg has none.
        length: samples there will be, if that is known.

    Raises:
        SamplingError: another ending, or more than such a file holds.
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
        self._stream = _Kept(stream)
        with self._told():
            self._file = soundfile.SoundFile(
                self._stream, "w", rate, 1, subtype=subtype, format=FORMATS[kind], closefd=False
            )

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, sound: Samples) -> None:
        """Add samples, (n,); those beyond full scale are cut off."""
        for start in range(0, len(sound), BLOCK):  # long ones in one call can crash the encoder
            with self._told():
                self._file.write(np.clip(sound[start : start + BLOCK], -1, 1))

    def close(self) -> None:
        """Write what is left and the lengths in the header."""
        with self._told():
            self._file.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what went wrong in the stream, and not what libsndfile makes of it."""
        try:
            yield
        except (AssertionError, soundfile.SoundFileError):
            if self._stream.error is None:
                raise
        if self._stream.error is not None:
            raise self._stream.error


class WaveStream:
    """Sound as a stream of WAV of a length that is known beforehand, so that it can be piped.

    Args:
        stream: open for writing bytes.
        rate: samples a second.
        length: samples there will be.
        bits: of a sample, 16 or 24.
    """

    def __init__(self, stream: BinaryIO, rate: int, length: int, bits: int = 16) -> None:
        self._stream, self._bytes = stream, bits // 8
        size = length * self._bytes
        refuse_too_long(rate, length, bits)
        layout = struct.pack("<HHIIHH", 1, 1, rate, rate * self._bytes, self._bytes, bits)
        stream.write(b"RIFF" + struct.pack("<I", 36 + size + size % 2) + b"WAVEfmt ")
        stream.write(struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", size))
        self._odd = bool(size % 2)

    def write(self, sound: Samples) -> None:
        """Add samples, (n,); those beyond full scale are cut off."""
        most = 2 ** (8 * self._bytes - 1) - 1
        whole = np.round(np.clip(sound, -1, 1) * most).astype("<i4")
        parts = whole.view(np.uint8).reshape(-1, 4)[:, : self._bytes]
        self._stream.write(parts.tobytes())
        self._stream.flush()

    def close(self) -> None:
        """Fill up to an even number of bytes."""
        if self._odd:
            self._stream.write(b"\0")
        self._stream.flush()
