from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn.errors import CheckpointError, RunError
from charrnn.run import Run, fresh, general_models, load, model_file


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from charrnn.run import Run\n"
        f"with Run(Path({str(tmp_path / 'run')!r})).locked():\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    run = Run(tmp_path / "run")
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "locked\n"
        with (
            pytest.raises(RunError, match=f"written by process {child.pid}, since 20"),
            run.locked(),
        ):
            pass
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    with run.locked():  # the lock of a dead process does not count
        assert run.path.is_dir()


def test_metrics_rewind(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in range(1, 6):
        run.append_metrics({"step": step})
    with open(run.metrics, "a") as stream:
        stream.write('{"step": 6, "tra')  # killed while writing
    run.rewind_metrics(3)
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [1, 2, 3]


def test_fresh_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("book", "book-2", "book-3"):
        run = fresh("book")
        assert run.path == Path("checkpoints") / expected
        run.path.mkdir(parents=True)


def test_which_model_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = general_models()
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "de_AT.UTF-8")
    assert model_file(None) == models["german"]
    monkeypatch.setenv("LC_ALL", "dev_XX.UTF-8")
    assert model_file(None) == models["english"]
    assert model_file(Path("german")) == models["german"]
    with pytest.raises(CheckpointError, match="the general models are english and german"):
        model_file(Path("latin"))
    for age, name in enumerate(("old", "new", "oldest")):
        run = Run(Path("checkpoints") / name)
        run.path.mkdir(parents=True)
        run.last.write_text("")
        when = time.time() - (100, 10, 1000)[age]
        os.utime(run.last, (when, when))
    assert model_file(None) == Path("checkpoints/new/last.safetensors")
    assert model_file(Path("checkpoints/old")) == Path("checkpoints/old/last.safetensors")
    (tmp_path / "checkpoints/old/best.safetensors").write_text("")
    assert model_file(Path("checkpoints/old")) == Path("checkpoints/old/best.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no model in this directory"):
        model_file(Path("empty"))
    with pytest.raises(CheckpointError, match="is a shell variable unset"):
        load("")
    monkeypatch.setattr("charrnn.run.GENERAL", ())
    assert model_file(None) == Path("checkpoints/old/best.safetensors")
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="lacks the general model english"):
        model_file(None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "german").write_text("")  # a path comes before a name
    assert model_file(Path("german")) == Path("german")


def test_existing_runs_are_kept(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"--resume .*--out.*--force"):
        Run(run).refuse_existing(force=False)
    Run(run).refuse_existing(force=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "best.safetensors").write_text("")  # there is nothing to resume
    with pytest.raises(RunError, match=r"best.safetensors: would be overwritten; choose another"):
        Run(tmp_path / "model").refuse_existing(force=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        Run(tmp_path / "file").refuse_existing(force=True)
