"""Looks into a model: everything that `charrnn insight` shows, as values."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charrnn.checkpoint import Checkpoint
from charrnn.data import corpus as corpora
from charrnn.data import stretches
from charrnn.data.stretches import Copies
from charrnn.errors import CorpusError, UsageError
from charrnn.export import card
from charrnn.insight import cells, maps, memory
from charrnn.insight.cells import Cells
from charrnn.insight.learning import Learning, learning
from charrnn.insight.memory import Gradients, Memory
from charrnn.insight.surprise import CostlyPart, KindLoss, by_kind, costly
from charrnn.insight.trace import Steps, Trace, trace
from charrnn.media.codec import Codec
from charrnn.media.steps import Discrete
from charrnn.media.traits import Kinds, Parts, Traits
from charrnn.model.cells import cell_of
from charrnn.model.shapes import shapes
from charrnn.run import corpus_of, run_of
from charrnn.sampling.generate import sequences
from charrnn.sampling.runtime import Runtime

# What can be shown.
SHOWN = (
    *("verdict", "surprise", "losses", "cells", "gates", "memory", "saliency", "map", "copies"),
    "learning",
)
# The names of what a model reads.
HELD_OUT, LEARNT, SAMPLED, GIVEN = "held-out part", "learnt part", "sample", "input"
MULTIPLICATIONS = 4e10  # that reading a text may take: a few seconds on one core
MOST, LEAST = 20_000, 400  # steps of a text that are read
ENOUGH = 2_000  # steps from which units and the curve of memory mean something
PIECES = 10  # of the held-out part, if it is long, and as many of what was learnt
KEPT_BYTES = 1 << 30  # of states, at most
SAMPLE = 3_000  # steps of the model's own sample
DOCUMENTS = 64  # of it that are drawn side by side
ALONE = 6_000  # the same, if there is no other text
SALIENT = 200  # steps before the last one that its saliency is computed for
COMPARED = 1 << 24  # steps of the corpus in which copies are looked for


@dataclass(frozen=True)
class Text:
    """A text that was read, and what the model did.

    Attributes:
        name: one of the names above.
        trace: of the model.
        traits: of its steps.
        joints: where a piece from another place of the corpus begins.
    """

    name: str
    trace: Trace
    traits: Traits
    joints: Sequence[int] = ()


@dataclass(frozen=True)
class Remembers:
    """The memory of one model.

    Attributes:
        name: of the model.
        memory: its loss against the length of context; None: the text is too short.
        gradients: against the lag; None: the head has no loss to differentiate.
        half_lives: for each layer the steps after which half of what a unit keeps is left: the
            median over the units, and the longest; empty: the cell has no gate for it.
    """

    name: str
    memory: Memory | None
    gradients: Gradients | None
    half_lives: Sequence[tuple[float, float]]


@dataclass(repr=False)
class Insight:
    """What was found.  What was not asked for, or does not apply, is None or empty.

    Attributes:
        checkpoint: the model.
        shown: what was asked for, some of SHOWN.
        cell: layer and unit, from 0, that was asked for.
        texts: what the model read, the most important one first.
        learnt: text that it was trained on.
        memories: of the model, and of the one it is compared with.
        cells: units that follow something.
        copies: of the sample, and of as much held-out text.
        saliency: of the last step of the first text, for each step before it, (N - 1,).
        symbols: a map of the symbols: their indices, and the points.
        units: a map of the units.
        learning: how the run went.
        notes: for the user.
    """

    checkpoint: Checkpoint
    shown: Collection[str]
    cell: tuple[int, int] | None = None
    texts: list[Text] = field(default_factory=list)
    learnt: Text | None = None
    memories: list[Remembers] = field(default_factory=list)
    cells: Cells | None = None
    copies: tuple[Copies, Copies] | None = None
    saliency: NDArray[np.float64] | None = None
    symbols: tuple[NDArray[np.int64], maps.Map] | None = None
    units: maps.Map | None = None
    learning: Learning | None = None
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        read = ", ".join(f"{text.name} ({len(text.trace.steps):,} steps)" for text in self.texts)
        return f"<Insight of {name_of(self.checkpoint)}: {read}>"

    @property
    def text(self) -> Text:
        """The text that most figures are about."""
        return self.texts[0]

    @property
    def studied(self) -> Text:
        """The text that units and memory are looked for in: that one, or if it is short what the
        model was trained on."""
        is_short = len(self.text.trace.steps) < ENOUGH
        return self.learnt if self.learnt is not None and is_short else self.text


def look(
    checkpoint: Checkpoint,
    runtime: Runtime,
    given: Steps | None = None,
    *,
    read: int = 1,
    against: tuple[Checkpoint, Runtime] | None = None,
    shown: Collection[str] = SHOWN,
    length: int | None = None,
    seed: int = 0,
    cell: tuple[int, int] | None = None,
) -> Insight:
    """Look into a model.

    Args:
        checkpoint: the model.
        runtime: its network.
        given: the steps to read, (N,) or (N, F); None: those that its run held out, and a sample.
        read: how many of those at the beginning are only read, not predicted.
        against: another model, whose memory is shown beside it.
        shown: what to look for, some of SHOWN.
        length: steps of the text to read, at most; None: as many as take a few seconds.
        seed: of the sample.
        cell: layer and unit, from 0, whose states and gates are kept.

    Raises:
        UsageError: there is no such unit or nothing to read, or the other model cannot read it.
        CorpusError: the text is too short.
        SamplingError: the model's output is not finite.
    """
    insight = Insight(checkpoint, shown, cell=cell)
    model = checkpoint.config.model
    if cell is not None and not (0 <= cell[0] < model.layers and 0 <= cell[1] < model.hidden):
        raise UsageError(
            f"--cell {cell[0] + 1}:{cell[1]}: layers are 1 to {model.layers}, units 0 to "
            f"{model.hidden - 1}"
        )
    _refuse_much(checkpoint, length)
    # Several BLAS threads wait for each other on a busy machine.
    with threadpool_limits(1, user_api="blas"), np.errstate(all="ignore"):
        corpus = None if given is not None else _corpus(checkpoint)
        _read(insight, runtime, given, corpus, read, length, seed)
        _look_at_states(insight, runtime)
        _look_at_memory(insight, checkpoint, runtime)
        if against is not None:
            other, its_runtime = against
            _look_at_memory(insight, other, its_runtime)
        if corpus is not None and not {"copies", "verdict"}.isdisjoint(shown):
            _look_for_copies(insight, corpus)
    if "learning" in shown or "verdict" in shown:
        run = run_of(checkpoint)
        lines = [] if run is None else run.read_metrics()
        insight.learning = learning(lines) if lines else None
    return insight


def _refuse_much(checkpoint: Checkpoint, length: int | None) -> None:
    """Raise if the states of so many steps need much memory.

    Raises:
        UsageError: says how many steps can be read.
    """
    model = checkpoint.config.model
    size = model.layers * model.hidden * cell_of(model.cell).state_parts * 4
    if length is not None and length > (most := KEPT_BYTES // size):
        raise UsageError(
            f"--length {length:,}: the states of so many steps need {length * size / 1e9:,.1f} GB; "
            f"give at most {most:,}"
        )


def _read(
    insight: Insight,
    runtime: Runtime,
    given: Steps | None,
    corpus: Steps | None,
    read: int,
    length: int | None,
    seed: int,
) -> None:
    """Read the texts."""
    checkpoint, codec = insight.checkpoint, insight.checkpoint.codec
    most = affordable(checkpoint) if length is None else length
    joints: Sequence[int] = ()
    wants = not {"cells", "map", "verdict"}.isdisjoint(insight.shown)
    needs_states = wants or insight.cell is not None
    if given is not None:
        named = [(GIVEN, given[: most + read])]
    elif corpus is not None:
        train, held = corpora.split(corpus, checkpoint.config.data.val_fraction)
        if len(held) > most:
            held, joints = _pieces(held, most, PIECES)
        is_short = len(held) < ENOUGH
        size = min(len(train), most if is_short else len(held))
        named = [(HELD_OUT, np.asarray(held))]
        insight.learnt = _text(
            LEARNT,
            runtime,
            codec,
            _pieces(train, size, 1 if is_short else PIECES)[0],
            states=needs_states and is_short,
        )
    else:
        insight.notes.append(
            f"{checkpoint.path} has no corpus beside it, so it reads a sample of its own; "
            "name a text to read something else"
        )
        named = []
    if given is None:
        count = SAMPLE if named else ALONE
        named.append((SAMPLED, _sample(insight, runtime, min(most, count), seed)))
    for name, steps in named:
        if len(steps) < 2:
            raise CorpusError(f"{name}: {len(steps)} {codec.unit}s; at least 2 are needed")
        insight.texts.append(
            _text(
                name,
                runtime,
                codec,
                steps,
                states=needs_states and not insight.texts,
                cell=insight.cell,
                read=read,
                joints=joints if name == HELD_OUT else (),
            )
        )


def _pieces(steps: Steps, size: int, count: int) -> tuple[Steps, Sequence[int]]:
    """So many steps, in pieces that are spread over all of them, and where each but the first
    begins: one place in a large corpus says little about the others.  A single piece is from the
    middle, since the beginning of a corpus is often of another kind."""
    lengths = np.diff(np.linspace(0, size, count + 1).astype(int))
    begins = np.linspace(0, len(steps) - lengths.max(), count + 2).astype(int)[1:-1]
    pieces = [np.asarray(steps[a : a + n]) for a, n in zip(begins, lengths, strict=True)]
    return np.concatenate(pieces), np.cumsum(lengths)[:-1].tolist()


def _text(
    name: str,
    runtime: Runtime,
    codec: Codec,
    steps: Steps,
    *,
    states: bool = False,
    cell: tuple[int, int] | None = None,
    read: int = 1,
    joints: Sequence[int] = (),
) -> Text:
    traced = trace(runtime, steps, states=states, cell=cell, read=read)
    return Text(name, traced, codec.traits(steps), joints)


def costly_parts(text: Text, parts: Parts) -> list[CostlyPart]:
    """The parts that cost most, of those that lie in one piece."""
    whole = [
        index
        for index, (begin, end) in enumerate(parts.spans)
        if not any(begin <= joint < end for joint in text.joints)
    ]
    spans, texts = [parts.spans[k] for k in whole], [parts.texts[k] for k in whole]
    return costly(text.trace.nats, Parts(parts.name, spans, texts))


def kind_losses(text: Text, kinds: Kinds) -> list[KindLoss]:
    """The loss of each kind among the steps that were predicted."""
    read = text.trace.read
    return by_kind(text.trace.nats[read:], replace(kinds, of=kinds.of[read:]))


def affordable(checkpoint: Checkpoint) -> int:
    """How many steps this network reads in a few seconds."""
    sizes = shapes(checkpoint.config.model, checkpoint.codec.step.size)
    cost = sum(a * b for a, b in (s for s in sizes.values() if len(s) == 2))
    return int(min(MOST, max(LEAST, MULTIPLICATIONS / max(1, cost))))


def _corpus(checkpoint: Checkpoint) -> Steps | None:
    try:
        return corpus_of(checkpoint)
    except UsageError:
        return None


def _sample(insight: Insight, runtime: Runtime, count: int, seed: int) -> Steps:
    """Steps that the model samples without a prime, with the ends of documents, (N,) or (N, F)."""
    config, codec = insight.checkpoint.config, insight.checkpoint.codec
    own, at_once = config.codec_settings, 1 if codec.end is None else DOCUMENTS
    drawn = partial(sequences, runtime, codec, config=config.sampling, settings=own, seed=seed)
    batches = (drawn(num=at_once, first=first) for first in itertools.count(step=at_once))
    steps = chain.from_iterable(chain.from_iterable(batches))
    return np.array([each.step for each in islice(steps, count)])


def _look_at_states(insight: Insight, runtime: Runtime) -> None:
    """Units that follow something, and maps."""
    text, codec = insight.studied, insight.checkpoint.codec
    if not {"cells", "verdict"}.isdisjoint(insight.shown) and len(text.trace.steps) >= ENOUGH:
        insight.cells = cells.find(text.trace, text.traits.numbers)
    if "map" in insight.shown:
        insight.units = maps.of_units(text.trace)
        if isinstance(codec.step, Discrete):
            insight.symbols = maps.of_symbols(runtime, text.trace)


def _look_at_memory(insight: Insight, checkpoint: Checkpoint, runtime: Runtime) -> None:
    """The memory of a model on the first text."""
    if {"cells", "gates", "memory", "saliency", "verdict"}.isdisjoint(insight.shown):
        return
    is_first = checkpoint is insight.checkpoint
    own = insight.studied.trace
    if not is_first:
        own = trace(runtime, _translated(insight, checkpoint, own.steps))
    has_curve = "memory" in insight.shown or "verdict" in insight.shown
    found = memory.memory(runtime, own) if has_curve and len(own.steps) >= ENOUGH else None
    slopes = None
    if not {"memory", "saliency"}.isdisjoint(insight.shown):
        network = checkpoint.network()
        if "memory" in insight.shown and len(own.steps) >= LEAST:
            slopes = memory.gradients(network, own.steps)
        if "saliency" in insight.shown and is_first:
            insight.saliency = memory.saliency(network, insight.text.trace.steps[-SALIENT - 1 :])
    insight.memories.append(
        Remembers(name_of(checkpoint), found, slopes, _half_lives(runtime, own))
    )


def _half_lives(runtime: Runtime, own: Trace) -> list[tuple[float, float]]:
    """For each layer, the median and longest time in which what a unit keeps is halved, in steps,
    from the median of the gate that keeps it over time."""
    gate = runtime.layers[0].cell.numpy_step.keeps
    if not gate:
        return []
    # The median: a unit that counts keeps everything, except where it begins anew.
    usual = np.median(own.gates[gate], 0)
    halves = np.log(0.5) / np.log(np.clip(usual, 1e-6, 1 - 1e-6))
    return [(float(np.median(layer)), float(layer.max())) for layer in halves]


def name_of(checkpoint: Checkpoint) -> str:
    """The cell and size of a model, and the name of its run or file."""
    model = checkpoint.config.model
    shape = f"{cell_of(model.cell).label} {model.layers}x{model.hidden}"
    return f"{shape}, {card.name_of(checkpoint)}"


def _translated(insight: Insight, other: Checkpoint, steps: Steps) -> Steps:
    """The steps of the first text in the vocabulary of another model; those that it lacks are left
    out.

    Raises:
        UsageError: its steps are of another kind.
    """
    own, its = insight.checkpoint.codec, other.codec
    if own.name != its.name or own.step.kind != its.step.kind:
        raise UsageError(
            f"--against {other.path}: its steps are {its.unit}s, those of "
            f"{insight.checkpoint.path} {own.unit}s; compare models of the same kind"
        )
    if own.symbols is None or its.symbols is None:
        if not own.encodes_like(its):
            raise UsageError(f"--against {other.path}: was trained on another recording")
        return steps
    place = {symbol: index for index, symbol in enumerate(its.symbols)}
    order = np.array([place.get(symbol, -1) for symbol in own.symbols])
    found = order[steps.astype(np.int64)]
    if lacking := int((found < 0).sum()):
        insight.notes.append(
            f"{other.path}: left out {lacking:,} {own.unit}s that it does not know"
        )
    if (found >= 0).sum() < 2:
        raise UsageError(f"--against {other.path}: knows none of these {own.unit}s")
    return found[found >= 0]


def _look_for_copies(insight: Insight, corpus: Steps) -> None:
    """The longest stretches that sample and held-out text share with the corpus."""
    checkpoint = insight.checkpoint
    if not isinstance(checkpoint.codec.step, Discrete):
        return
    named = {text.name: text.trace.steps for text in insight.texts}
    train, _ = corpora.split(corpus, checkpoint.config.data.val_fraction)
    train = train[:COMPARED]
    sample = named[SAMPLED]
    held = named[HELD_OUT][: len(sample)]
    insight.copies = stretches.copies(sample, train), stretches.copies(held, train)
