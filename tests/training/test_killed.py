"""Training that is killed, at random moments and at every step that touches its files."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint import read
from charrnn.errors import ConfigError
from charrnn.run import Run
from tests.conftest import TINY, trained
from tests.forks import ended, forked, kill_at
from tests.sounds import music, recorded

pytestmark = pytest.mark.long
STEPS = {"steps": 24, "eval_every": 3}
SOUND = TINY | {"codec": "audio", "n_fft": 256, "hop_length": 128, "components": 8, "dropout": 0.1}
SOUND["eval_every"] = 8  # at each, samples take a second
del SOUND["embedding"]
KILLS = 5  # of each variant
VARIANTS: dict[str, dict[str, Any]] = {
    "lstm": TINY | {"eval_every": 1},  # saving most of the time
    "gru, variational": TINY | {"cell": "gru", "variational": True, "input_dropout": 0.2},
    "rnn, recurrent dropout": TINY | {"cell": "rnn", "recurrent_dropout": 0.3},
    "peephole, norms": TINY | {"cell": "peephole", "norm": "batch", "cell_norm": "layer"},
    "weight drop, layer norm": TINY | {"weight_drop": 0.3, "norm": "layer", "optimizer": "rmsprop"},
    "stateless": TINY | {"bptt": "stateless", "embedding": 0, "optimizer": "sgd", "lr": 0.1},
    "muon, skip": TINY | {"optimizer": "muon", "skip": True, "norm": "layer"},
    "words": TINY | {"codec": "word", "batch_size": 2, "seq_length": 4},
    "documents": TINY | {"documents": "line", "codec": "byte"},
    "fine-tuned": {"threads": 1, "precision": "fp32", "device": "cpu", "batch_size": 4},
    "sound": SOUND | {"norm": "batch", "bptt": "stateful"},
    "sound, gru": SOUND | {"cell": "gru", "head": "mse", "components": 0, "input_norm": "batch"},
}


def begin_or_go_on(
    corpus: Path, out: Path, settings: dict[str, Any], source: Path | None, until: int = 0
) -> None:
    """What a person types: `train`, and once there is a run `train --resume`.

    `until`: kill this process when it touches the run's files for so-manieth time.
    """
    if until:
        kill_at(until, out)
    if Run(out).last.exists():
        with suppress(ConfigError):  # killed when all was done
            charrnn.resume(out).run()
        return
    charrnn.train(corpus, out, force=True, init_from=source, **settings).run()


class Case:
    """A run that nobody has disturbed, and the files that others have to end with."""

    def __init__(self, name: str, folder: Path) -> None:
        settings = STEPS | VARIANTS[name]
        self.folder, source = folder, None
        if "sound" in name:
            corpus = recorded(folder / "clip.wav", music(1.0, 8_000), 8_000)
            settings["sample_rate"] = 8_000
        else:
            corpus = folder / "corpus.txt"
            corpus.write_text("The grüne heron said – nothing,\nand the river went on.\n" * 12)
        if name == "fine-tuned":
            source = folder / "source"
            trained(corpus, source, steps=4, eval_every=4)
            corpus = folder / "other.txt"
            corpus.write_text("Another heron said: go on, river!\n" * 20)
        self.given = settings, source
        self.corpus = corpus
        ended(forked(time.sleep, 0))  # the server is there
        started = time.monotonic()
        assert ended(self.start(folder / "whole")) == 0
        self.seconds = time.monotonic() - started
        self.wanted = contents(folder / "whole")

    def start(self, out: Path, until: int = 0) -> Any:
        """Begin, or go on, in a process of its own."""
        return forked(begin_or_go_on, self.corpus, out, *self.given, until)

    def check(self, out: Path) -> None:
        """What there is can be opened at any time, and is whole."""
        for path in (Run(out).last, Run(out).best):
            if path.exists():
                read(path).network()


def contents(out: Path) -> dict[str, bytes]:
    """The models of a run, to the byte."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.safetensors"))}


@pytest.mark.parametrize("name", VARIANTS)
def test_killed_at_random_moments(name: str, tmp_path: Path) -> None:
    """SIGKILL, five times or more: each time the run opens, and in the end nothing is missing."""
    case, kills = Case(name, tmp_path), 0
    chance, longest = random.Random(), case.seconds
    for number in count():
        out, running = tmp_path / f"killed-{number}", True
        while running:
            child = case.start(out)
            if kills < KILLS:
                child.join(chance.uniform(0, longest))
                child.kill()
            running = ended(child) != 0
            kills += running
            case.check(out)
        assert contents(out) == case.wanted
        if kills >= KILLS:
            return
        longest *= 0.7  # none came in time: the machine is less busy now


@pytest.mark.parametrize(("name", "every"), [("stateless", 2), ("sound", 3)])
def test_killed_at_each_touch_of_a_file(name: str, every: int, tmp_path: Path) -> None:
    """SIGKILL before the first, second, ... file is opened, renamed or removed, in one run after
    the other."""
    case = Case(name, tmp_path)
    for number in range(1, 8, every):
        out, kills, running = tmp_path / f"killed-{number}", 0, True
        while running:
            code = ended(case.start(out, until=number + 7 * kills))
            assert code in (0, -signal.SIGKILL)
            running = code != 0
            kills += running
            case.check(out)
        assert kills > 1
        assert contents(out) == case.wanted
