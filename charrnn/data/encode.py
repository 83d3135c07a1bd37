"""Encodes the files of a corpus as an array of steps: what is held out last, documents shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from threadpoolctl import threadpool_limits

from charrnn.config import Given, codec_settings, value
from charrnn.data import corpus
from charrnn.errors import CorpusError
from charrnn.media import held_out, medium_of
from charrnn.media.codec import Codec
from charrnn.media.sources import Sources

MIN_STEPS = 16  # a shorter corpus is surely a mistake
MIN_END = 64  # steps of the end of a file that is held out


@dataclass(frozen=True)
class Encoded:
    """A corpus as steps on disk."""

    path: Path
    steps: int  # N
    codec: Codec
    reason: str  # why this codec, if it was chosen automatically
    documents: int | None  # their number, if the corpus has any
    val_fraction: float | None  # the fraction held out, unless it is simply the end
    held_out: str = ""  # where that part comes from, if not from the end
    notices: tuple[str, ...] = ()


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
        learner.seed = seed = value(given, "seed")
        count = corpus.write(path, learner)
        if not count:
            raise CorpusError(f"{sources}: empty; there is nothing to learn")
        if learner.has_second_pass and count >= MIN_STEPS:
            corpus.rewrite(path, learner.second_pass)
            count = len(corpus.read(path))
        if count < MIN_STEPS:
            raise CorpusError(f"{sources}: too short: {count} of at least {MIN_STEPS} steps")
        learnt = learner.codec
        notices = learner.notices
        if learnt.end is not None:
            ends = corpus.places(corpus.read(path), learnt.end)
            corpus.rewrite(path, lambda steps: corpus.shuffled(steps, ends, seed))
            return Encoded(path, count, learnt, reason, len(ends), None, notices=notices)
        if learner.val_fraction is not None:
            held = learner.held_out
            return Encoded(path, count, learnt, reason, None, learner.val_fraction, held, notices)
        parts = list(pairwise([0, *learner.ends])) if learner.ends else [(0, count)]
        parts = [part for part in parts if part[0] < part[1]]
        fraction = corpus.default_val_fraction(count) if fraction is None else fraction
        spans, where = [], ""
        if len(parts) > 1:
            spans = held_out.ends_or_wholes(parts, fraction, MIN_END, seed)
            where = "from the ends of the files"
            if any(span in parts for span in spans):
                where += ", or whole short ones"
        elif held_out.is_of_another_kind(corpus.read(path), corpus.held_out(count, fraction)):
            spans = held_out.spread(count, corpus.held_out(count, fraction))
            where = f"in {held_out.STRETCHES} stretches"
            notices += (
                "the end of the text is of another kind than the rest, so it alone would be a bad "
                f"judge: {held_out.STRETCHES} stretches spread over the text are held out instead",
            )
        if not spans:
            return Encoded(path, count, learnt, reason, None, None, notices=notices)
        kept = held_out.complement(spans, count)
        corpus.rewrite(path, lambda steps: corpus.rearranged(steps, kept + spans))
    fraction = sum(end - begin for begin, end in spans) / count
    return Encoded(path, count, learnt, reason, None, fraction, where, notices)
