"""The structure of the package: which part imports which, what importing costs, and that nothing
outside `media/` asks which medium a corpus is of."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn.media import MEDIA

PACKAGE = Path(__file__).resolve().parent.parent / "charrnn"
# From the top: a part may import those before it, and itself.
ROOMS = [
    "errors",
    "files",
    "settings",
    "processes",
    "media",
    "config",
    "layering",
    "presets",
    "data",
    "model",
    "checkpoint",
    "encoded",
    "hub",
    "run",
    "sampling",
    "training",
    "export",
    "insight",
    "api",
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


OUTSIDE = [path for path in FILES if room_of(path) != "media"]
NAMES = {*MEDIA, *(name for medium in MEDIA.values() for name in medium.codecs)}
ORDINARY = {"samples"}  # is also the key of other things


def docstrings_of(tree: ast.Module) -> set[int]:
    """The nodes that are documentation."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}


def forbidden_questions(source: str) -> list[str]:
    """Where code asks for a medium, a codec's name, or the unit of its steps."""
    tree = ast.parse(source)
    documentation = docstrings_of(tree)
    keys = {
        id(key)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and key.value in ORDINARY
    }
    found = []
    for node in ast.walk(tree):
        asked = ""
        if isinstance(node, ast.Attribute) and node.attr == "medium":
            asked = "the attribute .medium"
        elif isinstance(node, ast.Constant) and id(node) not in documentation | keys:
            asked = f"the name {node.value!r}" if node.value in NAMES else ""
        elif isinstance(node, ast.Compare | ast.Match):
            sides = (
                [node.subject] if isinstance(node, ast.Match) else [node.left, *node.comparators]
            )
            texts = [ast.unparse(side) for side in sides]
            words = [text.rpartition(".")[2] for text in texts]
            if "unit" in words or any("codec.name" in text for text in texts):
                asked = f"the comparison {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            asked = "the type of a codec" if "Codec" in ast.unparse(node.args[1]) else ""
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            inside = parts[:2] == ["charrnn", "media"] and parts[2:3] and parts[2] in MEDIA
            asked = f"an import of {node.module}" if inside else ""
        if asked:
            found.append(f"line {node.lineno}: {asked}")
    return found


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_media_know_what_a_step_stands_for(path: Path) -> None:
    assert forbidden_questions(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        'if codec.name == "byte": pass',
        "x = codec.name not in names",
        "x = loaded.codec.name == other",
        'x = {"audio": 1}',
        "x = codec.medium",
        'x = plan.unit != "frame"',
        "x = y is None and unit == z",
        "x = isinstance(codec, TextCodec)",
        "from charrnn.media.text.char import CharCodec",
        "def f():\n    from charrnn.media.sound import judging",
        "match codec.name:\n    case _: pass",
    ],
)
def test_a_forbidden_question_is_found(code: str) -> None:
    assert forbidden_questions(code)


def test_other_code_is_not_forbidden() -> None:
    assert not forbidden_questions('"""Text or sound."""\nx = f"{codec.unit}s"\ny = codec.name')


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
    assert {*charrnn.__all__, "__version__"} == set(dir(charrnn))
    for name in charrnn.__all__:
        assert callable(getattr(charrnn, name))
    errors = {name for name, kind in vars(charrnn.errors).items() if isinstance(kind, type)}
    assert errors <= set(charrnn.__all__)
    with pytest.raises(AttributeError):
        _ = charrnn.nonsense
