"""A corpus that is encoded in parts is the same as one that is read as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.config import from_flags, merge
from charrnn.data import parts
from charrnn.data.encode import KEPT, Encoded, encode
from charrnn.errors import CharrnnError, CorpusError
from charrnn.media import MEDIA
from charrnn.media.sources import find
from tests.conftest import TEXT

CASES: list[dict[str, Any]] = [
    {},
    {"normalize": "NFD"},
    {"newline": "keep"},
    {"documents": "line"},
    {"documents": "file"},
    {"extra_characters": "ßé\u4e00"},
    {"codec": "byte"},
    {"codec": "byte", "documents": "line"},
    {"codec": "word", "min_count": 2},
    {"codec": "word", "vocab_size": 30, "documents": "line"},
    {"val_fraction": 0.3},
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files with several alphabets, line ends and encodings, each of them a part."""
    monkeypatch.setattr(parts, "PART_BYTES", 400)
    folder = tmp_path / "files"
    folder.mkdir()
    alphabet = str.maketrans("abcdefghijklmnop", "абцдефгхийклмноп")
    for number, text in enumerate(
        [
            TEXT[:500],
            TEXT,
            "",
            TEXT.translate(alphabet),
            "\n\nZ\n",
            TEXT[::-1],
            "id,text\n1,a\n" * 9,
        ]
    ):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    (folder / "7.txt").write_bytes(TEXT.replace("\n", "\r\n").encode())
    (folder / "8.txt").write_bytes(("caf\xe9 \xfcber\n" * 40).encode("latin-1"))
    (folder / "9.txt").write_bytes(TEXT.encode("utf-16"))
    return folder


def encoded(files: Path, path: Path, settings: dict[str, Any], **how: Any) -> Encoded:
    given = merge(from_flags({"codec": "char"} | settings))
    codec = given["data"]["codec"]
    sources = find([files], list(MEDIA.values()), codec)
    return encode(sources, codec, "", given, path, **how)


def same(one: Encoded, other: Encoded) -> bool:
    """Whether everything but the place is the same."""
    assert one.codec.to_dict() == other.codec.to_dict()
    values = [
        (e.path.read_bytes(), e.steps, e.documents, e.val_fraction, e.held_out, e.notices)
        for e in (one, other)
    ]
    return values[0] == values[1]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_the_result_is_that_of_one_process(
    files: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    told: list[tuple[int, int]] = []
    whole = encoded(files, tmp_path / "whole.npy", settings)
    divided = encoded(
        files, tmp_path / "parts.npy", settings, keep=True, told=lambda *two: told.append(two)
    )
    assert same(whole, divided)
    assert len(told) > 5
    assert told[-1][0] == told[-1][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "parts.npy", "whole.npy"]


@pytest.mark.parametrize("settings", [{}, {"codec": "word", "documents": "line"}], ids=str)
def test_and_that_of_several_processes(
    files: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    whole = encoded(files, tmp_path / "whole.npy", settings)
    assert same(whole, encoded(files, tmp_path / "parts.npy", settings, workers=2))
    assert len(list(tmp_path.iterdir())) == 3


def test_files_that_cannot_be_read(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    can = os.access
    closed = {str(files / f"{number}.txt") for number in (1, 3)}
    monkeypatch.setattr(os, "access", lambda path, mode: path not in closed and can(path, mode))
    whole = encoded(files, tmp_path / "whole.npy", {})
    assert any("1.txt: cannot be read" in text for text in whole.notices)
    assert same(whole, encoded(files, tmp_path / "parts.npy", {}, keep=True))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for keep in (False, True):
        with pytest.raises(CorpusError, match="none of the files can be read, the first is"):
            encoded(files, tmp_path / "none.npy", {}, keep=keep)


class StoppedError(Exception):
    """What a test raises in the middle."""


def test_an_interrupted_encoding_goes_on(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "parts.npy"

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise StoppedError

    def kept() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("parts.npy.*.json")}

    def again(settings: dict[str, Any]) -> int:
        """How many parts of the earlier ones are used again, when all but the last is done."""
        before = kept()

        def stop_late(done: int, total: int) -> None:
            if done == total:
                raise StoppedError

        with pytest.raises(StoppedError):
            encoded(files, path, settings, keep=True, told=stop_late)
        return sum(before.get(name) == changed for name, changed in kept().items())

    with pytest.raises(StoppedError):
        encoded(files, path, {}, keep=True, told=stop)
    first = len(kept())
    assert 1 < first < 8
    assert again({}) == first
    whole = len(kept())
    assert again({}) == whole
    assert again({"normalize": "NFC"}) == 0
    assert again({"normalize": "NFC"}) == whole
    os.utime(files / "1.txt", ns=(1, 1))  # changed, at the same length
    assert again({"normalize": "NFC"}) == whole - 1
    (tmp_path / "parts.npy.000002.npy").write_bytes(b"cut short")
    (tmp_path / "parts.npy.000003.json").write_text("{")
    assert again({"normalize": "NFC"}) == whole - 2
    result = encoded(files, path, {"normalize": "NFC"}, keep=True)
    assert same(result, encoded(files, tmp_path / "whole.npy", {"normalize": "NFC"}))
    assert not kept()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_file_is_one_line(files: Path, tmp_path: Path, workers: int) -> None:
    (files / "5.txt").write_bytes(TEXT.encode() + b"\xff\xfe" + TEXT.encode())
    with pytest.raises(CorpusError) as caught:
        encoded(files, tmp_path / "whole.npy", {})
    with pytest.raises(CorpusError) as other:
        encoded(files, tmp_path / "parts.npy", {}, workers=workers, keep=workers == 1)
    kept = f"; {KEPT}" if workers == 1 else ""
    assert str(caught.value) + kept == str(other.value)
    left = {path.suffix for path in tmp_path.glob("parts.npy*")}
    assert left == ({".npy", ".json"} if workers == 1 else set())


def test_an_error_speaks_only_of_parts_that_help(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "parts.npy"
    (files / "5.txt").write_bytes(TEXT.encode() + b"\xff\xfe" + TEXT.encode())
    with pytest.raises(CorpusError, match=f"; {KEPT}$"):
        encoded(files, path, {}, keep=True)
    (files / "0.txt").write_bytes(TEXT.encode() + b"\xff\xfe" + TEXT.encode())
    with pytest.raises(CorpusError) as caught:  # where those that are there are of other settings
        encoded(files, path, {"normalize": "NFC"}, keep=True)
    assert KEPT not in str(caught.value)
    for file in files.iterdir():
        file.write_text("\n" * 300)
    with pytest.raises(CorpusError, match=r"there is nothing to learn$"):
        encoded(files, path, {"documents": "line"}, keep=True)
    assert not list(tmp_path.glob("parts.npy*"))


def test_small_corpora_and_pipes_are_not_divided(tmp_path: Path) -> None:
    refused: Any = None  # is not called
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(TEXT)
    sources = find([tmp_path], list(MEDIA.values()))
    assert parts.workers_for(sources) == 1
    assert parts.divided(refused, None, sources, tmp_path) == []
    piped = find(["-", tmp_path / "a.txt"], list(MEDIA.values()))
    assert parts.divided(refused, None, piped, tmp_path) == []


def test_a_run_with_several_processes(files: Path, tmp_path: Path) -> None:
    run = charrnn.train(files, tmp_path / "run", steps=1, hidden=8, threads=1, workers=2)
    with run:
        assert run.plan.corpus_steps > 5_000
    assert not (tmp_path / "run").exists()


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, on Linux."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in found.split()]


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_processes(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    """As Ctrl-C in a terminal does, to the whole group; a kill, only to the first process."""
    folder = tmp_path / "files"
    folder.mkdir()
    block = TEXT * 34_000  # 32 MB
    for name in range(4):
        (folder / f"{name}.txt").write_text(block, encoding="utf-8")
    words = [sys.executable, "-m", "charrnn", "encode", "files", "-o", "out", "--workers", "2"]
    child = subprocess.Popen(
        [*words, "--codec", "word"],  # which is slow
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: len(list((tmp_path / "out").glob(".corpus.npy.partial.*.npy"))) == 2)
    others = children_of(child.pid)
    assert len(others) >= 2
    if number == signal.SIGKILL:
        child.kill()
    else:
        os.killpg(child.pid, number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    reading = "reading files/0.txt, files/1.txt, files/2.txt ...\n"
    until(lambda: not any(map(lives, others)))
    if number == signal.SIGKILL:  # Python's own process for semaphores may say something
        assert said.startswith(reading)
    else:
        assert said == reading
    if number == signal.SIGINT:  # the others end in order
        assert not list((tmp_path / "out").glob(".corpus*"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_process_that_is_killed_is_one_line(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(children_of(os.getpid()))

    def kill(done: int, total: int) -> None:
        for pid in set(children_of(os.getpid())) - before:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(CharrnnError, match="was ended; is there enough memory"):
        encoded(files, tmp_path / "parts.npy", {}, workers=2, told=kill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]
