"""Model files: safetensors with config, codec and digest; self-contained, and never a pickle.

The metadata key `charrnn` holds a SHA-256, a newline, and a JSON object: `format`, `config`,
`codec`, `training` (a summary for people) and, in a file that can be resumed, `progress`.  The
digest covers that object and all tensors, because safetensors does not detect a flipped bit.  There
is only one key, because safetensors writes several keys in random order.

In format 2 the matrices of the network are stored as fp16, or as int8 with a scale for each row: a
tensor `scale.NAME`, (R,), for `model.NAME`, (R, C).  All readers get fp32.
This module does not import PyTorch at the top level: tensors are NumPy arrays.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from charrnn.config import Config
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.files import replacing
from charrnn.media import codec_from_dict
from charrnn.media.codec import Codec, refuse
from charrnn.media.steps import Discrete
from charrnn.model.cells import cell_of
from charrnn.model.shapes import COUNTER, is_learnt, shapes

if TYPE_CHECKING:
    from charrnn.model.network import Network

FORMAT, COMPACT = 1, 2  # COMPACT: with matrices in fp16 or int8
MODEL = "model."  # prefix of the network's own tensors
SCALE = "scale."  # of the scales of int8 matrices
CODEC = "codec."  # prefix of the codec's tensors
START = "start."  # and of the states in which samples begin
MAX_STARTS = 1_024
# Limits for files: more than any run writes, but small enough to read quickly.
MAX_CODEC_NUMBERS = 1 << 24  # in the codec's tensors
MAX_HEADER_BYTES = 32 << 20  # nearly all of it is a vocabulary
MAX_JSON_MARKS = {"[{": 1 << 16, '",': 1 << 22}  # number of brackets and strings: they take memory
MAX_TENSORS = 8_192
MAX_SUMMARY_ENTRIES = 32
MOST_INT8 = 127
MAX_WEIGHT = 1e9  # more than training produces, but the product of two is still finite
MAX_SUMMARY = 1e18  # for numbers in the summary
KINDS = {
    "model": "F32",
    "scale": "F32",
    "codec": "F32",
    "start": "F32",
    "optimizer": "F32",
    "state": "F32",
    "generator": "U8",
    "free_runs": "F32",
}
WEIGHTS = {"F32": "fp32", "F16": "fp16", "I8": "int8"}  # how matrices may be stored
Tensors = dict[str, NDArray[Any]]
Starts = tuple[tuple[NDArray[np.float32], ...], ...]  # of each layer, its parts, (S, H)


@dataclass(frozen=True)
class Checkpoint:
    """The header of a model file; `tensors` reads the tensors."""

    path: Path
    config: Config
    codec: Codec
    training: dict[str, Any]
    progress: dict[str, Any] | None
    sha256: str
    shapes: dict[str, tuple[int, ...]]
    weights_as: str  # how its matrices are stored: one of the values of WEIGHTS
    _header: str
    _file: Any  # kept open, so that header and tensors come from one file even if it is replaced

    def tensors(self) -> Tensors:
        """Read all tensors and check them against the digest; weights are fp32 however stored.

        Raises:
            CheckpointError: the file has changed since it was written, or contains numbers that
                training never produces.
        """
        try:
            tensors = {name: self._file.get_tensor(name) for name in self.shapes}
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error})") from None
        if digest(self._header, tensors) != self.sha256:
            raise CheckpointError(
                f"{self.path}: damaged: its contents do not match its SHA-256; "
                "fetch or train it again"
            )
        for name, array in tensors.items():
            _refuse_numbers(self.path, name, array)
        return tensors if self.weights_as == "fp32" else _expanded(tensors)

    def weights(self) -> Tensors:
        """The network's own tensors, by the names of `model.shapes`.

        Raises:
            CheckpointError: as in `tensors`.
        """
        return self.weights_and_starts()[0]

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters."""
        own = {k: shape for k, shape in self.shapes.items() if k.startswith(MODEL)}
        return sum(math.prod(shape) for name, shape in own.items() if is_learnt(name))

    @property
    def starts(self) -> Starts | None:
        """The second of `weights_and_starts`.

        Raises:
            CheckpointError: as in `tensors`.
        """
        return self.weights_and_starts()[1] if self.starts_count else None

    def weights_and_starts(self) -> tuple[Tensors, Starts | None]:
        """The network's own tensors, by the names of `model.shapes`, and the recurrent states in
        which samples may begin; None: they begin in the zero state.

        Raises:
            CheckpointError: as in `tensors`.
        """
        tensors = self.tensors()
        weights = {n.removeprefix(MODEL): a for n, a in tensors.items() if n.startswith(MODEL)}
        if not self.starts_count:
            return weights, None
        parts = range(cell_of(self.config.model.cell).state_parts)
        layers = range(self.config.model.layers)
        starts = tuple(tuple(tensors[f"{START}{i}.{part}"] for part in parts) for i in layers)
        return weights, starts

    @property
    def starts_count(self) -> int:
        """The number of states in which samples may begin, S."""
        return self.shapes.get(f"{START}0.0", (0,))[0]

    def network(self) -> Network:
        """Build the network on the CPU, in evaluation mode.

        Raises:
            CheckpointError: as in `tensors`.
        """
        weights = self.weights()
        import torch

        from charrnn.model.network import Network

        with torch.device("meta"):
            network = Network(self.config.model, self.codec.step)
        network.load_state_dict(
            {name: torch.from_numpy(array) for name, array in weights.items()}, assign=True
        )
        return network.eval()


def save(
    path: Path,
    *,
    config: Config,
    codec: Codec,
    training: Mapping[str, Any],
    tensors: Tensors,
    progress: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file atomically.

    Raises:
        CheckpointError: the disk is full, or the directory is missing or not writable; an existing
            file is unchanged.
    """
    is_compact = any(array.dtype in (np.float16, np.int8) for array in tensors.values())
    header = json.dumps(
        {
            "format": COMPACT if is_compact else FORMAT,
            "config": config.to_dict(),
            "codec": codec.to_dict(),
            "training": dict(training),
            "progress": None if progress is None else dict(progress),
        },
        sort_keys=True,
        ensure_ascii=False,  # an escaped character can take four times the space
    )
    tensors = tensors | {CODEC + name: array for name, array in codec.arrays.items()}
    if (size := len(header.encode())) > MAX_HEADER_BYTES // 2:  # half: escaping may double it
        raise CheckpointError(
            f"{path}: a vocabulary that takes {size / 1e6:.0f} MB cannot be saved; "
            "give a smaller --vocab-size or a larger --min-count"
        )
    metadata = {"charrnn": f"{digest(header, tensors)}\n{header}"}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        reason = str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
        before = "; the file that was there is unchanged" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot be written ({reason}){before}") from None


def read(path: Path) -> Checkpoint:
    """Read the header of a model file, and check the shapes of all tensors against its config.

    Memory is never allocated by a size that the file claims.

    Raises:
        CheckpointError: not a file, not a charrnn model, of a newer format, or inconsistent.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or run")
    file, shapes, kinds, sha256, header = opened(path)
    try:
        values = parsed(header)
        version = values["format"]
        if type(version) is not int or version not in (FORMAT, COMPACT):
            raise CheckpointError(
                f"format {version!r:.40}, this charrnn reads formats {FORMAT} and {COMPACT}; "
                "update charrnn"
            )
        progress = values["progress"]
        if not isinstance(progress, dict | None):
            raise TypeError("progress must be an object")
        weights_as = _weights_as(kinds)
        if (weights_as == "fp32") != (version == FORMAT):
            raise CheckpointError(f"its weights are {weights_as}, which format {version} has not")
        if weights_as != "fp32" and progress is not None:
            raise CheckpointError(f"its weights are {weights_as}, so it cannot be resumed")
        _refuse_tensors(shapes, kinds, weights_as, resumable=progress is not None)
        codec = codec_from_dict(values["codec"], codec_arrays(file, shapes))
        config = Config.from_dict(values["config"], where="config", keep=True)
        _refuse_contradiction(config, codec)
        starts = next((shape for name, shape in shapes.items() if name.startswith(START)), (0,))
        if not 0 <= starts[0] <= MAX_STARTS:
            raise CheckpointError(f"has {starts[0]:,} states in which samples begin")
        expected = _expected_shapes(
            config, codec, weights_as, resumable=progress is not None, starts=starts[0]
        )
        _refuse_shapes(shapes, expected)
        return Checkpoint(
            path=path,
            config=config,
            codec=codec,
            training=_summary(values["training"]),
            progress=progress,
            sha256=sha256,
            shapes=shapes,
            weights_as=weights_as,
            _header=header,
            _file=file,
        )
    except CharrnnError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is broken ({error!r})") from None


def opened(
    path: Path, key: str = "charrnn", what: str = "model"
) -> tuple[Any, dict[str, tuple[int, ...]], dict[str, str], str, str]:
    """Open a safetensors file of ours.

    Args:
        path: the file, which exists.
        key: of the metadata that contains the header.
        what: kind of the file, for messages.

    Returns:
        The file; the shapes of its tensors, and their types; the digest; and the header.

    Raises:
        CheckpointError: it is no such file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: not a {what} file")
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path}: cannot be read (permission denied)")
    try:
        with open(path, "rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {size:,} bytes")
        file: Any = safe_open(path, framework="numpy")
        file.__enter__()
        metadata, names = file.metadata() or {}, list(file.keys())
        if len(names) > MAX_TENSORS:
            raise ValueError(f"{len(names):,} tensors")
        slices = {name: file.get_slice(name) for name in names}
        shapes = {name: tuple(slice_.get_shape()) for name, slice_ in slices.items()}
        kinds = {name: slice_.get_dtype() for name, slice_ in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a charrnn {what} ({error})") from None
    if key not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not a charrnn {what}")
    sha256, _, header = metadata[key].partition("\n")
    return file, shapes, kinds, sha256, header


def parsed(header: str) -> Any:
    """The values of a header.

    Raises:
        ValueError: it is not JSON, or would take too much memory.
    """
    for marks, most in MAX_JSON_MARKS.items():
        if sum(map(header.count, marks)) > most:
            raise ValueError("too many parts")
    return json.loads(header)


def _summary(values: Any) -> dict[str, Any]:
    """Check the summary of training: names and numbers."""
    if not isinstance(values, dict) or len(values) > MAX_SUMMARY_ENTRIES:
        raise TypeError("training must be an object of a few numbers")
    for name, value in values.items():
        is_number = type(value) in (int, float) and abs(value) < MAX_SUMMARY
        if not (name.isidentifier() and name.isascii() and len(name) < MAX_SUMMARY_ENTRIES):
            raise ValueError(f"training has an entry {name!r:.40}")
        if not (is_number or value is None):
            raise ValueError(f"training.{name} is {value!r:.40}")
    return values


def _refuse_contradiction(config: Config, codec: Codec) -> None:
    """Raise if the config cannot belong to a model with this codec.

    Raises:
        CheckpointError: names the setting.
        SamplingError: the sampling settings leave nothing to sample.
    """
    model = config.model
    refuse(config.data.codec, codec.name, "data.codec", codec)
    is_discrete = isinstance(codec.step, Discrete)
    refuse(model.head == "categorical", is_discrete, "model.head", codec)
    if is_discrete:
        refuse(model.input_norm, "none", "model.input_norm", codec)
        refuse(model.input_noise, 0, "model.input_noise", codec)
        if not model.embedding:
            refuse(model.skip_input, False, "model.skip_input", codec)
    else:
        refuse(model.embedding, 0, "model.embedding", codec)
    if is_discrete or config.data.bptt == "stateful":
        refuse(config.training.free_runs, 0, "training.free_runs", codec)
    codec.check(config)


def _expected_shapes(
    config: Config, codec: Codec, weights_as: str, *, resumable: bool, starts: int
) -> dict[str, tuple[int, ...]]:
    """The shapes that the config requires for the network, the codec and the recurrent states.

    Args:
        config: of the model.
        codec: of the model.
        weights_as: how its matrices are stored.
        resumable: whether there is the state of the lanes.
        starts: the number of states in which samples may begin.
    """
    expected = {MODEL + k: shape for k, shape in shapes(config.model, codec.step.size).items()}
    if weights_as == "int8":
        expected |= {_scale_of(n): s[:1] for n, s in expected.items() if _is_matrix(n, s)}
    expected |= {CODEC + name: array.shape for name, array in codec.arrays.items()}
    layers, parts = range(config.model.layers), range(cell_of(config.model.cell).state_parts)
    for prefix, count in (("state.", config.data.batch_size * resumable), (START, starts)):
        if count:
            state = (count, config.model.hidden)
            expected |= {f"{prefix}{i}.{part}": state for i in layers for part in parts}
    return expected


def _refuse_shapes(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise unless network, codec and recurrent state have the expected tensors and shapes."""
    groups = ("model", "scale", "codec", "state", "start")
    actual = {n: s for n, s in found.items() if n.partition(".")[0] in groups}
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            raise CheckpointError(
                f"{name} is {actual.get(name, 'missing')}, "
                f"its config requires {expected.get(name, 'none')}"
            )


def _refuse_tensors(
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Mapping[str, str],
    weights_as: str,
    *,
    resumable: bool,
) -> None:
    """Raise for tensors that no run writes."""
    allowed = {"model", "codec", "start", *(["scale"] if weights_as == "int8" else [])}
    matrix = next(kind for kind, name in WEIGHTS.items() if name == weights_as)
    for name, kind in kinds.items():
        group = name.partition(".")[0]
        expected = "I64" if name.endswith(COUNTER) else KINDS.get(group)
        if _is_matrix(name, shapes[name]):
            expected = matrix
        if expected is None or (group not in allowed and not resumable):
            raise CheckpointError(f"unexpected tensor {name!r:.80}")
        if kind != expected:
            raise CheckpointError(f"{name!r:.80} is {kind}, not {expected}")


def compact(path: Path, source: Checkpoint, weights_as: str) -> None:
    """Write a model file atomically whose matrices are stored in this way, without the training
    state.

    Args:
        path: the file to write.
        source: the model.
        weights_as: "fp16" or "int8", in fewer bits; or "fp32".

    Raises:
        CheckpointError: the source is damaged, or the file cannot be written.
    """
    tensors: Tensors = {}
    for name, array in source.tensors().items():
        if name.partition(".")[0] not in ("model", "start"):
            continue
        if weights_as == "fp32" or not _is_matrix(name, array.shape):
            tensors[name] = array
        elif weights_as == "fp16":
            if np.abs(array).max() > np.finfo(np.float16).max:
                raise CheckpointError(
                    f"{source.path}: {name} has numbers that are too large for fp16; use int8"
                )
            tensors[name] = array.astype(np.float16)
        else:
            tensors[name], tensors[_scale_of(name)] = quantized(array)
    save(path, config=source.config, codec=source.codec, training=source.training, tensors=tensors)


def quantized(matrix: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix, (R, C), as int8, and the scale of each row, (R,)."""
    scale = np.abs(matrix).max(1) / np.float32(MOST_INT8)
    scale[scale == 0] = 1
    return np.rint(matrix / scale[:, np.newaxis]).astype(np.int8), scale


def _expanded(tensors: Tensors) -> Tensors:
    """The tensors of a compact file with all weights in fp32, and without the scales."""
    whole: Tensors = {}
    for name, array in tensors.items():
        if array.dtype in (np.float16, np.int8):
            array = array.astype(np.float32)
            if (scale := tensors.get(_scale_of(name))) is not None:
                array *= scale[:, np.newaxis]
        if not name.startswith(SCALE):
            whole[name] = array
    return whole


def _weights_as(kinds: Mapping[str, str]) -> str:
    """How the matrices of a file are stored: one of the values of WEIGHTS."""
    found = {kind for name, kind in kinds.items() if name.startswith(MODEL)}
    return next((name for kind, name in WEIGHTS.items() if kind != "F32" and kind in found), "fp32")


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is one of the network's weight matrices."""
    is_weight = name.rpartition(".")[2].startswith("weight")
    return name.startswith(MODEL) and is_weight and len(shape) == 2


def _scale_of(name: str) -> str:
    """The name of the scales of an int8 matrix."""
    return SCALE + name.removeprefix(MODEL)


def _refuse_numbers(path: Path, name: str, array: NDArray[Any]) -> None:
    """Raise for numbers that training never produces and that would spoil all results."""
    if array.dtype not in (np.float32, np.float16) or not array.size:
        return
    least, most = float(array.min()), float(array.max())  # NaN if the array contains one
    size = max(-least, most) if math.isfinite(least + most) else math.inf
    is_square = name.endswith(("variance", "running_var", "exp_avg_sq", "square_avg", ".step"))
    if size < (MAX_WEIGHT if name.startswith((MODEL, SCALE, START)) else math.inf) and (
        least >= 0 or not is_square
    ):
        return
    raise CheckpointError(
        f"{path}: {name} has numbers from {least:g} to {most:g}, which training never produces; "
        "fetch or train it again"
    )


def codec_arrays(file: Any, shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """The codec's tensors; `Checkpoint.tensors` checks them against the digest later."""
    names = [name for name in shapes if name.startswith(CODEC)]
    if sum(math.prod(shapes[name]) for name in names) > MAX_CODEC_NUMBERS:
        raise CheckpointError("its codec is too large")
    try:
        return {name.removeprefix(CODEC): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"cannot be read ({error})") from None


def digest(header: str, tensors: Tensors) -> str:
    """SHA-256 over the header and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
