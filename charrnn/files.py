"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; at the end what was written there takes its place.

    Flushed to the disk, renamed, and the directory flushed: after a crash at any moment the old
    file or the new one is there, whole.  On an error the old one stays and nothing is left over.

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


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write on the disk of `path`, which exists."""
    return shutil.disk_usage(path).free


def _umask() -> int:
    """The permissions that new files are not to have; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def flush_directory(path: Path) -> None:
    """Make renames in a directory last; where directories cannot be flushed, do nothing."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows
        return
    with suppress(OSError):  # some network file systems cannot
        os.fsync(handle)
    os.close(handle)
