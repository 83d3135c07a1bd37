"""An encoded corpus in a folder of its own, which several runs share.

`charrnn encode` writes it and `charrnn train` reads it.  The folder has `corpus.npy`, the array of
steps as a run has it, and `encoded.safetensors`: the codec's tensors, and under the metadata key
`charrnn-corpus` a SHA-256, a newline and a JSON object with the codec, the settings that decided
the encoding, and a CRC-32 of the array.

A run gets the array by a hard link, so it takes no space and stays whatever becomes of the folder.
On another file system it gets a symbolic link, and the folder must stay; where links are not
possible, a copy.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from charrnn.checkpoint import CODEC, codec_arrays, digest, opened, parsed
from charrnn.config import Given, check, codec_settings, declared, merge, value
from charrnn.data import corpus
from charrnn.data.encode import MIN_STEPS, Encoded
from charrnn.errors import CharrnnError, CheckpointError, ConfigError, CorpusError
from charrnn.files import cannot_write, replacing
from charrnn.media import codec_from_dict, medium_of
from charrnn.media.codec import refuse
from charrnn.media.sources import ENCODED_FILE, Sources

ARRAY = "corpus.npy"
KEY = "charrnn-corpus"
FORMAT = 1
MAX_STEPS = 1 << 62
MAX_NOTICES = 1_000
MAX_NOTICE = 100_000  # characters
CHANGED = "is not the corpus that was encoded; encode it again (charrnn encode --force)"


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder with an encoded corpus."""

    path: Path
    corpus: Encoded
    settings: Given  # all that decided the encoding
    crc32: int  # of the array's file

    @property
    def sources(self) -> Sources:
        """What a run is said to read."""
        return Sources((str(self.path),), name=self.path.resolve().name or "corpus")

    def over(self, given: Given, ignorable: Collection[str] = ()) -> Given:
        """The settings of a run on this corpus.

        Args:
            given: partial settings.
            ignorable: those of them that may contradict the folder, which then has its way.

        Raises:
            ConfigError: others contradict it.
        """
        for name, own in self.settings["data"].items():
            found = given["data"].get(name, own)
            fitting = [own, "auto"] if name == "codec" else [own]
            if name == "val_fraction":
                fitting.append(self.corpus.val_fraction)
            if found not in fitting and name not in ignorable:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(
                    f"{flag} {found}: {self.path} was encoded with {_shown(flag, own)}; drop "
                    f"{flag}, or encode the corpus again"
                )
        own = {k: v for k, v in self.settings["data"].items() if v is not None}
        return merge(given, {"data": own})

    def link(self, path: Path) -> Encoded:
        """Put the array at a path, without copying it if possible.

        Raises:
            CorpusError: it cannot be written.
        """
        source = (self.path / ARRAY).resolve()
        path.unlink(missing_ok=True)
        notices = self.corpus.notices
        with suppress(OSError):
            shutil.copyfile(self.path / corpus.CHECKED, path.with_name(corpus.CHECKED))
        with cannot_write(path, CorpusError):
            try:
                os.link(source, path)
            except OSError:
                try:
                    path.symlink_to(source)
                    notices += (f"the run only refers to {source}; keep it as long as the run",)
                except (OSError, NotImplementedError):
                    shutil.copyfile(source, path)
        return dataclasses.replace(self.corpus, path=path, notices=notices)

    def refuse_other(self, crc32: int) -> None:
        """Raise unless a file has the checksum of this corpus.

        Raises:
            CorpusError: the array has changed.
        """
        if crc32 != self.crc32:
            raise CorpusError(f"{self.path / ARRAY}: {CHANGED}")


def deciding(given: Given) -> Given:
    """The settings that decide the encoding, given or by default; the codec must be given."""
    medium = medium_of(value(given, "codec"))
    own = [s.name for s in declared(medium.settings).values() if s.section == "data"]
    data = {name: value(given, name) for name in ("codec", *own)}
    return merge({"data": data | {"val_fraction": given["data"].get("val_fraction")}})


def save(folder: Path, encoded: Encoded, given: Given) -> Folder:
    """Complete a folder: write what belongs to the array, and move the array there, which comes
    last: without it a folder is not taken for an encoded corpus.

    Args:
        folder: exists; what it has of an earlier corpus is replaced.
        encoded: the corpus, on the same file system.
        given: the settings it was encoded with.

    Raises:
        CheckpointError: it cannot be written.
    """
    codec, path = encoded.codec, folder / ENCODED_FILE
    steps = corpus.read(encoded.path)
    crc32 = corpus.checked(encoded.path, steps, codec.step)
    settings = deciding(given)
    values = {
        "format": FORMAT,
        "codec": codec.to_dict(),
        "settings": settings["data"],
        "crc32": crc32,
        "length": len(steps),
        **{name: getattr(encoded, name) for name in PLAIN},
    }
    header = json.dumps(values, sort_keys=True, ensure_ascii=False)
    tensors = {CODEC + name: array for name, array in codec.arrays.items()}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata={KEY: f"{digest(header, tensors)}\n{header}"})
            for old in (path, folder / ARRAY):  # so that it never stands beside another array
                old.unlink(missing_ok=True)
        os.replace(encoded.path, folder / ARRAY)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from None
    return Folder(folder, dataclasses.replace(encoded, path=folder / ARRAY), settings, crc32)


# The fields of `Encoded` that are stored as they are, each with the test that it must pass.
PLAIN: Mapping[str, Any] = {
    "steps": lambda steps: type(steps) is int and MIN_STEPS <= steps < MAX_STEPS,
    "reason": lambda text: isinstance(text, str) and len(text) <= MAX_NOTICE,
    "documents": lambda n: n is None or (type(n) is int and 0 <= n < MAX_STEPS),
    "val_fraction": lambda f: f is None or (isinstance(f, float) and 0 < f <= 0.5),
    "held_out": lambda text: isinstance(text, str) and len(text) <= MAX_NOTICE,
    "notices": lambda found: (
        isinstance(found, list | tuple)
        and len(found) <= MAX_NOTICES
        and all(isinstance(text, str) and len(text) <= MAX_NOTICE for text in found)
    ),
}


def read(path: Path) -> Folder:
    """Open a folder with an encoded corpus, which may come from anybody.

    Raises:
        CheckpointError: it is broken.
        RunError: the array is missing, or is no such array.
    """
    name = path / ENCODED_FILE
    file, shapes, kinds, sha256, header = opened(name, KEY, "corpus")
    try:
        values = parsed(header)
        if type(values["format"]) is not int or values["format"] != FORMAT:
            raise CheckpointError(
                f"format {values['format']!r:.40}, this charrnn reads format {FORMAT}; "
                "update charrnn"
            )
        if wrong := [n for n, kind in kinds.items() if kind != "F32" or not n.startswith(CODEC)]:
            raise CheckpointError(f"unexpected tensor {wrong[0]!r:.80}")
        arrays = codec_arrays(file, shapes)
        if digest(header, {CODEC + k: v for k, v in arrays.items()}) != sha256:
            raise CheckpointError(
                "damaged: its contents do not match its SHA-256; encode the corpus again"
            )
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("its codec has numbers that are not finite")
        codec = codec_from_dict(values["codec"], arrays)
        given = check({"data": {k: v for k, v in values["settings"].items() if v is not None}}, "")
        settings = deciding(given)
        if settings["data"] != values["settings"]:
            raise ValueError("its settings are not those of its codec")
        refuse(value(given, "codec"), codec.name, "data.codec", codec)
        codec.check(SimpleNamespace(codec_settings=codec_settings(given, medium_of(codec.name))))
        plain = {field: values[field] for field in PLAIN}
        if wrong := [field for field, fits in PLAIN.items() if not fits(plain[field])]:
            raise ValueError(f"{wrong[0]} is {plain[wrong[0]]!r:.40}")
        if not type(values["crc32"]) is type(values["length"]) is int:
            raise TypeError("the checksum or the length is no number")
    except CharrnnError as error:
        raise CheckpointError(f"{name}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{name}: its header is broken ({error!r:.200})") from None
    array = path / ARRAY
    steps = corpus.read(array, "encode the corpus again")
    if len(steps) != values["length"]:
        raise CorpusError(f"{array}: {CHANGED}")
    plain["notices"] = tuple(plain["notices"])
    found = Encoded(array, codec=codec, **plain)
    return Folder(path, found, settings, values["crc32"])


def _shown(flag: str, own: Any) -> str:
    """A setting as it would be typed."""
    return f"no {flag}" if own in (None, "", False) else f"{flag} {own}"
