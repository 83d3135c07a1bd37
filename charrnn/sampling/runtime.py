"""The network in NumPy: computes one step at a time, for one stream or several, without PyTorch.

For a single stream, a step consists of a few matrix-vector products and call overhead.  To be fast:

- weights are stored in column-major order, which BLAS reads fastest;
- a layer's output is multiplied only once, by one matrix that contains the next layer's input
  weights and its own recurrent weights;
- one-hot or embedded inputs are rows of a table that is filled when a symbol first appears;
- batch norm is folded into the weights after it, and all of layer norm except the division by the
  standard deviation;
- sigmoid gates are halved beforehand, since sigmoid(x) = (1 + tanh(x / 2)) / 2, so that one tanh
  is enough for all gates;
- a plain LSTM, GRU or RNN allocates no memory during a step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import Checkpoint, Starts
from charrnn.errors import SamplingError
from charrnn.model.cells.numpy_step import Array, Weights, per_stream
from charrnn.sampling.layer import Layer, LayerStream, Shape, affine
from charrnn.settings import ModelConfig

LARGE_MATRIX = 1 << 19  # numbers in a matrix from which a second thread may be faster
SMALL_VOCABULARY = 512  # up to this many symbols the whole table is filled: 4x as fast to read
TRIALS = 5  # steps that are timed with each number of threads


class Runtime:
    """A network in NumPy.

    Args:
        config: its sizes and options.
        weights: its tensors, by the names of `model.shapes`.
        starts: the states in which samples may begin; None: the zero state.

    Raises:
        SamplingError: a weight is not finite, or a variance is negative.
    """

    @np.errstate(all="ignore")  # if bad weights overflow, sampling raises an error later
    def __init__(self, config: ModelConfig, weights: Weights, starts: Starts | None = None) -> None:
        self._starts = starts
        self.starts = len(starts[0][0]) if starts else 0
        for name, array in weights.items():
            if not np.isfinite(np.sum(array, dtype=np.float64)):
                raise SamplingError(f"the model's weights are broken: {name} is not finite")
            if name.endswith(("running_var", "variance")) and np.min(array) < 0:
                raise SamplingError(f"the model's weights are broken: {name} is negative")
        self.layers = [Layer(config, weights, index) for index in range(config.layers)]
        head, bias = weights["head.linear.weight"], weights["head.linear.bias"]
        self.after_dense = (head, bias) if config.dense else None
        if config.dense:
            head, bias = weights["dense.weight"], weights["dense.bias"]
        *skipped, head = np.split(head, config.layers, 1) if config.skip else [head]
        for index, (layer, next_layer) in enumerate(pairwise(self.layers)):
            layer.connect(
                next_layer.input_weight,
                next_layer.input_bias,
                next_layer,
                skipped[index] if skipped else None,
            )
        self.layers[-1].connect(head, bias)
        self.size = len(weights["head.linear.bias"])  # V, or F
        self.is_discrete = config.head == "categorical"
        # Standard deviation of each number of a frame, (F,); 0 if the head has no variance.
        self.deviation = np.sqrt(weights.get("head.variance", np.zeros(self.size, np.float32)))
        self._embedding = weights.get("embedding.weight")  # None: one-hot, or frames
        # What the input of the network is multiplied by, (G*H, I): for the first layer, or (L*G*H,
        # I): for each layer.
        self.gates = len(self.layers[0].input_bias)  # G*H
        reading = self.layers if config.skip_input else self.layers[:1]
        self._input_weight = np.concatenate([layer.first_weight for layer in reading])
        self._input_bias = np.zeros(len(self._input_weight), np.float32)
        self._input_bias[: self.gates] = self.layers[0].input_bias
        if config.input_norm == "batch":
            scale, shift = affine(weights, "input_norm.norm")
            self._input_bias += self._input_weight @ shift
            self._input_weight *= scale
        width = len(self._input_weight) if self.is_discrete else 0
        self._table = np.empty((self.size, width), np.float32)  # takes memory as it is filled
        self._rows: list[Array | None] = [None] * self.size  # the filled rows of the table
        for layer in self.layers:
            # They are part of the previous layer's matrix, and of those above.
            del layer.input_weight, layer.first_weight

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Runtime:
        """The network of a model file.

        Raises:
            CheckpointError: as in `Checkpoint.weights`.
            SamplingError: a weight is not finite, or a variance is negative.
        """
        try:
            return cls(checkpoint.config.model, *checkpoint.weights_and_starts())
        except SamplingError as error:
            raise SamplingError(f"{checkpoint.path}: {error}") from None

    def begin(
        self, prime: Sequence[int] | NDArray[Any], starts: Sequence[int] | int | None = None
    ) -> Stream:
        """A stream that has read `prime`, (N,) or (N, F), with N at least 1.

        Args:
            prime: the steps.
            starts: for symbols, the index of the state to begin in; or several, which give so many
                streams; None: one stream that begins in the zero state.
        """
        shape = () if starts is None else np.shape(starts)  # () or (S,)
        stream, steps = Stream(self, shape), np.asarray(prime)
        if starts is not None:
            assert self._starts is not None
            stream.restore([[part[np.array(starts)].T for part in layer] for layer in self._starts])
        if shape:
            steps = np.repeat(steps[:, np.newaxis], shape[0], 1)
        for step in steps.tolist() if self.is_discrete and not shape else steps:
            stream.step(step)
        return stream

    def zero(self, streams: int) -> Stream:
        """So many streams that have read nothing and are in the zero state."""
        return Stream(self, (streams,))

    def input_gates(self, steps: Any, *, several: bool) -> Array:
        """The input part of the first layer's gates; with `skip_input` of each layer's, one after
        the other.

        Args:
            steps: a single step, or those of S streams, (S,) or (S, F).
            several: whether there are streams.

        Returns:
            (G*H,) or (L*G*H,); of several streams (G*H, S) or (L*G*H, S).
        """
        if self.is_discrete:
            return self._symbols(steps) if several else self._symbol(steps)
        return self._finished(self._input_weight @ (steps.T if several else steps))

    def _finished(self, gates: Array) -> Array:
        """Products of the input, (G*H, ...) or (L*G*H, ...), with bias and norm."""
        gates = gates + per_stream(self._input_bias, gates)
        gates[: self.gates] = self.layers[0].normalized_input(gates[: self.gates])
        return gates

    def _symbol(self, step: int) -> Array:
        """`input_gates` of one symbol: a row of the table."""
        row = self._rows[step]
        if row is None:
            if self._embedding is None:
                gates = self._input_weight[:, step]
            else:
                gates = self._input_weight @ self._embedding[step]
            row = self._rows[step] = self._table[step]
            row[:] = self._finished(gates)
        return row

    def _symbols(self, steps: NDArray[np.integer]) -> Array:
        """`input_gates` of several streams' symbols."""
        if self.size <= SMALL_VOCABULARY:
            return np.take(self._transposed_table, steps, 1)
        for step in set(steps.tolist()):
            self._symbol(step)
        columns: Array = self._table[steps].T
        return columns

    @cached_property
    def _transposed_table(self) -> Array:
        """The whole table, with a column for each symbol."""
        return np.stack([self._symbol(step) for step in range(self.size)], 1)


class Stream:
    """One sequence or several in parallel: their recurrent state, and the logits of the next step.

    Args:
        runtime: the network.
        shape: () for one sequence, (S,) for S.
    """

    def __init__(self, runtime: Runtime, shape: Shape = ()) -> None:
        self._runtime, self._shape, self._several = runtime, shape, bool(shape)
        self._layers = [LayerStream(layer, shape) for layer in runtime.layers]
        self._nothing: list[Array | None] = [None] * len(self._layers)
        logits = self._layers[-1].onward
        self._skipped = [layer.skipped for layer in self._layers if len(layer.skipped)]
        if runtime.after_dense is not None:
            logits = np.empty((runtime.size, *shape), np.float32)
        self._logits = logits
        self.logits: Array = logits.T if shape else logits  # (V,) or (S, V), written by `step`

    def step(self, steps: Any) -> Array:
        """Read a step, or one for each stream, (S,); a step is an integer, or a frame, (F,).

        Returns:
            `logits`, (V,) or (S, V), or for frames the expected next one, (F,) or (S, F); the next
            step overwrites it.
        """
        x = self._runtime.input_gates(steps, several=self._several)
        added: list[Array | None] = self._nothing
        if len(x) > self._runtime.gates:  # those of the first layer, and of each after it
            x, *added = [*x.reshape(len(self._layers), -1, *self._shape), None]
        for layer, more in zip(self._layers, added, strict=True):
            x = layer.step(x, more)
        for part in self._skipped:
            x += part
        if self._runtime.after_dense is not None:
            weight, bias = self._runtime.after_dense
            np.dot(weight, np.maximum(x, 0), self._logits)
            self._logits += per_stream(bias, self._logits)
        return self.logits

    @property
    def state(self) -> list[tuple[Array, ...]]:
        """For each layer the parts of its state, (H,) or (H, S), which `step` overwrites."""
        return [layer.state[1:] for layer in self._layers]

    @property
    def gates(self) -> list[Mapping[str, Array]]:
        """For each layer its gates in the last step by name, (H,) or (H, S), which `step`
        overwrites."""
        return [layer.step_of_cell.gates for layer in self._layers]

    def restore(self, state: Sequence[Sequence[Array]]) -> None:
        """Continue from a state: for each layer its parts, (H,) or (H, S)."""
        for layer, parts in zip(self._layers, state, strict=True):
            layer.restore(parts)

    def tune_threads(self) -> None:
        """Measure which number of BLAS threads is fastest for this network and number of streams,
        and set it for the whole process.

        Two threads read a large matrix from memory faster, unless another program uses a processor.
        For small matrices BLAS itself uses only one thread.
        """
        if max(layer.weight.size for layer in self._runtime.layers) < LARGE_MATRIX:
            return
        controller, most = _blas()
        times: dict[int, list[float]] = {count: [] for count in (1, most)}
        trial = Stream(self._runtime, self._shape)
        steps: Any = np.zeros(self._shape, np.int64) if self._shape else 0
        if not self._runtime.is_discrete:
            steps = np.zeros((*self._shape, self._runtime.size), np.float32)
        for _ in range(TRIALS):
            for count, measured in times.items():
                controller.limit(limits=count)
                started_at = time.perf_counter()
                trial.step(steps)
                measured.append(time.perf_counter() - started_at)
        controller.limit(limits=min(times, key=lambda count: median(times[count])))

    def take(self, rows: Sequence[int]) -> Stream:
        """New streams that continue the streams with these indices, which may repeat."""
        taken = Stream(self._runtime, (len(rows),))
        for layer, old in zip(taken._layers, self._layers, strict=True):
            for part, from_part in zip(layer.state, old.state, strict=True):
                part[:] = from_part[:, rows] if self._several else from_part[:, np.newaxis]
        taken.logits[:] = self.logits[rows] if self._several else self.logits
        return taken


@cache
def _blas() -> tuple[Any, int]:
    """The controller of BLAS threads, and their initial number."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController().select(user_api="blas")
    return controller, max((library["num_threads"] for library in controller.info()), default=1)
