"""A network as an ONNX model, written from the arrays of its file.

The graph reads T steps of B sequences and the state before them, and gives T predictions and the
state after them, for any T and B from 1 up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import Checkpoint
from charrnn.errors import UsageError
from charrnn.export.arrays import about
from charrnn.media.steps import Discrete
from charrnn.model.cells.numpy_step import EPSILON

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17  # the first with layer normalisation
IR_VERSION = 8  # of that opset's time: old runtimes read it
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Operator:
    """How ONNX names a cell, and the order of its gates there.

    Args:
        name: of the operator.
        order: for each gate of ONNX the index of ours.
        attributes: of the operator.
    """

    name: str
    order: Sequence[int]
    attributes: Mapping[str, Any] = field(default_factory=dict)


OPERATORS = {
    "lstm": Operator("LSTM", (0, 3, 1, 2)),  # i, o, f, c
    "peephole": Operator("LSTM", (0, 3, 1, 2)),
    "gru": Operator("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # z, r, h
    "rnn": Operator("RNN", (0,), {"activations": ["Tanh"]}),
}


def onnx_model(checkpoint: Checkpoint) -> ModelProto:
    """The model.

    Inputs: `steps`, (T, B) int64, or frames, (T, B, F); and `h0`, `h1`, ..., for an LSTM also `c0`,
    ..., the state of each layer, (1, B, H), zeros before the first step.  Outputs: `logits`,
    (T, B, V), or for frames `mean`, (T, B, F); and the state after the last step, `h0_after`, ...
    Metadata: `charrnn`, a JSON object with the codec, the config, the summary of training, and for
    frames the standard deviations.  Arrays of the codec are not in it; `arrays` has them.

    Raises:
        CheckpointError: the file is damaged.
        UsageError: the package onnx is missing, or ONNX has no operator for this network.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError:
        raise UsageError("ONNX needs the package onnx: pip install onnx") from None
    model, codec = checkpoint.config.model, checkpoint.codec
    if model.cell not in OPERATORS or model.cell_norm != "none":
        what = f"layer norm in the cell (--cell-norm {model.cell_norm})"
        what = f"the cell {model.cell}" if model.cell not in OPERATORS else what
        raise UsageError(f"{checkpoint.path}: ONNX has no operator for {what}")
    weights, is_discrete = checkpoint.weights(), isinstance(codec.step, Discrete)
    graph = _Graph(weights)
    x = first = graph.input(is_discrete=is_discrete, embedding="embedding.weight" in weights)
    outputs = []
    for index in range(model.layers):
        if index and model.skip_input:
            x = graph.add("Concat", [x, first], axis=-1)
        x = graph.recurrent(x, index, OPERATORS[model.cell], model.hidden)
        if model.norm != "none":
            x = graph.norm(x, f"norms.{index}.norm")
        outputs.append(x)
    if model.skip and len(outputs) > 1:
        x = graph.add("Concat", outputs, axis=-1)
    if model.dense:
        x = graph.add("Relu", [graph.linear(x, "dense")])
    name = "logits" if is_discrete else "mean"
    graph.add("Identity", [graph.linear(x, "head.linear")], name)

    kind = TensorProto.FLOAT
    states = [f"{part}{index}" for index in range(model.layers) for part in graph.parts]
    shape = (1, "B", model.hidden)
    steps = helper.make_tensor_value_info(
        "steps",
        TensorProto.INT64 if is_discrete else kind,
        ("T", "B") if is_discrete else ("T", "B", codec.step.size),
    )
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "charrnn",
            [steps, *(helper.make_tensor_value_info(each, kind, shape) for each in states)],
            [
                helper.make_tensor_value_info(name, kind, ("T", "B", codec.step.size)),
                *(helper.make_tensor_value_info(f"{each}_after", kind, shape) for each in states),
            ],
            graph.constants,
        ),
        producer_name="charrnn",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    metadata = about(checkpoint)
    if "head.variance" in weights:
        metadata["deviation"] = np.sqrt(weights["head.variance"]).tolist()
    helper.set_model_props(made, {"charrnn": json.dumps(metadata)})
    checker.check_model(made)
    return made


class _Graph:
    """The nodes and constants of a graph, as they are added."""

    def __init__(self, weights: Arrays) -> None:
        self._weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.parts: list[str] = []  # names of the parts of a state

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return its name."""
        return self._node(kind, inputs, [output or f"x{len(self.nodes)}"], attributes)[0]

    def _node(
        self, kind: str, inputs: Sequence[str], outputs: list[str], attributes: Mapping[str, Any]
    ) -> list[str]:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs

    def constant(self, name: str, array: NDArray[Any] | None = None) -> str:
        """A constant of the graph: a tensor of the network, or an array under this name."""
        from onnx import numpy_helper

        if array is None:
            array = self._weights[name]
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def input(self, *, is_discrete: bool, embedding: bool) -> str:
        """The vectors that the first layer reads, (T, B, I)."""
        if is_discrete and embedding:
            return self.add("Gather", [self.constant("embedding.weight"), "steps"])
        if is_discrete:
            size = self._weights["layers.0.kernel.weight_ih_l0"].shape[1]
            depth = self.constant("vocabulary", np.array(size, np.int64))
            values = self.constant("off-and-on", np.array([0, 1], np.float32))
            return self.add("OneHot", ["steps", depth, values])
        if "input_norm.norm.weight" in self._weights:
            return self.norm("steps", "input_norm.norm")
        return "steps"

    def recurrent(self, x: str, index: int, operator: Operator, hidden: int) -> str:
        """A recurrent layer: its outputs, (T, B, H)."""
        kernel = f"layers.{index}.kernel"

        def arranged(name: str) -> NDArray[Any]:
            """A tensor with its gates in the order of ONNX, and an axis for the direction."""
            tensor = self._weights[f"{kernel}.{name}_l0"]
            by_gate = tensor.reshape(len(operator.order), hidden, -1)[list(operator.order)]
            return by_gate.reshape(1, *tensor.shape)

        biases = np.concatenate([arranged("bias_ih"), arranged("bias_hh")], 1)
        self.parts = ["h", "c"] if operator.name == "LSTM" else ["h"]
        inputs = [
            x,
            self.constant(f"{kernel}.W", arranged("weight_ih")),
            self.constant(f"{kernel}.R", arranged("weight_hh")),
            self.constant(f"{kernel}.B", biases),
            "",  # the lengths of the sequences: all the same
            *(f"{part}{index}" for part in self.parts),
        ]
        peephole = self._weights.get(f"layers.{index}.peephole")
        if peephole is not None:  # ours are i, f, o; those of ONNX i, o, f
            rows = peephole[[0, 2, 1]].reshape(1, -1)
            inputs.append(self.constant(f"{kernel}.P", rows))
        outputs = [f"layer{index}", *(f"{part}{index}_after" for part in self.parts)]
        attributes = {"hidden_size": hidden, **operator.attributes}
        self._node(operator.name, inputs, outputs, attributes)
        # (T, directions, B, H) without the axis of directions.
        axis = self.constant(f"{kernel}.axis", np.array([1], np.int64))
        return self.add("Squeeze", [outputs[0], axis])

    def norm(self, x: str, name: str) -> str:
        """Layer norm, or batch norm with its running statistics."""
        scale, shift = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        variance = self._weights.get(f"{name}.running_var")
        if variance is None:
            inputs = [x, self.constant(f"{name}.weight"), self.constant(f"{name}.bias")]
            return self.add("LayerNormalization", inputs, axis=-1, epsilon=EPSILON)
        scale = scale / np.sqrt(variance + np.float32(EPSILON))
        shift = shift - self._weights[f"{name}.running_mean"] * scale
        scaled = self.add("Mul", [x, self.constant(f"{name}.scale", scale)])
        return self.add("Add", [scaled, self.constant(f"{name}.shift", shift)])

    def linear(self, x: str, name: str) -> str:
        """A linear layer."""
        matrix = self.constant(f"{name}.transposed", self._weights[f"{name}.weight"].T)
        product = self.add("MatMul", [x, matrix])
        return self.add("Add", [product, self.constant(f"{name}.bias")])
