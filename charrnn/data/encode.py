"""Encodes the files of a corpus as an array of steps, with its documents in random order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from charrnn.config import Given, codec_settings, value
from charrnn.data import corpus
from charrnn.errors import CorpusError
from charrnn.media import medium_of
from charrnn.media.codec import Codec
from charrnn.media.sources import Sources

MIN_STEPS = 16  # a shorter corpus is surely a mistake


@dataclass(frozen=True)
class Encoded:
    """A corpus as steps on disk."""

    path: Path
    steps: int  # N
    codec: Codec
    reason: str  # why this codec, if it was chosen automatically
    documents: int | None  # their number, if the corpus has any
    val_fraction: float | None  # fraction to hold out, if the learner decides it


def encode(sources: Sources, codec: str, reason: str, given: Given, path: Path) -> Encoded:
    """Write a corpus as steps, documents in random order.

    Args:
        sources: the files.
        codec: name of the codec.
        reason: why this codec was chosen, for the plan.
        given: partial settings.
        path: where to write the array.

    Raises:
        CorpusError: the corpus cannot be read or is too short, or the disk is full.
        ConfigError: the codec cannot use the settings.
    """
    medium = medium_of(codec)
    fraction = given["data"].get("val_fraction")
    learner = medium.learner(codec, sources, codec_settings(given, medium), fraction)
    # After the learner's libraries are loaded, so that the limit applies to them.  One BLAS thread,
    # because several wait for each other on a busy machine, and round differently from one.
    with threadpool_limits(1, user_api="blas"):
        count = corpus.write(path, learner)
        if not count:
            raise CorpusError(f"{sources}: empty; there is nothing to learn")
        if learner.has_second_pass and count >= MIN_STEPS:
            corpus.rewrite(path, learner.second_pass)
            count = len(corpus.read(path))
        if count < MIN_STEPS:
            raise CorpusError(f"{sources}: too short: {count} of at least {MIN_STEPS} steps")
        learnt = learner.codec
        if learnt.end is None:
            return Encoded(path, count, learnt, reason, None, learner.val_fraction)
        ends, seed = corpus.places(corpus.read(path), learnt.end), value(given, "seed")
        corpus.rewrite(path, lambda steps: corpus.shuffled(steps, ends, seed))
    return Encoded(path, count, learnt, reason, len(ends), None)
