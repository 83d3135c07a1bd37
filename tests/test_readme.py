"""The README does what it says: every command in it is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import ROOT, TEXT
from tests.sounds import music, recorded

README = (ROOT / "README.md").read_text(encoding="utf-8")
SETUP = re.findall(r"^python3 -m venv .*$", README, re.M)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


BLOCKS = [
    lines
    for block in blocks("sh")
    if (lines := [line for line in block.splitlines() if line not in SETUP])
]


@pytest.fixture
def desk(tmp_path: Path, environment: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """A directory with the files that the README speaks of, and small, quick settings."""
    (tmp_path / "notes").mkdir()
    for name in ("book.txt", "other.txt", "notes/first.txt"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    (tmp_path / "recordings").mkdir()
    for number, name in enumerate(("first.wav", "second.flac")):
        recorded(tmp_path / "recordings" / name, music(2.0, seed=number))
    (tmp_path / "names.txt").write_text("Anna\nAntje\nBert\n" * 20)
    (tmp_path / "notes" / "photo.raw").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "old.txt").write_bytes(TEXT.replace("–", "-").encode("cp1252"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    small = {"CHARRNN_HIDDEN": "8", "CHARRNN_THREADS": "1", "CHARRNN_PRECISION": "fp32"}
    return tmp_path, environment | small | {"PATH": path}


def test_every_command(desk: tuple[Path, dict[str, str]]) -> None:
    """As one would type them, each with a few steps only: the first block, which makes the run
    that others speak of, and then two blocks at a time, each in its order."""
    folder, environment = desk
    assert sum(map(len, BLOCKS)) > 15

    def typed(lines: list[str]) -> None:
        for line in lines:
            outcome = subprocess.run(
                ["bash", "-c", line.replace("--minutes 20", "--steps 30")],
                cwd=folder,
                env=environment | {"CHARRNN_STEPS": "8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert outcome.returncode == 0, (line, outcome.stderr)
            assert "Traceback" not in outcome.stderr

    first, *others = BLOCKS
    typed(first)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(typed, others))
    assert (folder / "out.txt").stat().st_size > 0
    assert "val_nats_per_step" in (folder / "curve.jsonl").read_text()


def test_the_python_example(desk: tuple[Path, dict[str, str]]) -> None:
    folder, environment = desk
    (code,) = blocks("python")
    quick = code.replace("minutes=1", "steps=5, hidden=8, threads=1, precision='fp32'")
    assert quick != code
    outcome = subprocess.run(
        [sys.executable, "-c", quick], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "Stopped(step=5" in outcome.stdout


def test_ci_runs_both_set_up_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert len(SETUP) == 2
    for line in SETUP:
        assert line in script


def test_help_is_as_shown(environment: dict[str, str]) -> None:
    (shown,) = blocks("text")
    outcome = subprocess.run(
        [sys.executable, "-m", "charrnn", "--help"],
        env=environment | {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.rstrip() for line in outcome.stdout.strip().splitlines()] == (
        [line.rstrip() for line in shown.strip().splitlines()]
    )


def test_the_tree_names_what_is_there() -> None:
    tree = README.partition("## What is where")[2]
    for name in (ROOT / "charrnn").iterdir():
        if name.name.startswith("__") or name.name == "py.typed":
            continue
        assert f"{name.name}/" in tree or name.name in tree
    for name in re.findall(r"(\w+\.py)", tree):
        assert list((ROOT / "charrnn").rglob(name)), name


def test_every_preset_is_described() -> None:
    page = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "configs").glob("*.toml"):
        assert f"`{path.stem}`" in page
