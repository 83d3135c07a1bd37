"""Several processes that train together, as torchrun and `--processes` start them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import charrnn
from charrnn import checkpoint
from charrnn.run import Run
from tests.conftest import ROOT, TEXT, TINY, Command, flags
from tests.sounds import music, recorded
from tests.tunes import folder_of_tunes

pytestmark = pytest.mark.long
TOGETHER = Path(__file__).with_name("together.py")
STILL = {"dropout": 0.0, "weight_drop": 0.0, "input_noise": 0.0, "init_from": "none"}
STILL |= {"steps": 50, "eval_every": 25}


def together(*cases: dict[str, Any], environment: dict[str, str]) -> list[str]:
    """Train in two processes; the lines that they print."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    outcome = subprocess.run(
        [sys.executable, *launcher, str(TOGETHER), json.dumps(cases)],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.splitlines()


def tensors_of(run: Path) -> checkpoint.Tensors:
    return checkpoint.read(run / "last.safetensors").tensors()


def test_two_processes_equal_one(tmp_path: Path, environment: dict[str, str]) -> None:
    """With half of the batch each, after 50 updates."""
    (tmp_path / "text.txt").write_text(TEXT * 4, encoding="utf-8")
    recorded(tmp_path / "sound.wav", music(6.0))
    tunes = folder_of_tunes(tmp_path / "tunes")
    text = {"files": str(tmp_path / "text.txt"), **TINY, **STILL}
    text.pop("input_noise")
    sound = {**TINY, **STILL, "files": str(tmp_path / "sound.wav"), "embedding": 0}
    cases = {
        "layer": {**text, "norm": "layer"},
        "gru": {**text, "cell": "gru", "embedding": 0, "cell_norm": "layer"},
        "batch": {**text, "norm": "batch", "optimizer": "sgd", "lr": 0.1},
        "last": {**text, "bptt": "stateless", "targets": "last"},
        "sound": {
            **sound,
            "free_runs": 0.5,
            "components": 12,
            "input_norm": "batch",
            "optimizer": "sgd",
        },
        "notes": {**text, "files": str(tunes), "transpose": 0},
    }
    printed = together(
        *({**case, "out": str(tmp_path / f"{name}-2")} for name, case in cases.items()),
        environment=environment,
    )
    assert printed.count("Stopped 50") == len(cases)  # once each: the second process is silent
    ends = [line for line in printed if line.startswith("threads")]
    assert len(ends) == 2
    assert "gloo" not in "".join(ends)  # the group's threads have ended before Python does
    for name, case in cases.items():
        charrnn.train(case.pop("files"), tmp_path / name, **case).run()
        one, two = tensors_of(tmp_path / name), tensors_of(tmp_path / f"{name}-2")
        assert two.keys() - one.keys() == {"generator.1"}
        for key in one:
            if key.startswith(("model.", "state.")):
                np.testing.assert_allclose(two[key], one[key], atol=1e-5, err_msg=f"{name} {key}")
        losses = [losses_of(tmp_path / out) for out in (name, f"{name}-2")]
        np.testing.assert_allclose(*losses, rtol=1e-4)


def losses_of(run: Path) -> list[float]:
    lines = Run(run).read_metrics()
    return [line["val_nats_per_step"] for line in lines if "val_nats_per_step" in line]


def test_resuming(tmp_path: Path, environment: dict[str, str]) -> None:
    """With as many processes exactly, with another number it goes on."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    common = {
        "files": str(tmp_path / "text.txt"),
        **TINY,
        "eval_every": 10,
        "schedule": "constant",
    }
    whole, part = str(tmp_path / "whole"), str(tmp_path / "part")
    together(
        {**common, "out": whole, "steps": 20},
        {**common, "out": part, "steps": 10},
        {"resume": part, "steps": 20},
        environment=environment,
    )
    ours, theirs = tensors_of(tmp_path / "part"), tensors_of(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    alone = charrnn.resume(tmp_path / "part", steps=30)
    assert "trained in 2 processes before, in 1 from here on" in alone.trainer.notices[0]
    alone.run()
    printed = together({"resume": part, "steps": 40}, environment=environment)
    assert "Stopped 40" in printed
    assert "generator.1" in tensors_of(tmp_path / "part")


def started(tmp_path: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A long run in two processes, after its first save."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    few = flags(**TINY, steps=10**6, eval_every=20, init_from="none")
    words = ["train", "text.txt", "-o", "run", "-q", "--processes", "2", *few]
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 90
    last = tmp_path / "run" / "last.safetensors"
    while not (last.exists() and checkpoint.read(last).training["step"]):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def rank_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("RANK", "")
    except psutil.Error:
        return ""


def is_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd() == str(folder)
    except psutil.Error:
        return False


def test_a_process_that_dies(tmp_path: Path, environment: dict[str, str]) -> None:
    process = started(tmp_path, environment)
    (follower,) = (
        child for child in psutil.Process(process.pid).children(True) if rank_of(child) == "1"
    )
    follower.kill()
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert errors == (
        "charrnn: run: another process of this run has ended, or cannot be reached; continue from "
        "the last save: charrnn train --resume run\n"
    )
    before = checkpoint.read(tmp_path / "run" / "last.safetensors").training["step"]
    assert before >= 20
    charrnn.resume(tmp_path / "run", steps=before + 5).run()  # neither broken nor locked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_leader_is_interrupted(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    """As by Ctrl-C, or by a cluster that ends the job: the run is saved."""
    process = started(tmp_path, environment)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (out, errors) == ("", "")
    run = charrnn.resume(tmp_path / "run")
    assert run.trainer.progress.update > 0
    run.close()
    assert not [each for each in psutil.process_iter() if is_in(each, tmp_path)]


def test_what_needs_no_training(child: Command, command: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    words = ["train", "text.txt", "-o", "run", *flags(**TINY, steps=4, init_from="none")]
    planned = child(*words, "--processes", 2, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert command(*words, "-q").returncode == 0
    finished = child(*words, "--processes", 2, "--resume", "auto")
    assert finished.returncode == 0, finished.stderr
    assert "has finished already" in finished.stderr
    assert "would be resumed" in command(*words, "--resume", "auto", "--dry-run").stderr
    refused = child("train", "--resume", "run", "--steps", 8, "--processes", 3)
    assert refused.returncode == 1
    assert (
        "3 processes cannot share its batch of 4; start as many as divide it: 1, 2, 4"
        in refused.stderr
    )
    assert command("train", "--resume", "run", "--steps", 8, "-q").returncode == 0


def test_an_error_is_told_once(child: Command, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("ab")
    outcome = child("train", "short.txt", "--processes", 2)
    assert outcome.returncode == 1
    (line,) = [text for text in outcome.stderr.splitlines() if not text.startswith("reading")]
    assert "too short" in line
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    outcome = child("train", "text.txt", "-q", "--processes", 2, *flags(**TINY | {"batch_size": 3}))
    assert (outcome.returncode, outcome.stderr) == (
        1,
        "charrnn: --batch-size 3: must be a multiple of the 2 processes; try 2\n",
    )
    outcome = child("train", "text.txt", "--processes", 2, "--resume", "x", "--force")
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1


def test_the_example_for_slurm(tmp_path: Path, environment: dict[str, str]) -> None:
    """With one machine, whose Slurm is made of three lines."""
    programs = {"scontrol": "echo localhost", "srun": 'exec "$@"'}
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    job = {"SLURM_JOB_NODELIST": "a", "SLURM_NNODES": "1", "SLURM_JOB_ID": "7"}
    job |= {"SLURM_GPUS_ON_NODE": "2", "CORPUS": "text.txt", "RUN": "run"}
    job["PATH"] = f"{tmp_path}:{Path(sys.executable).parent}:{environment['PATH']}"
    script = ["sh", "-eu", str(ROOT / "configs" / "slurm.sh"), *flags(**TINY)]
    for steps in (4, 8):
        outcome = subprocess.run(
            [*script, "--steps", str(steps), "--init-from", "none"],
            cwd=tmp_path,
            env=environment | job,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        saved = checkpoint.read(tmp_path / "run" / "last.safetensors")
        assert saved.training["step"] == steps
    assert "generator.1" in saved.tensors()
