"""Encodes the files of a corpus in parts, in several processes; parts that are finished are kept.

A part is a large file, or several smaller ones in a row.  It is written beside the array of the
whole corpus as an array of its own, and what was learnt from it, as JSON.  At the end one process
puts the parts together; the result is that of a single process which reads all files.

That serves text in several files (`Learner.can_join`).  Sound, notes, a single file and pipes are
read by one process, which keeps nothing if it is interrupted.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import charrnn
from charrnn.data import corpus
from charrnn.data.joined import Joined
from charrnn.errors import CorpusError
from charrnn.files import cannot_write, replacing
from charrnn.media.medium import Learner
from charrnn.media.sources import Sources, is_pipe
from charrnn.processes import processors

PART_BYTES = 32 << 20  # of a part's files, at least
WORTHWHILE = 256 << 20  # bytes of a corpus from which on several processes are started by default
MOST_WORKERS = 8  # by default
# Signals to all processes of a terminal, of which only the first acts on them and ends the others.
# SIGTERM is not among them: with it the pool itself ends its processes.
HELD = [name for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
LearnerOf = Callable[[Sources], Learner]
Told = Callable[[int, int], None]  # is called with the bytes that are encoded, and all bytes
_stop: Any = None  # in a process of the pool: an event that ends it


@dataclass(frozen=True)
class Part:
    """Files that are encoded together.

    Args:
        learner_of: makes the learner of files; can be pickled.
        how: the settings that decide what it does, as values that JSON can hold.
        sources: the files.
        path: of the whole corpus; the files of the part are named after it.
        number: of the part, from 0.
    """

    learner_of: LearnerOf
    how: Any
    sources: Sources
    path: Path
    number: int

    @property
    def array(self) -> Path:
        """Its steps."""
        return self.path.with_name(f"{self.path.name}.{self.number:06}.npy")

    @property
    def record(self) -> Path:
        """What it was made from, and what was learnt."""
        return self.array.with_suffix(".json")

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(size for _, size, _ in _stamps(self.sources))

    def encode(self) -> None:
        """Encode the files."""
        made_from = self._made_from()
        self.record.unlink(missing_ok=True)
        learner = self.learner_of(self.sources)
        count = corpus.write(self.array, _unless_stopped(learner))
        with cannot_write(self.array, CorpusError):
            with open(self.array, "rb+") as stream:
                os.fsync(stream.fileno())  # before the record says that it is finished
            with replacing(self.record) as temporary:
                values = {"made_from": made_from, "steps": count, "learnt": learner.learnt()}
                temporary.write_text(json.dumps(values), encoding="utf-8")

    def is_encoded(self) -> bool:
        """Whether that was done before, from the same files with the same settings."""
        try:
            values = json.loads(self.record.read_text(encoding="utf-8"))
            return bool(
                values["made_from"] == self._made_from()
                and len(Joined([(self.array, None)])) == values["steps"]
                and self.array.stat().st_size >= values["steps"]
            )
        except (OSError, ValueError, KeyError, TypeError, CorpusError):
            return False

    def learnt(self) -> Any:
        """What was learnt from the files."""
        with cannot_read(self.record):
            return json.loads(self.record.read_text(encoding="utf-8"))["learnt"]

    def _made_from(self) -> Any:
        """All that decides the result, as JSON holds it."""
        return json.loads(json.dumps([charrnn.__version__, self.how, _stamps(self.sources)]))


@contextmanager
def cannot_read(path: Path) -> Iterator[None]:
    """Turn the failure to read a file of ours into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}); start again") from None


def divided(learner_of: LearnerOf, how: Any, sources: Sources, path: Path) -> list[Part]:
    """The parts of a corpus, with arguments as `Part` has them; none if it is too small to be
    divided, or has pipes."""
    if any(map(is_pipe, sources.files)):
        return []
    groups: list[list[str]] = [[]]
    gathered = 0
    for name, size, _ in _stamps(sources):
        if groups[-1] and gathered + size > PART_BYTES:
            groups.append([])
            gathered = 0
        groups[-1].append(name)
        gathered += size
    if len(groups) < 2:
        return []
    parts = [
        Sources(tuple(group), found=sources.found.intersection(group), is_part=True)
        for group in groups
    ]
    return [Part(learner_of, how, part, path, number) for number, part in enumerate(parts)]


def workers_for(sources: Sources) -> int:
    """How many processes to use by default."""
    if len(sources.files) < 2 or sum(size for _, size, _ in _stamps(sources)) < WORTHWHILE:
        return 1
    return min(MOST_WORKERS, processors())


def joined(learner: Learner, parts: Sequence[Part], workers: int, told: Told) -> Joined:
    """Encode the parts that are not encoded yet, and put all together.

    Args:
        learner: of the whole corpus, which has read nothing; learns what the parts have learnt.
        parts: from `divided`.
        workers: the number of processes.
        told: is told the progress.

    Raises:
        CharrnnError: the first error in the order of the files.
    """
    total = done = sum(part.size for part in parts)
    missing = [part for part in parts if not part.is_encoded()]
    done -= sum(part.size for part in missing)
    told(done, total)
    for part in _encoded(missing, min(workers, len(missing))):
        done += part.size
        told(done, total)
    tables = learner.join(part.learnt() for part in parts)
    return Joined([(part.array, table) for part, table in zip(parts, tables, strict=True)])


def remove(path: Path) -> None:
    """Remove all files of parts of the corpus at a path, and others that a kill has left."""
    for pattern in (f"{path.name}.*", f".{path.name}.[0-9]*.tmp"):
        for found in path.parent.glob(pattern):
            found.unlink(missing_ok=True)


def _encoded(parts: Sequence[Part], workers: int) -> Iterator[Part]:
    """The parts, in order, each when it is encoded."""
    if workers < 2:
        for part in parts:
            part.encode()
            yield part
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of other threads
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(stop,))
    try:
        with _interrupts_held():
            futures = [pool.submit(part.encode) for part in parts]
        for part, future in zip(parts, futures, strict=True):
            future.result()
            yield part
    except BrokenProcessPool:
        raise CorpusError(
            "a process that read the corpus was ended; is there enough memory? With --workers 1 "
            "there is only one"
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the process that started them decides."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    held = [getattr(signal, name) for name in HELD]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(stop: Any) -> None:
    """Prepare a process of the pool."""
    global _stop
    _stop = stop
    for name in HELD:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it was killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _unless_stopped(blocks: Any) -> Iterator[Any]:
    for block in blocks:
        if _stop is not None and _stop.is_set():
            raise CorpusError("stopped")
        yield block


def _stamps(sources: Sources) -> list[tuple[str, int, int]]:
    """The path of each file, its size in bytes, and when it was changed, in nanoseconds."""
    found = []
    for name in sources.files:
        size = changed = 0
        with suppress(OSError):  # reading it will report it
            state = os.stat(name)
            size, changed = state.st_size, state.st_mtime_ns
        found.append((name, size, changed))
    return found
