"""Corpora as they lie around: each is learnt, or ends in one line that says what to do."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import charrnn
from charrnn.checkpoint import read
from charrnn.errors import CharrnnError
from charrnn.run import Run
from tests.conftest import TINY, Command, flags
from tests.forks import Call, commands, ended, forked
from tests.sounds import music, recorded

GROW_BYTES = 600_000_000
CPU_S = 60
SMALL = flags(hidden=8, layers=1, threads=1, precision="fp32", device="cpu", steps=2, eval_every=2)
EVERY_PLANE = "".join(chr(plane << 16 | n) for plane in range(17) for n in range(0x20, 0x60))
ARABIC, COMBINING = "سلام عليكم يا أيها النهر\n", "e\u0301\u0323 a\u0308 \u1100\u1161\u11a8\n"
LEARNT = ""
NO_OPTION, OWN_DIRECTORY = "No such option", "must be a directory of its own"
# What is in the file, flags, and what is said; nothing: it is learnt.
TEXTS: dict[str, tuple[str | bytes, list[str], str]] = {
    "empty": ("", [], "empty; there is nothing to learn"),
    "one character": ("x", [], ": too short: 1 of at least 16 steps"),
    "all the same": ("a" * 3_000, [], LEARNT),
    "all the same, words": ("a" * 3_000, ["--codec", "word"], LEARNT),
    "shorter than a segment": ("once upon a time there\n", [], LEARNT),
    "spaces": (" \n" * 40, [], LEARNT),
    "line ends only, a document a line": ("\n" * 400, ["--documents", "line"], "empty"),
    "NUL bytes": ("ab\0" * 90, [], LEARNT),  # by bytes
    "NUL bytes as characters": ("ab\0" * 90, ["--codec", "char"], LEARNT),
    "lone surrogate": (
        b"abc \xed\xa0\x80 " * 9,
        ["--encoding", "utf-8"],
        "byte 0xed at offset 4 is not utf-8 text",
    ),
    "every plane": (EVERY_PLANE, [], LEARNT),
    "every plane, words": (EVERY_PLANE, ["--codec", "word", "--min-count", "1"], LEARNT),
    "right to left": (ARABIC * 20, [], LEARNT),
    "combining": (COMBINING * 20, ["--normalize", "NFC"], LEARNT),
    "CRLF": ("one\r\ntwo\r\n\r\nthree\rfour\n" * 9, ["--documents", "record"], LEARNT),
    "UTF-8 mark": (b"\xef\xbb\xbf" + b"once upon a time " * 9, [], LEARNT),
    "UTF-16": ("once upon a time " * 9, ["--encoding", "utf-16"], LEARNT),
    "UTF-16 unsaid": (("once upon " * 9).encode("utf-16"), [], LEARNT),
    "UTF-32 unsaid": (("once upon " * 9).encode("utf-32"), ["--codec", "char"], LEARNT),
    "UTF-16 cut": (("once " * 9).encode("utf-16")[:-1], ["--encoding", "utf-16"], "cut short?"),
    "UTF-16 without a mark": (
        ("\u4e00\u9fff" * 40).encode("utf-16-le"),
        ["--encoding", "utf-16"],
        "--encoding utf-16-le or utf-16-be",
    ),
    "JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 9, [], LEARNT),  # by bytes
    "JPEG as words": (b"\xff\xd8\xff\xe0\x10JFIF", ["--codec", "word"], "--codec byte"),
    "noncharacter": ("\ufdd0 once\n" * 9, ["--documents", "line"], "U+FDD0"),
    "escape sequences": ("\x1b[31mred\x07\x9b2J" * 20, [], LEARNT),
    "controls in a vocabulary of words": ("\x1b[31m red \x07" * 20, ["--codec", "word"], LEARNT),
    "one separator too many": ("a b c " * 9, ["--separator", "%%"], LEARNT),
    "Latin-1": ("Grüße aus Köln\n".encode("latin-1") * 9, [], LEARNT),
    "recording": (b"RIFF\x00\x01\x00\x00WAVEfmt \xff\xff", ["--codec", "char"], "--codec audio"),
}


def outcome_of(folder: Path, words: list[str]) -> tuple[int, str]:
    """Exit code and what was said, of `charrnn train` in a fork with little memory."""
    said = folder / "said"
    call = Call(["train", *words, "-o", str(folder / "run"), "-q", *SMALL], said)
    assert ended(forked(commands, [call], GROW_BYTES, CPU_S)) == 0
    text, _, code = said.read_text(encoding="utf-8").removesuffix("\n").rpartition("\n")
    return (0 if code == "None" else int(code)), text


def judge(folder: Path, words: list[str], said: str) -> None:
    """It is learnt, or refused in one line and without anything left behind."""
    code, text = outcome_of(folder, words)
    if said == LEARNT:
        assert (code, text) == (0, ""), text
        read(folder / "run" / "best.safetensors").network()
        return
    assert code == 1, text
    assert said in text
    assert text.startswith("charrnn: ")
    assert "\n" not in text
    assert not (folder / "run").exists()


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name: str, tmp_path: Path) -> None:
    content, options, said = TEXTS[name]
    encoding = "utf-16" if "utf-16" in options else "utf-8"
    data = content if isinstance(content, bytes) else content.encode(encoding)
    (tmp_path / "corpus.txt").write_bytes(data)
    judge(tmp_path, [str(tmp_path / "corpus.txt"), *options], said)


@pytest.mark.parametrize("options", [[], ["--codec", "word"], ["--documents", "line"]], ids=str)
def test_a_line_of_five_million_characters(tmp_path: Path, options: list[str]) -> None:
    with open(tmp_path / "corpus.txt", "w") as stream:
        for _ in range(50):
            stream.write("abcde, fgh " * 9_000)
    judge(tmp_path, [str(tmp_path / "corpus.txt"), *options], LEARNT)


def lying(path: Path, place: int, data: bytes) -> Path:
    """A recording with other bytes in its header."""
    recorded(path, music(1.0))
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(content)
    return path


def many(channels: int) -> np.ndarray:
    return np.stack([music(1.0, seed=seed) for seed in range(channels)], axis=1)


SOUNDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no samples": (lambda p: recorded(p, np.zeros(0)), "has no samples"),
    "one sample": (lambda p: recorded(p, np.ones(1)), "silent from end to end"),
    "silence": (lambda p: recorded(p, np.zeros(40_000)), "silent from end to end"),
    "fainter than any": (
        lambda p: recorded(p, music(1.0) * np.float32(1e-42), subtype="FLOAT"),
        "silent from end to end",
    ),
    "NaN": (
        lambda p: recorded(p, np.full(9_000, np.nan), subtype="FLOAT"),
        "not a finite number",
    ),
    "huge": (lambda p: recorded(p, music(1.0) * np.float32(1e30), subtype="FLOAT"), LEARNT),
    "eight channels": (lambda p: recorded(p, many(8)), LEARNT),
    "192 kHz": (lambda p: recorded(p, music(1.0, 192_000), 192_000), LEARNT),
    "8 kHz": (lambda p: recorded(p, music(1.0, 8_000), 8_000), LEARNT),
    "a hundred samples a second": (lambda p: recorded(p, music(9.0, 100), 100), "cannot be right"),
    "a constant": (lambda p: recorded(p, np.full(40_000, 0.5)), "silent from end to end"),
    "cut short": (lambda p: p.write_bytes(recorded(p, music(1.0)).read_bytes()[:9_000]), "cut"),
    "a lying length": (lambda p: lying(p, 4, b"\xf0\xff\xff\x0f"), "cut short"),
    "a rate of 0": (lambda p: lying(p, 24, bytes(4)), "cannot be read as sound"),
    "no channels": (lambda p: lying(p, 22, bytes(2)), "cannot be read as sound"),
    "65535 channels": (lambda p: lying(p, 22, b"\xff\xff"), "cannot be read as sound"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_recordings(name: str, tmp_path: Path) -> None:
    make, said = SOUNDS[name]
    make(tmp_path / "clip.wav")
    judge(tmp_path, [str(tmp_path / "clip.wav"), "--n-fft", "512", "--hop-length", "128"], said)


@pytest.mark.parametrize("cut", [3, 20_000])
def test_ogg_cut_short(tmp_path: Path, cut: int) -> None:
    path = recorded(tmp_path / "clip.ogg", music(4.0))
    judge(tmp_path, [str(path)], LEARNT)
    data = path.read_bytes()
    path.write_bytes(data[: max(1_000, len(data) - cut)])
    (tmp_path / "cut").mkdir()
    judge(tmp_path / "cut", [str(path)], "cut short: its stream does not end")


def test_odd_places(tmp_path: Path) -> None:
    """A directory that holds itself, links to nothing, a pipe and a device among the files."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere").symlink_to("nothing")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    for name in ("a.txt", "deep/b\n\x1b[31m.txt", "c"):
        (folder / name).write_text("once upon a time\n" * 9)
    judge(tmp_path, [str(folder)], LEARNT)
    for device in ("/dev/zero", "/dev/null", "/dev/urandom"):
        (tmp_path / device[5:]).mkdir()
        judge(tmp_path / device[5:], [device], f"{device}: is a device; pipe")


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (lambda path: path.write_text("once upon a time there was\n" * 99), []),
        (lambda path: recorded(path, music(2.0), format="WAV"), ["--codec", "audio"]),
    ],
    ids=["text", "sound"],
)
def test_a_pipe_that_has_a_name(
    tmp_path: Path, made: Callable[[Path], object], options: list[str]
) -> None:
    """As shells make one for `charrnn train <(command)`: it is read once, from its beginning."""
    made(tmp_path / "whole")
    data, pipe = (tmp_path / "whole").read_bytes(), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    judge(tmp_path, [str(pipe), *options], LEARNT)
    writer.join()
    (tmp_path / "file").mkdir()
    judge(tmp_path / "file", [str(tmp_path / "whole"), *options], LEARNT)
    corpora = [(folder / "run" / "corpus.npy") for folder in (tmp_path, tmp_path / "file")]
    assert corpora[0].read_bytes() == corpora[1].read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("once upon a time\n" * 9)
    (tmp_path / "b").chmod(0)
    judge(tmp_path, [str(tmp_path / "a"), str(tmp_path / "b")], "b: cannot be read")


@contextlib.contextmanager
def changing(path: Path, change: Callable[[], object]) -> Any:
    """Change a file again and again while it is read."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            change()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("kind", ["grows", "shrinks"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, kind: str) -> None:
    """Whatever was there when it was read is learnt."""
    path = tmp_path / "corpus.txt"
    path.write_text("once upon a time\n" * 200_000)

    def change() -> None:
        if kind == "shrinks":
            os.truncate(path, max(2_000, path.stat().st_size // 2))
        elif path.stat().st_size < 20_000_000:
            with open(path, "a") as stream:
                stream.write("and on\n" * 1_000)

    with changing(path, change):
        judge(tmp_path, [str(path)], LEARNT)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hidden", "32768", "--layers", "64"], "no batch fits: give a smaller --hidden"),
        (["--batch-size", "65536", "--seq-length", "65536", "--hidden", "64"], LEARNT),  # shrunk
        (["--hidden", "0"], "--hidden must be at least 1, not 0"),
        (["--hidden", "-5"], "--hidden must be at least 1"),
        (["--lr", "1e999"], "--lr must be a finite number"),
        (["--lr", "nan"], "--lr must be a finite number"),
        (["--dropout", "1"], "--dropout must be at most 0.99"),
        (["--seed", str(2**63)], "--seed must be at most"),
        (["--steps", str(10**18)], "--steps must be at most"),
        (["--epochs", "-1"], "--epochs must be above 0"),
        (["--minutes", "inf"], "--minutes must be a finite number"),
        (["--clip", "-inf"], "--clip must be a finite number"),
        (["--val-fraction", "0"], "--val-fraction must be above 0"),
        (["--val-fraction", "0.9"], "--val-fraction must be at most 0.5"),
        (["--temperature", "1"], NO_OPTION),
        (["--threads", "1000"], "--threads 1000: this machine has"),
        (["--separator", "x" * 1_300], "--separator of 1 to 1000 characters"),
        (["--separator", "\udce9"], "--separator must be UTF-8 text"),
        (["-o", "/"], OWN_DIRECTORY),
        (["-o", ".."], OWN_DIRECTORY),
        (["-o", "x" * 300], "File name too long"),
    ],
    ids=lambda value: (
        " ".join(value)[:40].encode("ascii", "replace").decode() if isinstance(value, list) else ""
    ),
)
def test_flags(command: Command, corpus: Path, words: list[str], said: str) -> None:
    out = [] if "-o" in words else ["-o", "run"]
    outcome = command("train", corpus, *out, "-q", "--steps", 2, "--threads", 1, *words)
    code = {LEARNT: 0, NO_OPTION: 2, OWN_DIRECTORY: 2}.get(said, 1)
    assert outcome.returncode == code
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


ANY = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=False
)
ANYTHING = {
    "text": st.text(min_size=16, max_size=300),
    "bytes": st.binary(min_size=16, max_size=300),
}


@pytest.mark.parametrize("codec", ["char", "word", "byte"])
@pytest.mark.parametrize("kind", ["text", "bytes"])
@ANY
@given(data=st.data())
def test_whatever_is_in_a_file(tmp_path: Path, codec: str, kind: str, data: st.DataObject) -> None:
    """It is learnt, and what stands in the run gives it back to the letter, or an error of ours
    says why not."""
    content = data.draw(ANYTHING[kind])
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (tmp_path / "corpus").write_bytes(raw)
    small = TINY | {"codec": codec, "steps": 1, "eval_every": 1, "hidden": 4, "val_fraction": 0.1}
    small |= {"min_count": 1} if codec == "word" else {}
    small |= {"encoding": "utf-8", "newline": "keep"} if codec != "byte" else {}
    run, message = Run(tmp_path / "run"), ""
    try:
        list(charrnn.train(tmp_path / "corpus", run.path, force=True, **small))
    except CharrnnError as error:
        message = str(error)
    if message:
        assert "\n" not in message
        assert str(tmp_path) in message
        return
    steps = np.load(run.corpus).tolist()
    if codec == "byte":
        assert bytes(steps) == raw
    else:
        text = read(run.last).codec.decode(steps)  # type: ignore[union-attr]
        assert text == raw.decode("utf-8-sig")
