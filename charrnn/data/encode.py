"""Encodes the files of a corpus as an array of steps: what is held out last, documents shuffled."""

from __future__ import annotations

from collections.abc import Sequence
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
        ends = None
        if learnt.end is not None:
            ends = corpus.places(corpus.read(path), learnt.end)
        documents = None if ends is None else len(ends)
        if learner.val_fraction is not None:
            share, held = learner.val_fraction, learner.held_out
            return Encoded(path, count, learnt, reason, documents, share, held, notices)
        if ends is not None:
            corpus.rewrite(path, lambda steps: corpus.shuffled(steps, ends, seed))
            return Encoded(path, count, learnt, reason, documents, None, notices=notices)
        fraction = corpus.default_val_fraction(count) if fraction is None else fraction
        spans, held, more = _held_out(corpus.read(path), learner.ends, fraction, seed)
        if not spans:
            return Encoded(path, count, learnt, reason, None, None, notices=notices)
        kept = held_out.complement(spans, count)
        corpus.rewrite(path, lambda steps: corpus.rearranged(steps, kept + spans))
    fraction = sum(end - begin for begin, end in spans) / count
    return Encoded(path, count, learnt, reason, None, fraction, held, notices + more)


def _held_out(
    steps: corpus.Steps, ends: Sequence[int], fraction: float, seed: int
) -> tuple[list[held_out.Span], str, tuple[str, ...]]:
    """What to hold out of a corpus without documents.

    Args:
        steps: the corpus, (N,) or (N, F).
        ends: of its files; empty: there is one.
        fraction: to hold out.
        seed: chooses among short files.

    Returns:
        Spans; where they come from; and notices.  No spans: simply the end.
    """
    parts = [part for part in pairwise([0, *ends]) if part[0] < part[1]]
    if len(parts) > 1:
        spans = held_out.ends_or_wholes(parts, fraction, MIN_END, seed)
        has_wholes = any(span in parts for span in spans)
        return spans, "from the ends of the files" + ", or whole short ones" * has_wholes, ()
    held = corpus.held_out(len(steps), fraction)
    if not held_out.is_of_another_kind(steps, held):
        return [], "", ()
    notice = (
        "the end of the text is of another kind than the rest, so it alone would be a bad "
        f"judge: {held_out.STRETCHES} stretches spread over the text are held out instead"
    )
    spans = held_out.spread(len(steps), held)
    return spans, f"in {held_out.STRETCHES} stretches", (notice,)
