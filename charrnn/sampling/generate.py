"""The generation loop: read the prime, then filter, draw and feed back, one step at a time."""

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

MAX_BATCH = 64  # samples drawn side by side: a matrix is read once for all of them
MAX_BUFFERED = 1 << 23  # steps drawn for samples that are read later, while the first is read
TUNE_THREADS_FROM = 100  # steps to draw, from which it pays to measure the number of threads


class Stream(Protocol):
    """The state of a network that has read one or several sequences; see `runtime.Stream`."""

    logits: Logits  # of the next step: (V,) for a single sequence, else (S, V)

    def step(self, steps: Any) -> Logits:
        """Read a step, or one of each sequence, (S,), and return the new `logits`."""

    def take(self, rows: Sequence[int]) -> Self:
        """New sequences that continue those with these indices."""

    def tune_threads(self) -> None:
        """Measure and set the fastest number of threads."""


class Model(Protocol):
    """A network that can be sampled: `runtime.Runtime`, or another implementation of it."""

    def begin(self, prime: Sequence[int] | np.ndarray) -> Stream:
        """A stream that has read `prime`, (N,), N at least 1."""


class Drawn(NamedTuple):
    """A drawn step, and its negative log probability under the model's own distribution."""

    step: int
    nats: float  # -log p before temperature and filters; 0 if it was not computed


def generator_of(seed: int, index: int) -> np.random.Generator:
    """The random generator of sample `index`, the same however many samples are drawn."""
    return np.random.default_rng([seed, index])


class BatchSampler:
    """Draws several sequences side by side, one step of each at a time, on demand.

    Args:
        stream: has read the prime, in as many sequences as there are generators; for one, its
            logits may be (V,).
        config: temperature and filters.
        generators: a random generator for each sequence.
        history: of the prime.
        end: the step that ends a document.
        scored: whether to compute `Drawn.nats`.
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
        self._unscored = cache(
            lambda step: Drawn(step, 0.0)
        )  # one object for all that are buffered
        self._buffered: list[deque[Drawn | SamplingError]] = [deque() for _ in generators]
        self._live = list(range(len(generators)))  # sequences in the stream, in its order
        self._finished: set[int] = set()
        self._last: Any = None  # steps drawn, not yet read
        self._is_single = stream.logits.ndim == 1

    def sequence(self, index: int) -> Iterator[Drawn]:
        """The steps of sequence `index`, up to the end of a document, else without end.

        Raises:
            SamplingError: the model's output is not finite, or nothing may be drawn.
        """
        if self._is_single:
            yield from self._alone()
            return
        buffered = self._buffered[index]
        while buffered or index not in self._finished:
            if not buffered:
                self._draw()
            drawn = buffered.popleft()
            if isinstance(drawn, SamplingError):
                raise drawn
            yield drawn

    def leave(self, index: int) -> None:
        """Stop drawing this sequence."""
        self._finished.add(index)
        self._buffered[index].clear()

    def _alone(self) -> Iterator[Drawn]:
        """The steps of a single sequence, without the bookkeeping that several need."""
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
        """Drop finished sequences from the stream."""
        rows = [row for row, index in enumerate(self._live) if index not in self._finished]
        if len(rows) < len(self._live):
            self._stream = self._stream.take(rows)
            self._live = [self._live[row] for row in rows]
            self._last = self._last[rows]

    def _draw(self) -> None:
        """Draw and buffer a step of each unfinished sequence."""
        if self._last is not None:
            if self._finished:
                self._leave_finished()
            self._stream.step(self._last)
        logits = self._stream.logits  # (S, V)
        values: Logits = logits
        if not self._is_idle:
            values = np.stack(
                [self._restricted(row, index) for row, index in enumerate(self._live)]
            )
        uniforms = np.array([self._generators[index].random() for index in self._live])
        temperature = next(self._temperatures)
        steps = filters.draws(filters.filtered(values, self._config, temperature), uniforms)
        surprises = filters.surprises(logits, steps) if self._scored else np.zeros(len(steps))
        for index, step, nats in zip(self._live, steps.tolist(), surprises.tolist(), strict=True):
            if index not in self._finished:
                drawn = Drawn(step, nats) if self._scored else self._unscored(step)
                self._buffered[index].append(drawn)
                self._histories[index].add(step)
            if step == self._end:
                self._finished.add(index)
        self._last = steps

    def _restricted(self, row: int, index: int) -> Logits:
        """One sequence's logits after penalty and bans; if these leave no step, it ends with an
        error and the others continue."""
        values: Logits = self._stream.logits[row]
        try:
            values = self._histories[index].applied(values)
        except SamplingError as error:
            self._buffered[index].append(error)
            self._finished.add(index)
        return values


class TextStream:
    """The text of a sequence of steps, decoded as they are drawn, and cut off before a stop text.

    Iterate over it for pieces of text; `steps`, `nats` and `stopped` are final at the end.

    Args:
        drawn: the steps; the text ends when they do.
        decoder: turns them into text.
        length: maximum number of steps.
        stop: text that ends the sample and is not part of it; empty: none.
        end: step that ends the sample and is not part of it; None: none.
        leave: called when no more steps are needed.
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
        held = ""  # held back: it may be the beginning of the stop text
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
        """Mean negative log probability of the steps drawn so far; 0 before the first."""
        return self.nats / max(1, self.steps)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `stop`."""
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
    """Samples that continue `prime`, as streams of text.

    Characters of the prime that the codec does not know are left out; without a prime the text
    begins like a paragraph.  If the corpus consisted of documents, a sample is one document, which
    begins with the prime.

    Args:
        model: the network.
        codec: of the model.
        length: maximum number of steps in a sample.
        num: number of samples; a sample depends on the seed and its index only, not on how many
            there are (except for rounding, since sums are taken in another order).
        prime: text to continue.
        config: temperature, filters, penalty and bans.
        seed: of the random generators.
        stop: text that ends a sample.
        scored: whether to compute `nats_per_step`; without it sampling is faster.

    Raises:
        SamplingError: settings that leave no step to draw; while iterating, a broken model.
    """
    config = config or SamplingConfig()
    steps, _ = codec.primed(prime)
    never = codec.never(config.allow, config.forbid, config.unk)
    history = History(config, np.asarray(never, np.int64), steps.tolist(), codec.end)
    begun = model.begin(steps)
    batch = min(MAX_BATCH, max(1, MAX_BUFFERED // max(1, length)))
    for first in range(0, num, batch):
        generators = [generator_of(seed, k) for k in range(first, min(num, first + batch))]
        stream = begun if num == 1 else begun.take([0] * len(generators))
        if not first and length * num >= TUNE_THREADS_FROM:
            stream.tune_threads()
        sampler = BatchSampler(stream, config, generators, history.copy(), codec.end, scored=scored)
        for index in range(len(generators)):
            decoder = codec.primed(prime)[1]
            drawn, leave = sampler.sequence(index), partial(sampler.leave, index)
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
    """One sample of a model file; see `samples`.  Without a `config`, the sampling settings of the
    run apply.

    Raises:
        CheckpointError: the file is damaged.
        SamplingError: a model of sound; settings that leave no step to draw; while iterating, a
            broken model.
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
