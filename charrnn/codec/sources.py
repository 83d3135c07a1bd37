"""Media files in: paths, directories and standard input, and text files as a stream of text."""

from __future__ import annotations

import codecs
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from charrnn.config import bundled
from charrnn.errors import ConfigError, CorpusError

BLOCK = 1 << 20  # bytes read at a time
STDIN = "-"
RUN_MARK = "last.safetensors"  # a directory with this in it is a run, and no corpus
_BOM = codecs.BOM_UTF8
_BOM_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BOM_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # of which the first begins as UTF-16 does
# How a file of sound begins, whether we can read it or have to say how to convert it.
_SOUNDS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"caff", b".snd")
_FORMS = (b"WAVE", b"AIFF", b"AIFC")  # behind RIFF, RIFX, RF64 or FORM and a length
_HEAD = 12  # bytes that tell
_FILM = b"ftyp"  # behind a length: m4a, mp4, mov


@dataclass(frozen=True)
class Sources:
    """The files of a corpus in reading order, and what was passed over on the way."""

    files: tuple[str, ...]  # paths, of files or pipes, or "-" for standard input
    skipped: tuple[str, ...] = ()  # files in a directory that are of another kind
    name: str = field(default="corpus")  # for naming a run


def corpora() -> dict[str, Path]:
    """The bundled corpora by name."""
    files = sorted(bundled("corpora").iterdir())
    return {path.stem: path for path in files if path.suffix in (".txt", ".ogg")}


def find(arguments: Iterable[str | os.PathLike[str]], codec: str = "auto") -> Sources:
    """Resolve corpus arguments: files, directories, "-", names of bundled corpora.

    A directory stands for the recordings below it, or if it has none for its text files, sorted
    by path; hidden files, links that lead back up and runs are passed over, and so are files of
    another kind than the codec reads.

    Args:
        arguments: as they were typed.
        codec: whose files to take from a directory; auto: those of the kind that is there.

    Raises:
        CorpusError: an argument that names nothing, a device, or a directory without such files.
    """
    names = [os.fspath(argument) for argument in arguments]
    files: list[str] = []
    skipped: list[str] = []
    for argument in names:
        if not argument:
            raise CorpusError("a corpus has no name; is a shell variable empty?")
        path = Path(argument)
        if argument == STDIN:
            if STDIN in files:
                raise CorpusError("standard input (-) is named twice; it can be read only once")
            files.append(STDIN)
        elif path.is_dir():
            wanted = _wanted(argument, _walk(path), codec)
            files += [name for name, is_wanted in wanted.items() if is_wanted]
            skipped += [name for name, is_wanted in wanted.items() if not is_wanted]
        elif path.is_file() or is_pipe(argument):
            files.append(argument)
        elif path.exists():
            raise CorpusError(
                f"{argument}: is a device; pipe what is to be learnt of it: "
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
    return Sources(tuple(files), tuple(skipped), name)


def is_pipe(name: str) -> bool:
    """Whether a source can be read only once: standard input, or a pipe that has a name."""
    if name == STDIN:
        return True
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False


def shown(name: str) -> str:
    """A source as errors name it."""
    return "standard input" if name == STDIN else name


def _wanted(directory: str, names: list[str], codec: str) -> dict[str, bool]:
    """The files of a directory, and whether the codec reads them."""
    if codec == "byte":
        wanted, kind = dict.fromkeys(names, True), "files"
    else:
        wanted, kind = {name: is_sound(name) for name in names}, "recordings"
        if codec != "audio" and (codec != "auto" or not any(wanted.values())):
            wanted = {name: _looks_like_text(name) for name in names}
            kind = "text files or recordings" if codec == "auto" else "text files"
    if not any(wanted.values()):
        hint = "" if codec in ("byte", "audio") else " (--codec byte takes any)"
        raise CorpusError(f"{directory}: no {kind} in this directory{hint}")
    return wanted


def _walk(top: Path) -> list[str]:
    """Files below `top`, sorted by path, without hidden ones and without runs of ours."""

    def refuse(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: cannot be read ({error.strerror})")

    found = []
    for folder, folders, names in os.walk(top, onerror=refuse):  # follows no links: no cycles
        if RUN_MARK in names:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(folder, name) for name in names if not name.startswith("."))
        found += [path for path in paths if os.path.isfile(path)]
    return sorted(found, key=lambda path: Path(path).parts)


def _looks_like_text(path: str) -> bool:
    """Whether a file found in a directory is meant as text: no NUL, or a UTF-16/32 mark."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(8192)
    except OSError:
        return True  # reading it will name the trouble
    return b"\0" not in head or head.startswith(_BOM_16)


def is_sound(path: str) -> bool:
    """Whether a file begins as recordings do; standard input and pipes are not looked at."""
    if is_pipe(path):
        return False
    try:
        with open(path, "rb") as stream:
            return _begins_as_sound(stream.read(_HEAD))
    except OSError:
        return False  # reading it will name the trouble


def _begins_as_sound(head: bytes) -> bool:
    return head.startswith(_SOUNDS) or head[8:12] in _FORMS or head[4:8] == _FILM


def binary(sources: Sources) -> str | None:
    """The first file that is no text, if there is one; standard input and pipes are not looked
    at."""
    names = (name for name in sources.files if not is_pipe(name))
    return next((name for name in names if not _looks_like_text(name)), None)


def decoded(sources: Sources, encoding: str = "utf-8") -> Iterator[Iterator[str]]:
    """Yield the text of each file, in blocks; to be read in this order.

    Nothing is changed but a byte-order mark, which is dropped: line ends stay what they are.

    Raises:
        CorpusError: a file that cannot be opened, or bytes that are not text in `encoding`;
            names file, byte offset and the flag that accepts them.
        ConfigError: an unknown encoding.
    """
    make_decoder = _decoder_of(encoding)
    for name in sources.files:
        yield _decoded(name, make_decoder(), encoding)


def _decoded(name: str, decoder: codecs.IncrementalDecoder, encoding: str) -> Iterator[str]:
    """The text of one file, in blocks."""
    offset, pending, begins = 0, 0, b""
    try:
        with _opened(name) as stream:
            begins = head = stream.read(_HEAD)
            if is_utf8(encoding) and head.startswith(_BOM):
                head, offset = head[len(_BOM) :], len(_BOM)
            while True:
                block, head = head + stream.read(BLOCK), b""
                pending = len(decoder.getstate()[0])
                text = decoder.decode(block, final=not block)
                if text:
                    yield text
                if not block:
                    break
                offset += len(block)
    except OSError as error:
        raise CorpusError(f"{shown(name)}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        where = offset - pending + error.start
        raise CorpusError(
            f"{shown(name)}: byte 0x{error.object[error.start]:02x} at offset {where} is not "
            f"{encoding} text; {_remedy(begins, encoding)}"
        ) from None
    except UnicodeError as error:  # UTF-16 and its like without a mark
        raise CorpusError(
            f"{shown(name)}: not {encoding} text ({error}); give its order of bytes too, "
            f"--encoding {encoding}-le or {encoding}-be"
        ) from None


def _remedy(begins: bytes, encoding: str) -> str:
    """What to do with bytes that are not text, from how the file begins."""
    if _begins_as_sound(begins):
        return "it begins as a recording does, which --codec audio learns"
    likely = "utf-32" if begins.startswith(_BOM_32) else "utf-16"
    if not begins.startswith(_BOM_16 + _BOM_32):
        likely = "cp1252"
    if codecs.lookup(encoding).name.startswith(likely):
        return "is it cut short?"
    return (
        f"give its encoding, e.g. --encoding {likely} (--encoding latin-1 accepts every byte), or "
        "learn it byte by byte with --codec byte"
    )


def is_utf8(encoding: str) -> bool:
    """Whether this is a name of UTF-8."""
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except (LookupError, ValueError):
        return False


def _decoder_of(encoding: str) -> Callable[[], codecs.IncrementalDecoder]:
    """The incremental decoder of a text encoding."""
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        info = None
    # `_is_text_encoding` is how Python itself tells hex and zip from encodings of text.
    if info is None or info.incrementaldecoder is None or not info._is_text_encoding:
        raise ConfigError(f"unknown encoding {encoding!r}; try utf-8, cp1252, latin-1 or utf-16")
    return codecs.getincrementaldecoder(encoding)


def _opened(name: str) -> nullcontext[BinaryIO] | BinaryIO:
    """Open a source for reading bytes; standard input stays open."""
    if name == STDIN:
        if sys.stdin is None:
            raise CorpusError("standard input (-) is closed")
        return nullcontext(sys.stdin.buffer)
    return open(name, "rb")
