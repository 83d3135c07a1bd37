"""One self-contained model file: safetensors with config, codec and digest, and never a pickle.

The metadata key `charrnn` holds a SHA-256, a line's end, and a JSON object: `format`, `config`,
`codec`, `training` (a summary for people) and, in a file to resume from, `progress`.  The digest
covers that object and all tensors, because safetensors does not notice a flipped bit.  One key,
because safetensors writes several in an order that differs from time to time.
This module knows nothing of PyTorch: tensors are NumPy arrays.
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

from charrnn import codec as codecs
from charrnn.codec import Codec
from charrnn.config import Config
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.files import replacing
from charrnn.model.cells import cell_of
from charrnn.model.shapes import COUNTER, shapes

if TYPE_CHECKING:
    from charrnn.model.network import Network

FORMAT = 1
MODEL = "model."  # prefix of the network's own tensors
CODEC = "codec."  # and of those that the codec has besides plain values
# What a file may be: more than any run writes, and little enough to be read in a moment.
MOST_OF_CODEC = 1 << 24  # numbers in the codec's tensors
MOST_OF_HEADER = 32 << 20  # bytes, of which a vocabulary is nearly all
MOST_PARTS = {"[{": 1 << 16, '",': 1 << 22}  # of its JSON: what costs memory, by its marks
MOST_TENSORS = 8_192
MOST_OF_SUMMARY = 32  # entries
LARGEST = 1e9  # number in a network: training makes none, and products of two are still finite
WIDEST = 1e18  # number in the summary
KINDS = {"model": "F32", "codec": "F32", "optimizer": "F32", "state": "F32", "generator": "U8"}
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """What a model file says of itself; the tensors stay on disk until they are asked for."""

    path: Path
    config: Config
    codec: Codec
    training: dict[str, Any]
    progress: dict[str, Any] | None
    sha256: str
    shapes: dict[str, tuple[int, ...]]
    _header: str
    _file: Any  # held open, so that a file that replaces this one does not get mixed in

    def tensors(self) -> Tensors:
        """Read all tensors and hold them against the digest.

        Raises:
            CheckpointError: the file has changed since it was written, or has numbers in it that
                nothing can be computed with.
        """
        try:
            tensors = {name: self._file.get_tensor(name) for name in self.shapes}
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error})") from None
        if _digest(self._header, tensors) != self.sha256:
            raise CheckpointError(
                f"{self.path}: damaged: its contents do not match its SHA-256; "
                "fetch or train it again"
            )
        for name, array in tensors.items():
            _refuse_numbers(self.path, name, array)
        return tensors

    def weights(self) -> Tensors:
        """The network's own tensors, by the names of `model.shapes`.

        Raises:
            CheckpointError: as `tensors` does.
        """
        return {
            name.removeprefix(MODEL): array
            for name, array in self.tensors().items()
            if name.startswith(MODEL)
        }

    def network(self) -> Network:
        """Build the network on the CPU, in evaluation mode.

        Raises:
            CheckpointError: as `weights` does.
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
    """Write a model file whole or not at all.

    Raises:
        CheckpointError: the disk is full, the directory is gone or not writable; the file that
            was there before is untouched.
    """
    header = json.dumps(
        {
            "format": FORMAT,
            "config": config.to_dict(),
            "codec": codec.to_dict(),
            "training": dict(training),
            "progress": None if progress is None else dict(progress),
        },
        sort_keys=True,
        ensure_ascii=False,  # as escapes, characters of the higher planes take four times the room
    )
    tensors = tensors | {CODEC + name: array for name, array in codec.arrays.items()}
    if (size := len(header.encode())) > MOST_OF_HEADER // 2:  # half: for quotes that are escaped
        raise CheckpointError(
            f"{path}: a vocabulary that takes {size / 1e6:.0f} MB cannot be saved; "
            "give a smaller --vocab-size or a larger --min-count"
        )
    metadata = {"charrnn": f"{_digest(header, tensors)}\n{header}"}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        reason = str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
        before = "; what was there before is unharmed" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot be written ({reason}){before}") from None


def read(path: Path) -> Checkpoint:
    """Read the header of a model file, and hold the shapes of all tensors against its config;
    allocates nothing of the size the file claims.

    Raises:
        CheckpointError: not a file, not of this program, newer than it, or inconsistent.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or run")
    if not path.is_file():
        raise CheckpointError(f"{path}: not a model file")
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path}: cannot be read (permission denied)")
    try:
        with open(path, "rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
        if size > MOST_OF_HEADER:
            raise ValueError(f"a header of {size:,} bytes")
        file: Any = safe_open(path, framework="numpy")
        file.__enter__()
        metadata, names = file.metadata() or {}, list(file.keys())
        if len(names) > MOST_TENSORS:
            raise ValueError(f"{len(names):,} tensors")
        slices = {name: file.get_slice(name) for name in names}
        shapes = {name: tuple(slice_.get_shape()) for name, slice_ in slices.items()}
        kinds = {name: slice_.get_dtype() for name, slice_ in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a charrnn model ({error})") from None
    if "charrnn" not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not a charrnn model")
    sha256, _, header = metadata["charrnn"].partition("\n")
    try:
        for marks, most in MOST_PARTS.items():
            if sum(map(header.count, marks)) > most:
                raise ValueError("too many parts")
        values = json.loads(header)
        version = values["format"]
        if type(version) is not int or version != FORMAT:
            raise CheckpointError(
                f"format {version!r:.40}, this charrnn reads format {FORMAT}; update charrnn"
            )
        progress = values["progress"]
        if not isinstance(progress, dict | None):
            raise TypeError("progress must be an object")
        config = Config.from_dict(values["config"], where="config")
        _refuse_tensors(shapes, kinds, resumable=progress is not None)
        codec = codecs.from_dict(values["codec"], _codec_arrays(file, shapes))
        _refuse_contradiction(config, codec)
        _refuse_shapes(shapes, _wanted(config, codec, resumable=progress is not None))
        return Checkpoint(
            path=path,
            config=config,
            codec=codec,
            training=_summary(values["training"]),
            progress=progress,
            sha256=sha256,
            shapes=shapes,
            _header=header,
            _file=file,
        )
    except CharrnnError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is broken ({error!r})") from None


def _summary(values: Any) -> dict[str, Any]:
    """What is said of the training: names and numbers."""
    if not isinstance(values, dict) or len(values) > MOST_OF_SUMMARY:
        raise TypeError("training must be an object of a few numbers")
    for name, value in values.items():
        is_number = type(value) in (int, float) and abs(value) < WIDEST
        if not (name.isidentifier() and name.isascii() and len(name) < MOST_OF_SUMMARY):
            raise ValueError(f"training has an entry {name!r:.40}")
        if not (is_number or value is None):
            raise ValueError(f"training.{name} is {value!r:.40}")
    return values


def _refuse_contradiction(config: Config, codec: Codec) -> None:
    """Raise where the config is not of such a codec, or asks for what it cannot give.

    Raises:
        CheckpointError: names the setting.
        SamplingError: settings of sampling that leave nothing to write.
    """
    data, model = config.data, config.model
    said: dict[str, tuple[object, object]] = {"data.codec": (data.codec, codec.name)}
    if codec.medium == "text":
        said |= {
            "data.documents": (data.documents, codec.reading.documents),
            "data.normalize": (data.normalize, codec.reading.normalize),
            "model.head": (model.head, "categorical"),
            "model.input_norm": (model.input_norm, "none"),
            "model.input_noise": (model.input_noise, 0),
        }
        rules = config.sampling
        codec.never(rules.allow, rules.forbid, rules.unk)
    else:
        said |= {
            "data.sample_rate": (data.sample_rate, codec.rate),
            "data.n_fft": (data.n_fft, codec.stft.n_fft),
            "data.hop_length": (data.hop_length, codec.stft.hop),
            "model.embedding": (model.embedding, 0),
            "model.head": (model.head == "categorical", False),
        }
    for name, (found, wanted) in said.items():
        if found != wanted:
            raise CheckpointError(f"config.{name} contradicts its {codec.name} codec: {found!r}")


def _wanted(config: Config, codec: Codec, *, resumable: bool) -> dict[str, tuple[int, ...]]:
    """The shapes that the config promises: of the network, the codec and the recurrent state."""
    wanted = {MODEL + k: shape for k, shape in shapes(config.model, codec.step.size).items()}
    wanted |= {CODEC + name: array.shape for name, array in codec.arrays.items()}
    if resumable:
        state = (config.data.batch_size, config.model.hidden)
        parts = range(cell_of(config.model.cell).state_parts)
        wanted |= {f"state.{i}.{part}": state for i in range(config.model.layers) for part in parts}
    return wanted


def _refuse_shapes(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise unless these are the network's tensors, the codec's and the state's."""
    theirs = {n: s for n, s in found.items() if n.partition(".")[0] in ("model", "codec", "state")}
    for name in sorted(wanted.keys() | theirs.keys()):
        if wanted.get(name) != theirs.get(name):
            raise CheckpointError(
                f"{name} is {theirs.get(name, 'missing')}, "
                f"its config asks for {wanted.get(name, 'none')}"
            )


def _refuse_tensors(
    shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, str], *, resumable: bool
) -> None:
    """Raise at tensors that no run writes."""
    for name, kind in kinds.items():
        group = name.partition(".")[0]
        wanted = "I64" if name.endswith(COUNTER) else KINDS.get(group)
        if wanted is None or (group not in ("model", "codec") and not resumable):
            raise CheckpointError(f"a tensor {name!r:.80} that belongs to nothing")
        if kind != wanted:
            raise CheckpointError(f"{name!r:.80} is {kind}, not {wanted}")


def _refuse_numbers(path: Path, name: str, array: NDArray[Any]) -> None:
    """Raise at numbers that training cannot have made, and that would make others of that kind."""
    if array.dtype != np.float32 or not array.size:
        return
    least, most = float(array.min()), float(array.max())  # NaN if there is one
    size = max(-least, most) if math.isfinite(least + most) else math.inf
    is_square = name.endswith(("variance", "running_var", "exp_avg_sq", "square_avg", ".step"))
    if size < (LARGEST if name.startswith(MODEL) else math.inf) and (least >= 0 or not is_square):
        return
    raise CheckpointError(
        f"{path}: {name} holds numbers from {least:g} to {most:g}, which no training makes; "
        "fetch or train it again"
    )


def _codec_arrays(file: Any, shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """The tensors that the codec needs to be built; the digest is held against them with all
    others."""
    names = [name for name in shapes if name.startswith(CODEC)]
    if sum(math.prod(shapes[name]) for name in names) > MOST_OF_CODEC:
        raise CheckpointError("its codec is too large to be one")
    try:
        return {name.removeprefix(CODEC): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"cannot be read ({error})") from None


def _digest(header: str, tensors: Tensors) -> str:
    """SHA-256 over the header and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
