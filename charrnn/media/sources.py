"""The files of a corpus: paths, directories, pipes, standard input and the bundled corpora."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from charrnn.errors import CharrnnError, CorpusError
from charrnn.files import bundled

if TYPE_CHECKING:
    from charrnn.media.medium import Medium

STDIN = "-"
RUN_FILE = "last.safetensors"  # a directory that contains it is a run, not a corpus
ENCODED_FILE = "encoded.safetensors"  # and one with this an encoded corpus
HEAD_BYTES = 8192  # read from a file to recognise its medium
NO_CORPUS = (".md", ".py")  # files in corpora/ that are not corpora


@dataclass(frozen=True)
class Sources:
    """The files of a corpus in reading order, and the files that were skipped."""

    files: tuple[str, ...]  # paths of files or pipes, or "-" for standard input
    skipped: tuple[str, ...] = ()  # files in a directory that belong to another medium
    name: str = field(default="corpus")  # a new run is named after it
    found: frozenset[str] = frozenset()  # those of `files` that were found in a directory
    is_part: bool = False  # whether the corpus has more files

    def __str__(self) -> str:
        """The names of the files, as shown in errors."""
        return ", ".join(map(source_label, self.files))

    @property
    def notices(self) -> list[str]:
        """What the user should know: which files were skipped."""
        if not self.skipped:
            return []
        shown = ", ".join(self.skipped[:3]) + (", ..." if len(self.skipped) > 3 else "")
        files = "file" if len(self.skipped) == 1 else "files"
        return [f"skipped {len(self.skipped)} {files} of another kind: {shown}"]


def corpora() -> dict[str, Path]:
    """The bundled corpora by name."""
    files = sorted(path for path in bundled("corpora").iterdir() if path.is_file())
    return {path.stem: path for path in files if path.suffix not in NO_CORPUS}


def find(
    arguments: Iterable[str | os.PathLike[str]], media: Iterable[Medium], codec: str = "auto"
) -> Sources:
    """Resolve corpus arguments: files, directories, "-", names of bundled corpora.

    From a directory, the files of the first medium that has any there are used, sorted by path.
    Hidden files, links to directories, and runs are left out.

    Args:
        arguments: as typed by the user.
        media: the media whose files may be used from a directory, in order of preference.
        codec: use only files that this codec can read; auto: any.

    Raises:
        CorpusError: an argument does not exist, is a device, or is a directory without such files.
    """
    names = [os.fspath(argument) for argument in arguments]
    if not names:
        raise CorpusError("no corpus; name files or directories")
    media = list(media)
    files: list[str] = []
    found: set[str] = set()
    skipped: list[str] = []
    for argument in names:
        if not argument:
            raise CorpusError("an empty corpus name; is a shell variable unset?")
        path = Path(argument)
        if argument == STDIN:
            if STDIN in files:
                raise CorpusError("standard input (-) is named twice; it can be read only once")
            files.append(STDIN)
        elif (path / RUN_FILE).exists():
            raise CorpusError(f"{argument}: is a run, not a corpus")
        elif (path / ENCODED_FILE).exists():
            raise CorpusError(f"{argument}: is an encoded corpus, which only train reads")
        elif path.is_dir():
            taken = _take(argument, _walk(path), media, codec)
            files += [name for name, is_taken in taken.items() if is_taken]
            found |= taken.keys()
            skipped += [name for name, is_taken in taken.items() if not is_taken]
        elif path.is_file() or is_pipe(argument):
            files.append(argument)
        elif path.exists():
            raise CorpusError(
                f"{argument}: is a device; pipe a part of it: "
                f"head -c 1000000 {shlex.quote(argument)} | charrnn train -"
            )
        elif argument in corpora():
            files.append(str(corpora()[argument]))
        else:
            raise CorpusError(
                f"{argument}: no such file or directory; "
                f"the bundled corpora are {', '.join(corpora())}"
            )
    first = names[0] if names else "corpus"
    name = "stdin" if first == STDIN else (Path(first).resolve().stem or "corpus")
    named = frozenset(names)
    return Sources(tuple(files), tuple(skipped), name, frozenset(found) - named)


def is_pipe(name: str) -> bool:
    """Whether a source can be read only once: standard input, or a named pipe."""
    if name == STDIN:
        return True
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False


def source_label(name: str) -> str:
    """The name of a source, as shown in messages."""
    return "standard input" if name == STDIN else name


def head_of(name: str) -> bytes:
    """The first bytes of a file; b"" for a pipe, or for a file that cannot be read."""
    if is_pipe(name):
        return b""
    try:
        with open(name, "rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError:  # reading the corpus will report it
        return b""


def standard_input(kind: type[CharrnnError] = CorpusError) -> BinaryIO:
    """Standard input as bytes.

    Args:
        kind: the error to raise if it is closed.
    """
    if sys.stdin is None:
        raise kind("standard input (-) is closed")
    return sys.stdin.buffer


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """Open a source for reading bytes; standard input is not closed afterwards.

    Raises:
        CorpusError: it cannot be opened or read.
    """
    try:
        if name == STDIN:
            yield standard_input()
            return
        with open(name, "rb") as stream:
            yield stream
    except IsADirectoryError:
        raise CorpusError(f"{source_label(name)}: is a directory; name it as an argument") from None
    except OSError as error:
        raise CorpusError(f"{source_label(name)}: cannot be read ({error.strerror})") from None


def _take(directory: str, names: list[str], media: list[Medium], codec: str) -> Mapping[str, bool]:
    """For each file of a directory, whether it is part of the corpus."""
    taken: list[dict[str, bool]] = [{} for _ in media]
    for name in names:
        head = head_of(name)
        for own, medium in zip(taken, media, strict=True):
            own[name] = medium.recognises(name, head, codec)
    for own in taken:
        if any(own.values()):
            return own
    kinds = " or ".join(medium.files for medium in media)
    hint = " (--codec byte takes any file)" if codec == "auto" else ""
    raise CorpusError(f"{directory}: no {kinds} in this directory{hint}")


def _walk(top: Path) -> list[str]:
    """Files below `top`, sorted by path, without hidden files, our own runs and encoded corpora."""

    def refuse(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: cannot be read ({error.strerror})")

    found = []
    for folder, folders, names in os.walk(top, onerror=refuse):  # follows no links: no cycles
        if RUN_FILE in names or ENCODED_FILE in names:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(folder, name) for name in names if not name.startswith("."))
        found += [path for path in paths if os.path.isfile(path)]
    return sorted(found, key=lambda path: Path(path).parts)
