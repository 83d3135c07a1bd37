"""A verdict on a model in a few sentences; all advice follows from a figure that is stated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.insight.report import Insight, kind_losses
from charrnn.media.codec import first_of
from charrnn.media.steps import Discrete

LARGE_GAP, SMALL_GAP = 0.2, 0.03  # of the loss on held-out text
MUCH_DROPOUT = 0.4
LEAST_PREDICTED = 1_000  # steps that a verdict on the fit needs
LEAST_SHARE = 0.01  # of the steps: rarer kinds are not named
ROSE = 0.01  # nats above the best evaluation: the loss rose again
STILL_FALLS = 0.02  # of the loss: what the last fifth of a run gains; annealing alone gains 0.01
LAST_PART = 0.8  # of the run
COPIED = 1.5  # times as long as what held-out text shares with the corpus
LEAST_COPY = 20  # steps of a copy that is worth advice
NAMED = 4  # traits


@dataclass(frozen=True)
class Finding:
    """One line of the verdict.

    Attributes:
        title: what it is about, in a word.
        text: what was found, with the figures.
        advice: what to try, with flags; may be empty.
    """

    title: str
    text: str
    advice: str = ""


def verdict(insight: Insight) -> list[Finding]:
    """What the figures say, the most important first."""
    kinds = (_fit, _gap, _surprise, _memory, _units, _copies)
    return [finding for kind in kinds for finding in kind(insight)]


def _fit(insight: Insight) -> Iterator[Finding]:
    """Whether the model fits, overfits or underfits."""
    codec, model = insight.checkpoint.codec, insight.checkpoint.config.model
    text, learnt = insight.text.trace, insight.learnt
    held = text.nats_per_step
    said = f"{held:.4f} (± {text.error:.3f}) nats per {codec.unit} on {text.predicted:,} of the "
    said += insight.text.name
    if learnt is None:
        yield Finding("loss", said)
        return
    gap = held - learnt.trace.nats_per_step
    error = math.hypot(text.error, learnt.trace.error)
    said += f", {abs(gap):.4f} {'more' if gap > 0 else 'less'} than on what it has learnt"
    if not isinstance(codec.step, Discrete):
        yield Finding("loss", f"{said}; free runs matter more: see charrnn evaluate")
        return
    if min(text.predicted, learnt.trace.predicted) < LEAST_PREDICTED:
        yield Finding("loss", f"{said}; that is too little to judge by")
        return
    if gap < -2 * error:
        yield Finding("loss", f"{said}: the {insight.text.name} is the easier one")
        return
    advice = "more text"
    if model.dropout < MUCH_DROPOUT:
        advice += f", or --dropout {model.dropout + 0.1:.2g}"
    course = _course(insight)
    if course is not None and course.rose > ROSE and course.best_at < LAST_PART:
        yield Finding(
            "overfits",
            f"{said}; the validation loss was lowest after {course.best_at:.0%} of the run and "
            f"rose by {course.rose:.3f}",
            advice,
        )
    elif gap > max(LARGE_GAP * held, 2 * error):
        yield Finding("by heart", f"{said}: {gap / held:.0%} of the loss", advice)
    elif course is not None and course.fell > STILL_FALLS * held:
        yield Finding(
            "still learns",
            f"{said}; the validation loss fell by {course.fell:.3f} in the last "
            f"{1 - LAST_PART:.0%} of the run",
            f"a longer run, e.g. --minutes {max(1, round(2 * course.seconds / 60))}",
        )
    elif gap < SMALL_GAP * held:
        yield Finding("underfits", said, f"--hidden {2 * model.hidden}, or a longer run")
    else:
        yield Finding("fits", said)


@dataclass(frozen=True)
class _Course:
    """How the validation loss went: where it was lowest, from 0 to 1; how much it rose after that,
    and fell in the last part of the run; and how long the run took."""

    best_at: float
    rose: float
    fell: float
    seconds: float


def _course(insight: Insight) -> _Course | None:
    """None: the run has no validation losses."""
    curve = insight.learning and insight.learning.curve("val_nats_per_step")
    if insight.learning is None or not curve or curve.updates[-1] <= 0:
        return None
    end, lowest = curve.updates[-1], min(curve.values)
    pairs = list(zip(curve.updates, curve.values, strict=True))
    before = min((value for update, value in pairs if update <= LAST_PART * end), default=lowest)
    best_at = curve.updates[list(curve.values).index(lowest)] / end
    return _Course(best_at, curve.values[-1] - lowest, before - lowest, insight.learning.seconds)


def _gap(insight: Insight) -> Iterator[Finding]:
    """Where the difference between learnt and held-out text sits."""
    if insight.learnt is None:
        return
    gap = insight.text.trace.nats_per_step - insight.learnt.trace.nats_per_step
    if gap < SMALL_GAP * abs(insight.text.trace.nats_per_step):
        return
    rows = []
    own, other = insight.text, insight.learnt
    for kinds in own.traits.kinds[-1:]:
        # The kinds that a short text has may be others.
        same = [each for each in other.traits.kinds if each.name == kinds.name]
        known = {row.kind: row for each in same for row in kind_losses(other, each)}
        for held in kind_losses(own, kinds):
            if held.share > LEAST_SHARE and held.kind in known and known[held.kind].share:
                rows.append((held.nats - known[held.kind].nats, held))
    if len(rows) < 2:
        return
    most = max(rows, key=lambda row: row[0] * row[1].share)
    least = min(rows, key=lambda row: row[0])
    yield Finding(
        "where",
        f"the difference is {most[0]:.3f} nats at: {most[1].kind} ({most[1].share:.0%} of the "
        f"{insight.checkpoint.codec.unit}s); {least[0]:.3f} at: {least[1].kind}",
    )


def _surprise(insight: Insight) -> Iterator[Finding]:
    """Which kind of step costs more than its share."""
    text, unit = insight.text, insight.checkpoint.codec.unit
    for kinds in text.traits.kinds[-1:]:
        rows = [row for row in kind_losses(text, kinds) if row.share > LEAST_SHARE]
        if len(rows) > 1:
            most = max(rows, key=lambda row: row.part - row.share)
            yield Finding(
                "surprise",
                f"{most.kind}: {most.share:.0%} of the {unit}s, {most.part:.0%} of the loss",
            )


def _memory(insight: Insight) -> Iterator[Finding]:
    """How much context is used, beside the length of a segment."""
    own = insight.memories[0].memory if insight.memories else None
    if own is None:
        return
    config, unit = insight.checkpoint.config, insight.checkpoint.codec.unit
    length = config.data.seq_length
    more = duration_of(insight, own.used)
    where = "" if insight.studied is insight.text else f" (in the {insight.studied.name})"
    worth = f"still worth {own.rest:.2g}" if own.rest else f"worth less than {own.least:g}"
    text = (
        f"context beyond {own.used} {unit}s{more} is {worth} nats per {unit}{where}; segments are "
        f"{length} long"
    )
    advice = ""
    if own.used < 16 and config.model.cell == "rnn":
        advice = "--cell lstm, which remembers for longer"
    elif own.used > length:
        advice = f"--seq-length {2 * length}"
    yield Finding("memory", text, advice)


def duration_of(insight: Insight, steps: float) -> str:
    """How long so many steps last, in the unit of the medium, e.g. " (2.1 s)"; may be empty."""
    traits = insight.studied.traits
    if traits.time is None or len(traits.time) < 2:
        return ""
    per_step = float(traits.time[-1] - traits.time[0]) / (len(traits.time) - 1)
    return f" ({steps * per_step:.2g} {traits.time_unit})"


def _units(insight: Insight) -> Iterator[Finding]:
    """Units that follow something."""
    found = insight.cells
    if found is None:
        return
    if not found.sought:
        yield Finding("units", "this corpus has nothing nameable that a unit could follow")
        return
    if not found.found:
        yield Finding(
            "units",
            f"no unit follows any of {len(found.sought)} things that were looked for beyond what "
            f"the last two {insight.checkpoint.codec.unit}s say",
        )
        return
    # Of several things that one unit follows, the one that it follows best.
    best = {(cell.layer, cell.unit): cell for cell in reversed(found.found)}
    order = sorted(best.values(), key=lambda cell: -cell.beyond)
    named = [f"{cell.follows} {cell.beyond:.2f}" for cell in order]
    yield Finding(
        "units",
        f"follow {first_of(named, NAMED)}: correlations beyond what the last two "
        f"{insight.checkpoint.codec.unit}s say",
    )


def _copies(insight: Insight) -> Iterator[Finding]:
    """The longest copies."""
    if insight.copies is None:
        return
    unit, (sample, held) = insight.checkpoint.codec.unit, insight.copies
    text = (
        f"the longest stretch of the sample that stands in the corpus: {sample.length} {unit}s; of "
        f"as much of the held-out part: {held.length}"
    )
    is_long = sample.length > max(LEAST_COPY, COPIED * held.length)
    yield Finding("copies", text, f"sample --no-copy {held.length + 1}" if is_long else "")
