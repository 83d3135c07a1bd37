from __future__ import annotations

import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn import checkpoint
from charrnn.cli.screen import Plain, screen_for
from charrnn.cli.terminal import sparkline
from charrnn.media.sources import corpora
from charrnn.training.events import Stopped
from tests.conftest import TEXT, TINY, Command, flags

SMALL = flags(**TINY, eval_every=10)


def started(words: list[object], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "charrnn", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


def test_plain_lines_on_stderr(command: Command, corpus: Path, tmp_path: Path) -> None:
    outcome = command("train", corpus, "-o", "run", "--steps", 20, *SMALL)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == (
        ["corpus", "codec", "model", "training", "machine", "expected", "run"]
    )
    assert sum("validation" in line and line.startswith("step") for line in lines) == 2
    assert "\x1b" not in outcome.stderr
    assert lines[-1] == "the model is run/best.safetensors; sample from it with: charrnn sample run"
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [".lock", "best.safetensors", "corpus.npy", "last.safetensors", "metrics.jsonl"]


def test_quiet_says_nothing(command: Command, corpus: Path) -> None:
    outcome = command("train", corpus, "-o", "run", "--steps", 5, "-q", *SMALL)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


def test_json_gives_events(command: Command, corpus: Path) -> None:
    outcome = command("train", corpus, "-o", "run", "--steps", 12, "--json", *SMALL)
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert events[0]["event"] == "planned"
    assert events[0]["planned_steps"] == 12
    assert events[0]["config"]["model"]["hidden"] == TINY["hidden"]
    assert {event["event"] for event in events[1:]} == (
        {"stepped", "evaluated", "sampled", "saved", "stopped"}
    )
    assert "validation" in outcome.stderr


def test_dry_run_leaves_nothing(command: Command, corpus: Path, tmp_path: Path) -> None:
    outcome = command("train", corpus, "--dry-run")
    assert outcome.returncode == 0
    assert "LSTM" in outcome.stderr
    assert "GB of memory" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_no_corpus_is_the_bundled_one(command: Command, tmp_path: Path) -> None:
    outcome = command("train", "--steps", 2, *flags(**TINY))
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "checkpoints" / "tales" / "best.safetensors").exists()
    again = command("train", "--steps", 2, "-q", *flags(**TINY))
    assert again.returncode == 0
    assert (tmp_path / "checkpoints" / "tales-2").exists()


def test_flags_beat_environment_beats_preset(command: Command, corpus: Path) -> None:
    (corpus.parent / "mine.toml").write_text("[model]\nhidden = 9\nlayers = 1\nembedding = 3\n")
    words = ["train", corpus, "-c", "mine.toml", "--dry-run", "--json", "-q", "--steps", 2]
    outcome = command(*words, "--hidden", 11, CHARRNN_HIDDEN="10", CHARRNN_LAYERS="2")
    assert outcome.returncode == 0, outcome.stderr
    model = json.loads(outcome.stdout)["config"]["model"]
    assert (model["hidden"], model["layers"], model["embedding"]) == (11, 2, 3)


def test_an_existing_run_is_kept(command: Command, corpus: Path, tmp_path: Path) -> None:
    words = ["train", corpus, "-o", "run", "--steps", 3, "-q", *SMALL]
    assert command(*words).returncode == 0
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    refused = command(*words, "--seed", 5)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before
    assert command(*words, "--seed", 5, "--force").returncode == 0
    assert (tmp_path / "run" / "best.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_signals_save_and_say_how_to_go_on(
    corpus: Path, tmp_path: Path, environment: dict[str, str], number: int, code: int
) -> None:
    settings = TINY | {"eval_every": 50, "steps": 1_000_000}
    words = ["train", corpus, "-o", tmp_path / "run", "--json", *flags(**settings)]
    child = started(words, environment)
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line).get("step", 0) >= 3:
            break
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == code
    assert f"resume with: charrnn train --resume {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors
    progress = checkpoint.read(tmp_path / "run" / "last.safetensors").progress
    assert progress is not None
    assert progress["step"] >= 3


def test_two_ctrl_c_close_together_lose_nothing(
    corpus: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """However soon after the first, while it saves too, and what was saved before stands."""
    settings = TINY | {"eval_every": 3, "steps": 1_000_000}
    words = ["train", corpus, "-o", tmp_path / "run", "--json", *flags(**settings)]
    child = started(words, environment)
    assert child.stdout is not None
    next(line for line in child.stdout if json.loads(line)["event"] == "saved")
    for _ in range(2):
        child.send_signal(signal.SIGINT)
        time.sleep(0.003)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    hint = f"charrnn train --resume {tmp_path / 'run'}"
    assert f"resume with: {hint}" in errors or f"resume from the last checkpoint: {hint}" in errors
    assert "Traceback" not in errors
    checkpoint.read(tmp_path / "run" / "last.safetensors").network()


def test_ctrl_c_as_soon_as_it_is_promised(
    corpus: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """When "Ctrl-C saves and stops" stands on the screen, it does."""
    words = ["train", corpus, "-o", tmp_path / "run", *flags(**TINY, steps=10**6)]
    child = started(words, environment)
    assert child.stderr is not None
    while not child.stderr.readline().startswith("run "):
        pass
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert checkpoint.read(tmp_path / "run" / "last.safetensors").progress is not None


def test_interrupted_before_the_first_step(tmp_path: Path, environment: dict[str, str]) -> None:
    """While it waits for its corpus there is nothing to save, and nothing is left."""
    child = subprocess.Popen(
        [sys.executable, "-m", "charrnn", "train", "-", "-o", str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert child.stderr is not None
    assert child.stderr.readline() == "reading -\n"
    for _ in range(200):
        if (tmp_path / "run" / ".corpus.npy.partial").exists():
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_resume_auto_is_for_jobs_that_are_given_again(command: Command, corpus: Path) -> None:
    words = ["train", corpus, "-o", "run", "--resume", "auto", "-q", *flags(**TINY)]
    assert command(*words, "--steps", 6).returncode == 0
    assert command(*words, "--steps", 9, CHARRNN_LR="1").returncode == 0
    saved = checkpoint.read(corpus.parent / "run" / "last.safetensors")
    assert saved.training["step"] == 9
    again = command(*words[: -len(flags(**TINY)) - 1], "--steps", 9)
    assert again.returncode == 0
    assert "run: has finished already" in again.stderr
    refused = command(*words, "--steps", 12, "--lr", 3)
    assert refused.returncode == 2
    assert "--lr 3.0: the run in run has" in refused.stderr
    refused = command(*words, "--steps", 12, "--codec", "word")
    assert refused.returncode == 2
    assert "--codec word: the run in run has char; resume it as it began" in refused.stderr
    nowhere = command("train", corpus, "--resume", "auto")
    assert nowhere.returncode == 2
    assert "give one" in nowhere.stderr


def test_resume_takes_only_a_budget(command: Command, corpus: Path) -> None:
    assert command("train", corpus, "-o", "run", "--steps", 4, "-q", *SMALL).returncode == 0
    refused = command("train", corpus, "--resume", "run", "--hidden", 5)
    assert refused.returncode == 2
    assert "corpus" in refused.stderr
    assert "--hidden" in refused.stderr
    assert command("train", "--resume", "run").returncode == 1
    # What the environment sets for new runs does not count, not even a budget.
    assert command("train", "--resume", "run", CHARRNN_STEPS="70").returncode == 1
    outcome = command("train", "--resume", "run", "--steps", 8, CHARRNN_HIDDEN="77")
    assert outcome.returncode == 0, outcome.stderr
    assert "resuming run at step 4 of 8" in outcome.stderr
    missing = command("train", "--resume", "nowhere")
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing.txt"], 1, "nothing.txt: no such file or directory"),
        (["empty"], 1, "empty: empty"),
        (["short"], 1, "short: too short: 5 of at least 16 steps"),
        (["binary"], 1, "binary: byte 0x00 at offset 2 is not utf-16 text"),
        (["corpus.txt", "--hidden", "0"], 1, "--hidden must be at least 1, not 0"),
        (["corpus.txt", "--threads", "many"], 1, "--threads must be auto or a number"),
        (["corpus.txt", "--lr", "nan"], 1, "--lr must be a finite number"),
        (["corpus.txt", "--device", "cuda"], 1, "no cuda device here"),
        (["corpus.txt", "-c", "huge"], 1, "no preset or file 'huge'"),
        (["corpus.txt", "--encoding", "utf-9"], 1, "unknown encoding 'utf-9'"),
        (["corpus.txt", "-o", "corpus.txt"], 1, "corpus.txt: is a file"),
        (["corpus.txt", "-o", "corpus.txt/x"], 1, "corpus.txt/x: cannot be written"),
        (["corpus.txt", "-o", ""], 2, "must be a directory of its own"),
        (["corpus.txt", "-o", "mine"], 1, "mine/metrics.jsonl: would be overwritten"),
        ([""], 1, "an empty corpus name"),
        (
            ["corpus.txt", "--norm", "batch", "--batch-size", "1", "--seq-length", "1"],
            1,
            "batch norm needs more than one step",
        ),
        (["corpus.txt", "-o", "/proc/nothing"], 1, "/proc/nothing: cannot be written"),
        (["corpus.txt", "--hiden", "3"], 2, "No such option"),
        (
            ["corpus.txt", "--momentum", "0.5"],
            1,
            "--momentum has no effect without --optimizer sgd",
        ),
        (
            ["corpus.txt", "--vocab-size", "50"],
            1,
            "--vocab-size has no effect without --codec word",
        ),
        (
            ["corpus.txt", "--documents", "line", "--separator", "x"],
            1,
            "without --documents record",
        ),
        (["corpus.txt", "--separator", ""], 1, "needs a --separator of 1 to 1000 characters"),
        (
            ["corpus.txt", "--codec", "byte", "--normalize", "NFC"],
            1,
            "--normalize has no effect without --codec char or word",
        ),
        (["corpus.txt", "--codec", "morse"], 1, "--codec must be one of auto, char, word, byte"),
        (["corpus.txt", "--init-from", "nowhere"], 1, "nowhere: no such file or run"),
        (["corpus.txt", "--init-from", "binary"], 1, "binary: not a charrnn model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_line(
    command: Command, corpus: Path, words: list[str], code: int, message: str
) -> None:
    if "cuda" in words and __import__("torch").cuda.is_available():
        pytest.skip("there is a CUDA device")
    (corpus.parent / "empty").write_text("")
    (corpus.parent / "short").write_text("abcde")
    (corpus.parent / "binary").write_bytes(b"\xff\xfe\x00")
    (corpus.parent / "mine").mkdir()
    (corpus.parent / "mine" / "metrics.jsonl").write_text("somebody's")
    before = sorted(corpus.parent.rglob("*"))
    outcome = command("train", "-q", "--steps", 2, *words)
    assert outcome.returncode == code
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    if code == 1:
        assert outcome.stderr.count("\n") == 1
    assert sorted(corpus.parent.rglob("*")) == before


def test_line_ends_do_not_matter(command: Command, tmp_path: Path) -> None:
    """Of Unix, Windows and old Macs: the same model, byte for byte, and the same samples."""
    ends = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}
    for name, end in ends.items():
        (tmp_path / f"{name}.txt").write_text(TEXT.replace("\n", end), "utf-8", newline="")
        outcome = command("train", f"{name}.txt", "-o", name, "--steps", 6, *SMALL)
        assert ("are read as LF" in outcome.stderr) == (name != "lf")
    models = {(tmp_path / name / "best.safetensors").read_bytes() for name in ends}
    assert len(models) == 1
    primed = {
        command("sample", "lf", "-q", "-n", 20, "--seed", 1, "--prime-file", f"{name}.txt").stdout
        for name in ends
    }
    assert len(primed) == 1
    losses = {command("evaluate", "lf", f"{name}.txt", "--json").stdout for name in ends}
    assert len(losses) == 1
    kept = command("train", "crlf.txt", "-o", "kept", "--steps", 3, "--newline", "keep", *SMALL)
    assert "read as LF" not in kept.stderr
    assert "\\r" in command("inspect", "kept").stdout


def test_names_with_the_line_ends_of_old_macs(command: Command, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"Ann\rBob\rCleo\r" * 20)
    words = ("train", "names.txt", "--documents", "line", "-o", "run", "--dry-run", *SMALL)
    assert "60 documents" in command(*words).stderr


def test_a_directory_of_several_encodings(command: Command, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    names = ["utf-8", "cp1252", "utf-8-sig", "utf-16"]
    text = "Der Müller hörte die Grüße: „schöne Füße – größer“.\n" * 20
    for encoding in names:
        (tmp_path / "texts" / f"{encoding}.txt").write_bytes(text.encode(encoding))
    outcome = command("train", "texts", "-o", "run", "--steps", 3, *SMALL)
    assert outcome.returncode == 0, outcome.stderr
    assert "texts/cp1252.txt read as cp1252 (certainty" in outcome.stderr
    assert set(checkpoint.read(tmp_path / "run" / "best.safetensors").codec.symbols or ()) == set(
        text
    )


def test_tables_hold_the_same_texts(command: Command, tmp_path: Path) -> None:
    texts = [f'The "miller", {number},\nsaid: ü' for number in range(40)]
    with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["id", "said"], *([n, t] for n, t in enumerate(texts))])
    lines = (json.dumps({"id": n, "said": t}) + "\n" for n, t in enumerate(texts))
    (tmp_path / "a.jsonl").write_text("".join(lines))
    for kind in ("csv", "jsonl"):
        table = f"a.{kind}"
        untold = command("train", table, "-o", "x", "--dry-run", *SMALL)
        assert f"{table} has the fields id, said" in untold.stderr
        outcome = command("train", table, "--field", "said", "-o", kind, "--steps", 3, *SMALL)
        assert outcome.returncode == 0, outcome.stderr
        assert "40 documents" in outcome.stderr
    names = ("best.safetensors", "corpus.npy")
    models = [
        [(tmp_path / kind / name).read_bytes() for name in names] for kind in ("csv", "jsonl")
    ]
    assert models[0] == models[1]


def test_a_field_that_cannot_be_read(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n', "utf-16-le")
    outcome = command("train", "a.jsonl", "--field", "text", "-o", "x")
    assert outcome.returncode == 1
    assert "has NUL bytes" in outcome.stderr
    assert "--encoding utf-16-le" in outcome.stderr
    outcome = command("train", "a.jsonl", "--field", "", "-o", "x")
    assert outcome.returncode == 1
    assert "--field is empty; name a column or a key" in outcome.stderr


def test_a_model_is_not_resumed(command: Command, run: Path) -> None:
    outcome = command("train", "--resume", run / "best.safetensors")
    assert outcome.returncode == 2
    assert "last.safetensors" in outcome.stderr
    assert "--init-from" in outcome.stderr


def test_names_one_a_line(command: Command, tmp_path: Path) -> None:
    """As textgenrnn and makemore users would: a list of names in, twenty of them out."""
    names = ["Anna", "Bert", "Cécile", "Dora", "Emil", "Friederike"] * 30
    (tmp_path / "names.txt").write_text("\r\n".join(names) + "\r\n", encoding="utf-8")
    words = ["train", "names.txt", "--documents", "line", "-o", "run", "--steps", 400]
    outcome = command(*words, "--lr", 0.02, *SMALL)
    assert outcome.returncode == 0, outcome.stderr
    assert "in 180 documents" in outcome.stderr
    drawn = command("sample", "run", "--num", 20, "--seed", 1, "-q").stdout
    assert drawn.endswith("\n")
    assert len(drawn.splitlines()) == 20
    assert set(drawn.splitlines()) & set(names)
    assert all(drawn.splitlines())
    begun = command("sample", "run", "--num", 5, "--seed", 1, "-q", "-p", "Fr").stdout
    assert all(line.startswith("Fr") for line in begun.splitlines())
    best = command("sample", "run", "--beam", 6, "--num", 3, "--json", "-q").stdout
    texts = [json.loads(line)["text"] for line in best.splitlines()]
    assert len(set(texts)) == 3


def test_records_between_separators(command: Command, tmp_path: Path) -> None:
    tales = ["A fox.\nIt ran.", "A heron.\nIt stood."] * 20
    (tmp_path / "tales.txt").write_text("\n%%\n".join(tales) + "\n", encoding="utf-8")
    words = ["train", "tales.txt", "--separator", "\\n%%\\n", "-o", "run", "--steps", 120]
    outcome = command(*words, "--lr", 0.02, *SMALL)
    assert outcome.returncode == 0, outcome.stderr
    assert "in 40 documents" in outcome.stderr
    drawn = command("sample", "run", "--num", 4, "--seed", 1, "-q", "-t", 0.3).stdout
    assert len(drawn.split("\n%%\n")) == 4
    assert "%" not in drawn.replace("\n%%\n", "")


def test_german_stays_in_its_alphabet(command: Command, tmp_path: Path) -> None:
    """The bundled corpus, a prime with umlauts, and not a character that is not German."""
    words = ["train", "maerchen", "-o", "run", "--steps", 40, "-q", *SMALL]
    assert command(*words).returncode == 0
    outcome = command("sample", "run", "-n", 400, "-p", "Über den Fluß", "--seed", 1, "-t", 1.5)
    assert outcome.stdout.startswith("Über den Fluß")
    alphabet = set(corpora()["maerchen"].read_text(encoding="utf-8"))
    assert set(outcome.stdout) <= alphabet
    assert outcome.stderr == ""


def test_any_file_by_bytes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "odd.bin").write_bytes(bytes(range(256)) * 8)
    outcome = command("train", "odd.bin", "-o", "run", "--steps", 5, *SMALL)
    assert outcome.returncode == 0, outcome.stderr
    assert "byte (odd.bin has NUL bytes, so it is not text)" in outcome.stderr
    assert "nats per byte" in outcome.stderr
    drawn = command("sample", "run", "-n", 300, "--seed", 1)
    assert drawn.returncode == 0
    assert command("evaluate", "run", "odd.bin", "--json").returncode == 0
    (tmp_path / "folder").mkdir()
    (tmp_path / "odd.bin").rename(tmp_path / "folder" / "odd.bin")
    words = ["train", "folder", "--codec", "byte", "-o", "other", "--steps", 2]
    assert command(*words, *SMALL).returncode == 0


def test_words(command: Command, corpus: Path) -> None:
    small = [*SMALL[: SMALL.index("--batch-size")], *SMALL[SMALL.index("--batch-size") + 2 :]]
    outcome = command(
        "train", corpus, "--codec", "word", "-o", "run", "--steps", 30, "--batch-size", 2, *small
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "nats per word" in outcome.stderr
    assert "bits per character" in outcome.stderr
    drawn = command("sample", "run", "-n", 60, "--seed", 1, "-q", "-p", "The dragon said ")
    assert "not in the vocabulary, read as <unk>: dragon" in drawn.stderr
    assert drawn.stdout.startswith("The dragon said ")
    assert not drawn.stdout.startswith("The dragon said  ")
    assert "<unk>" not in drawn.stdout
    shown = command("inspect", "run").stdout
    assert "codec               word, " in shown


def test_an_idle_wish_in_the_environment(command: Command, corpus: Path) -> None:
    words = ["train", corpus, "-o", "run", "--steps", 2, "-q", *SMALL]
    assert command(*words, CHARRNN_MOMENTUM="0.5").returncode == 0


def test_a_preview_that_runs_dry_loses_nothing(command: Command, corpus: Path) -> None:
    (corpus.parent / "mine.toml").write_text("[sampling]\nno_repeat_ngram = 1\n")
    words = ["train", corpus, "-o", "run", "--steps", 12, "-c", "mine.toml", *SMALL]
    outcome = command(*words)
    assert outcome.returncode == 0, outcome.stderr


def test_fine_tuning(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("The river said nothing; Zürich did. " * 40, encoding="utf-8")
    words = ["train", "new.txt", "--init-from", run, "-o", "tuned", "--steps", 4]
    outcome = command(*words, "--threads", 1, "--precision", "fp32")
    assert outcome.returncode == 0, outcome.stderr
    assert "characters keep their weights; new, and initialised: " in outcome.stderr
    assert "not in this corpus: " in outcome.stderr
    assert command("train", "--resume", "tuned", "--steps", 6).returncode == 0


def test_debug_shows_the_traceback(command: Command) -> None:
    outcome = command("--debug", "train", "nothing.txt")
    assert outcome.returncode != 0
    assert "Traceback" in outcome.stderr
    assert "CorpusError" in outcome.stderr


def read_terminal(words: list[object], environment: dict[str, str]) -> str:
    """Run with a terminal for stderr and give all that was drawn on it."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment | {"TERM": "xterm-256color"},
    )
    os.close(theirs)
    drawn = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([ours], [], [], 1)
        if ready:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the child has closed its end
                break
            drawn += block
        elif child.poll() is not None:
            break
    os.close(ours)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(10) == 0
    return drawn.decode()


def test_live_display_on_a_terminal(
    corpus: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["train", corpus, "-o", tmp_path / "run", "--steps", 60, *SMALL]
    drawn = read_terminal(words, environment)
    for part in ("characters/s", "loss  train", "validation", "best", "▁", "100%"):
        assert part in drawn
    assert "sample from it with: charrnn sample" in drawn


def test_sparkline() -> None:
    assert sparkline([3, 2, 1]) == "█▅▁"
    assert sparkline([1, 1]) == "▁▁"
    assert sparkline([]) == sparkline([1, 2], "ascii") == ""


def test_the_screen_fits_the_flags() -> None:
    assert type(screen_for(json_lines=False, quiet=False)) is Plain  # no terminal here
    silent = screen_for(json_lines=False, quiet=True)
    with silent:
        silent.show(
            Stopped(
                1,
                reason="budget",
                epoch=1.0,
                steps_seen=1,
                best_nats_per_step=None,
                best_update=None,
                best_score=None,
                score_name="validation loss",
                elapsed_s=1.0,
                path=Path("x"),
            )
        )
