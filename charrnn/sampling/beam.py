"""Beam search: the likeliest continuations found by a search of a given width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from charrnn.codec import TextCodec
from charrnn.config import SamplingConfig
from charrnn.errors import SamplingError
from charrnn.sampling import filters
from charrnn.sampling.generate import TUNE_THREADS_FROM, Drawn, Model, TextStream
from charrnn.sampling.history import History


@dataclass(frozen=True)
class Hypothesis:
    """A continuation and its probability."""

    drawn: tuple[Drawn, ...]
    log_p: float  # under the searched distribution, which is after penalty and bans
    ended: bool  # with the end of a document or a stop text

    def score(self, length_penalty: float) -> float:
        """Log probability divided by length to the power of the penalty (Wu et al. 2016, without
        their constant): 0 favours short continuations, 1 gives the mean per step."""
        return float(self.log_p / max(1, len(self.drawn)) ** length_penalty)


@np.errstate(all="ignore")  # absurd weights overflow; the outcome is refused
def search(
    model: Model,
    codec: TextCodec,
    *,
    length: int,
    width: int,
    length_penalty: float = 1.0,
    prime: str = "",
    config: SamplingConfig | None = None,
    stop: str = "",
) -> list[Hypothesis]:
    """The best continuations of `prime`, at most `width` of them, sorted by their score.

    Temperature and the filters after it have no effect, since nothing is drawn; the repetition
    penalty and all bans apply.

    Args:
        model: the network.
        codec: of the model.
        length: maximum number of steps.
        width: hypotheses kept at each step.
        length_penalty: as in `Hypothesis.score`.
        prime: text to continue.
        config: penalty and bans.
        stop: text that ends a hypothesis.

    Raises:
        SamplingError: the model's output is not finite, or all steps are banned.
    """
    config = config or SamplingConfig()
    steps, _ = codec.primed(prime)
    stream = model.begin(steps).take([0])
    if length >= TUNE_THREADS_FROM:
        stream.tune_threads()
    live = [Hypothesis((), 0.0, False)]
    never = codec.never(config.allow, config.forbid, config.unk)
    histories = [History(config, never, map(int, steps), codec.end)]
    done: list[Hypothesis] = []
    for _ in range(length):
        chosen = _best(live, histories, stream.logits, width)
        kept: list[tuple[int, Hypothesis]] = []
        for row, hypothesis in chosen:
            ended = hypothesis.drawn[-1].step == codec.end or _has(codec, hypothesis, prime, stop)
            if ended:
                done.append(replace(hypothesis, ended=True))
            else:
                kept.append((row, hypothesis))
        rows = [row for row, _ in kept]
        if not kept or _settled(done, [h for _, h in kept], width, length, length_penalty):
            live = []
            break
        live = [hypothesis for _, hypothesis in kept]
        histories = [histories[row].copy() for row in rows]
        for history, hypothesis in zip(histories, live, strict=True):
            history.add(hypothesis.drawn[-1].step)
        stream = stream.take(rows)
        stream.step(np.array([hypothesis.drawn[-1].step for hypothesis in live]))
    found = sorted(done + live, key=lambda h: h.score(length_penalty), reverse=True)
    return found[:width]


def _best(
    live: list[Hypothesis], histories: list[History], logits: np.ndarray, width: int
) -> list[tuple[int, Hypothesis]]:
    """The likeliest one-step extensions of all live hypotheses, each with the row it extends.

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
    """Whether no live hypothesis can beat the best `width` ended ones any more."""
    if len(done) < width:
        return False
    worst = sorted((h.score(penalty) for h in done), reverse=True)[width - 1]
    # The best case: every further step has probability 1, up to the maximum length.
    return bool(max(h.log_p for h in live) / length**penalty < worst)


def _has(codec: TextCodec, hypothesis: Hypothesis, prime: str, stop: str) -> bool:
    """Whether the hypothesis contains the stop text."""
    if not stop:
        return False
    text = text_of(codec, hypothesis, prime, stop)
    for _ in text:
        pass
    return text.stopped


def text_of(
    codec: TextCodec, hypothesis: Hypothesis, prime: str = "", stop: str = ""
) -> TextStream:
    """The text of a hypothesis, cut off before the stop text."""
    _, decoder = codec.primed(prime)
    drawn: Iterator[Drawn] = iter(hypothesis.drawn)
    return TextStream(drawn, decoder, len(hypothesis.drawn), stop, codec.end)
