"""The README and CONTRIBUTING are right: their examples run, and their lists are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import ROOT, TEXT
from tests.forks import Program
from tests.sounds import music, recorded
from tests.tunes import folder_of_tunes

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += [ROOT / folder / "README.md" for folder in ("configs", "corpora", "checkpoints")]
SETUP = re.findall(r"^python3 -m venv .*$", README, re.M)
TINY = "hidden=8, threads=1, precision='fp32'"


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


BLOCKS = [
    lines
    for block in blocks("sh")
    if (lines := [line for line in block.splitlines() if line not in SETUP])
]


@pytest.fixture
def desk(tmp_path: Path, environment: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """A directory with the files that the README mentions, and small, quick settings."""
    (tmp_path / "notes").mkdir()
    for name in ("book.txt", "other.txt", "notes/first.txt"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    (tmp_path / "recordings").mkdir()
    for number, name in enumerate(("first.wav", "second.flac")):
        recorded(tmp_path / "recordings" / name, music(2.0, seed=number))
    folder_of_tunes(tmp_path / "my-midi-files", 4)
    (tmp_path / "my-midi-files" / "tune00.mid").rename(tmp_path / "my-midi-files" / "first.mid")
    tune = "T:t\nM:4/4\nL:1/8\nK:C\n|: C2DE F2GA | BAGF EDC2 :|\n\n"
    (tmp_path / "my-book.abc").write_text("".join(f"X:{n}\n{tune}" for n in range(6)))
    rows = "".join(f'{n},"one, two and ""{n}"""\n' for n in range(40))
    (tmp_path / "posts.csv").write_text("id,text\n" + rows)
    (tmp_path / "names.txt").write_text("Anna\nAntje\nBert\n" * 20)
    (tmp_path / "notes" / "photo.raw").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "old.txt").write_bytes(TEXT.replace("–", "-").encode("cp1252"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    small = {"CHARRNN_HIDDEN": "8", "CHARRNN_THREADS": "1", "CHARRNN_PRECISION": "fp32"}
    return tmp_path, environment | small | {"PATH": path}


def python(code: str, folder: Path, environment: dict[str, str]) -> str:
    """Run code in a process of its own; what it prints."""
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.fixture
def program() -> Iterator[Program]:
    program = Program()
    yield program
    program.close()


@pytest.mark.long
def test_every_command(desk: tuple[Path, dict[str, str]], program: Program) -> None:
    """As one would type them, each with a few steps only: the first block, which makes the run
    that others use, and then two blocks at a time, each in its order."""
    folder, environment = desk
    environment["PATH"] = f"{program.folder}{os.pathsep}{environment['PATH']}"
    assert sum(map(len, BLOCKS)) > 15

    def quick(line: str) -> str:
        shorter = {"--minutes 20": "--steps 30", "head -c 1000000": "head -c 99999"}
        shorter |= {"-n 20 -o raw.wav": "-n 2 -o raw.wav"}  # 441,000 steps
        for long, short in shorter.items():
            assert long in README
            line = line.replace(long, short)
        return line

    def typed(lines: list[str]) -> None:
        for line in lines:
            small = environment | {"CHARRNN_STEPS": "8", "CHARRNN_EVAL_EVERY": "4"}
            if "--init-from english" in line:  # whose network is not small
                del small["CHARRNN_HIDDEN"]
            if line == "charrnn train my-book.abc -o runs/book":  # it must write real tunes
                small |= {"CHARRNN_HIDDEN": "48", "CHARRNN_STEPS": "300", "CHARRNN_LR": "0.02"}
            outcome = subprocess.run(
                ["bash", "-c", quick(line)],
                cwd=folder,
                env=small,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert outcome.returncode == 0, (line, outcome.stderr)
            assert "Traceback" not in outcome.stderr

    first, *others = BLOCKS
    typed(first)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(typed, others))
    assert (folder / "out.txt").stat().st_size > 0
    assert "val_nats_per_step" in (folder / "curve.jsonl").read_text()


def test_the_python_examples(desk: tuple[Path, dict[str, str]]) -> None:
    """One after the other in one process, as in a notebook, with small settings."""
    folder, environment = desk
    code = "\n".join(blocks("python"))
    quick = code.replace("minutes=1", f"steps=5, {TINY}").replace("minutes=2", "steps=8")
    assert quick.count("steps=") == 3
    assert "minutes=" not in quick
    printed = python(quick, folder, environment)
    assert "Stopped(update=5" in printed
    assert "<Model LSTM 2x8, char codec" in printed
    assert re.search(r"^\(110250,\) 22050$", printed, re.M)
    for shown in re.findall(r"print\(error\)  # (.*)", code):
        assert shown in printed
    assert len((folder / "sample.txt").read_text(encoding="utf-8")) == 304
    for name in ("longer.safetensors", "dance.flac"):
        assert (folder / name).stat().st_size > 0


def test_the_example_of_a_medium(tmp_path: Path, environment: dict[str, str]) -> None:
    """It trains, resumes, samples, evaluates and fine-tunes, in Python and as a command."""
    (example,) = blocks("python", CONTRIBUTING)
    (tmp_path / "morse.py").write_text(example, encoding="utf-8")
    (tmp_path / "book.morse").write_text("... --- ... / -.-. --.- \n" * 100)
    code = f"""
import morse, charrnn
model = charrnn.train("book.morse", "run", steps=20, {TINY}).run().model
model = charrnn.resume("run", steps=30).run().model
sample = model.sample(40, seed=1)
assert sample.text == "".join(model.sample(40, seed=1))
assert len(sample.text) == 40 and set(sample.text) <= set(morse.SIGNS)
sample.save("made.morse")
assert open("made.morse").read() == sample.text
assert len(model.beam(3, 10)[0].text) == 10
assert model.evaluate("book.morse").values["steps"] == 2499
charrnn.train("book.morse", "tuned", init_from="run", steps=5, threads=1).run()
print(model)
"""
    assert "<Model LSTM 2x8, morse codec (5)" in python(code, tmp_path, environment)
    arguments = ["charrnn", "sample", "run", "-n", "9", "--json", "--num", "2", "--seed", "1"]
    code = f"import sys, morse; sys.argv = {arguments}\nfrom charrnn.__main__ import main\nmain()"
    assert python(code, tmp_path, environment).count('"steps": 9') == 2


def test_ci_runs_both_set_up_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert len(SETUP) == 2
    for line in SETUP:
        assert line in script


def test_nobody_is_sent_to_the_other_project_on_pypi() -> None:
    """The name `charrnn` there belongs to somebody else."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(pip|pipx|uv tool|uv pip) install[^`&\n]*\bcharrnn\b(?![-/])", text)


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


def listed(page: str) -> list[str]:
    """The files of the project layout: an indented line each, with its name and what it is for."""
    section = page.partition("## Project layout\n")[2].partition("\n## ")[0]
    folders: list[str] = []
    files = []
    for line in section.splitlines():
        if not line.startswith("    "):
            continue
        indent = (len(line) - len(line.lstrip())) // 2 - 2
        name, _, purpose = line.strip().partition(" ")
        folders = folders[:indent]
        if name.endswith("/"):
            folders.append(name)
            continue
        assert purpose.strip(), f"{name} is listed without a word about it"
        files.append("".join(folders) + name)
    return files


def test_the_layout_is_complete() -> None:
    """Every file of the package stands in it once, and nothing else does."""
    there = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "charrnn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sorted(listed(CONTRIBUTING)) == sorted(there)


def test_files_that_contributing_names_exist() -> None:
    for name in re.findall(r"`((?:charrnn|tests|configs)/[\w./]+)`", CONTRIBUTING):
        assert "NAME" in name or (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Those to files here, and to headings of the same page."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif "://" not in target:
            assert (page.parent / target).exists()


def test_every_preset_is_described() -> None:
    page = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "configs").glob("*.toml"):
        assert f"`{path.stem}`" in page
        assert f"`{path.stem}`" in README
