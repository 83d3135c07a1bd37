"""Reads recordings as mono sound at the model's sample rate, in blocks.

Any file that libsndfile can read is a recording.  Each file is read twice: first to measure its
level and the silence at both ends, then for its samples.  Memory use is constant, except that
pipes and standard input are kept in memory.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from charrnn.errors import CorpusError
from charrnn.media.sound.stft import Samples
from charrnn.media.sources import STDIN, is_pipe, source_label, standard_input

READ_SAMPLES = 1 << 16  # at a time
CHUNK = 1 << 10  # samples per chunk when looking for silence
SILENCE = 1e-3  # chunks below this fraction of the loudest sample, -60 dB, are silent
LEVEL = 0.1  # every recording is scaled to this root mean square, -20 dB of full scale
RATES = (2_000, 768_000)  # lowest and highest sample rate of a file, in Hz
OGG, OGG_PAGE, OGG_LAST = b"OggS", 1 << 16, 4  # page signature, maximum page size, last-page flag
FAINT = 1e-8  # of full scale: anything below is silence in every recording
NEVER_WRITTEN = 0x7FFFF000  # in a WAV stream, a length of at least this means "unknown"


@dataclass(frozen=True)
class Recording:
    """A readable file, and the range of it that is not silence."""

    name: str  # a path, or "-"
    begin: int  # in samples, at the file's own sample rate
    end: int
    gain: float
    _held: bytes | None = None  # contents of a pipe, which cannot be read twice

    def sound(self, rate: int) -> Iterator[Samples]:
        """The sound in blocks, (n,), without silence at its ends, scaled to LEVEL.

        Args:
            rate: sample rate to resample to, in Hz.

        Raises:
            CorpusError: the file can no longer be read, or has changed.
        """
        with _opened(self.name, self._held) as file:
            resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
            place = 0
            for block in _mono(file):
                part = block[max(0, self.begin - place) : max(0, self.end - place)]
                place += len(block)
                is_last = place >= self.end
                if len(part):
                    scaled = np.clip(part * np.float32(self.gain), -1e3, 1e3)
                    yield resampler.resample_chunk(scaled, last=is_last)
                if is_last:
                    return
        raise CorpusError(f"{source_label(self.name)}: changed while it was being read")


def recording(name: str) -> Recording:
    """Read a file once, to measure its level and the silence at its ends.

    Args:
        name: a path, or "-" for standard input.

    Raises:
        CorpusError: not a sound file, cut short, silent, or with samples that are not finite.
    """
    held = _read_pipe(name) if is_pipe(name) else None
    loudest: list[float] = []
    squares: list[float] = []
    count = 0
    with _opened(name, held) as file:
        rate = file.samplerate
        for block in _mono(file):
            bad = np.flatnonzero(~np.isfinite(block))
            if len(bad):
                raise CorpusError(
                    f"{source_label(name)}: the sample at {(count + bad[0]) / rate:.3f} s is not a "
                    "finite number; repair it, or leave the file out"
                )
            for start in range(0, len(block), CHUNK):
                chunk = block[start : start + CHUNK]
                loudest.append(float(np.abs(chunk).max()))
                squares.append(float(np.square(chunk, dtype=np.float64).sum()))
            count += len(block)
    if not count:
        raise CorpusError(f"{source_label(name)}: has no samples")
    audible = np.flatnonzero(np.array(loudest) > max(FAINT, SILENCE * max(loudest)))
    if not len(audible):
        raise CorpusError(f"{source_label(name)}: is silent from end to end")
    first, last = int(audible[0]), int(audible[-1]) + 1
    begin, end = first * CHUNK, min(count, last * CHUNK)
    level = float(np.sqrt(np.sum(squares[first:last]) / (end - begin)))
    return Recording(name, begin, end, LEVEL / level, held)


def _read_pipe(name: str) -> bytes:
    """The whole contents of a pipe or of standard input."""
    return standard_input().read() if name == STDIN else Path(name).read_bytes()


@contextmanager
def _opened(name: str, held: bytes | None) -> Iterator[Any]:
    """Open a sound file for reading; `held`: its contents, if it was a pipe.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        stream = io.BytesIO(held) if held is not None else open(name, "rb")  # noqa: SIM115
    except OSError as error:
        raise CorpusError(f"{source_label(name)}: cannot be read ({error.strerror})") from None
    with stream:
        _refuse_cut_short(stream, source_label(name))
        try:
            with soundfile.SoundFile(stream) as file:
                if not RATES[0] <= file.samplerate <= RATES[1]:
                    raise CorpusError(
                        f"{source_label(name)}: a sample rate of {file.samplerate:,} Hz cannot be "
                        f"right; from {RATES[0]:,} to {RATES[1]:,} Hz are supported"
                    )
                yield file
        except soundfile.SoundFileError as error:
            raise CorpusError(
                f"{source_label(name)}: cannot be read as sound ({_reason(error)}); {_remedy(name)}"
            ) from None


def _refuse_cut_short(stream: Any, name: str) -> None:
    """Raise if the end of a file is missing, which libsndfile does not report."""
    head = stream.read(12)
    there = stream.seek(0, io.SEEK_END)
    missing = ""
    if head[:4] in (b"RIFF", b"RIFX", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        order = "little" if head[:4] == b"RIFF" else "big"
        promised = int.from_bytes(head[4:8], order) + 8  # type: ignore[arg-type]
        if there + 1 < promised < NEVER_WRITTEN:
            missing = f"its header says {promised:,} bytes, but it has only {there:,}"
    elif head[:4] == OGG:
        stream.seek(max(0, there - OGG_PAGE))
        tail = stream.read()
        if not _is_end(tail[tail.rfind(OGG) :]):
            missing = "its stream does not end"
    stream.seek(0)
    if missing:
        raise CorpusError(
            f"{name}: cut short: {missing}; to keep what is there: ffmpeg -i FILE repaired.wav"
        )


def _is_end(page: bytes) -> bool:
    """Whether an Ogg page (RFC 3533, section 6) is complete and the last of its stream."""
    if len(page) < 27 or not page[5] & OGG_LAST:
        return False
    sizes = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(sizes)


def _reason(error: Exception) -> str:
    """The message of libsndfile on one line, without the file name."""
    return str(error).rpartition(": ")[2].strip().rstrip(".") or "unknown format"


def _remedy(name: str) -> str:
    return f"convert it: ffmpeg -i {shlex.quote(name)} converted.wav"


def _mono(file: Any) -> Iterator[Samples]:
    """The mean of the channels, in blocks, (n,)."""
    for block in file.blocks(READ_SAMPLES, dtype="float32", always_2d=True):
        mono: Samples = block.mean(axis=1, dtype=np.float32)
        yield mono
