"""Beam search: finds the most likely continuations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.data.stretches import Following
from charrnn.errors import SamplingError, UsageError
from charrnn.media.codec import ENDLESS, Codec, Prime
from charrnn.media.product import Drawn, Sample
from charrnn.sampling import filters
from charrnn.sampling.generate import TUNE_THREADS_FROM, Model, begins_as_corpus, generator_of
from charrnn.sampling.history import History
from charrnn.settings import SamplingConfig


@dataclass(frozen=True)
class Hypothesis:
    """A continuation and its probability."""

    drawn: tuple[Drawn, ...]
    log_p: float  # after repetition penalty and bans
    ended: bool  # by the end of a document or a stop text

    def score(self, length_penalty: float) -> float:
        """Log probability divided by length to the power of the penalty (Wu et al. 2016, without
        their constant): 0 favours short continuations, 1 gives the mean per step."""
        return float(self.log_p / max(1, len(self.drawn)) ** length_penalty)


@np.errstate(all="ignore")  # if bad weights overflow, an error is raised later
def search(
    model: Model,
    codec: Codec,
    *,
    prime: Prime,
    length: float | None,
    width: int,
    config: SamplingConfig,
    settings: Any,
    options: Any,
    length_penalty: float = 1.0,
    tune: bool = False,
    corpus: Following | None = None,
) -> list[Hypothesis]:
    """The best continuations of `prime`, at most `width` of them, sorted by their score.

    Temperature and the filters after it have no effect, since nothing is drawn; the repetition
    penalty and all bans apply.

    Args:
        model: the network.
        codec: of the model.
        prime: what to continue.
        length: the maximum, as in `Codec.steps_in`.
        width: number of hypotheses kept at each step.
        config: only repetition penalty and bans are used.
        settings: of the codec's medium; say which steps must not be sampled.
        options: of the medium; may end a hypothesis early.
        length_penalty: as in `Hypothesis.score`.
        tune: as in `sequences`.
        corpus: as in `sequences`.

    Raises:
        UsageError: the length is infinite.
        SamplingError: the model's output is not finite, or all steps are banned.
    """
    read = prime.steps if len(prime.steps) else codec.start(generator_of(0, 0))
    from_start = begins_as_corpus(model, codec, read)
    stream = model.begin(read, [0]) if from_start else model.begin(read).take([0])
    if (steps := codec.steps_in(length)) >= ENDLESS:
        raise UsageError("beam search needs an end: give a --length")
    if tune and steps >= TUNE_THREADS_FROM:
        stream.tune_threads()
    live = [Hypothesis((), 0.0, False)]
    never = codec.never(settings)
    rules = codec.rules(settings)
    histories = [History(config, never, map(int, read), codec.end, rules, corpus, prime.least)]
    done: list[Hypothesis] = []
    for _ in range(steps):
        chosen = _best(live, histories, stream.logits, width)
        kept: list[tuple[int, Hypothesis]] = []
        for row, hypothesis in chosen:
            ended = hypothesis.drawn[-1].step == codec.end
            if not ended and codec.may_stop(length, options):
                sample = product(codec, hypothesis, prime, length, settings, options)
                for _ in sample:
                    pass
                ended = sample.stopped
            if ended:
                done.append(replace(hypothesis, ended=True))
            else:
                kept.append((row, hypothesis))
        rows = [row for row, _ in kept]
        if not kept or _settled(done, [h for _, h in kept], width, steps, length_penalty):
            live = []
            break
        live = [hypothesis for _, hypothesis in kept]
        histories = [histories[row].copy() for row in rows]
        for history, hypothesis in zip(histories, live, strict=True):
            history.add(hypothesis.drawn[-1].step)
        stream = stream.take(rows)
        stream.step(np.array([hypothesis.drawn[-1].step for hypothesis in live]))
    ranked = sorted(done + live, key=lambda h: h.score(length_penalty), reverse=True)
    return ranked[:width]


def _best(
    live: list[Hypothesis], histories: list[History], logits: np.ndarray, width: int
) -> list[tuple[int, Hypothesis]]:
    """The most likely one-step extensions of all live hypotheses, each with the index of the
    hypothesis that it extends.

    All have the same length, so the length penalty does not change their order.
    """
    candidates: list[tuple[float, int, int, float]] = []
    ruled_out: SamplingError | None = None
    for row, (hypothesis, history) in enumerate(zip(live, histories, strict=True)):
        own = np.log(np.maximum(filters.softmax(logits[row]), 1e-300))
        try:
            allowed = filters.softmax(history.applied(logits[row]))
        except SamplingError as error:
            ruled_out = error
            continue
        for step in np.argsort(-allowed, kind="stable")[:width].tolist():
            if allowed[step] > 0:
                log_p = hypothesis.log_p + float(np.log(allowed[step]))
                candidates.append((log_p, row, step, -float(own[step])))
    if not candidates and ruled_out:
        raise ruled_out
    candidates.sort(key=lambda candidate: (-candidate[0], *candidate[1:3]))
    return [
        (row, Hypothesis((*live[row].drawn, Drawn(step, nats)), log_p, False))
        for log_p, row, step, nats in candidates[:width]
    ]


def _settled(
    done: list[Hypothesis], live: list[Hypothesis], width: int, length: int, penalty: float
) -> bool:
    """Whether no live hypothesis can still beat the best `width` ended ones."""
    if len(done) < width:
        return False
    worst = sorted((h.score(penalty) for h in done), reverse=True)[width - 1]
    # The best case: every further step has probability 1, up to the maximum length.
    return bool(max(h.log_p for h in live) / length**penalty < worst)


def product(
    codec: Codec,
    hypothesis: Hypothesis,
    prime: Prime,
    length: float | None,
    settings: Any,
    options: Any,
) -> Sample:
    """The sample of a hypothesis."""
    drawn = (drawn for drawn in hypothesis.drawn)
    return codec.sample(drawn, prime, length, settings, options)
