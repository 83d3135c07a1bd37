"""Files: replaced whole or not at all, and the ones that are shipped with the program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CharrnnError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; at the end what was written there takes its place.

    Flushed to the disk, renamed, and the directory flushed: after a crash at any moment either the
    old file or the new one is there, whole.  On an error the old one stays and nothing is left.

    Raises:
        OSError: as writing and renaming raise it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


@contextmanager
def cannot_write(path: object, kind: type[CharrnnError], remark: str = "") -> Iterator[None]:
    """Turn an OSError into an error of ours that names the file and the reason.

    Args:
        path: the file.
        kind: the error to raise.
        remark: what else to say.
    """
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: cannot be written ({error.strerror or error}){remark}") from None


@contextmanager
def replaced(path: Path, kind: type[CharrnnError]) -> Iterator[BinaryIO]:
    """A stream, open for reading and writing, whose bytes replace the file at the end.

    A link stays a link; a pipe or a device is written to directly.

    Args:
        path: the file.
        kind: the error to raise if it cannot be written.
    """
    with cannot_write(path, kind):
        path = Path(os.path.realpath(path))  # which, unlike `resolve`, raises nothing for a loop
        if path.exists() and not path.is_file():
            with open(path, "wb") as stream:
                yield stream
            return
        with replacing(path) as temporary, open(temporary, "wb+") as stream:
            yield stream


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write on the disk of `path`, which exists."""
    return shutil.disk_usage(path).free


def _umask() -> int:
    """The permissions that new files do not get; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def flush_directory(path: Path) -> None:
    """Make renames in a directory durable, where the file system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows
        return
    with suppress(OSError):  # some network file systems cannot
        os.fsync(handle)
    os.close(handle)


def bundled(folder: str) -> Path:
    """The directory of bundled `configs`, `corpora` or `checkpoints`: in the wheel inside the
    package, in a checkout beside it."""
    package = Path(__file__).resolve().parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder
