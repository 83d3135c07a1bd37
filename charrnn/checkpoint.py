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
from charrnn.errors import CheckpointError, ConfigError
from charrnn.files import replacing
from charrnn.model.shapes import COUNTER, shapes

if TYPE_CHECKING:
    from charrnn.model.network import Network

FORMAT = 1
MODEL = "model."  # prefix of the network's own tensors
CODEC = "codec."  # and of those that the codec has besides plain values
MOST_OF_CODEC = 1 << 26  # numbers in them
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
            CheckpointError: the file has changed since it was written.
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
        return tensors

    def weights(self) -> Tensors:
        """The network's own tensors, by the names of `model.shapes`.

        Shapes are compared before anything is allocated.

        Raises:
            CheckpointError: tensors that do not fit the config, or a digest that does not.
        """
        wanted = shapes(self.config.model, self.codec.step.size)
        wanted = {MODEL + name: shape for name, shape in wanted.items()}
        found = {name: shape for name, shape in self.shapes.items() if name.startswith(MODEL)}
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise CheckpointError(
                    f"{self.path}: {name} is {found.get(name, 'missing')}, "
                    f"its config asks for {wanted.get(name, 'none')}"
                )
        tensors = self.tensors()
        for name in wanted:
            kind = np.int64 if name.endswith(COUNTER) else np.float32
            if tensors[name].dtype != kind:
                raise CheckpointError(
                    f"{self.path}: {name} is {tensors[name].dtype}, not {np.dtype(kind)}"
                )
        return {name.removeprefix(MODEL): tensors[name] for name in wanted}

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
    )
    tensors = tensors | {CODEC + name: array for name, array in codec.arrays.items()}
    metadata = {"charrnn": f"{_digest(header, tensors)}\n{header}"}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        reason = str(error).rpartition("I/O error: ")[2]
        raise CheckpointError(
            f"{path}: cannot be written ({reason}); what was there before is unharmed"
        ) from None


def read(path: Path) -> Checkpoint:
    """Read the header of a model file; allocates nothing of the size the file claims.

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
        file: Any = safe_open(path, framework="numpy")
        file.__enter__()
        metadata = file.metadata() or {}
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a charrnn model ({error})") from None
    if "charrnn" not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not a charrnn model")
    sha256, _, header = metadata["charrnn"].partition("\n")
    try:
        values = json.loads(header)
        version = values["format"]
        if version != FORMAT:
            raise CheckpointError(
                f"{path}: format {version}, this charrnn reads format {FORMAT}; update charrnn"
            )
        training, progress = values["training"], values["progress"]
        if not isinstance(training, dict) or not isinstance(progress, dict | None):
            raise TypeError("training and progress must be objects")
        return Checkpoint(
            path=path,
            config=Config.from_dict(values["config"], where=f"{path}: config"),
            codec=codecs.from_dict(values["codec"], _codec_arrays(file, shapes)),
            training=training,
            progress=progress,
            sha256=sha256,
            shapes=shapes,
            _header=header,
            _file=file,
        )
    except (ConfigError, CheckpointError) as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise CheckpointError(f"{prefix}{error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is broken ({error!r})") from None


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
