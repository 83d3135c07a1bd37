from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

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
