"""Media that the package does not know, through all commands: see `tests/toys.py`."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import media
from charrnn.settings import setting
from charrnn.training.events import Evaluated
from tests.conftest import ROOT, TINY, Command, flags
from tests.toys import MAGIC, Columns, Nibbles

Call = Callable[..., subprocess.CompletedProcess[bytes]]
SMALL = {name: value for name, value in TINY.items() if name != "embedding"}


@pytest.fixture
def registered() -> object:
    """The table with both media, and as it was afterwards."""
    before = dict(media.MEDIA)
    media.register(Columns())
    media.register(Nibbles())
    yield media.MEDIA
    media.MEDIA.clear()
    media.MEDIA.update(before)


@pytest.fixture
def toys(registered: object, command: Command) -> Call:
    """The command line with both media."""

    def call(
        *words: object, stdin: bytes = b"", code: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        outcome = command(*words, stdin=stdin)
        assert outcome.returncode == code, outcome.stderr
        assert "Traceback" not in outcome.stderr
        raw = outcome.raw  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(words, code, raw, outcome.stderr.encode())

    return call


def piped(folder: Path, environment: dict[str, str], command: str) -> bytes:
    """The output of a shell pipeline, in which `toys` is the command line with both media."""
    command = command.replace("toys", f"{sys.executable} -m tests.toys")
    outcome = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=120,
    )
    assert b"Traceback" not in outcome.stderr
    return outcome.stdout


def table(rows: int = 400) -> bytes:
    time = np.arange(rows) / 8
    columns = np.stack([10 + 3 * np.sin(time), 100 * np.cos(time), time % 1], 1)
    return "".join(",".join(f"{n:.4f}" for n in row) + "\n" for row in columns).encode()


def test_columns_of_numbers(tmp_path: Path, toys: Call, environment: dict[str, str]) -> None:
    (tmp_path / "waves.csv").write_bytes(table())
    train = toys("train", "waves.csv", "-o", "run", *flags(**SMALL, steps=30, eval_every=10))
    said = train.stderr.decode()
    assert "columns (the corpus is columns)" in said
    assert "400 rows of 3 numbers" in said
    assert "gaussian head" in said
    toys("train", "--resume", "run", "--steps", 40)
    toys("sample", "run", "-n", 20, "--seed", 1, "-o", "out.csv", "--digits", 2)
    rows = np.loadtxt(tmp_path / "out.csv", delimiter=",")
    assert rows.shape == (20, 3)
    assert abs(rows[:, 0].mean() - 10) < 10
    assert len(re.findall(r"\.\d\d\b", (tmp_path / "out.csv").read_text())) == 60
    sample = "toys sample run -n 20 --seed 1 --digits 2"
    plain = piped(tmp_path, environment, f"{sample} | cat")
    assert plain == (tmp_path / "out.csv").read_bytes()
    numbered = toys("sample", "run", "-n", 3, "--seed", 1, "--row-numbers").stdout.decode()
    assert [line.partition(",")[0] for line in numbered.splitlines()] == ["1", "2", "3"]
    primed = toys("sample", "run", "-n", 20, "--seed", 1, "--digits", 2, "-p", "waves.csv").stdout
    assert primed != plain
    assert piped(tmp_path, environment, f"cat waves.csv | {sample} -p -") == primed
    several = toys("sample", "run", "-n", 5, "--num", 2, "-o", "each.csv", "--json").stdout
    lines = [json.loads(line) for line in several.splitlines()]
    assert [(line["path"], line["steps"]) for line in lines] == [
        ("each-1.csv", 5),
        ("each-2.csv", 5),
    ]
    values = json.loads(toys("evaluate", "run", "waves.csv", "--json").stdout)
    assert values["steps"] == 399
    assert np.isfinite(values["nats_per_step"])
    shown = toys("inspect", "run").stdout.decode()
    assert "columns, 3 numbers per step" in shown
    assert "delimiter ," in shown
    assert "digits 3" in shown


def test_files_of_half_bytes(tmp_path: Path, toys: Call, environment: dict[str, str]) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / "data" / f"{number}.nib").write_bytes(MAGIC + b"\x12\x34\x56" * 100)
    (tmp_path / "data" / "notes.txt").write_text("these are not nibbles")
    settings = {**TINY, "steps": 80, "eval_every": 20, "lr": 0.03, "dropout": 0}
    said = toys("train", "data", "-o", "run", *flags(**settings)).stderr.decode()
    assert "1,800 half bytes, 16 different" in said
    assert "skipped 1 file of another kind: data/notes.txt" in said
    toys("train", "--resume", "run", "--steps", 120)
    toys("sample", "run", "-n", 60, "--seed", 1, "-t", 0, "-o", "out.nib")
    data = (tmp_path / "out.nib").read_bytes()
    assert data.startswith(MAGIC)
    assert len(data) == len(MAGIC) + 30
    assert b"\x12\x34\x56" * 3 in data or b"\x23\x45\x61" * 3 in data or b"\x56\x12\x34" in data
    assert piped(tmp_path, environment, "toys sample run -n 60 --seed 1 -t 0 | cat") == data
    prime = MAGIC + b"\x12\x34\x56" * 5 + b"\x12"
    (tmp_path / "prime.nib").write_bytes(prime)
    primed = toys("sample", "run", "-n", 10, "-t", 0, "--prime-file", "prime.nib").stdout
    assert primed == MAGIC + b"\x34\x56\x12\x34\x56"
    best = toys("sample", "run", "-n", 10, "--beam", 3, "-p", "prime.nib").stdout
    assert best == primed
    values = json.loads(toys("evaluate", "run", "data", "--json").stdout)
    assert values["nats_per_step"] < 0.5
    assert values["perplexity"] > 1
    shown = toys("inspect", "run").stdout.decode()
    assert "nibbles, 16 symbols" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "waves.csv", "--n-fft", "512"], "--n-fft is for sound; this corpus is"),
        (["train", "waves.csv", "--delimiter", ""], "--delimiter must not be empty"),
        (["train", "waves.csv", "--head", "categorical"], "--head categorical is for symbols"),
        (["train", "bad.csv"], "bad.csv, line 2: 'a,b' is not numbers"),
        (["train", "book.txt", "--delimiter", ";"], "--delimiter is for columns; this corpus is"),
        (["train", "book.txt", "--codec", "char", "--delimiter", ";"], "drop one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_ends_in_a_line(
    tmp_path: Path, toys: Call, words: list[str], message: str
) -> None:
    (tmp_path / "waves.csv").write_bytes(table())
    (tmp_path / "bad.csv").write_text("1,2\na,b\n")
    (tmp_path / "book.txt").write_text("It was a dark night.\n" * 20)
    said = toys(*words, "-o", "run", code=1).stderr.decode()
    assert message in said.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_flags_of_a_medium_are_for_its_models(tmp_path: Path, toys: Call) -> None:
    (tmp_path / "a.nib").write_bytes(MAGIC + b"\x12\x34" * 100)
    toys("train", "a.nib", "-o", "run", *flags(**TINY, steps=3))
    said = toys("sample", "run", "--digits", 2, "--bits", 24, code=2).stderr.decode()
    assert "this is a model of nibbles; --digits is for columns; --bits is for sound" in said
    assert "give an even number" in toys("sample", "run", "-n", 3, code=1).stderr.decode()
    drawn = ("-o", "x.nib", "--picture", "x.png")
    said = toys("sample", "run", "-n", 4, *drawn, code=2).stderr.decode()
    assert "there are no pictures of half bytes" in said
    said = toys("sample", "run", "-n", 4, "-o", "x.wav", code=2).stderr.decode()
    assert ".nib" in said
    said = toys("train", "a.nib", "--init-from", "run", "-o", "other", code=1).stderr.decode()
    assert "needs a vocabulary to match" in said


def test_a_text_model_knows_nothing_of_other_media(
    registered: object, corpus: Path, tmp_path: Path
) -> None:
    """A new medium changes no file of the others."""
    with_toys = charrnn.train(corpus, tmp_path / "a", steps=3, **TINY)
    events = list(with_toys)
    assert any(isinstance(event, Evaluated) for event in events)
    settings = charrnn.load(tmp_path / "a").config.to_dict()
    assert "delimiter" not in settings["data"]
    assert "sample_rate" not in settings["data"]
    media.MEDIA.pop("nibbles")
    media.MEDIA.pop("columns")
    charrnn.train(corpus, tmp_path / "b", steps=3, **TINY).run()
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_api_serves_them_too(registered: object, tmp_path: Path) -> None:
    (tmp_path / "waves.csv").write_bytes(table())
    model = charrnn.train(tmp_path / "waves.csv", tmp_path / "run", steps=3, **SMALL).run().model
    rows = list(model.sample(4, seed=1, digits=1))
    assert len(rows) == 4
    model.sample(4, seed=1, digits=1).save(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "".join(rows)
    assert model.evaluate(tmp_path / "waves.csv").values["steps"] == 399
    with pytest.raises(charrnn.SamplingError, match="rows, not text"):
        model.nats("text")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"name": "encoding", "section": "data"}, "setting encoding of text"),
        ({"name": "lr", "section": "data"}, "setting lr of all media"),
        ({"name": "prime", "section": "sampling"}, "setting prime of the commands"),
        ({"name": "mine", "section": ""}, "needs section data or sampling"),
        ({"name": "mine", "section": "model"}, "needs section data or sampling"),
        ({"name": "mine", "section": "data", "default": dataclasses.MISSING}, "needs a default"),
    ],
    ids=["encoding", "lr", "prime", "no section", "another section", "no default"],
)
def test_collisions_are_refused(registered: object, field: dict[str, object], message: str) -> None:
    name, *_ = field.values()
    declared = {"default": 1} | {k: v for k, v in field.items() if k != "name"}
    kind = dataclasses.make_dataclass(
        "Settings", [(str(name), int, setting("Something.", "Mine", **declared))], frozen=True
    )
    before = list(media.MEDIA)
    with pytest.raises(charrnn.ConfigError, match=message):
        media.register(type("Mine", (Nibbles,), {"name": "mine", "codecs": (), "settings": kind})())
    with pytest.raises(charrnn.ConfigError, match="codec char belongs to text"):
        media.register(type("Mine", (Nibbles,), {"name": "mine", "codecs": ("char",)})())
    assert list(media.MEDIA) == before


def test_the_media_of_the_package_do_not_collide() -> None:
    for medium in media.MEDIA.values():
        media.refuse_collisions(medium, [o for o in media.MEDIA.values() if o is not medium])


def test_a_model_whose_medium_is_missing(tmp_path: Path, toys: Call, command: Command) -> None:
    (tmp_path / "a.nib").write_bytes(MAGIC + b"\x12\x34" * 100)
    toys("train", "a.nib", "-o", "run", *flags(**TINY, steps=3))
    media.MEDIA.pop("nibbles")
    assert "needs the codec 'nibbles', which this charrnn lacks" in command("sample", "run").stderr
