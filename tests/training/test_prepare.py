"""A run that is killed while it begins."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.training.prepare import Prepared
from tests.conftest import TINY, Command, flags, trained
from tests.forks import ended, forked, kill_at

SHORT = TINY | {"steps": 2, "eval_every": 2, "init_from": "none"}


def begun(corpus: Path, out: Path, until: int, force: bool) -> None:
    """Begin a run, and be killed before a file is renamed or removed for so-manieth time."""
    begin = Prepared.begin

    def killed(self: Prepared) -> Any:
        kill_at(until, out, ("os.rename", "os.remove"))
        return begin(self)

    Prepared.begin = killed  # type: ignore[method-assign]
    _ = charrnn.train(corpus, out, force=force, **SHORT).trainer


LAST = 6  # the rename that completes it


@pytest.mark.parametrize(
    ("is_over", "number"),
    [(False, LAST), *(pytest.param(True, n, marks=pytest.mark.long) for n in range(1, LAST + 1))],
)
def test_the_same_command_begins_it(
    command: Command, corpus: Path, tmp_path: Path, is_over: bool, number: int
) -> None:
    """Or goes on with the earlier run, as long as that is whole."""
    out = tmp_path / "run"
    if is_over:
        trained(corpus, out, **SHORT | {"lr": 0.5})
    assert ended(forked(begun, corpus, out, number, is_over)) == -signal.SIGKILL
    assert (out / "last.safetensors").exists() == (is_over and number < 3)
    words = ["train", corpus.name, "-o", "run", "-q", "--resume", "auto"]
    outcome = command(*words, *flags(**SHORT | {"steps": 4}))
    assert outcome.returncode == 0, outcome.stderr
    assert (charrnn.load(out).config.training.lr == 0.5) == (is_over and number < 3)
    models = ["best.safetensors", "last.safetensors"]
    names = sorted(path.name for path in out.iterdir())
    assert names == [".lock", models[0], "corpus.npy", models[1], "metrics.jsonl"]
