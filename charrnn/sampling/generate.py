"""The generation loop: read the prime, then draw, filter and feed back, one step at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import cycle
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.codec import Decoder, TextCodec
from charrnn.config import SamplingConfig
from charrnn.errors import SamplingError
from charrnn.sampling import filters
from charrnn.sampling.filters import Logits
from charrnn.sampling.history import History
from charrnn.sampling.runtime import Runtime

ABREAST = 64  # samples drawn side by side: a matrix is read once for all of them
AHEAD = 1 << 23  # steps that may wait to be written, while the first of them is
LONG = 100  # steps, from which it is worth measuring how best to take them


class Stream(Protocol):
    """Sequences in the course of being read by a network, as `runtime.Stream` has them."""

    logits: Logits  # of the next step, (V,) of a single one, else (S, V)

    def step(self, steps: Any) -> Logits:
        """Read a step, or one of each sequence, (S,); the new `logits`."""

    def take(self, rows: Sequence[int]) -> Self:
        """Those of these numbers, to go on by themselves."""

    def share_work(self) -> None:
        """Find the best number of threads for many such steps."""


class Model(Protocol):
    """What can be sampled: `runtime.Runtime`, or another way to step the same network."""

    def begin(self, prime: Sequence[int] | np.ndarray) -> Stream:
        """A stream that has read `prime`, (N,), N at least 1."""


class Drawn(NamedTuple):
    """One step that was drawn, and its surprise under the model's own distribution."""

    step: int
    nats: float  # -log p before temperature and filters; 0 where nobody wants to know


def generator_of(seed: int, index: int) -> np.random.Generator:
    """The random generator of sample `index`: the same however many samples are drawn."""
    return np.random.default_rng([seed, index])


class Abreast:
    """Sequences that are drawn side by side, one step of each at a time, as far as they are asked
    for.

    Args:
        stream: has read the prime, in as many sequences as there are generators; of one, it may
            be a single one.
        config: temperature and filters.
        generators: sources of the draws.
        history: of the prime.
        end: the step that ends a document.
        scored: whether the surprise of each step is wanted.
    """

    def __init__(
        self,
        stream: Stream,
        config: SamplingConfig,
        generators: Sequence[np.random.Generator],
        history: History,
        end: int | None = None,
        *,
        scored: bool = True,
    ) -> None:
        self._stream, self._config, self._end, self._scored = stream, config, end, scored
        self._temperatures = cycle(config.temperature)
        self._generators = generators
        self._histories = [history, *(history.copy() for _ in generators[1:])]
        self._is_idle = history.is_idle
        self._unscored = cache(lambda step: Drawn(step, 0.0))  # one object for all that wait
        self._waiting: list[deque[Drawn | SamplingError]] = [deque() for _ in generators]
        self._live = list(range(len(generators)))  # as they stand in the stream
        self._finished: set[int] = set()
        self._last: Any = None  # steps drawn, not yet read
        self._is_single = stream.logits.ndim == 1

    def sequence(self, index: int) -> Iterator[Drawn]:
        """The steps of sequence `index`, to the end of a document, or for as long as they are
        asked for.

        Raises:
            SamplingError: the model's output is not finite, or nothing may be drawn.
        """
        if self._is_single:
            yield from self._alone()
            return
        waiting = self._waiting[index]
        while waiting or index not in self._finished:
            if not waiting:
                self._draw()
            drawn = waiting.popleft()
            if isinstance(drawn, SamplingError):
                raise drawn
            yield drawn

    def leave(self, index: int) -> None:
        """Draw no more of this sequence."""
        self._finished.add(index)
        self._waiting[index].clear()

    def _alone(self) -> Iterator[Drawn]:
        """The steps of a single sequence, without the bookkeeping of several."""
        stream, history, random = self._stream, self._histories[0], self._generators[0].random
        for temperature in self._temperatures:
            values = logits = stream.logits
            if not self._is_idle:
                values = history.applied(values)
            step = filters.draw(filters.filtered(values, self._config, temperature), random())
            yield Drawn(step, filters.surprise(logits, step) if self._scored else 0.0)
            if step == self._end:
                return
            if not self._is_idle:
                history.add(step)
            stream.step(step)

    def _leave_finished(self) -> None:
        """Drop the sequences that nobody wants any more."""
        rows = [row for row, index in enumerate(self._live) if index not in self._finished]
        if len(rows) < len(self._live):
            self._stream = self._stream.take(rows)
            self._live = [self._live[row] for row in rows]
            self._last = self._last[rows]

    def _draw(self) -> None:
        """Draw a step of each sequence that goes on."""
        if self._last is not None:
            if self._finished:
                self._leave_finished()
            self._stream.step(self._last)
        logits = self._stream.logits  # (S, V)
        values: Logits = logits
        if not self._is_idle:
            values = np.stack([self._ruled(row, index) for row, index in enumerate(self._live)])
        uniforms = np.array([self._generators[index].random() for index in self._live])
        temperature = next(self._temperatures)
        steps = filters.draws(filters.filtered(values, self._config, temperature), uniforms)
        surprises = filters.surprises(logits, steps) if self._scored else np.zeros(len(steps))
        for index, step, nats in zip(self._live, steps.tolist(), surprises.tolist(), strict=True):
            if index not in self._finished:
                drawn = Drawn(step, nats) if self._scored else self._unscored(step)
                self._waiting[index].append(drawn)
                self._histories[index].add(step)
            if step == self._end:
                self._finished.add(index)
        self._last = steps

    def _ruled(self, row: int, index: int) -> Logits:
        """One sequence's logits after the rules; where they leave nothing, it alone ends."""
        values: Logits = self._stream.logits[row]
        try:
            values = self._histories[index].applied(values)
        except SamplingError as error:
            self._waiting[index].append(error)
            self._finished.add(index)
        return values


class TextStream:
    """Text of a sequence of steps as it is made, cut off before a stop text.

    Iterate over it for pieces of text; afterwards `steps`, `nats` and `stopped` are known.

    Args:
        drawn: where the steps come from; where they end, the text does.
        decoder: turns them into text.
        length: steps at most.
        stop: text that ends the sample and is not part of it; empty: none.
        end: step that ends the sample and is not part of it; None: none.
        leave: told when no more steps are wanted.
    """

    def __init__(
        self,
        drawn: Iterator[Drawn],
        decoder: Decoder,
        length: int,
        stop: str = "",
        end: int | None = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self._drawn, self._decoder, self._leave = drawn, decoder, leave
        self._length, self._stop, self._end = length, stop, end
        self.steps = 0
        self.nats = 0.0
        self.stopped = False

    def __iter__(self) -> Iterator[str]:
        held = ""  # might be the beginning of the stop text
        while self.steps < self._length and (drawn := next(self._drawn, None)) is not None:
            self.steps += 1
            self.nats += drawn.nats
            if drawn.step == self._end:
                self.stopped = True
                break
            if not self._stop:
                if piece := self._decoder.push(drawn.step):
                    yield piece
                continue
            held += self._decoder.push(drawn.step)
            if (end := held.find(self._stop)) >= 0:
                self.stopped = True
                held = held[:end]
                break
            keep = _overlap(held, self._stop)
            if piece := held[: len(held) - keep]:
                yield piece
            held = held[len(held) - keep :]
        else:
            held += self._decoder.flush()
        self._leave()
        if held:
            yield held

    @property
    def nats_per_step(self) -> float:
        """Mean surprise of the steps drawn so far; 0 before the first."""
        return self.nats / max(1, self.steps)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next(
        (n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0
    )


def samples(
    model: Model,
    codec: TextCodec,
    *,
    length: int,
    num: int = 1,
    prime: str = "",
    config: SamplingConfig | None = None,
    seed: int = 0,
    stop: str = "",
    scored: bool = True,
) -> Iterator[TextStream]:
    """Samples as streams of text that go on after `prime`.

    Characters of the prime that the codec does not know are left out; without a prime the text
    begins as a paragraph would.  Where the corpus was one of documents, a sample is one, and
    the prime its beginning.

    Args:
        model: the network.
        codec: of the model.
        length: steps of a sample, at most.
        num: samples; those of the same number and seed are alike however many there are (but for
            the rounding of sums in another order).
        prime: text to go on after.
        config: temperature, filters and rules.
        seed: of the draws.
        stop: text that ends a sample.
        scored: whether `nats_per_step` is wanted; without it sampling is faster.

    Raises:
        SamplingError: a demand that leaves nothing to draw; in a sample, a broken model.
    """
    config = config or SamplingConfig()
    steps, _ = codec.primed(prime)
    never = codec.never(config.allow, config.forbid, config.unk)
    history = History(config, np.asarray(never, np.int64), steps.tolist(), codec.end)
    begun = model.begin(steps)
    abreast = min(ABREAST, max(1, AHEAD // max(1, length)))
    for first in range(0, num, abreast):
        generators = [generator_of(seed, k) for k in range(first, min(num, first + abreast))]
        stream = begun if num == 1 else begun.take([0] * len(generators))
        if not first and length * num >= LONG:
            stream.share_work()
        group = Abreast(stream, config, generators, history.copy(), codec.end, scored=scored)
        for index in range(len(generators)):
            decoder = codec.primed(prime)[1]
            drawn, leave = group.sequence(index), partial(group.leave, index)
            yield TextStream(drawn, decoder, length, stop, codec.end, leave)


def sample(
    model: Checkpoint,
    *,
    length: int,
    prime: str = "",
    config: SamplingConfig | None = None,
    seed: int = 0,
    stop: str = "",
) -> TextStream:
    """One sample of a model file; see `samples`.  What `config` leaves open is as the run was set
    up.

    Raises:
        CheckpointError: the file is damaged.
        SamplingError: a model of sound; a demand that leaves nothing to draw; later, a broken
            model.
    """
    codec = model.codec
    if codec.medium != "text":
        raise SamplingError(f"{model.path}: makes sound; use charrnn sample")
    return next(
        samples(
            Runtime.of(model),
            codec,
            length=length,
            prime=prime,
            config=config or model.config.sampling,
            seed=seed,
            stop=stop,
        )
    )
