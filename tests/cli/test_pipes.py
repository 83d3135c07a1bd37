from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn.cli.terminal import amount, duration, printable
from tests.conftest import TINY, Command, flags, trained


def test_the_whole_pipeline(corpus: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    charrnn = f"{sys.executable} -m charrnn"
    small = " ".join(flags(**TINY, steps=12))
    shell = (
        f"cat {corpus} {corpus} | {charrnn} train - -o run -q {small} && "
        f"{charrnn} sample run -n 500 -q --seed 1 | tee out.txt | head -c 100"
    )
    outcome = subprocess.run(
        ["bash", "-c", shell], capture_output=True, cwd=tmp_path, env=environment, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == b""
    assert len(outcome.stdout) == 100
    assert (tmp_path / "out.txt").read_bytes().startswith(outcome.stdout)


def test_a_sample_without_end(run: Path, environment: dict[str, str]) -> None:
    words = [sys.executable, "-m", "charrnn", "sample", str(run), "--forever", "--seed", "1"]
    pipe = subprocess.PIPE
    for stop, code in ((None, 0), (signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with subprocess.Popen(words, stdout=pipe, stderr=pipe, env=environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            beginning = process.stdout.read(3_000)
            if stop is None:
                process.stdout.close()
            else:
                process.send_signal(stop)
                process.stdout.read()
            assert process.wait(60) == code
            assert b"Traceback" not in process.stderr.read()
        text = str(charrnn.load(run).sample(3_000, seed=1))
        assert text.startswith(beginning.decode(errors="ignore"))


def test_what_a_sample_without_end_cannot_have(
    corpus: Path, tmp_path: Path, command: Command
) -> None:
    trained(corpus, tmp_path / "run", steps=3, eval_every=3, no_repeat_ngram=5)
    outcome = command("sample", "run", "--forever")
    assert outcome.returncode == 2
    assert "--no-repeat-ngram: no sample can go on for ever with it" in outcome.stderr
    free = ["sample", "run", "--forever", "--no-repeat-ngram", 0, "--seed", 1]
    outcome = command(*free, "--stop", "e")  # ends it
    assert outcome.returncode == 0, outcome.stderr
    assert "e" not in outcome.stdout
    outcome = command(*free, "--finish", "word")
    assert outcome.returncode == 1
    assert "--finish: a sample without end" in outcome.stderr
    outcome = command("sample", "run", "--beam", 2, "-n", "inf")
    assert outcome.returncode == 2
    assert "beam search needs an end" in outcome.stderr


def test_documents_end_by_themselves(corpus: Path, tmp_path: Path, command: Command) -> None:
    trained(corpus, tmp_path / "run", steps=3, eval_every=3, documents="line", seq_length=4)
    outcome = command("sample", "run", "-n", "inf", "--seed", 1)
    assert outcome.returncode == 0, outcome.stderr
    outcome = command("sample", "run", "--forever")
    assert outcome.returncode == 2
    assert "end by themselves" in outcome.stderr


@pytest.mark.long
def test_events_into_a_closed_pipe_lose_no_run(
    corpus: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    small = " ".join(flags(**TINY, steps=30, eval_every=5))
    shell = f"{sys.executable} -m charrnn train {corpus} -o run -q --json {small} | head -n 3"
    outcome = subprocess.run(
        ["bash", "-c", shell], capture_output=True, cwd=tmp_path, env=environment, check=False
    )
    assert outcome.stderr == b""
    resumed = subprocess.run(
        [sys.executable, "-m", "charrnn", "train", "--resume", "run", "-q", "--steps", "40"],
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert resumed.returncode == 0


def test_control_characters_never_reach_a_terminal() -> None:
    assert printable("a\x1b[31mb\x07\x9b2J\r\n\tü") == "a␛[31mb␇\ufffd2J␍\n\tü"


def test_numbers_for_people() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3600, 7262)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h 0 min",
        "2 h 1 min",
    ]
    assert [amount(n) for n in (7, 950, 9999, 12_300, 1_250_000, 3e9)] == [
        "7",
        "950",
        "9,999",
        "12.3 k",
        "1.25 M",
        "3 G",
    ]
