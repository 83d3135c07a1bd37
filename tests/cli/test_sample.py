from __future__ import annotations

import copy
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

import charrnn
from charrnn import checkpoint
from charrnn.errors import CharrnnError, UsageError
from tests.conftest import Command, trained


def test_text_and_nothing_else(command: Command, run: Path) -> None:
    outcome = command("sample", run, "-n", 120, "--seed", 3, "-q")
    assert outcome.returncode == 0
    assert outcome.stderr == ""
    assert len(outcome.stdout) == 120


def test_same_seed_same_text_however_many(command: Command, run: Path) -> None:
    one = command("sample", run, "-n", 50, "--seed", 3).stdout
    lines = command("sample", run, "-n", 50, "--seed", 3, "--num", 3, "--json").stdout.splitlines()
    samples = [json.loads(line) for line in lines]
    assert [sample["index"] for sample in samples] == [0, 1, 2]
    assert {sample["seed"] for sample in samples} == {3}
    assert samples[0]["text"] == one
    assert len({sample["text"] for sample in samples}) == 3
    assert all(sample["steps"] == 50 and sample["nats_per_step"] > 0 for sample in samples)
    plain = command("sample", run, "-n", 50, "--seed", 3, "--num", 3).stdout
    assert plain == "\n---\n".join(sample["text"] for sample in samples)


def test_seed_is_told_when_it_was_drawn(command: Command, run: Path) -> None:
    outcome = command("sample", run, "-n", 30)
    seed = outcome.stderr.strip().rpartition("seed ")[2]
    assert command("sample", run, "-n", 30, "--seed", seed).stdout == outcome.stdout


def test_primes(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "prime.txt").write_text("The grüne", encoding="utf-8")
    words = ["sample", run, "-n", 20, "--seed", 1, "-q"]
    outcomes = [
        command(*words, "-p", "The grüne"),
        command(*words, "--prime-file", "prime.txt"),
        command(*words, "-p", "-", stdin="The grüne"),
    ]
    assert {outcome.returncode for outcome in outcomes} == {0}
    assert len({outcome.stdout for outcome in outcomes}) == 1
    assert outcomes[0].stdout.startswith("The grüne")
    assert len(outcomes[0].stdout) == 20 + len("The grüne")


def test_escapes_mean_the_same_everywhere(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "prime.txt").write_text("Ah.\n\tThe\\n")
    words = ("sample", run, "-q", "-n", 400, "--seed", 1)
    typed = command(*words, "-p", r"Ah.\n\tThe\\n").stdout
    assert typed.startswith("Ah.\n\tThe\\n")
    assert typed == command(*words, "--prime-file", "prime.txt").stdout
    assert typed != command(*words, "-p", r"Ah.\n\tThe\n").stdout
    whole = command(*words).stdout
    assert "\n" in whole
    assert command(*words, "--stop", r"\n").stdout == whole[: whole.index("\n")]


def test_a_prime_on_each_line(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "primes.txt").write_bytes("The miller\r\n\r\nThe grüne \N{SNOWMAN}\r\n".encode())
    words = ("sample", run, "-n", 20, "--seed", 1)
    outcome = command(*words, "--primes", "primes.txt", "--num", 2, "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert "line 3: warning: not in the vocabulary" in outcome.stderr
    found = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [(each["index"], each["line"]) for each in found] == [(0, 1), (1, 1), (2, 3), (3, 3)]
    assert found[0]["text"].startswith("The miller")
    alone = command(*words, "--prime", "The miller", "--num", 2, "--json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in alone] == [each["text"] for each in found[:2]]
    piped = command(*words, "-q", "--primes", "-", stdin="The\nThe\n").stdout.split("\n---\n")
    assert len(piped) == 2
    assert all(text.startswith("The") for text in piped)
    assert piped[0] != piped[1]  # each has random numbers of its own
    beams = command("sample", run, "-n", 9, "--primes", "-", "--beam", 2, stdin="The\ngrü\n")
    assert [len(text) for text in beams.stdout.split("\n---\n")] == [12, 12]
    both = command("sample", run, "--primes", "-", "-p", "x", stdin="")
    assert both.returncode == 2
    assert "--prime and --primes both give a prime" in both.stderr


@pytest.mark.parametrize(
    ("file", "message"),
    [("-", "standard input: has no lines"), ("", "an empty name"), (".", "is not a file")],
)
def test_files_without_primes(
    command: Command, run: Path, tmp_path: Path, file: str, message: str
) -> None:
    outcome = command("sample", run, "--primes", file, "-o", "out.txt", stdin="\n\n")
    assert outcome.returncode in (1, 2)
    assert message in outcome.stderr
    assert not (tmp_path / "out.txt").exists()


def test_what_will_never_match_is_said_once(command: Command, run: Path) -> None:
    words = ("sample", run, "--primes", "-", "-n", 5, "--stop", "zq")
    said = command(*words, stdin="The\nThe\nqThe\n").stderr
    assert said.count("--stop will never match") == 1
    assert "line 3: warning" in said


def test_primes_are_continued_as_they_arrive(run: Path, environment: dict[str, str]) -> None:
    words = [
        sys.executable,
        "-m",
        "charrnn",
        "sample",
        str(run),
        "--primes",
        "-",
        "-n",
        "5",
        "--json",
    ]
    with subprocess.Popen(words, stdin=PIPE, stdout=PIPE, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in ("The", "miller"):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"].startswith(line)
        process.stdin.close()
    assert process.returncode == 0


def test_unknown_characters_are_named_and_skipped(command: Command, run: Path) -> None:
    outcome = command("sample", run, "-n", 5, "-q", "-p", "Thé\x07")
    assert outcome.returncode == 0
    assert "'é' (U+00E9)" in outcome.stderr
    assert "'\\x07' (U+0007)" in outcome.stderr
    never = command("sample", run, "-n", 5, "-q", "--stop", "\\")
    assert "--stop will never match, not in the vocabulary: '\\\\' (U+005C)" in never.stderr


def test_filters_and_stop(command: Command, run: Path) -> None:
    greedy = [command("sample", run, "-n", 40, "-q", "-t", 0).stdout for _ in range(2)]
    assert greedy[0] == greedy[1]
    assert command("sample", run, "-n", 40, "-q", "--top-k", 1).stdout == greedy[0]
    assert command("sample", run, "-n", 40, "-q", "--top-p", 0.0001).stdout == greedy[0]
    letter = greedy[0][10]
    stopped = command("sample", run, "-n", 40, "-q", "-t", 0, "--stop", letter).stdout
    assert stopped == greedy[0].partition(letter)[0]
    lines = [command("sample", run, "-n", 300, "--seed", 1, "--stop", s) for s in ("\n", "\\n")]
    assert lines[0].stdout == lines[1].stdout
    assert "\n" not in lines[0].stdout


def test_allowed_and_forbidden_characters(command: Command, run: Path) -> None:
    words = ["sample", run, "-n", 200, "--seed", 3, "-q", "-t", 2]
    assert set(command(*words, "--allow", "hero n").stdout) <= set("hero n")
    assert not set(command(*words, "--forbid", "eaT,").stdout) & set("eaT,")


def test_no_n_gram_is_written_twice(command: Command, run: Path) -> None:
    words = ["sample", run, "-n", 150, "--seed", 3, "-q", "-t", 0]
    loops, free = command(*words).stdout, command(*words, "--no-repeat-ngram", 6).stdout
    grams = [[text[i : i + 6] for i in range(len(text) - 5)] for text in (loops, free)]
    assert len(set(grams[0])) < len(grams[0])
    assert len(set(grams[1])) == len(grams[1])
    assert command(*words, "--repetition-penalty", 3).stdout != loops


def test_temperatures_take_turns(command: Command, run: Path) -> None:
    words = ["sample", run, "-n", 40, "--seed", 3, "-q"]
    alike = [command(*words, "-t", t).stdout for t in ("0.7", "0.7,0.7")]
    assert alike[0] == alike[1]
    assert command(*words, "-t", "0.7,3").stdout != alike[0]
    assert command(*words, "-t", "0,0").stdout == command(*words, "-t", "0").stdout


def test_beam_search(command: Command, run: Path) -> None:
    words = ["sample", run, "-n", 30, "-p", "The ", "--json", "--beam", 4]
    lines = command(*words, "--num", 4).stdout.splitlines()
    samples = [json.loads(line) for line in lines]
    means = [sample["nats_per_step"] for sample in samples]
    assert means == sorted(means)
    assert len({sample["text"] for sample in samples}) == 4
    assert command(*words).stdout.splitlines() == lines[:1]
    greedy = command("sample", run, "-n", 30, "-p", "The ", "-t", 0, "--json", "--seed", 0)
    assert means[0] <= json.loads(greedy.stdout)["nats_per_step"] + 1e-6


def test_files_are_written_whole(command: Command, run: Path, tmp_path: Path) -> None:
    assert command("sample", run, "-n", 30, "--seed", 1, "-q", "-o", "out.txt").stdout == ""
    text = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert text == command("sample", run, "-n", 30, "--seed", 1, "-o", "-").stdout
    outcome = command("sample", run, "-o", "no/out.txt")
    assert outcome.returncode == 1
    assert "no/out.txt: cannot be written" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_pipes_devices_and_links_are_written_into(
    command: Command, run: Path, tmp_path: Path
) -> None:
    words = ["sample", run, "-n", 30, "--seed", 1, "-q", "-o"]
    (tmp_path / "target.txt").write_text("old")
    (tmp_path / "link").symlink_to("target.txt")
    assert command(*words, "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    text = (tmp_path / "target.txt").read_text(encoding="utf-8")
    assert len(text) == 30
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        assert command(*words, "pipe").returncode == 0
        assert reader.communicate(timeout=20)[0] == text
    assert (tmp_path / "pipe").is_fifo()
    outcome = command(*words, ".")
    assert outcome.returncode == 1
    assert "Is a directory" in outcome.stderr


def shell(line: str, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, env=environment, check=False, timeout=60
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(run: Path, environment: dict[str, str], closed: str) -> None:
    outcome = shell(
        f"{sys.executable} -m charrnn sample {run} -n 30 --seed 1 {closed}", environment
    )
    assert outcome.returncode == 0
    assert b"Traceback" not in outcome.stderr
    assert bool(outcome.stdout) == (" >&-" not in f" {closed}")


def test_a_closed_standard_input_is_named(run: Path, environment: dict[str, str]) -> None:
    outcome = shell(f"{sys.executable} -m charrnn sample {run} -p - <&-", environment)
    assert outcome.returncode == 1
    assert outcome.stderr == b"charrnn: standard input (-) is closed\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line(run: Path, environment: dict[str, str]) -> None:
    outcome = shell(f"{sys.executable} -m charrnn sample {run} -n 30 -q > /dev/full", environment)
    assert outcome.returncode == 1
    assert outcome.stderr == b"charrnn: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 1, "nowhere: no such file or run"),
        (["RUN", "-t", "-1"], 1, "--temperature must be at least 0"),
        (["RUN", "-t", "nan"], 1, "--temperature must be a finite number"),
        (["RUN", "--top-p", "0"], 1, "--top-p must be above 0"),
        (["RUN", "--top-k", "-3"], 1, "--top-k must be at least 0"),
        (["RUN", "-p", "a", "--prime-file", "b"], 2, "drop one"),
        (["RUN", "--prime-file", "b"], 1, "b: cannot be read"),
        (["RUN", "-p", "a\udcff"], 1, "--prime is not UTF-8 text"),
        (["RUN", "-n", "-5"], 2, "-n"),
        (["RUN", "--num", "0"], 2, "--num"),
        (["RUN", "-t", "1,x"], 1, "--temperature must be a number, or several"),
        (["RUN", "-t", "1,-1"], 1, "--temperature must be at least 0"),
        (["RUN", "--allow", "Ω"], 1, "leave nothing to write"),
        (["RUN", "--unk"], 1, "--unk is for models of words"),
        (["RUN", "--no-repeat-ngram", "1"], 1, "no step is left to draw"),
        (["RUN", "--beam", "3", "-t", "1"], 2, "--temperature cannot be given with it"),
        (["RUN", "--beam", "3", "--num", "4"], 2, "--beam 3 finds at most 3 samples"),
        (["RUN", "--length-penalty", "1"], 2, "--length-penalty is for --beam"),
        (["RUN", "--repetition-window", "9"], 2, "no effect without --repetition-penalty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_line(
    command: Command, run: Path, words: list[str], code: int, message: str
) -> None:
    outcome = command("sample", *(run if word == "RUN" else word for word in words))
    assert outcome.returncode == code
    assert message in outcome.stderr
    assert outcome.stdout == "" or "--no-repeat-ngram" in words  # which runs dry in the end
    assert "Traceback" not in outcome.stderr


def test_a_prime_that_is_no_text(command: Command, run: Path) -> None:
    outcome = command("sample", run, "-p", "-", stdin="ü".encode() + b"ab\xff")
    assert outcome.returncode == 1
    assert "byte 0xff at offset 4 is not utf-8 text; convert it to UTF-8" in outcome.stderr


def test_the_encoding_of_a_prime_is_told(command: Command, run: Path) -> None:
    outcome = command("sample", run, "-p", "-", stdin="Bär und Käse, später".encode("cp1252"))
    assert outcome.returncode == 0
    assert "standard input read as cp1252" in outcome.stderr
    assert outcome.stdout.startswith("Bär und Käse, später")


def test_a_general_model_is_sampled_without_a_run(command: Command) -> None:
    german = command("sample", "-p", "Es war", "-n", "40", "--seed", "1", LC_ALL="de_DE.UTF-8")
    assert german.returncode == 0
    assert "no run in checkpoints/ yet, so this is the general model german" in german.stderr
    named = command("sample", "german", "-p", "Es war", "-n", "40", "--seed", "1")
    assert named.stdout == german.stdout
    assert named.stdout.startswith("Es war")
    assert not named.stderr
    english = command("sample", "-p", "It was", "-n", "40", "--seed", "1", LC_ALL="C")
    assert "the general model english" in english.stderr
    assert "the german" not in english.stdout


def test_the_newest_run_is_sampled(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "it").symlink_to(run)
    outcome = command("sample", "-n", 10)
    assert outcome.returncode == 0
    assert outcome.stderr.startswith("checkpoints/it/best.safetensors, seed ")


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"LC_ALL": "C"},
        {"LC_ALL": "en_US.ISO-8859-1"},
        {"LANG": "no_SUCH.locale"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_output_is_utf_8_everywhere(child: Command, run: Path, setting: dict[str, str]) -> None:
    outcome = child("sample", run, "-n", 30, "--seed", 1, "-p", "grüne –", **setting)
    assert outcome.returncode == 0
    assert outcome.stdout.startswith("grüne –")


def test_a_closed_pipe_ends_quietly(run: Path, environment: dict[str, str]) -> None:
    outcome = shell(
        f"set -o pipefail; {sys.executable} -m charrnn sample {run} -n 200000 -q | head -c 100",
        environment,
    )
    assert outcome.returncode == 0
    assert outcome.stderr == b""
    assert len(outcome.stdout) == 100


def test_a_terminal_gets_a_last_line_end(run: Path, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    words = ["sample", str(run), "-n", "20", "-q", "--seed", "1", "--stop", "\n"]
    subprocess.run(
        [sys.executable, "-m", "charrnn", *words], stdout=theirs, env=environment, check=True
    )
    os.close(theirs)
    drawn = os.read(ours, 4096)
    os.close(ours)
    assert drawn.endswith(b"\r\n")


@pytest.mark.parametrize("size", [1e20, 3e38])
@pytest.mark.parametrize("flags", [[], ["--num", "3"], ["--beam", "2"]], ids=str)
def test_absurd_weights_end_in_one_line(
    command: Command, run: Path, tmp_path: Path, size: float, flags: list[str]
) -> None:
    model = charrnn.load(run).checkpoint
    tensors = {
        name: (np.sign(array) * size).astype(array.dtype) if "weight" in name else array
        for name, array in model.tensors().items()
    }
    path = tmp_path / "absurd.safetensors"
    checkpoint.save(path, config=model.config, codec=model.codec, training={}, tensors=tensors)
    outcome = command("sample", path, "-n", 20, "-q", *flags)
    assert outcome.returncode in (0, 1)
    assert len(outcome.stderr.splitlines()) == outcome.returncode


def test_mixed_models(command: Command, run: Path, corpus: Path, tmp_path: Path) -> None:
    other, third = tmp_path / "o:ther", tmp_path / "third"
    trained(corpus, other, seed=1, steps=9, eval_every=9)
    trained(corpus, third, seed=2, steps=9, eval_every=9)
    words = ["sample", run, "-n", 60, "--seed", 3, "--num", 2]
    mix = [f"--mix={other}:0.4", f"--mix={third}:0.1"]
    both = command(*words, *mix).stdout
    assert both != command(*words).stdout
    mixed = charrnn.load(run).mixed({other: 0.4, charrnn.load(third): 0.1})
    samples = [sample.text for sample in mixed.samples(60, num=2, seed=3)]
    assert "\n---\n".join(samples) == both
    assert [sample.text for sample in copy.copy(mixed).samples(60, num=2, seed=3)] == samples
    best = mixed.beam(3, 60)[0].text
    assert best != charrnn.load(run).beam(3, 60)[0].text
    assert command("sample", run, "-n", 60, "--beam", 3, *mix).stdout == best
    (tmp_path / "primes.txt").write_text("a\nb\n", encoding="utf-8")
    primes = command("sample", run, "--primes", tmp_path / "primes.txt", "--json", *mix).stdout
    assert len(primes.splitlines()) == 2
    for refused in (lambda: mixed.evaluate(corpus), lambda: mixed.save(tmp_path / "all")):
        with pytest.raises(UsageError, match="models that are mixed"):
            refused()


def test_models_that_cannot_be_mixed(
    command: Command, run: Path, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "less.txt").write_text(corpus.read_text("utf-8").replace("a", "e"), "utf-8")
    trained(tmp_path / "less.txt", tmp_path / "less", steps=3, eval_every=3)
    trained(corpus, tmp_path / "other", steps=3, eval_every=3)
    (tmp_path / "empty.safetensors").touch()
    for values, complaint in {
        (f"{run}:nan",): "give MODEL:WEIGHT, with a weight between 0 and 1",
        ("there-is:none:0.5",): "--mix: there-is:none",
        (f"{run}:0.5", f"{run}:0.2"): "is there already",
    }.items():
        outcome = command("sample", run, "--seed", 1, *(f"--mix={value}" for value in values))
        assert outcome.returncode in (1, 2)
        assert complaint in outcome.stderr
        assert outcome.stderr.count("\n") == 1
    other, less = tmp_path / "other", tmp_path / "less"
    for weights, complaint in (
        ({tmp_path / "empty.safetensors": 0.5}, "--mix: "),
        ({less: 0.5}, "its vocabulary is another one: it lacks a;"),
        ({other: 0.5, run / "best.safetensors": 0.2}, "is there already"),
        ({other: 0.7, less: 0.3}, "the weights must add up to less than 1"),
    ):
        with pytest.raises(CharrnnError, match=complaint):
            charrnn.load(run).mixed(weights)
    with pytest.raises(UsageError, match="a weight must be a number above 0"):
        charrnn.load(run).mixed({tmp_path / "other": "0.5"})
