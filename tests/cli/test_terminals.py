"""Terminals, streams and signals as people meet them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from charrnn.checkpoint import read
from charrnn.cli.failures import SignalExit, StopSignals
from charrnn.run import Run
from tests.cli.test_train import started
from tests.conftest import TINY, flags, trained
from tests.forks import ended, forked

HARM = "\x1b[31mred\x1b]0;title\x07 \x9b2J\x08\r\x00\x7f end\n" * 30  # what could move or recolour
RAW = [b"\x1b[31mr", b"\x1b]0", b"\x07", b"\xc2\x9b", b"\x08", b"\x00", b"\x7f"]


def at_terminal(words: list[str], terminal: str, changes: dict[str, str]) -> None:
    """`charrnn` with all its streams at a terminal, in a session of its own."""
    os.setsid()
    stream = os.open(terminal, os.O_RDWR)
    for number in range(3):
        os.dup2(stream, number)
    os.environ.update({"TERM": "xterm-256color"} | changes)
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        if name not in changes:
            os.environ.pop(name, None)
    from charrnn.cli.main import main

    sys.stdin, sys.stdout, sys.stderr = (  # those of a fork are of the server's files
        open(number, mode, buffering=1, closefd=False)  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    sys.argv = ["charrnn", *words]
    main()


def drawn(words: list[object], columns: int = 80, **changes: str) -> bytes:
    """All that a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = forked(at_terminal, list(map(str, words)), os.ttyname(theirs), changes)
    seen = b""
    os.set_blocking(ours, False)
    while child.exitcode is None:
        child.join(0.05)
        try:
            while block := os.read(ours, 1 << 16):
                seen += block
        except BlockingIOError:
            continue
    os.close(theirs)
    os.close(ours)
    assert ended(child) == 0, seen
    return seen


@pytest.fixture(scope="module")
def harmful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt to write escape sequences."""
    folder = tmp_path_factory.mktemp("harm")
    corpus = folder / "bad\x1b[31mr\x07\nname.txt"
    corpus.write_text(HARM)
    settings = {"steps": 40, "eval_every": 20, "lr": 0.05, "dropout": 0.0, "codec": "char"}
    trained(corpus, folder / "run\x1b[31mr", **(TINY | settings))
    return folder / "run\x1b[31mr"


def test_what_a_model_writes_reaches_no_terminal_raw(harmful: Path) -> None:
    small = flags(**TINY, codec="char", steps=4, eval_every=2, lr=0.05)
    corpus = next(harmful.parent.glob("*.txt"))
    for words in (
        ["sample", harmful, "-n", 300, "-t", 1],
        ["sample", harmful, "-n", 300, "--json"],
        ["sample", harmful, "--beam", 2, "-n", 60],
        ["inspect", harmful],
        ["evaluate", harmful, corpus],
        ["train", corpus, "-o", harmful.parent / "again\x1b[31mr", *small],
    ):
        seen = drawn(words)
        assert not [sequence for sequence in RAW if sequence in seen], (words, seen)
    assert any(sequence in HARM.encode() for sequence in RAW)


@pytest.mark.parametrize("columns", [20, 1])
@pytest.mark.parametrize("changes", [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=str)
def test_odd_terminals(corpus: Path, tmp_path: Path, columns: int, changes: dict[str, str]) -> None:
    words = ["train", corpus, "-o", tmp_path / "run", *flags(**TINY, steps=6, eval_every=3)]
    seen = drawn(words, columns, **changes)
    assert b"Traceback" not in seen
    assert read(tmp_path / "run" / "best.safetensors")
    if "TERM" in changes:
        assert b"\x1b" not in seen
    if "NO_COLOR" in changes:
        assert b"\x1b[3" not in seen.replace(b"\x1b[3m", b"")  # italics are no colour


def shell(line: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    line = line.replace("charrnn", f"{sys.executable} -m charrnn")
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=folder, env=environment
    )


@pytest.mark.parametrize("into", ["--json -q | true", "2>&1 | true", "2>/dev/full"])
def test_a_reader_that_leaves_early_loses_no_run(
    corpus: Path, tmp_path: Path, environment: dict[str, str], into: str
) -> None:
    small = " ".join(flags(**TINY, steps=6, eval_every=3))
    outcome = shell(f"charrnn train {corpus} -o run {small} {into}", environment, tmp_path)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
    assert Run(tmp_path / "run").last.exists()


def test_a_full_disk_under_the_events_loses_no_run(
    corpus: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    small = " ".join(flags(**TINY, steps=6, eval_every=3))
    line = f"charrnn train {corpus} -o run {small} --json 2>said >/dev/full"
    assert shell(line, environment, tmp_path).returncode == 1
    said = (tmp_path / "said").read_text()
    assert "saved, resume with: charrnn train --resume run" in said
    assert said.endswith("charrnn: standard output: No space left on device\n")
    assert Run(tmp_path / "run").last.exists()


def test_help_onto_a_full_disk(environment: dict[str, str], tmp_path: Path) -> None:
    outcome = shell("charrnn --help > /dev/full", environment, tmp_path)
    assert outcome.returncode == 1
    assert outcome.stderr == "charrnn: standard output: No space left on device\n"


@pytest.mark.long
def test_a_reader_that_is_slow(run: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """A pipe that is full waits, and nothing of the text is lost."""
    line = f"charrnn sample {run} -n 100000 --seed 1 -q | (sleep 1; cat) | wc -m"
    assert shell(line, environment, tmp_path).stdout.strip() == "100000"


def test_nohup_is_respected(corpus: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """A terminal that is closed does not end what was begun with nohup."""
    words = ["train", corpus, "-o", tmp_path / "run", *flags(**TINY, eval_every=9, steps=10**6)]
    line = ["nohup", sys.executable, "-m", "charrnn", *map(str, words), "--json", "-q"]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGHUP)
    for _ in range(20):
        assert child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 143


def step_without_end(ready: Path) -> None:
    """What a long step is to Python: one instruction."""
    with StopSignals() as signals:
        signals.polling = True
        signals.last_words = "the last save stands"
        ready.touch()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


@pytest.mark.parametrize("step", ["step_without_end", "step_without_end_and_nobody_listening"])
def test_a_second_ctrl_c_in_the_middle_of_a_step(tmp_path: Path, step: str) -> None:
    child = forked(globals()[step], tmp_path / "ready")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    for _ in range(2):
        time.sleep(0.1)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGINT)
    assert ended(child) == 130


def step_without_end_and_nobody_listening(ready: Path) -> None:
    """The same where what is said finds a pipe that is full."""
    _, full = os.pipe()
    os.set_blocking(full, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, bytes(1 << 16))
    os.set_blocking(full, True)
    os.dup2(full, 2)
    step_without_end(ready)


def test_only_ctrl_c_is_impatient() -> None:
    """Sessions end with several signals at once, and each asks for the same: to save."""
    with StopSignals() as signals:
        signals.polling = True
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert signals.number == signal.SIGTERM
        with pytest.raises(SignalExit):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("wait_s", [0.02, 0.1, 0.3])
def test_ctrl_c_while_it_starts(
    run: Path, environment: dict[str, str], wait_s: float, tmp_path: Path
) -> None:
    """No traceback of ours, whatever moment it is; the first moments are Python's own."""
    child = started(["sample", run, "-n", 10**7, "-o", tmp_path / "out.txt"], environment)
    time.sleep(wait_s)
    for _ in range(50):  # one may be lost in the machinery of imports
        child.send_signal(signal.SIGINT)
        time.sleep(0.1)
        if child.poll() is not None:
            break
    _, errors = child.communicate(timeout=60)
    assert child.returncode in (130, -signal.SIGINT, 1)
    assert "charrnn/cli" not in errors
    assert not (tmp_path / "out.txt").exists()
