"""Encodes the files of a corpus as an array of steps: what is held out last, documents shuffled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from threadpoolctl import threadpool_limits

from charrnn.config import Given, codec_settings, value
from charrnn.data import corpus, parts
from charrnn.data.joined import Joined
from charrnn.data.parts import Part, Told
from charrnn.errors import CharrnnError, CorpusError
from charrnn.media import held_out, medium_of
from charrnn.media.codec import Codec
from charrnn.media.medium import Learner
from charrnn.media.sources import Sources

MIN_STEPS = 16  # a shorter corpus is surely a mistake
KEPT = "what is encoded already is kept, and the same command goes on from there"
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


def encode(
    sources: Sources,
    codec: str,
    reason: str,
    given: Given,
    path: Path,
    *,
    workers: int | None = 1,
    keep: bool = False,
    told: Told = lambda done, total: None,
) -> Encoded:
    """Write a corpus as steps, documents in random order.

    Args:
        sources: the files.
        codec: name of the codec.
        reason: why this codec was chosen, for the plan.
        given: partial settings.
        path: where to write the array.
        workers: the processes that read text in several files; None: chosen by its size.
        keep: encode text in several files in parts, and leave those that are finished for the next
            call if this one fails; the error says so.
        told: is told the progress, if there are parts.

    Raises:
        CorpusError: the corpus cannot be read or is too short, or the disk is full.
        ConfigError: the codec cannot use the settings.
    """
    medium = medium_of(codec)
    fraction, settings = given["data"].get("val_fraction"), codec_settings(given, medium)
    learner_of = partial(medium.learner, codec, settings=settings, val_fraction=fraction)
    learner = learner_of(sources)
    learner.seed = value(given, "seed")
    workers = parts.workers_for(sources) if workers is None else workers
    division: list[Part] = []
    if learner.can_join and (workers > 1 or keep):
        division = parts.divided(learner_of, [codec, asdict(settings)], sources, path)
    # After the learner's libraries are loaded, so that the limit applies to them.  One BLAS thread,
    # because several wait for each other on a busy machine, and round differently from one.
    with threadpool_limits(1, user_api="blas"):
        try:
            if division:
                steps = parts.joined(learner, division, workers, told)
            else:
                steps = _read_as_one(learner, path)
            if (count := len(steps)) < MIN_STEPS:
                keep = keep and not division  # parts of this would be of no use
                raise CorpusError(f"{sources}: {_too_short(count)}")
            encoded = _arranged(
                learner,
                steps,
                path,
                is_there=not division,
                reason=reason,
                fraction=fraction,
            )
        except BaseException as error:
            if not keep:
                parts.remove(path)
            elif isinstance(error, CharrnnError) and any(part.is_encoded() for part in division):
                raise type(error)(f"{error}; {KEPT}") from None
            raise
    parts.remove(path)
    return encoded


def _too_short(count: int) -> str:
    """What is wrong with a corpus of so few steps."""
    if not count:
        return "empty; there is nothing to learn"
    return f"too short: {count} of at least {MIN_STEPS} steps"


def _read_as_one(learner: Learner, path: Path) -> Joined:
    """Encode the whole corpus in this process; the array is at `path`."""
    count = corpus.write(path, learner)
    if learner.has_second_pass and count >= MIN_STEPS:
        corpus.rewrite(path, learner.second_pass)
    return Joined([(path, None)])


def _arranged(
    learner: Learner,
    steps: Joined,
    path: Path,
    *,
    is_there: bool,
    reason: str,
    fraction: float | None,
) -> Encoded:
    """Write the steps to `path` in their final order: documents shuffled, what is held out last.

    Args:
        learner: has read the corpus.
        steps: the corpus.
        path: where to write the array.
        is_there: whether `path` is already what `steps` reads.
        reason: as in `encode`.
        fraction: to hold out, if given.
    """
    count = len(steps)
    codec, seed, notices = learner.codec, learner.seed, learner.notices
    ends = None if codec.end is None else corpus.places(steps, codec.end)
    documents = None if ends is None else len(ends)
    share, held = learner.val_fraction, learner.held_out
    order = [(0, count)]
    if share is None and ends is None:
        fraction = corpus.default_val_fraction(count) if fraction is None else fraction
        spans, held, more = _held_out(steps, learner, fraction)
        notices += more
        if spans:
            order = [*held_out.complement(spans, count), *spans]
            share = sum(end - begin for begin, end in spans) / count
    if not is_there:
        corpus.write(path, corpus.rearranged(steps, order))
    elif len(order) > 1:
        corpus.rewrite(path, lambda _: corpus.rearranged(steps, order))
    if share is None and ends is not None:
        held = ""
        corpus.rewrite(path, lambda steps: corpus.shuffled(steps, ends, seed))
    return Encoded(path, count, codec, reason, documents, share, held, notices)


def _held_out(
    steps: Joined, learner: Learner, fraction: float
) -> tuple[list[held_out.Span], str, tuple[str, ...]]:
    """What to hold out of a corpus without documents.

    Args:
        steps: the corpus, (N,) or (N, F).
        learner: has read it.
        fraction: to hold out.

    Returns:
        Spans; where they come from; and notices.  No spans: simply the end.
    """
    held = corpus.held_out(len(steps), fraction)
    stretches = f"in {held_out.STRETCHES} stretches"
    if learner.spreads:
        return held_out.spread(len(steps), held), stretches, ()
    parts = [part for part in pairwise([0, *learner.ends]) if part[0] < part[1]]
    if len(parts) > 1:
        spans = held_out.ends_or_wholes(parts, fraction, MIN_END, learner.seed)
        has_wholes = not set(parts).isdisjoint(spans)
        return spans, "from the ends of the files" + ", or whole short ones" * has_wholes, ()
    if not held_out.is_of_another_kind(steps, held):
        return [], "", ()
    notice = (
        "the end of the text is of another kind than the rest, so it alone would be a bad "
        f"judge: {held_out.STRETCHES} stretches spread over the text are held out instead"
    )
    spans = held_out.spread(len(steps), held)
    return spans, stretches, (notice,)
