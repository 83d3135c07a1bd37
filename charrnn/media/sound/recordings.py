"""Reads recordings as audible mono sound at the model's sample rate, in blocks.

Any file that libsndfile can read is a recording.  Each file is read twice: first to choose between
the mix of its channels and a single one and to measure the level and the silence at both ends, then
for its samples.  Memory use is constant, except that pipes and standard input are kept in memory.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.media.sound.stft import Samples
from charrnn.media.sources import STDIN, Sources, is_pipe, source_label, standard_input

READ_SAMPLES = 1 << 16  # at a time
CHUNK = 1 << 10  # samples per chunk when looking for silence
SILENCE = 1e-3  # chunks below this fraction of the loudest sample, -60 dB, are silent
LEVEL = 0.1  # every recording is scaled to this root mean square, -20 dB of full scale
LOWEST_HZ, ORDER = 20.0, 4  # of the Butterworth high-pass filter: below, nothing is heard
RATES = (2_000, 768_000)  # lowest and highest sample rate of a file, in Hz
OGG, OGG_PAGE, OGG_LAST = b"OggS", 1 << 16, 4  # page signature, maximum page size, last-page flag
FAINT = 1e-8  # of full scale: anything below is silence in every recording
WAV_HEADER = 44  # bytes before the samples
NEVER_WRITTEN = 0x7FFFF000  # in a WAV stream, a length of at least this means "unknown"
MAX_HEADER = 1 << 16  # bytes before the samples of a WAV file
HEAD = 256  # bytes by which text is told from a broken recording
TEXT_BYTES = frozenset((*b"\t\n\r", *range(32, 127), *range(128, 256)))
# If the mix has less than this fraction of the energy that it would have if the channels had
# nothing in common, they cancel each other.
CANCELLED = 0.5
# Weights of the channels in the downmix to stereo of ITU-R BS.775, added up; the low-frequency
# effects (0) are left out.  The order of the channels is that of WAV, for Ogg that of Vorbis.
SIDE = 0.5**0.5
WEIGHTS = {
    3: (1, 1, 2 * SIDE),  # left, right, centre
    4: (1, 1, SIDE, SIDE),  # left, right, back left, back right
    5: (1, 1, 2 * SIDE, SIDE, SIDE),  # left, right, centre, left and right surround
    6: (1, 1, 2 * SIDE, 0, SIDE, SIDE),
    7: (1, 1, 2 * SIDE, 0, 2 * SIDE * SIDE, SIDE, SIDE),  # with a back centre
    8: (1, 1, 2 * SIDE, 0, SIDE, SIDE, SIDE, SIDE),
}
OGG_WEIGHTS = {
    3: (1, 2 * SIDE, 1),  # left, centre, right
    4: WEIGHTS[4],
    5: (1, 2 * SIDE, 1, SIDE, SIDE),
    6: (1, 2 * SIDE, 1, SIDE, SIDE, 0),
    7: (1, 2 * SIDE, 1, SIDE, SIDE, 2 * SIDE * SIDE, 0),
    8: (1, 2 * SIDE, 1, SIDE, SIDE, SIDE, SIDE, 0),
}
Weights = tuple[float, ...]  # of each channel


@dataclass(frozen=True)
class Recording:
    """A readable file, and the range of it that is not silence.

    Attributes:
        notices: what the user should know about the file.
    """

    name: str  # a path, or "-"
    rate: int  # to resample to, in Hz
    weights: Weights
    begin: int  # in samples at this rate
    end: int
    gain: float
    notices: tuple[str, ...] = ()
    _held: bytes | None = None  # contents of a pipe, which cannot be read twice

    def sound(self) -> Iterator[Samples]:
        """The sound in blocks, (n,), without silence at its ends, scaled to LEVEL.

        Raises:
            CorpusError: the file can no longer be read, or has changed.
        """
        place = 0
        with _opened(self.name, self._held) as (file, _):
            for block in _audible(self.name, file, self.weights, self.rate):
                part = block[max(0, self.begin - place) : max(0, self.end - place)]
                place += len(block)
                if len(part):
                    yield np.clip(part * np.float32(self.gain), -1e3, 1e3)
                if place >= self.end:
                    return
        raise CorpusError(f"{source_label(self.name)}: changed while it was being read")


def recording(name: str, rate: int) -> Recording:
    """Read a file once or twice, to choose its channels and to measure what can be heard of them.

    Args:
        name: a path, or "-" for standard input.
        rate: sample rate to resample to, in Hz.

    Raises:
        CorpusError: not a sound file, cut short, silent, or with samples that are not finite.
    """
    held = _read_pipe(name) if is_pipe(name) else None
    with _opened(name, held) as (file, repaired):
        notices = [f"{source_label(name)}: {repaired}"] if repaired else []
        weights = _downmix(file)
        energies = Energies(np.zeros(file.channels), np.zeros(1))
        measured = _measured(name, file, weights, rate, energies)
    single = _single_channel(weights, energies)
    if single is not None:
        weights = tuple(float(channel == single) for channel in range(len(weights)))
        notices.append(
            f"{source_label(name)}: its channels cancel each other; "
            f"only the loudest, number {single + 1}, is learnt"
        )
        with _opened(name, held) as (file, _):
            measured = _measured(name, file, weights, rate, None)
    return replace(measured, notices=tuple(notices), _held=held)


class Recordings:
    """The recordings of a corpus; iterate for one after the other.

    A file that was found in a directory and cannot be read is left out, unless there is no other.

    Args:
        sources: the files.
        rate: sample rate to resample to, in Hz.
        notices: gets what the user should know about the files.

    Raises:
        CorpusError: as in `recording`.
    """

    def __init__(self, sources: Sources, rate: int, notices: list[str]) -> None:
        self._sources, self._rate, self._notices = sources, rate, notices

    def __iter__(self) -> Iterator[Recording]:
        left_out: CorpusError | None = None
        count = 0
        for name in self._sources.files:
            try:
                found = recording(name, self._rate)
            except CorpusError as error:
                if name not in self._sources.found:
                    raise
                self._notices.append(f"left out {error}")
                left_out = left_out or error
                continue
            self._notices += found.notices
            count += 1
            yield found
        if left_out is not None and not count:
            raise left_out


class Energies(NamedTuple):
    """Sums of squares of what can be heard."""

    channels: NDArray[np.float64]  # (C,)
    mix: NDArray[np.float64]  # (1,)


def _downmix(file: Any) -> Weights:
    """The weights with which the channels of a file make mono: their sum is 1."""
    table = OGG_WEIGHTS if file.format == "OGG" else WEIGHTS
    weights = table.get(file.channels, (1,) * file.channels)
    return tuple(weight / sum(weights) for weight in weights)


def _single_channel(weights: Weights, energies: Energies) -> int | None:
    """The channel to learn instead of the mix, if the mix loses what the channels have."""
    unrelated = float(np.square(weights) @ energies.channels)
    is_lost = float(energies.mix[0]) < CANCELLED * unrelated or not unrelated
    if len(weights) < 2 or not is_lost or not energies.channels.any():
        return None
    heard = energies.channels * (np.array(weights) > 0)
    return int(np.argmax(heard if heard.any() else energies.channels))


def _measured(
    name: str, file: Any, weights: Weights, rate: int, energies: Energies | None
) -> Recording:
    """A recording with its level and the range that is not silence.

    Args:
        name: of the file.
        file: at its beginning.
        weights: of the channels.
        rate: as in `recording`.
        energies: get the energies of the channels and of the mix added; None: not needed.

    Raises:
        CorpusError: as in `recording`.
    """
    loudest: list[float] = []
    squares: list[float] = []
    count = 0
    rest = np.zeros(0, np.float32)
    for block in _audible(name, file, weights, rate, energies):
        count += len(block)
        rest = np.concatenate([rest, block])
        whole = len(rest) // CHUNK * CHUNK
        for start in range(0, whole, CHUNK):
            _add(rest[start : start + CHUNK], loudest, squares)
        rest = rest[whole:]
    if len(rest):
        _add(rest, loudest, squares)
    if not count:
        raise CorpusError(f"{source_label(name)}: has no samples")
    audible = np.flatnonzero(np.array(loudest) > max(FAINT, SILENCE * max(loudest)))
    if not len(audible) and not _has_other_channel(weights, energies, count):
        raise CorpusError(f"{source_label(name)}: is silent from end to end")
    if not len(audible):  # the channels cancel each other: the caller takes one of them
        return Recording(name, rate, weights, 0, 0, 0.0)
    first, last = int(audible[0]), int(audible[-1]) + 1
    begin, end = first * CHUNK, min(count, last * CHUNK)
    level = float(np.sqrt(np.sum(squares[first:last]) / (end - begin)))
    return Recording(name, rate, weights, begin, end, LEVEL / level)


def _has_other_channel(weights: Weights, energies: Energies | None, count: int) -> bool:
    """Whether a channel can be heard although the mix cannot."""
    if energies is None or _single_channel(weights, energies) is None:
        return False
    return float(energies.channels.max()) / count > FAINT**2


def _add(chunk: Samples, loudest: list[float], squares: list[float]) -> None:
    loudest.append(float(np.abs(chunk).max()))
    squares.append(float(np.square(chunk, dtype=np.float64).sum()))


def _audible(
    name: str, file: Any, weights: Weights, rate: int, energies: Energies | None = None
) -> Iterator[Samples]:
    """What can be heard of the mix of the channels, at `rate`, in blocks, (n,).

    Args:
        name: of the file.
        file: at its beginning.
        weights: of the channels.
        rate: samples per second.
        energies: as in `_measured`.

    Raises:
        CorpusError: a sample is not a finite number.
    """
    import scipy.signal  # slow to import, and not needed to sample

    sections = scipy.signal.butter(ORDER, LOWEST_HZ, "highpass", fs=file.samplerate, output="sos")
    resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
    state, count = None, 0
    needs_all = energies is not None and len(weights) > 1
    for block in file.blocks(READ_SAMPLES, dtype="float32", always_2d=True):
        bad = np.flatnonzero(~np.isfinite(block).all(1))
        if len(bad):
            raise CorpusError(
                f"{source_label(name)}: the sample at {(count + bad[0]) / file.samplerate:.3f} s "
                "is not a finite number; repair it, or leave the file out"
            )
        count += len(block)
        columns = block if needs_all else block @ np.array(weights, np.float32)[:, np.newaxis]
        if state is None:  # as if the first sample had been there for ever: no click from an offset
            state = scipy.signal.sosfilt_zi(sections)[:, :, np.newaxis] * columns[0]
        filtered, state = scipy.signal.sosfilt(sections, columns, axis=0, zi=state)
        mixed = filtered @ np.array(weights) if needs_all else filtered[:, 0]
        if energies is not None:
            energies.channels[:] += np.square(filtered).sum(0)
            energies.mix[:] += np.square(mixed).sum()
        yield resampler.resample_chunk(mixed.astype(np.float32))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _read_pipe(name: str) -> bytes:
    """The whole contents of a pipe or of standard input."""
    return standard_input().read() if name == STDIN else Path(name).read_bytes()


@contextmanager
def _opened(name: str, held: bytes | None) -> Iterator[tuple[Any, str]]:
    """Open a sound file for reading; `held`: its contents, if it was a pipe.

    Returns:
        The file, and what had to be repaired in it; empty: nothing.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        stream: Any = io.BytesIO(held) if held is not None else open(name, "rb")  # noqa: SIM115
        if patches := _repairs(stream):
            stream.close()
            stream = _Patched(name, patches) if held is None else _patched(held, patches)
    except OSError as error:
        raise CorpusError(f"{source_label(name)}: cannot be read ({error.strerror})") from None
    with stream:
        if not patches:
            _refuse_cut_short(stream, source_label(name))
        try:
            with soundfile.SoundFile(stream) as file:
                if not RATES[0] <= file.samplerate <= RATES[1]:
                    raise CorpusError(
                        f"{source_label(name)}: a sample rate of {file.samplerate:,} Hz cannot be "
                        f"right; from {RATES[0]:,} to {RATES[1]:,} Hz are supported"
                    )
                yield file, "its header says size 0; all that follows is read" * bool(patches)
        except soundfile.SoundFileError as error:
            raise CorpusError(
                f"{source_label(name)}: cannot be read as sound ({_reason(error)}); "
                f"{_remedy(name, stream)}"
            ) from None


class _Patched(io.FileIO):
    """A file for libsndfile in which some bytes seem to be others.

    Args:
        name: of the file.
        patches: offset -> bytes.
    """

    def __init__(self, name: str, patches: Mapping[int, bytes]) -> None:
        super().__init__(name, "rb")
        self._patches = patches

    def readinto(self, buffer: Any) -> int:
        """Read as much as fits into a buffer; return the number of bytes."""
        view = memoryview(buffer).cast("B")
        start = self.tell()
        count = super().readinto(view) or 0
        for offset, data in self._patches.items():
            for place, byte in enumerate(data, offset - start):
                if 0 <= place < count:
                    view[place] = byte
        return count


def _patched(data: bytes, patches: Mapping[int, bytes]) -> io.BytesIO:
    stream = io.BytesIO(data)
    for offset, part in patches.items():
        stream.seek(offset)
        stream.write(part)
    stream.seek(0)
    return stream


def _repairs(stream: BinaryIO) -> dict[int, bytes]:
    """What a WAV file needs whose header says size 0, because its recorder stopped before it could
    write the size: offset -> bytes; empty: nothing."""
    head = stream.read(MAX_HEADER)
    there = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if head[:4] not in (b"RIFF", b"RIFX") or head[8:12] != b"WAVE":
        return {}
    order: Literal["little", "big"] = "little" if head[:4] == b"RIFF" else "big"
    place = 12
    while place + 8 <= len(head):
        size = int.from_bytes(head[place + 4 : place + 8], order)
        if head[place : place + 4] == b"data":
            samples = there - place - 8
            if size or not 0 < samples < NEVER_WRITTEN:
                return {}
            return {4: (there - 8).to_bytes(4, order), place + 4: samples.to_bytes(4, order)}
        place += 8 + size + size % 2
    return {}


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
    if not there:
        raise CorpusError(f"{name}: is empty")
    if missing:
        remedy = f"to keep what is there: ffmpeg -i {shlex.quote(name)} repaired.wav"
        remedy = remedy if there > WAV_HEADER else "nothing of the sound is there"
        raise CorpusError(f"{name}: cut short: {missing}; {remedy}")


def _is_end(page: bytes) -> bool:
    """Whether an Ogg page (RFC 3533, section 6) is complete and the last of its stream."""
    if len(page) < 27 or not page[5] & OGG_LAST:
        return False
    sizes = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(sizes)


def _reason(error: Exception) -> str:
    """The message of libsndfile on one line, without the file name."""
    return str(error).rpartition(": ")[2].strip().rstrip(".") or "unknown format"


def _remedy(name: str, stream: BinaryIO) -> str:
    """What to do about a file that libsndfile cannot read; `stream`: its bytes."""
    stream.seek(0)
    head = stream.read(HEAD)
    if head and all(byte in TEXT_BYTES for byte in head):
        return "it looks like text, which is learnt without --codec"
    return f"convert it: ffmpeg -i {shlex.quote(name)} converted.wav"
