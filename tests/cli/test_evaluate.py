from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import charrnn
from tests.conftest import TEXT, TINY, Command, flags, trained


def test_scores_a_text(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "held-out.txt").write_text(TEXT[:300], encoding="utf-8")
    outcome = command("evaluate", run, "held-out.txt", "--json")
    assert outcome.returncode == 0, outcome.stderr
    values = json.loads(outcome.stdout)
    assert set(values) == {"nats_per_step", "bits_per_step", "perplexity", "steps"}
    assert values["steps"] == 299
    assert values["bits_per_step"] == pytest.approx(values["nats_per_step"] / math.log(2))
    piped = command("evaluate", run, "-", "--json", stdin=TEXT[:300])
    assert json.loads(piped.stdout) == values
    shown = command("evaluate", run, "held-out.txt").stdout
    assert f"nats per character  {values['nats_per_step']:.4f}" in shown


def test_dynamic_evaluation_learns_what_it_reads(command: Command, run: Path) -> None:
    model = run / "best.safetensors"
    before, text = model.read_bytes(), "the heron the river " * 80
    losses = [
        json.loads(command("evaluate", run, "-", "--json", *more, stdin=text).stdout)[
            "nats_per_step"
        ]
        for more in ([], ["--dynamic"], ["--dynamic"])
    ]
    assert losses[1] < losses[0] - 0.05
    assert losses[1] == losses[2]
    assert model.read_bytes() == before


def test_unknown_characters_are_left_out_and_told(command: Command, run: Path) -> None:
    outcome = command("evaluate", run, "-", stdin="The œuvre – œuvre")
    assert outcome.returncode == 0
    assert "left out" in outcome.stderr
    assert "œ" in outcome.stderr


@pytest.mark.parametrize("codec", ["word", "byte"])
def test_bits_per_character(command: Command, corpus: Path, tmp_path: Path, codec: str) -> None:
    trained(corpus, tmp_path / "run", codec=codec, steps=30, eval_every=10, batch_size=2)
    text = TEXT[:400]
    values = json.loads(command("evaluate", "run", "-", "--json", stdin=text).stdout)
    total = values["bits_per_step"] * values["steps"]
    first = len("The") if codec == "word" else 1  # the first step is not predicted
    assert values["bits_per_character"] == pytest.approx(total / (len(text) - first))
    strange = command("evaluate", "run", "-", "--json", stdin=text.replace("heron", "qwertzuiop"))
    if codec == "word":
        assert "read as <unk>" in strange.stderr
        assert json.loads(strange.stdout)["bits_per_character"] > values["bits_per_character"]
    shown = command("evaluate", "run", "-", stdin=text).stdout
    assert f"bits per character  {values['bits_per_character']:.4f}" in shown


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("", "0 characters that the model knows"),
        ("T", "1 characters"),
        ("ü".encode() + b"\xff", "offset 2"),
    ],
)
def test_nothing_to_score(command: Command, run: Path, stdin: bytes | str, message: str) -> None:
    outcome = command("evaluate", run, "-", stdin=stdin)
    assert outcome.returncode == 1
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_an_encoding_in_the_environment_is_not_for_bytes(
    corpus: Path, tmp_path: Path, command: Command
) -> None:
    trained(corpus, tmp_path / "run", steps=3, codec="byte")
    outcome = command("evaluate", "run", corpus, CHARRNN_ENCODING="cp1252")
    assert outcome.returncode == 0, outcome.stderr
    refused = command("evaluate", "run", corpus, "--encoding", "cp1252")
    assert refused.returncode == 2
    assert "--encoding has no effect without --codec char or word" in refused.stderr
    words = ("train", corpus, "-o", "again", *flags(**TINY, steps=3, codec="byte"))
    assert command(*words, CHARRNN_ENCODING="cp1252").returncode == 0


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_by_itself(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The miller said\n\nThe \N{SNOWMAN}heron\r\nxxxx", "utf-8")
    outcome = command("evaluate", run, "a.txt", "--by", "line", "--json", "--top", 3)
    assert outcome.returncode == 0, outcome.stderr
    assert "left out 5 characters" in outcome.stderr
    first, second, third = lines_of(outcome.stdout)
    assert [each["number"] for each in (first, second, third)] == [1, 3, 4]
    assert [each["unknown"] for each in (first, second, third)] == [0, 1, 4]
    assert second["text"] == "The \N{SNOWMAN}heron"
    model = charrnn.load(run)
    assert first["nats"] == pytest.approx(model.nats("The miller said").sum(), rel=1e-4)
    assert first["nats_per_step"] * first["steps"] == pytest.approx(first["nats"])
    assert third["steps"] == 0
    assert third["nats"] is None
    assert third["nats_per_step"] is None
    assert set(third) == set(first)
    likely = first["next"]
    assert len(likely) == 3
    assert likely[0]["probability"] >= likely[1]["probability"] > 0
    follows = "The miller said" + likely[0]["symbol"]
    assert likely[0]["probability"] == pytest.approx(math.exp(-model.nats(follows)[-1]), rel=1e-3)
    piped = command(
        "evaluate", run, "-", "--by", "line", "--sort", stdin="zzzz\nThe heron\nThe mil"
    )
    heading, *rows = piped.stdout.splitlines()
    assert heading.split() == ["nats/character", "nats", "characters", "unknown", "what"]
    losses = [float(row.split()[0]) for row in rows[:2]]
    assert losses == sorted(losses)
    assert rows[2].split() == ["-", "-", "0", "4", "1:", "zzzz"]


def test_each_document_with_its_end(command: Command, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Ann\nBob\nCleo\n" * 30)
    trained(tmp_path / "names.txt", tmp_path / "run", steps=30, documents="line", lr=0.02)
    (tmp_path / "new.txt").write_text("Ann\n\nBo\n")
    words = ("evaluate", "run", "new.txt", "--json", "--top", 2, "--by")
    by_document = lines_of(command(*words, "document").stdout)
    assert [(d["number"], d["text"], d["steps"]) for d in by_document] == [
        (1, "Ann", 4),
        (2, "Bo", 3),
    ]
    by_line = lines_of(command(*words, "line").stdout)
    assert [line["nats"] for line in by_line] == pytest.approx([d["nats"] for d in by_document])
    assert [line["number"] for line in by_line] == [1, 3]
    (whole,) = lines_of(command(*words, "file").stdout)
    assert whole["steps"] == 7
    assert whole["text"] is None
    ends = [each["symbol"] for document in by_document for each in document["next"]]
    assert None in ends  # the end of the document
    (tmp_path / "t.csv").write_text("id,text\n1,Ann\n2,Bob\n")
    rows = lines_of(
        command("evaluate", "run", "t.csv", "--json", "--by", "document", "--field", "text").stdout
    )
    assert [row["text"] for row in rows] == ["Ann", "Bob"]


def test_each_file(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "texts" / f"{name}.txt").write_text(
            TEXT[:200] if name == "a" else "heron", "utf-8"
        )
    shown = command("evaluate", run, "texts", "--by", "file").stdout.splitlines()
    assert [row.split()[-1] for row in shown[1:]] == ["texts/a.txt", "texts/b.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", "3"], "--top has no effect without --by"),
        (["--sort"], "--sort has no effect without --by"),
        (["--by", "line", "--picture", "a.png"], "drop it, or --by"),
        (["--by", "line", "--dynamic"], "--dynamic adapts to all files"),
        (["--by", "document"], "trained without --documents"),
        (["--by", "word"], "by must be one of line, file, document"),
        (["--by", "line", "--top", "2000"], "top must be a number from 0 to 1000"),
        (["--by", "line", "--field", "x"], "use --by document"),
    ],
)
def test_parts_that_there_are_not(
    command: Command, run: Path, corpus: Path, words: list[str], message: str
) -> None:
    outcome = command("evaluate", run, corpus, *words)
    assert outcome.returncode == 2, outcome.stderr
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_no_lines(command: Command, run: Path) -> None:
    outcome = command("evaluate", run, "-", "--by", "line", stdin="\n\n")
    assert outcome.returncode == 1
    assert "standard input: no lines to evaluate" in outcome.stderr


def test_parts_that_hold_nothing_known(command: Command, run: Path, tmp_path: Path) -> None:
    outcome = command("evaluate", run, "-", "--by", "line", stdin="zzz\nThe heron\n")
    assert outcome.stdout.split()[0] == "nats/character"  # whatever the first line says
    (tmp_path / "empty.txt").touch()
    (tmp_path / "a.txt").write_text("The heron")
    outcome = command("evaluate", run, "empty.txt", "a.txt", "--by", "file")
    assert "left out empty.txt: it is empty" in outcome.stderr
    marked = command("evaluate", run, "-", "--by", "line", stdin="The \ufdd0heron")
    assert marked.returncode == 1
    assert "U+FDD0" in marked.stderr
