from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import charrnn
from tests.conftest import TEXT, Command, flags, trained
from tests.conftest import TINY as SMALL


def test_prints_what_was_found(command: Command, run: Path, tmp_path: Path) -> None:
    outcome = command("insight", run)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    for text in ("of the held-out part", "kind of character", "memory", "copies"):
        assert text in outcome.stdout
    assert "\x1b" not in outcome.stdout
    every = command("insight", run, "--show", "all")
    assert every.returncode == 0, every.stderr
    for section in ("surprise", "cells", "gates", "saliency", "map", "learning"):
        assert f"\n{section}\n" in every.stdout
    assert "likelier: " in every.stdout
    only = command("insight", run, "--show", "gates")
    assert only.stdout.startswith("gate ")


def test_reads_what_is_given(command: Command, run: Path, tmp_path: Path) -> None:
    piped = command("insight", run, "-", "--json", stdin=TEXT)
    assert piped.returncode == 0, piped.stderr
    values = json.loads(piped.stdout)
    assert [text["name"] for text in values["texts"]] == ["input"]
    assert values["verdict"][0]["title"] == "loss"
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    named = command("insight", run, "text.txt", "--json")
    assert json.loads(named.stdout)["texts"] == values["texts"]
    short = command("insight", run, "-", stdin="œ")
    assert short.returncode == 1
    assert short.stderr.count("\n") <= 2
    few = json.loads(command("insight", run, "text.txt", "-n", "50", "--json").stdout)
    assert few["texts"][0]["steps"] == 50


def test_a_unit_over_the_text(command: Command, run: Path) -> None:
    outcome = command("insight", run, "--cell", "2:3")
    assert outcome.returncode == 0, outcome.stderr
    assert "forget" in outcome.stdout
    assert "cell state" in outcome.stdout
    values = json.loads(command("insight", run, "--cell", "2:3", "--json").stdout)
    count = values["texts"][0]["steps"] + 1  # the first step is only read
    assert len(values["by_step"][0]["nats"]) == count
    assert {len(each) for each in values["cell"]["states"].values()} == {count}
    assert {len(each) for each in values["cell"]["gates"].values()} == {count}
    for value, problem in (
        ("3:0", "layers are 1 to 2, units 0 to 11"),
        ("1:12", "layers are 1 to 2, units 0 to 11"),
        ("0:1", "layers are 1 to 2, units 0 to 11"),
        ("x", "give LAYER:UNIT"),
    ):
        outcome = command("insight", run, "--cell", value)
        assert outcome.returncode in (1, 2)
        assert problem in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--show", "gears"], "there is verdict"),
        (["--show", ","], "there is verdict"),
        (["-o", "page.txt"], "a page ends in .html"),
        (["--against", "nowhere"], "no such file or run"),
        (["-n", "1"], "--length"),
        (["missing.txt"], "missing.txt"),
        (["-"], "0 characters that the model knows"),
        (["--cell", "9" * 5000 + ":1"], "give LAYER:UNIT"),
    ],
)
def test_bad_arguments(command: Command, run: Path, arguments: list[str], problem: str) -> None:
    outcome = command("insight", run, *arguments)
    assert outcome.returncode in (1, 2)
    assert problem in outcome.stderr
    assert outcome.stdout == ""


def test_says_what_it_left_out(command: Command, run: Path) -> None:
    outcome = command("insight", run, "-", "--show", "surprise", stdin="Ωe Ω\n" * 20)
    assert outcome.returncode == 0, outcome.stderr
    assert "characters that are not in the vocabulary" in outcome.stderr
    half_lives = command("insight", run, "--show", "cells")
    assert "forgets half within" in half_lives.stdout


def test_colours_only_on_a_terminal(child: Command, run: Path) -> None:
    forced = child("insight", run, "--show", "surprise", FORCE_COLOR="1")
    assert "\x1b[" in forced.stdout
    plain = child("insight", run, "--show", "surprise", FORCE_COLOR="1", NO_COLOR="1")
    assert "48;" not in plain.stdout
    assert "likelier: " in plain.stdout  # figures, not a text without them


def test_writes_a_page(command: Command, run: Path, tmp_path: Path) -> None:
    outcome = command("insight", run, "-o", "page.html")
    assert outcome.returncode == 0, outcome.stderr
    assert "contains the model, and parts of its corpus" in outcome.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "nats per character" in outcome.stdout
    outcome = command("insight", run, "-o", "nowhere/page.html")
    assert outcome.returncode == 1
    assert "nowhere/page.html" in outcome.stderr


@pytest.mark.parametrize("codec", ["word", "byte"])
def test_words_and_bytes(command: Command, corpus: Path, tmp_path: Path, codec: str) -> None:
    trained(corpus, tmp_path / "run", steps=4, codec=codec)
    outcome = command("insight", "run", "--show", "all", "-o", "page.html")
    assert outcome.returncode == 0, outcome.stderr
    assert "kind of character" in outcome.stdout


def test_documents(command: Command, tmp_path: Path) -> None:
    names = "".join(f"{name}\n" for name in ("anna", "berta", "carla", "dora") * 400)
    (tmp_path / "names.txt").write_text(names, encoding="utf-8")
    trained(tmp_path / "names.txt", tmp_path / "run", steps=10, documents="line")
    outcome = command("insight", "run", "--show", "all")
    assert outcome.returncode == 0, outcome.stderr
    assert "end of text" in outcome.stdout


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_other_cells(command: Command, corpus: Path, tmp_path: Path, cell: str) -> None:
    trained(corpus, tmp_path / "run", steps=4, cell=cell)
    outcome = command("insight", "run", "--show", "gates,cells,memory")
    assert outcome.returncode == 0, outcome.stderr
    assert ("this cell has no gates" in outcome.stdout) == (cell == "rnn")
    assert ("update" in outcome.stdout) == (cell == "gru")


def test_a_model_file_alone(command: Command, run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "best.safetensors", tmp_path / "alone.safetensors")
    outcome = command("insight", "alone.safetensors", "-n", "300")
    assert outcome.returncode == 0, outcome.stderr
    assert "has no corpus beside it" in outcome.stderr
    assert "nothing to show: there is no corpus" in outcome.stdout


def test_a_broken_corpus_is_an_error(command: Command, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "corpus.npy").write_bytes(b"nonsense")
    for more in (["insight", "copy"], ["sample", "copy", "--no-copy", "5"]):
        outcome = command(*more)
        assert outcome.returncode == 1
        assert "not a readable corpus" in outcome.stderr


def test_vectors(command: Command, run: Path, tmp_path: Path) -> None:
    lines = "The heron\nnothing\n\nthe river went on\n"
    outcome = command("embed", run, stdin=lines)
    assert outcome.returncode == 0, outcome.stderr
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [(row["number"], row["text"]) for row in rows] == [
        (1, "The heron"),
        (2, "nothing"),
        (4, "the river went on"),
    ]
    assert {len(row["vector"]) for row in rows} == {24}
    (tmp_path / "lines.txt").write_text(lines, encoding="utf-8")
    outcome = command("embed", run, "lines.txt", "-o", "vectors.npy")
    assert outcome.returncode == 0, outcome.stderr
    array = np.load(tmp_path / "vectors.npy")
    np.testing.assert_allclose(array, [row["vector"] for row in rows], atol=1e-5)


def test_similar_lines(command: Command, run: Path) -> None:
    lines = "the river went on\nnothing\nThe heron\nThe miller said\n"
    outcome = command("embed", run, "--similar", "nothing", stdin=lines)
    assert outcome.stdout.splitlines()[0] == "+1.000  2: nothing"
    as_json = command("embed", run, "--similar", "nothing", "--json", stdin=lines)
    values = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert values[0] == {
        "file": "standard input",
        "number": 2,
        "text": "nothing",
        "similarity": 1.0,
    }
    assert [v["similarity"] for v in values] == sorted(v["similarity"] for v in values)[::-1]


def test_vectors_of_documents(command: Command, tmp_path: Path) -> None:
    rows = "id,text\n" + "".join(f'{k},"a heron, {k % 7}"\n' for k in range(60))
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    trained(tmp_path / "rows.csv", tmp_path / "run", steps=2, field="text")
    outcome = command("embed", "run", "rows.csv", "--by", "document")
    assert outcome.returncode == 0, outcome.stderr
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [line["text"] for line in lines[:2]] == ["a heron, 0", "a heron, 1"]
    whole = command("embed", "run", "rows.csv", "--by", "file")
    assert len(whole.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--by", "word"], "by must be one of line"),
        (["-o", "x.txt"], "are written as .npy"),
        (["-o", "x.npy", "--similar", "a"], "drop it, or --out"),
        (["-o", "x.npy", "--json"], "no effect with --out"),
        (["--similar", "œ"], "knows nothing of this text"),
    ],
)
def test_bad_arguments_of_embed(
    command: Command, run: Path, arguments: list[str], problem: str
) -> None:
    outcome = command("embed", run, *arguments, stdin="the\n")
    assert outcome.returncode in (1, 2)
    assert problem in outcome.stderr
    assert command("embed", run, stdin="\n\n").returncode == 1


def test_no_copy_on_the_command_line(command: Command, run: Path, tmp_path: Path) -> None:
    outcome = command("sample", run, "-n", "200", "--no-copy", "4", "--seed", "1")
    assert outcome.returncode == 0, outcome.stderr
    text = charrnn.load(run).codec.decode(charrnn.load(run).corpus().tolist())
    written = outcome.stdout.rstrip("\n")
    assert not [k for k in range(len(written) - 3) if written[k : k + 4] in text]
    shutil.copy(run / "best.safetensors", tmp_path / "alone.safetensors")
    refused = command("sample", "alone.safetensors", "--no-copy", "4")
    assert refused.returncode == 2
    assert "give --corpus" in refused.stderr
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    given = command(
        *("sample", "alone.safetensors", "-n", "200", "--no-copy", "4", "--seed", "1"),
        *("--corpus", "text.txt"),
    )
    assert given.stdout == outcome.stdout


def test_event_files_for_tensorboard(command: Command, corpus: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small = flags(**SMALL, steps=20, eval_every=10)
    outcome = command("train", corpus, "-o", "run", "-q", "--tensorboard", *small)
    assert outcome.returncode == 0, outcome.stderr
    outcome = command("train", "--resume", "run", "-q", "--tensorboard", "--steps", "30")
    assert outcome.returncode == 0, outcome.stderr
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"loss/training", "loss/validation", "learning rate", "gradient norm"} <= set(
        board.Tags()["scalars"]
    )
    assert [event.step for event in board.Scalars("loss/validation")] == [10, 20, 30]
    assert len(board.Tensors("sample/text_summary")) == 3
    outcome = command("train", corpus, "-o", "run", "-q", "--force", *small)
    assert not list((tmp_path / "run" / "tensorboard").glob("events*"))
