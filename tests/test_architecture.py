"""The house: which room imports which, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "charrnn"
# From the top: a room may import those before it, and itself.
ROOMS = [
    "errors",
    "files",
    "config",
    "codec",
    "data",
    "model",
    "checkpoint",
    "run",
    "sampling",
    "training",
    "cli",
]
HEAVY = ("torch", "numpy", "scipy", "soundfile", "soxr", "PIL")


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if room_of(p) not in ("__init__", "__main__")]


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upwards(path: Path) -> None:
    room = room_of(path)
    allowed = ROOMS[: ROOMS.index(room) + 1]
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "charrnn" and len(parts) > 1 and parts[1] in ROOMS:
            assert parts[1] in allowed, f"{room} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_draws(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports_of(path)}
    assert "click" not in tops
    if room_of(path) != "cli":
        assert not tops & {"rich", "typer"}
        assert "print(" not in path.read_text(encoding="utf-8")


def test_only_the_codec_room_knows_kinds_of_codec() -> None:
    for path in FILES:
        if room_of(path) not in ("codec", "cli"):
            names = {".".join(name.split(".")[:3]) for name in imports_of(path)}
            assert not names & {
                f"charrnn.codec.{kind}" for kind in ("char", "word", "byte", "text")
            }


@pytest.mark.parametrize(
    "code",
    [
        "import charrnn",
        "import sys; sys.argv = ['charrnn', '--help']\nfrom charrnn.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass",
        "import sys; sys.argv = ['charrnn', 'train', '--help']\nfrom charrnn.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
    ids=["import", "--help", "train --help"],
)
def test_imports_nothing_heavy(code: str) -> None:
    check = f"\nimport sys; print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    outcome = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, check=True
    )
    assert outcome.stderr.strip() == "[]"


def test_sampling_imports_no_more_than_it_needs(run: Path) -> None:
    words = ["charrnn", "sample", str(run), "-n", "1", "--seed", "1", "-q"]
    code = f"import sys; sys.argv = {words}\nfrom charrnn.cli.main import main\n"
    code += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    unneeded = ("torch", "soundfile", "soxr", "scipy", "PIL", "rich", "filelock", "threadpoolctl")
    code += f"print([m for m in {unneeded} if m in sys.modules], file=sys.stderr)"
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert outcome.stderr.strip() == "[]"
    assert len(outcome.stdout) == 1


def test_completion_imports_nothing_heavy(environment: dict[str, str]) -> None:
    asked = {"_CHARRNN_COMPLETE": "complete_bash", "COMP_WORDS": "charrnn tr", "COMP_CWORD": "1"}
    outcome = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "charrnn"],
        capture_output=True,
        text=True,
        env=environment | asked,
        check=False,
    )
    imported = {line.rsplit("|")[-1].strip() for line in outcome.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & set(HEAVY)


def test_public_names_resolve() -> None:
    import charrnn

    for name in charrnn.__all__:
        assert callable(getattr(charrnn, name))
    with pytest.raises(AttributeError):
        _ = charrnn.nonsense
