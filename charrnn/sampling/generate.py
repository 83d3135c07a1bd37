"""The generation loop: reads the prime, then filters, draws and reads one step at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle
from typing import Any, Protocol, Self

import numpy as np

from charrnn.data.stretches import Following
from charrnn.errors import SamplingError
from charrnn.media.codec import Codec, Prime
from charrnn.media.product import Drawn, Sample
from charrnn.media.steps import Discrete
from charrnn.sampling import filters
from charrnn.sampling.filters import Logits
from charrnn.sampling.history import History
from charrnn.settings import SamplingConfig

MAX_BATCH = 64  # samples drawn in parallel: each matrix is read from memory once for all of them
MAX_NUMBER = 1e6  # in a vector; with larger numbers the output has diverged
MAX_BUFFERED = 1 << 23  # steps buffered for later samples while the first one is read
ROUNDS = 20  # in which samples are drawn again that the codec rejects
TUNE_THREADS_FROM = 100  # for at least this many steps, measuring the best thread count pays off


class Stream(Protocol):
    """The state of a network that has read one or several sequences; see `runtime.Stream`."""

    logits: Logits  # of the next step: (V,) for a single sequence, else (S, V)

    def step(self, steps: Any) -> Logits:
        """Read a step, or one for each sequence, (S,), and return the new `logits`."""

    def take(self, rows: Sequence[int]) -> Self:
        """New sequences that continue those with these indices."""

    def tune_threads(self) -> None:
        """Measure and set the fastest number of threads."""


class Model(Protocol):
    """A network that can be sampled: `runtime.Runtime`, or another implementation of it."""

    size: int  # V, or F
    deviation: Any  # standard deviation of each number of a vector, (F,)
    starts: int  # number of states in which samples may begin; 0: they begin in the zero state

    def begin(
        self, prime: Sequence[int] | np.ndarray, starts: Sequence[int] | int | None = None
    ) -> Stream:
        """A stream that has read `prime`, (N,), N at least 1, and has begun in the state with the
        index `starts`; or several of them."""


def begins_as_corpus(model: Model, codec: Codec, read: np.ndarray) -> bool:
    """Whether steps are read from one of the states in which texts of the corpus begin: if they
    begin with `Codec.start`, as those of a document do."""
    start = codec.start(generator_of(0, 0))
    return model.starts > 0 and np.array_equal(read[: len(start)], start)


def generator_of(seed: int, index: int) -> np.random.Generator:
    """The random generator of sample `index`; does not depend on the number of samples."""
    return np.random.default_rng([seed, index])


class BatchSampler:
    """Draws several sequences in parallel, one step of each at a time, on demand.

    Args:
        stream: has read the prime, once for each generator; if there is only one, its logits may be
            (V,).
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
            lambda step: Drawn(step)
        )  # saves memory: equal steps share one object
        self._buffered: list[deque[Drawn | SamplingError]] = [deque() for _ in generators]
        self._live = list(range(len(generators)))  # sequences in the stream, in its order
        self._finished: set[int] = set()
        self._last: Any = None  # steps drawn, not yet read
        self._is_single = stream.logits.ndim == 1

    def sequence(self, index: int) -> Iterator[Drawn]:
        """The steps of sequence `index`, up to the end of a document, otherwise endless.

        Raises:
            SamplingError: the model's output is not finite, or all steps are banned.
        """
        if self._is_single:
            yield from self._single()
            return
        buffered = self._buffered[index]
        try:
            while buffered or index not in self._finished:
                if not buffered:
                    self._draw()
                drawn = buffered.popleft()
                if isinstance(drawn, SamplingError):
                    raise drawn
                yield drawn
        finally:  # the iterator is exhausted or closed
            self._finished.add(index)
            buffered.clear()

    def _single(self) -> Iterator[Drawn]:
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
        """One sequence's logits after penalty and bans; if all steps are banned, this sequence ends
        with an error and the others continue."""
        values: Logits = self._stream.logits[row]
        try:
            values = self._histories[index].applied(values)
        except SamplingError as error:
            self._buffered[index].append(error)
            self._finished.add(index)
        return values


def vectors(
    model: Model,
    codec: Codec,
    prime: Any,
    config: SamplingConfig,
    random: np.random.Generator,
    *,
    tune: bool = False,
) -> Iterator[Drawn]:
    """An endless sequence of steps that are vectors, (F,).

    As for symbols, a temperature t raises the density to the power of 1 / t, which multiplies the
    standard deviation of a normal distribution by the square root of t.  The network goes on from
    what was drawn, and the sequence keeps `codec.kept_noise` of the noise in it.  What the codec
    knows beforehand (`codec.conditions`) is not drawn.

    Args:
        model: the network.
        codec: of the model.
        prime: steps to continue, (P, F); empty: the codec chooses a start.
        config: only its temperature is used.
        random: the random generator.
        tune: as in `sequences`.

    Raises:
        SamplingError: the network's output is not finite.
    """
    start = codec.start(random)  # always, so that later draws do not depend on the prime
    read = prime if len(prime) else start
    stream: Any = model.begin(read)
    if tune:
        stream.tune_threads()
    for temperature, known in zip(cycle(config.temperature), codec.conditions(read), strict=False):
        deviation = model.deviation * np.float32(temperature**0.5)
        expected = stream.logits.copy()
        noise = deviation * random.standard_normal(model.size, np.float32)
        expected[model.size - len(known) :] = known
        noise[model.size - len(known) :] = 0
        vector = expected + noise
        if not np.abs(vector).max() < MAX_NUMBER:
            raise SamplingError("the model's output is not finite; its weights are broken")
        yield Drawn(expected + codec.kept_noise(noise))
        stream.step(vector)


def sequences(
    model: Model,
    codec: Codec,
    *,
    num: int,
    config: SamplingConfig,
    settings: Any,
    prime: Prime | None = None,
    steps: int = 0,
    seed: int = 0,
    first: int = 0,
    scored: bool = False,
    tune: bool = False,
    corpus: Following | None = None,
) -> Iterator[Iterator[Drawn]]:
    """Sampled sequences, each endless or up to the end of a document.

    A sequence depends only on the seed and its index, not on the number of sequences (except for
    rounding, since sums are computed in another order).

    Args:
        model: the network.
        codec: of the model.
        num: number of sequences.
        config: temperature, filters, penalty.
        settings: of the codec's medium; say which steps must not be sampled.
        prime: what they continue; None: nothing.
        steps: expected number of steps in each; 0: unknown.
        seed: of the random generators.
        first: index of the first sequence.
        scored: whether to compute `Drawn.nats`; without it sampling is faster.
        tune: measure which number of BLAS threads is fastest, and set it for the process.
        corpus: what must not be copied; None: anything may be.

    Raises:
        SamplingError: all steps are banned; while iterating, the model's output is not finite.
    """
    read = codec.prime().steps if prime is None else prime.steps
    if not isinstance(codec.step, Discrete):
        for index in range(first, first + num):
            yield vectors(model, codec, read, config, generator_of(seed, index), tune=tune)
        return
    if not len(read):
        read = codec.start(generator_of(seed, 0))
    never = np.asarray(codec.never(settings), np.int64)
    rules, least = codec.rules(settings), 0 if prime is None else prime.least
    history = History(config, never, read.tolist(), codec.end, rules, corpus, least)
    from_start = begins_as_corpus(model, codec, read)
    begun = None if from_start else model.begin(read)
    batch = min(MAX_BATCH, max(1, MAX_BUFFERED // max(1, steps)))
    end = first + num
    for begin in range(first, end, batch):
        generators = [generator_of(seed, k) for k in range(begin, min(end, begin + batch))]
        if begun is None:
            starts = [int(each.integers(model.starts)) for each in generators]
            stream = model.begin(read, starts[0] if num == 1 else starts)
        else:
            stream = begun if num == 1 else begun.take([0] * len(generators))
        if tune and begin == first and steps * num >= TUNE_THREADS_FROM:
            stream.tune_threads()
        sampler = BatchSampler(stream, config, generators, history.copy(), codec.end, scored=scored)
        yield from map(sampler.sequence, range(len(generators)))


def samples(
    model: Model,
    codec: Codec,
    *,
    config: SamplingConfig,
    settings: Any,
    options: Any,
    length: float | None = None,
    num: int = 1,
    prime: Prime | None = None,
    seed: int = 0,
    first: int = 0,
    scored: bool = True,
    tune: bool = False,
    corpus: Following | None = None,
) -> Iterator[Sample]:
    """Samples of the medium, e.g. text or sound; see `sequences`.

    Args:
        length: in the medium's unit; None: its default.
        options: of the medium.
    """
    prime = codec.prime() if prime is None else prime
    wanted, begin, rejected = num, first, ""
    for _ in range(ROUNDS):
        drawn = sequences(
            model,
            codec,
            num=wanted,
            config=config,
            settings=settings,
            prime=prime,
            steps=codec.steps_in(length),
            seed=seed,
            first=begin,
            scored=scored,
            tune=tune,
            corpus=corpus,
        )
        begin, start = begin + wanted, begin
        for index, sequence in enumerate(drawn, start):
            sample = codec.sample(sequence, prime, length, settings, options)
            sample.index, sample.seed = index, seed
            if reason := codec.rejects(sample, options):
                rejected = reason
                continue
            wanted -= 1
            yield sample
        if not wanted:
            return
    raise SamplingError(
        f"only {num - wanted} of {num} samples were without a fault in {begin - first} tries (of "
        f"the last, {rejected}); lower the --temperature, or drop --strict"
    )
