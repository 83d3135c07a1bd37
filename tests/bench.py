"""Measures how fast charrnn is here; pytest does not run it.

    python tests/bench.py CORPUS [--yardstick plain_text.py] [--rounds 5] [--only sampling,...]

Each figure is the median of interleaved rounds: every command once, then every command again, so
that a slow minute of the machine is everybody's.  With a yardstick, a script that trains and
samples a plain PyTorch character LSTM (`train|sample CORPUS --hidden --layers ...`, one JSON object
on standard output), figures are ratios to it; without one ours stand alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

PYTHON = sys.executable
CHARRNN = [PYTHON, "-m", "charrnn"]
SAMPLED = [(2, 128, 20_000), (2, 512, 5_000), (3, 512, 5_000), (3, 1024, 2_000)]
TRAINED = [(2, 128, 50, 50), (2, 512, 64, 100)]  # layers, H, B, T
TEMPERATURE = "0.8"
CUT = 200_000  # characters of the corpus for throughput: little time goes into validation
SPELL_S = 20  # of a run that measures throughput


class Bench:
    """The commands to be timed, and the rows of the table that they give."""

    def __init__(self, corpus: Path, yardstick: Path | None, rounds: int, scratch: Path) -> None:
        self.corpus, self.yardstick, self.rounds = corpus, yardstick, rounds
        self.scratch = scratch
        self.cut = scratch / "cut.txt"
        text = corpus.read_text(encoding="utf-8")
        self.cut.write_text(text[:CUT], encoding="utf-8")

    def model(self, layers: int, hidden: int) -> Path:
        """A run of this shape; what it has learnt does not matter for its speed."""
        run = self.scratch / f"{layers}x{hidden}"
        if not run.exists():
            shape = ["--layers", str(layers), "--hidden", str(hidden), "--embedding", "0"]
            size = ["--steps", "1", "--batch-size", "4", "--seq-length", "16", "--threads", "1"]
            out([*CHARRNN, "train", str(self.cut), "-o", str(run), "-q", *shape, *size])
        return run

    def plain(self, mode: str, corpus: Path, *options: object) -> list[str]:
        """The yardstick's command."""
        assert self.yardstick is not None
        return [PYTHON, str(self.yardstick), mode, str(corpus), *map(str, options)]

    def rows(self, **commands: Callable[[], float]) -> dict[str, float]:
        """Medians of what the commands measure, interleaved."""
        seen: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(self.rounds):
            for name, command in commands.items():
                seen[name].append(command())
        return {name: median(values) for name, values in seen.items()}

    def sampling(self) -> None:
        """Whole-process time of sampling, and many samples side by side."""
        for layers, hidden, length in SAMPLED:
            run, words = self.model(layers, hidden), f"{length:,} characters, {layers}x{hidden}"
            ours = ["-n", str(length), "-t", TEMPERATURE, "--seed", "1", "-q"]
            shape = ("--hidden", hidden, "--layers", layers, "--length", length)
            commands = {"ours": lambda r=run, o=ours: seconds([*CHARRNN, "sample", str(r), *o])}
            if self.yardstick:
                command = self.plain("sample", self.corpus, *shape, "--temperature", TEMPERATURE)
                commands["plain"] = lambda c=command: seconds(c)
            found = self.rows(**commands)
            row(f"sampling {words}", found, "s", larger_is="plain")
        run = self.model(2, 512)
        words = [*CHARRNN, "sample", str(run), "-n", "1000", "-t", TEMPERATURE, "--seed", "1", "-q"]
        found = self.rows(
            one=lambda: 1_000 / seconds(words),
            many=lambda: 64_000 / seconds([*words, "--num", "64"]),
        )
        row("2x512, 1,000 characters: 64 samples over one", found, "characters/s", "many", "one")

    def start(self) -> None:
        """How long one character takes."""
        run = str(self.model(2, 128))
        found = self.rows(
            ours=lambda: seconds([*CHARRNN, "sample", run, "-n", "1", "--seed", "1", "-q"]),
            torch=lambda: seconds([PYTHON, "-c", "import torch"]),
            numpy=lambda: seconds([PYTHON, "-c", "import numpy"]),
        )
        row("sample -n 1 over import torch", found, "s", "ours", "torch")

    def training(self) -> None:
        """Characters a second, on a quiet machine and beside another process."""
        for layers, hidden, batch, length in TRAINED:
            self._throughput(layers, hidden, batch, length, "quiet")
        with another_process():
            self._throughput(*TRAINED[0], "beside a busy process")

    def _throughput(self, layers: int, hidden: int, batch: int, length: int, when: str) -> None:
        shape = ["--layers", str(layers), "--hidden", str(hidden)]
        ours = [*shape, "--batch-size", str(batch), "--seq-length", str(length), "--dropout", "0"]
        commands = {"ours": lambda: self._ours_per_s(ours)}
        if self.yardstick:
            options = (*shape, "--batch", batch, "--steps", length, "--seconds", SPELL_S)
            command = self.plain("train", self.cut, *options)
            commands["plain"] = lambda: float(json.loads(out(command))["characters_per_second"])
        found = self.rows(**commands)
        row(f"training {layers}x{hidden}, {batch}x{length}, {when}", found, "characters/s", "ours")
        weights = sum(4 * hidden * (hidden + i) for i in (64, *[hidden] * (layers - 1)))
        print(f"| | {6 * weights * found['ours'] / 1e9:.0f} GFLOP/s in the matrices |", flush=True)

    def _ours_per_s(self, options: Sequence[str]) -> float:
        events = self.train(self.cut, "--minutes", str(SPELL_S / 60), *options)
        return events[-1]["steps_seen"] / events[-1]["elapsed_s"]

    def train(self, corpus: Path, *options: str) -> list[dict[str, Any]]:
        """The events of a run of ours."""
        words = [*CHARRNN, "train", str(corpus), "-o", str(self.scratch / "run"), "--force"]
        return [json.loads(line) for line in out([*words, "-q", "--json", *options]).splitlines()]

    def quality(self, minutes: float) -> None:
        """The loss that a budget reaches with no other flag, and when plain's best is reached."""
        started = time.time()
        events = self.train(self.corpus, "--minutes", str(minutes))
        print(f"| {minutes:g} minutes: whole process | {time.time() - started:.0f} s |")
        evaluated = [event for event in events if event["event"] == "evaluated"]
        best = min(event["val_nats_per_step"] for event in evaluated)
        epochs = evaluated[-1]["epoch"]
        print(
            f"| {minutes:g} minutes: best validation | {best:.4f} nats per character, after "
            f"{epochs:.1f} epochs |"
        )
        print(
            f"| evaluating, saving, previews | {_other_share(events):.3f} of the time |", flush=True
        )
        if self.yardstick is None:
            return
        curve = json.loads(out(self.plain("train", self.corpus, "--seconds", 60 * minutes)))[
            "curve"
        ]
        aim = min(nats for _, nats in curve)
        print(f"| plain, {minutes:g} minutes: best | {aim:.4f} nats, of {curve} |")
        reached = (e["elapsed_s"] for e in evaluated if e["val_nats_per_step"] <= aim)
        print(f"| seconds until ours is there | {next(reached, float('nan')):.0f} |", flush=True)

    def limits(self) -> None:
        """What the machine can do: large products, and weights read from the cache and beyond."""
        import numpy as np
        import torch

        for threads in sorted({1, os.cpu_count() or 1}):
            torch.set_num_threads(threads)
            for kind in (torch.float32, torch.bfloat16):
                a = torch.rand(2048, 2048).to(kind)
                best = min(_timed(lambda a=a: a @ a) for _ in range(10))
                name = f"2048^3 product, {kind}".replace("torch.", "")
                print(f"| {name}, {threads} threads | {2 * 2048**3 / best / 1e9:.0f} GFLOP/s |")
        for count, hidden in ((577, 128), (4096, 512), (8192, 1024)):
            matrix = np.asfortranarray(np.ones((count, hidden), np.float32))
            arrays = matrix, np.ones(hidden, np.float32), np.ones(count, np.float32)
            best = median(_timed(partial(np.dot, *arrays)) for _ in range(200))
            name = f"matrix-vector product, {matrix.nbytes >> 10} KiB"
            print(f"| {name} | {matrix.nbytes / best / 1e9:.0f} GB/s |")


def _other_share(events: list[dict[str, Any]]) -> float:
    """The share of a run that is not training steps, from its own speeds between evaluations."""
    seen, trained_s = 0, 0.0
    for event in events:
        if event["event"] == "stepped":
            trained_s += (event["steps_seen"] - seen) / event["steps_per_s"]
            seen = event["steps_seen"]
    return 1 - trained_s / float(events[-1]["elapsed_s"])


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def seconds(command: Sequence[str]) -> float:
    """Whole-process time of a command."""
    return _timed(lambda: out(command))


def out(command: Sequence[str]) -> str:
    """What a command writes to standard output; where it fails, so does the bench."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def another_process() -> Iterator[None]:
    """Keep one processor busy."""
    busy = subprocess.Popen([PYTHON, "-c", "while True: pass"])
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(busy.pid, {max(os.sched_getaffinity(0))})
        yield
    finally:
        busy.kill()
        busy.wait()


def row(
    what: str, found: dict[str, float], unit: str, larger_is: str = "ours", smaller_is: str = ""
) -> None:
    """A line of the table: the medians, and the ratio that counts."""
    smaller_is = smaller_is or ("ours" if larger_is == "plain" else "plain")
    medians = ", ".join(f"{name} {value:,.4g}" for name, value in found.items())
    ratio = ""
    if smaller_is in found and larger_is in found:
        ratio = f", ratio {found[larger_is] / found[smaller_is]:.2f}"
    print(f"| {what} | {medians} {unit}{ratio} |", flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--yardstick", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--only", default="limits,start,sampling,training,quality")
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("charrnn", "torch", "numpy"))
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {platform.processor() or platform.machine()}")
    print(f"{os.cpu_count()} processors, Python {platform.python_version()}, {versions}\n")
    print("| figure | median |\n| --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(arguments.corpus, arguments.yardstick, arguments.rounds, Path(scratch))
        for part in arguments.only.split(","):
            if part == "quality":
                bench.quality(arguments.minutes)
            else:
                getattr(bench, part)()


if __name__ == "__main__":
    main()
