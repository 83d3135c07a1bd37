"""The part of `charrnn sample` that writes sound."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charrnn.checkpoint import Checkpoint
from charrnn.cli.options import refuse_no_png
from charrnn.cli.terminal import note
from charrnn.codec import audio
from charrnn.codec.sources import find
from charrnn.codec.spectrogram import SpectrogramCodec
from charrnn.config import SamplingConfig
from charrnn.errors import SamplingError, UsageError
from charrnn.files import replacing
from charrnn.sampling.frames import frames
from charrnn.sampling.listening import bands, trouble
from charrnn.sampling.runtime import Runtime

LENGTH_S = 10.0  # where nothing is asked for
BITS = 16  # of a sample of sound
AT_ONCE = 16  # frames drawn before they are made into sound
LONGEST_S = 24 * 3600.0


class Writer(Protocol):
    """Where sound goes."""

    def write(self, sound: NDArray[np.float32]) -> None:
        """Add samples, (n,)."""

    def close(self) -> None:
        """Nothing more will come."""


@dataclass(frozen=True)
class Wish:
    """What was asked for, as the flags gave it."""

    length_s: float | None
    num: int
    prime: str  # a recording, "-", or empty
    include_prime: bool
    config: SamplingConfig
    is_tempered: bool  # whether a temperature was typed
    seed: int
    out: Path | None
    bits: int | None
    picture: Path | None
    json_lines: bool
    quiet: bool


def write_samples(loaded: Checkpoint, codec: SpectrogramCodec, wish: Wish) -> None:
    """Draw samples and write each as it is made.

    Raises:
        UsageError: flags that contradict each other.
        SamplingError: a file that cannot be written, a length that is none.
        CorpusError: a prime that cannot be read.
    """
    seconds = LENGTH_S if wish.length_s is None else wish.length_s
    if not 0 <= seconds <= LONGEST_S:
        raise SamplingError(f"--length {seconds:g}: from 0 to {LONGEST_S:g} seconds can be made")
    _refuse_idle(loaded, wish, seconds)
    paths = _paths(loaded, wish)
    threadpool_limits(1, user_api="blas")  # until `frames` has measured
    runtime = Runtime.of(loaded)
    prime = _prime(codec, wish.prime)
    begin = len(prime) if wish.include_prime else 0
    length = begin * codec.stft.hop + round(seconds * codec.rate)
    steps = -(-length // codec.stft.hop)
    panels: list[tuple[str, NDArray[np.float32], int]] = []
    if wish.picture is not None and len(prime):
        panels.append(("prime", codec.magnitudes(prime), codec.rate))
    for index in range(wish.num):
        path = paths[index] if paths else None
        drawn = frames(
            runtime,
            codec.arrays["starts"],
            prime=prime,
            config=wish.config,
            seed=wish.seed,
            index=index,
        )
        whole = chain(prime[:begin], drawn)
        decoder = codec.decoder(wish.seed, wish.config.griffin_lim)
        drawn_bands: list[NDArray[np.float64]] = []
        drawn_frames: list[NDArray[np.float32]] = []  # where a picture of them is wanted
        left = length
        with _writer(path, codec.rate, length, wish.bits or BITS) as writer:
            for block in _blocks(whole, steps):
                magnitudes = codec.magnitudes(block)
                drawn_bands.append(bands(magnitudes / codec.stft.full_scale, codec.rate))
                if wish.picture is not None:
                    drawn_frames.append(magnitudes)
                sound = decoder.push(block)
                writer.write(sound)
                left -= len(sound)
            writer.write(decoder.flush()[:left])
        complaint = trouble(np.concatenate(drawn_bands), codec.steps_per_s) if steps else ""
        name = str(path) if path else "standard output"
        if complaint:
            note(f"{name}: {complaint}; another --seed or --temperature may go on better")
        if drawn_frames:
            panels.append((Path(name).name, np.concatenate(drawn_frames), codec.rate))
        if wish.json_lines:
            values = {
                "index": index,
                "seed": wish.seed,
                "path": name,
                "steps": steps,
                "seconds": length / codec.rate,
                "trouble": complaint or None,
            }
            sys.stdout.write(json.dumps(values) + "\n")
            sys.stdout.flush()
        elif path is not None:
            note(f"{path}: {length / codec.rate:.1f} s", wish.quiet)
    if panels and wish.picture is not None:
        from charrnn.codec.picture import draw

        try:
            draw(wish.picture, panels)
        except OSError as error:
            raise SamplingError(f"{wish.picture}: cannot be written ({error.strerror})") from None


def _refuse_idle(loaded: Checkpoint, wish: Wish, seconds: float) -> None:
    """Refuse what would have no effect.

    Raises:
        UsageError: names it.
    """
    if wish.include_prime and not wish.prime:
        raise UsageError("--include-prime has no effect without --prime")
    if wish.bits is not None and wish.out is not None and wish.out.suffix.lower() == ".ogg":
        raise UsageError("--bits has no effect on .ogg, which has none")
    if wish.is_tempered and loaded.config.model.head == "mse":
        raise UsageError("--temperature has no effect: this model has no chance in it")
    refuse_no_png(wish.picture)
    if wish.picture is not None and not (seconds or wish.prime):
        raise UsageError("--picture of nothing: give a --length")


def _paths(loaded: Checkpoint, wish: Wish) -> list[Path]:
    """A file for each sample; none where the sound goes to standard output."""
    out = wish.out
    if out is None and (sys.stdout.isatty() or wish.json_lines or wish.num > 1):
        out = Path(f"{loaded.path.resolve().parent.name}-{wish.seed}.wav")
    if out is None or str(out) == "-":
        if sys.stdout.isatty():
            raise UsageError("a terminal cannot play; give -o FILE.wav, or pipe it to a player")
        if wish.json_lines:
            raise UsageError("--json and the sound cannot both go to standard output: give -o FILE")
        if wish.num > 1:
            raise UsageError("a stream holds one sample: give -o FILE with --num")
        return []
    if out.suffix.lower() not in audio.FORMATS:
        raise UsageError(
            f"--out {out}: sound is written as {', '.join(audio.FORMATS)}; "
            "end the name in one of them"
        )
    if wish.num == 1:
        return [out]
    return [out.with_stem(f"{out.stem}-{number}") for number in range(1, wish.num + 1)]


def _prime(codec: SpectrogramCodec, name: str) -> NDArray[np.float32]:
    """The features of a recording to go on after, (N, F)."""
    nothing = np.zeros((0, codec.step.size), np.float32)
    return np.concatenate([nothing, *codec.encode(find([name], "audio"))]) if name else nothing


def _blocks(whole: Iterator[Any], steps: int) -> Iterator[NDArray[np.float32]]:
    """So many frames, in blocks, (n, F)."""
    wanted = islice(whole, steps)
    while block := list(islice(wanted, AT_ONCE)):
        yield np.stack(block)


@contextmanager
def _writer(path: Path | None, rate: int, length: int, bits: int) -> Iterator[Writer]:
    """A file that appears when it is whole, or standard output."""
    if path is None:
        stream = audio.WaveStream(sys.stdout.buffer, rate, length, bits)
        yield stream
        stream.close()
        return
    try:
        with (
            replacing(path) as temporary,
            open(temporary, "wb+") as binary,
            audio.SoundFile(binary, path, rate, bits, length) as file,
        ):
            yield file
    except OSError as error:
        raise SamplingError(f"{path}: cannot be written ({error.strerror})") from None
