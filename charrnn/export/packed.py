"""A network as one string, for web pages, and the JavaScript that runs it (`engine.js`)
and turns text into symbols (`codec.js`).

The string is base64 of gzip of: the length of a JSON object (4 bytes, little-endian), that object,
and the numbers of its tensors, one after the other, little-endian.  The object has the fields of
`ModelConfig` in FIELDS; `size`, V or F; `starts`, the number of states in which samples may begin;
and `tensors`, a list of name, shape, and "fp32" or "int8".  The numbers of an int8 matrix, (R, C),
follow its R scales in fp32.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from charrnn.checkpoint import START, Checkpoint, quantized
from charrnn.model.shapes import COUNTER

KERNEL = Path(__file__).with_name("kernel.wasm")  # made from kernel.wat, see CONTRIBUTING.md
CODEC = "codec."  # the names of a codec's arrays begin with it
FIELDS = (
    *("cell", "hidden", "layers", "embedding", "head", "skip", "skip_input", "dense"),
    *("input_norm", "norm", "cell_norm"),
)


def engine() -> str:
    """The source of the network in JavaScript, with its kernel in WebAssembly."""
    kernel = base64.b64encode(KERNEL.read_bytes()).decode("ascii")
    source = Path(__file__).with_name("engine.js").read_text(encoding="utf-8")
    return source.replace("{{kernel}}", kernel)


def codec() -> str:
    """The source of what turns text into symbols and back in JavaScript."""
    return Path(__file__).with_name("codec.js").read_text(encoding="utf-8")


def packed(
    checkpoint: Checkpoint,
    weights: str = "int8",
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> str:
    """The network of a model file as one string.

    Args:
        checkpoint: the model.
        weights: how matrices are stored: "int8", with a scale for each row, or "fp32".
        arrays: others, of one or two dimensions, that become tensors whose names begin with CODEC.

    Raises:
        CheckpointError: as in `Checkpoint.tensors`.
    """
    assert weights in ("int8", "fp32")
    tensors, starts = checkpoint.weights_and_starts()
    for layer, parts in enumerate(starts or ()):
        tensors |= {f"{START}{layer}.{part}": array for part, array in enumerate(parts)}
    tensors = {n: array for n, array in tensors.items() if not n.endswith(COUNTER)}
    tensors |= {CODEC + name: array for name, array in (arrays or {}).items()}
    named: list[tuple[str, tuple[int, ...], str]] = []
    data: list[bytes] = []
    for name, array in tensors.items():
        stored_as = weights if array.ndim == 2 and _is_large(name) else "fp32"
        named.append((name, array.shape, stored_as))
        data.append(_int8(array) if stored_as == "int8" else _fp32(array))
    header: dict[str, Any] = {field: getattr(checkpoint.config.model, field) for field in FIELDS}
    header |= {"size": checkpoint.codec.step.size, "starts": checkpoint.starts_count}
    text = json.dumps(header | {"tensors": named}, separators=(",", ":")).encode()
    whole = b"".join([len(text).to_bytes(4, "little"), text, *data])
    return base64.b64encode(gzip.compress(whole, mtime=0)).decode("ascii")


def _is_large(name: str) -> bool:
    """Whether a tensor of two dimensions is a weight matrix or a table, rather than a few rows that
    every unit depends on, such as gains."""
    return name.startswith((START, CODEC)) or name.rpartition(".")[2].startswith("weight")


def _fp32(array: NDArray[Any]) -> bytes:
    return bytes(array.astype("<f4"))


def _int8(array: NDArray[Any]) -> bytes:
    """The scales of the rows of a matrix, and its numbers divided by them."""
    numbers, scale = quantized(array)
    return _fp32(scale) + bytes(numbers)
