"""The network stepped in NumPy: a step at a time, one stream or many, and no PyTorch.

At batch 1 a step is a few matrix-vector products, and the rest of its time is the price of each
call.  So weights lie column by column, which BLAS reads fastest; a layer's output is multiplied
once, by the next layer's input weights and by its own recurrent ones; the input is a row of a
table that fills as symbols are met; batch norm is folded into the weights behind it; sigmoid gates
are halved beforehand, since sigmoid(x) = (1 + tanh(x / 2)) / 2 lets one tanh serve all gates; and
a plain LSTM, GRU or RNN allocates nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache, cached_property
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import SamplingError
from charrnn.sampling.layer import CELLS, Array, Layer, Shape, Weights, beside

SHARED_FROM = 1 << 19  # numbers in a matrix that is worth a second thread
FEW = 512  # symbols whose whole table is made for several streams: four times as quick to read
TRIES = 5  # of each number of threads


class Runtime:
    """A network ready to be stepped.

    Args:
        config: its shape.
        weights: its tensors, by the names of `model.shapes`.

    Raises:
        SamplingError: a weight that is not finite.
    """

    @np.errstate(all="ignore")  # of absurd weights; what they lead to is refused when drawn
    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        for name, array in weights.items():
            if not np.isfinite(np.sum(array, dtype=np.float64)):
                raise SamplingError(f"the model's weights are broken: {name} is not finite")
            if name.endswith(("running_var", "variance")) and np.min(array) < 0:
                raise SamplingError(f"the model's weights are broken: {name} is negative")
        self.layers = [Layer(config, weights, index) for index in range(config.layers)]
        for layer, behind in pairwise(self.layers):
            layer.feed(behind.input_weight, behind.input_bias, behind)
        head = weights["head.linear.weight"], weights["head.linear.bias"]
        self.dense = head if config.dense else None  # what follows the dense layer
        if config.dense:
            head = weights["dense.weight"], weights["dense.bias"]
        self.layers[-1].feed(*head)
        self.size = len(weights["head.linear.bias"])  # V, or F
        self.is_discrete = config.head == "categorical"
        # Of frames the deviation of each number, (F,); of a model that expects one frame, 0.
        self.deviation = np.sqrt(weights.get("head.variance", np.zeros(self.size, np.float32)))
        self._embedding = weights.get("embedding.weight")  # None: one-hot, or frames
        if config.input_norm == "batch":
            self.layers[0].read_normed(weights, "input_norm.norm")
        gates = len(self.layers[0].input_weight) if self.is_discrete else 0
        self._table = np.empty((self.size, gates), np.float32)  # takes memory as it fills
        self._rows: list[Array | None] = [None] * self.size  # of the table, those that are filled
        for layer in self.layers[1:]:
            del layer.input_weight  # it is in the matrix of the layer before

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Runtime:
        """The network of a model file.

        Raises:
            CheckpointError: as `Checkpoint.weights` does.
            SamplingError: a weight that is not finite.
        """
        try:
            return cls(checkpoint.config.model, checkpoint.weights())
        except SamplingError as error:
            raise SamplingError(f"{checkpoint.path}: {error}") from None

    def begin(self, prime: Sequence[int] | NDArray[Any]) -> Stream:
        """A stream that has read `prime`, (N,), or (N, F), N at least 1."""
        stream, steps = Stream(self), np.asarray(prime)
        for step in steps.tolist() if self.is_discrete else steps:
            stream.step(step)
        return stream

    def share(self, steps: Any, *, several: bool) -> Array:
        """The input's share of the first layer's gates, (G*H,) or (G*H, S), of a step, or of those
        of several streams, (S,), or (S, F)."""
        if self.is_discrete:
            return self.columns(steps) if several else self.row(steps)
        first = self.layers[0]
        share: Array = first.input_weight @ (steps.T if several else steps)
        return first.input_share(share + beside(first.input_bias, share))

    def row(self, step: int) -> Array:
        """The share of a symbol, (G*H,)."""
        row = self._rows[step]
        if row is None:
            first = self.layers[0]
            if self._embedding is None:
                share = first.input_weight[:, step]
            else:
                share = first.input_weight @ self._embedding[step]
            row = self._rows[step] = self._table[step]
            row[:] = first.input_share(share + first.input_bias)
        return row

    def columns(self, steps: NDArray[np.integer]) -> Array:
        """Those of several streams' symbols, (S,), as (G*H, S)."""
        if self.size <= FEW:
            return np.take(self._across, steps, 1)
        for step in set(steps.tolist()):
            self.row(step)
        columns: Array = self._table[steps].T
        return columns

    @cached_property
    def _across(self) -> Array:
        """The whole table, symbol by symbol across: (G*H, V)."""
        return np.stack([self.row(step) for step in range(self.size)], 1)


class Stream:
    """One sequence or several abreast: their recurrent state, and what follows it.

    Args:
        runtime: the network.
        shape: () for one sequence, (S,) for S.
    """

    def __init__(self, runtime: Runtime, shape: Shape = ()) -> None:
        self._runtime, self._shape, self._several = runtime, shape, bool(shape)
        self._cells = [CELLS[layer.cell](layer, shape) for layer in runtime.layers]
        logits = self._cells[-1].onward
        if runtime.dense is not None:
            self._hidden, logits = logits, np.empty((runtime.size, *shape), np.float32)
        self._logits = logits
        self.logits: Array = logits.T if shape else logits  # (V,) or (S, V), written by `step`

    def step(self, steps: Any) -> Array:
        """Read a step, or one of each stream, (S,); a step is an integer, or a frame, (F,).

        Returns:
            `logits`, which the next step overwrites: (V,), or (S, V); of frames the one that is
            expected, (F,), or (S, F).
        """
        x = self._runtime.share(steps, several=self._several)
        for cell in self._cells:
            x = cell.read(x)
        if self._runtime.dense is not None:
            weight, bias = self._runtime.dense
            np.dot(weight, np.maximum(x, 0), self._logits)
            self._logits += beside(bias, self._logits)
        return self.logits

    def share_work(self) -> None:
        """Give BLAS as many threads as are quickest for such streams, from now on and for the whole
        process: the second one reads a large matrix at once with the first, unless another program
        keeps a processor busy.  Smaller ones BLAS leaves to one thread by itself."""
        if max(layer.weight.size for layer in self._runtime.layers) < SHARED_FROM:
            return
        controller, most = _blas()
        times: dict[int, list[float]] = {count: [] for count in (1, most)}
        trial = Stream(self._runtime, self._shape)
        steps: Any = np.zeros(self._shape, np.int64) if self._shape else 0
        if not self._runtime.is_discrete:
            steps = np.zeros((*self._shape, self._runtime.size), np.float32)
        for _ in range(TRIES):
            for count, seen in times.items():
                controller.limit(limits=count)
                started = time.perf_counter()
                trial.step(steps)
                seen.append(time.perf_counter() - started)
        controller.limit(limits=min(times, key=lambda count: median(times[count])))

    def take(self, rows: Sequence[int]) -> Stream:
        """Streams that go on from those of these numbers; one may be taken several times."""
        taken = Stream(self._runtime, (len(rows),))
        for cell, old in zip(taken._cells, self._cells, strict=True):
            for part, from_part in zip(cell.memory, old.memory, strict=True):
                part[:] = from_part[:, rows] if self._several else from_part[:, np.newaxis]
        taken.logits[:] = self.logits[rows] if self._several else self.logits
        return taken


@cache
def _blas() -> tuple[Any, int]:
    """What sets the threads of BLAS, and how many there were at first."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController().select(user_api="blas")
    return controller, max((library["num_threads"] for library in controller.info()), default=1)
