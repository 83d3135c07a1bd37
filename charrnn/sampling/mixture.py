"""Several models of one vocabulary, mixed: the weighted mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import UsageError
from charrnn.media.codec import Codec, first_of
from charrnn.sampling.filters import Logits
from charrnn.sampling.generate import Model, Stream

LISTED = 5  # symbols that a message names


@dataclass(frozen=True)
class Member:
    """One model of a mixture.

    Attributes:
        model: its network.
        weight: of its probabilities; those of all members add up to 1.
        order: its step for each step of the mixture, (V,).
    """

    model: Model
    weight: float
    order: NDArray[np.int64]


class Mixture:
    """Models that are sampled together; a `generate.Model`.

    Args:
        members: the first one's steps are those of the mixture, and its states decide in which
            states samples may begin.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        first = members[0].model
        self.size, self.deviation, self.starts = first.size, first.deviation, first.starts

    def begin(
        self, prime: Sequence[int] | np.ndarray, starts: Sequence[int] | int | None = None
    ) -> MixedStream:
        """As `runtime.Runtime.begin`.

        A state of the first model stands for the one that is as far down the other's list; a model
        without such states begins in the zero state.
        """
        read, streams = np.asarray(prime), []
        for member in self._members:
            model, steps = member.model, member.order[read]
            if starts is not None and model.starts:
                own = np.array(starts) * model.starts // self.starts
                streams.append(model.begin(steps, own.tolist()))
            elif starts is None or isinstance(starts, int):
                streams.append(model.begin(steps))
            else:
                streams.append(model.begin(steps).take([0] * len(starts)))
        return MixedStream(self._members, streams)


class MixedStream:
    """The streams of all members, which read the same steps; a `generate.Stream`."""

    def __init__(self, members: Sequence[Member], streams: Sequence[Stream]) -> None:
        self._members, self._streams = members, streams
        self.logits = self._mixed()

    def step(self, steps: Any) -> Logits:
        """Read a step, or one for each sequence, (S,), and return the new `logits`."""
        for member, stream in zip(self._members, self._streams, strict=True):
            stream.step(member.order[steps])
        self.logits = self._mixed()
        return self.logits

    def _mixed(self) -> Logits:
        """Logits whose softmax is the mean of the probabilities, (V,) or (S, V).

        Their level is the mean of the members' levels, because a repetition penalty depends on it.
        """
        parts, level = [], np.float32(0)
        for member, stream in zip(self._members, self._streams, strict=True):
            logits = stream.logits.take(member.order, -1)
            top = logits.max(-1, keepdims=True)
            own = top + np.log(np.exp(logits - top).sum(-1, keepdims=True))
            parts.append(logits - own + np.float32(math.log(member.weight)))
            level = level + np.float32(member.weight) * own
        mixed: Logits = reduce(np.logaddexp, parts) + level
        return mixed

    def take(self, rows: Sequence[int]) -> MixedStream:
        """New sequences that continue those with these indices."""
        return MixedStream(self._members, [stream.take(rows) for stream in self._streams])

    def tune_threads(self) -> None:
        """Measure and set the fastest number of threads; that of the last member remains."""
        for stream in self._streams:
            stream.tune_threads()


def vocabulary(codec: Codec) -> Sequence[str]:
    """The symbols of a codec.

    Raises:
        UsageError: it has none.
    """
    if codec.symbols is None:
        raise UsageError(f"--mix: {codec.unit}s have no vocabulary, so they cannot be mixed")
    return codec.symbols


def order_in(other: Codec, codec: Codec, name: str) -> NDArray[np.int64]:
    """The step of `other` for each step of `codec`, (V,).

    Args:
        other: codec of a model that is mixed in.
        codec: of the model that it is mixed into.
        name: of the other model, for the message.

    Raises:
        UsageError: they have no vocabulary, or not the same one, or steps of another duration.
    """
    if type(other) is not type(codec):
        raise UsageError(f"--mix {name}: its steps are {other.unit}s, not {codec.unit}s")
    if other.seconds(1) != codec.seconds(1):
        raise UsageError(
            f"--mix {name}: its {other.unit}s last {other.seconds(1):g} s each, not "
            f"{codec.seconds(1):g}; give models of one sample rate"
        )
    symbols = vocabulary(codec)
    places = {symbol: step for step, symbol in enumerate(vocabulary(other))}
    lacks = [symbol for symbol in symbols if symbol not in places]
    more = list(places.keys() - set(symbols))
    if lacks or more:
        what = f"lacks {_listed(codec, lacks)}" if lacks else f"also has {_listed(other, more)}"
        raise UsageError(
            f"--mix {name}: its vocabulary is another one: it {what}; give models of one "
            "vocabulary, e.g. two runs on one corpus with another --seed"
        )
    return np.array([places[symbol] for symbol in symbols])


def _listed(codec: Codec, symbols: Sequence[str]) -> str:
    return first_of(list(map(codec.symbol_label, sorted(symbols))), LISTED, " ")
