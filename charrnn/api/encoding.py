"""What a run reads: the files of a corpus and its codec; encodes a corpus for many runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn import config, layering, media
from charrnn.config import Given
from charrnn.errors import CorpusError, UsageError
from charrnn.media.sources import ENCODED_FILE, RUN_FILE, Sources, find
from charrnn.presets import load_preset
from charrnn.run import Run

if TYPE_CHECKING:
    from charrnn.encoded import Folder

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Material:
    """A corpus that is still to be read, and the settings for it."""

    sources: Sources
    codec: str
    reason: str  # why this codec, if it was chosen automatically
    given: Given
    folder: Folder | None  # if it is encoded already


def material(
    files: AnyPath | Iterable[AnyPath],
    given: Given,
    named: Collection[str],
    *,
    ignorable: Collection[str] = (),
    suited: bool = True,
) -> Material:
    """Find the files of a corpus, or its encoded folder, and choose the codec.

    Args:
        files: one path or several, or names of bundled corpora.
        given: partial settings.
        named: those that must have an effect.
        ignorable: those that may contradict an encoded folder.
        suited: whether to add settings that suit the files.

    Raises:
        CharrnnError: there are no such files, or the settings do not fit them.
    """
    among = layering.possible_media(given, named)
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    codec, folder = config.value(given, "codec"), None
    if any((Path(path) / ENCODED_FILE).exists() for path in paths):
        from charrnn import encoded

        if len(paths) > 1:
            raise UsageError("an encoded corpus is a whole: name its folder, and nothing else")
        folder = encoded.read(Path(paths[0]))
        given = folder.over(given, ignorable)
        sources, codec, reason = folder.sources, folder.corpus.codec.name, folder.corpus.reason
    else:
        sources, reason = find(paths, among, codec), ""
    if codec == "auto":
        medium = media.medium_for(sources, among)
        codec, reason = medium.choose(sources, config.codec_settings(given, medium))
    if suited and folder is None:
        given = layering.over_suited(given, sources, codec)
    layering.refuse_idle(given, named, codec)
    return Material(sources, codec, reason, layering.without_idle(given, codec), folder)


def encode(
    files: AnyPath | Iterable[AnyPath],
    out: AnyPath,
    *,
    force: bool = False,
    workers: int | None = 1,
    ignorable: Collection[str] = (),
    found: Callable[[Sources], None] = lambda sources: None,
    told: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> Folder:
    """Encode a corpus once, so that many runs can train on it: `charrnn.train(out)`.

    Text in several files is encoded in parts.  If that is interrupted, the same call goes on from
    there, as long as the files and the settings are the same.

    Args:
        files: one path or several, or names of bundled corpora.
        out: the folder to write.
        force: replace an encoded corpus that is already there.
        workers: as in `charrnn.train`.
        ignorable: as in `charrnn.train`.
        found: is called with the files before they are read.
        told: is called with the bytes of the parts that are encoded, and those of all.
        settings: those of `charrnn encode --help` by name, e.g. `codec="word"`.

    Returns:
        The folder; its `path`, and in `corpus` its length in `steps` and its `codec`.

    Raises:
        CharrnnError: a subclass of it, with a message for the user.
    """
    from charrnn import encoded
    from charrnn.data.encode import encode as encode_files

    given = config.from_flags(settings)
    named = [n for values in given.values() for n in values if n not in ignorable]
    given = layering.over_preset(load_preset(None), given)
    read = material(files, given, named)
    if read.folder is not None:
        raise UsageError(f"{read.folder.path}: is encoded already")
    given = config.merge(read.given, {"data": {"codec": read.codec}})
    refuse_shared_directory(out)
    place = os.path.abspath(out)
    if inside := [n for n in read.sources.files if Path(os.path.abspath(n)).is_relative_to(place)]:
        raise UsageError(f"--out {out}: has a file of the corpus, {inside[0]}; choose another")
    folder, run = Path(out), Run(Path(out))
    refuse_existing(folder, force)
    found(read.sources)
    with run.removed_if_unused(), run.locked():
        refuse_existing(folder, force)
        run.remove(".*.tmp")  # of a process that was killed
        partial = folder / f".{run.corpus.name}.partial"
        try:
            result = encode_files(
                read.sources,
                read.codec,
                read.reason,
                given,
                partial,
                workers=workers,
                keep=True,
                told=told,
            )
            return encoded.save(folder, result, given)
        finally:
            partial.unlink(missing_ok=True)


def refuse_shared_directory(out: AnyPath) -> None:
    """Raise unless a directory to write is one of its own.

    Raises:
        UsageError: it is the working directory, or above it, or no directory at all.
    """
    name = os.fspath(out)
    if name in ("", "-") or Path.cwd().is_relative_to(os.path.realpath(name)):
        raise UsageError(f"--out {name}: must be a directory of its own")


def refuse_existing(folder: Path, force: bool) -> None:
    """Raise if an encoded corpus may not be written here.

    Raises:
        CorpusError: there is one already and `force` is not given, or a run, or a file.
    """
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{folder}: is a file; give a directory with --out")
    if (folder / RUN_FILE).exists():
        raise CorpusError(f"{folder}: is a run; choose another --out")
    if Run(folder).corpus.exists() and not force:
        raise CorpusError(
            f"{folder}: has an encoded corpus already; train on it (charrnn train "
            f"{folder}), choose another --out, or replace it (--force)"
        )
