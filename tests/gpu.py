"""Shows on one GPU that everything runs there, and how fast; pytest does not run it.

    python tests/gpu.py [--out gpu] [--corpus FILE] [--minutes 8.5]
    python tests/gpu.py --cpu      # the same in small on the processor, in a minute

It writes gpu.json and a table, gpu.md, and ends with 1 if a check failed.  What the time does not
suffice for is left out, and listed.  The corpus is for the quality in the end: tiny Shakespeare, to
compare with figures of others; without one the bundled tales.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import charrnn
from charrnn.errors import DeviceError, DivergenceError
from charrnn.files import bundled
from charrnn.model import device as devices
from charrnn.settings import CELLS
from charrnn.training import feed
from charrnn.training.events import Evaluated
from charrnn.training.loop import Trainer

# Dense bf16 products of a chip, in TFLOPS, according to its maker.
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40": 181.0, "L4": 121.0, "T4": 65.0}
SMALL = {
    "hidden": 32,
    "layers": 2,
    "batch_size": 8,
    "seq_length": 16,
    "steps": 12,
    "eval_every": 12,
}
QUALITY_S, SPEED_S = 150.0, 15.0  # of the run in the end, and of each measurement of speed
# Networks whose speed is measured, beside the default.
PLAIN = {"plain network": {"norm": "none", "skip": False, "dropout": 0.0, "weight_drop": 0.0}}
OTHERS = {
    "one-hot": {"embedding": 0},
    "GRU": {"cell": "gru"},
    "time loop: peephole": {"cell": "peephole"},
    "time loop: norm in the cell": {"cell_norm": "layer"},
}


class Report:
    """What was found, and the time that is left.

    Args:
        out: folder of the files.
        device: "cuda" or "cpu".
        seconds: for all of it.
    """

    def __init__(self, out: Path, device: str, seconds: float) -> None:
        self.out, self.device, self._until = out, device, time.monotonic() + seconds
        self.corpora: dict[str, str] = {}  # short ones: text and sound
        # Settings of all runs.  A processor would spend most of the time on measuring.
        self.given: dict[str, Any] = {"device": device, "init_from": "none", "force": True}
        if device == "cpu":
            self.given |= {"threads": 1, "precision": "fp32"}
        self.found: dict[str, Any] = {"checks": {}, "speed": [], "left_out": []}

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self._until - time.monotonic()

    @property
    def text(self) -> str:
        """A short text."""
        return self.corpora["text"]

    def check(self, name: str, function: Callable[[], Any], needs_s: float = 5.0) -> None:
        """Run a check; its result, or its error, is noted."""
        if self.left_s < needs_s:
            self.found["left_out"].append(name)
            return
        began = time.monotonic()
        try:
            result = function()
            outcome = "ok" if result is None else str(result)
        except Exception as error:  # the next check is to run in any case
            traceback.print_exc()
            outcome = f"FAILED: {type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        self.found["checks"][name] = {"outcome": outcome, "seconds": round(seconds, 2)}
        print(f"{seconds:6.1f} s  {name}: {outcome}", flush=True)
        self.write()

    @property
    def failed(self) -> list[str]:
        """The checks that failed."""
        return [n for n, c in self.found["checks"].items() if c["outcome"].startswith("FAILED")]

    def write(self) -> None:
        """Write both files."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "gpu.json").write_text(json.dumps(self.found, indent=2) + "\n")
        machine = ", ".join(f"{key} {value}" for key, value in self.found["machine"].items())
        lines = [machine, "", "| check | outcome | s |", "| --- | --- | --- |"]
        for name, check in self.found["checks"].items():
            lines.append(f"| {name} | {check['outcome']} | {check['seconds']} |")
        if self.found["speed"]:
            names = list(self.found["speed"][0])
            lines += ["", f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
            rows = ([row[name] for name in names] for row in self.found["speed"])
            lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
        if self.found["left_out"]:
            lines += ["", f"No time was left for: {', '.join(self.found['left_out'])}"]
        (self.out / "gpu.md").write_text("\n".join(lines) + "\n")


def machine(device: str) -> dict[str, Any]:
    """What it runs on."""
    found = {
        "date": datetime.date.today().isoformat(),
        "device": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "bf16": devices.can_bf16(torch.device(device)),
    }
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        found |= {"device": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
        found["memory"] = f"{memory / 1e9:.0f} GB"
    return found


def training_settings() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A name, a corpus and settings of each run that is trained, resumed, sampled and evaluated."""
    yield "text", "text", {}
    for cell in CELLS:
        yield f"{cell}, one-hot", "text", {"cell": cell, "embedding": 0}
        yield f"{cell}, norm in the cell", "text", {"cell": cell, "cell_norm": "layer"}
    for norm in ("none", "batch", "layer"):
        yield f"norm {norm}, weight drop", "text", {"norm": norm, "weight_drop": 0.2}
    yield "not variational", "text", {"variational": False, "recurrent_dropout": 0.1}
    yield "stateless, last step", "text", {"bptt": "stateless", "targets": "last"}
    yield "words", "text", {"codec": "word", "min_count": 1}
    yield "bytes", "text", {"codec": "byte"}
    for optimizer in ("muon", "sgd", "rmsprop"):
        yield f"optimizer {optimizer}", "text", {"optimizer": optimizer}
    yield "fp32", "text", {"precision": "fp32"}
    yield "notes", "tunes", {"transpose": 0}
    yield "sound", "sound", {"embedding": 0}
    yield "sound, batch norm, mse", "sound", {"embedding": 0, "head": "mse", "norm": "batch"}


def whole(report: Report, folder: Path, corpus: str, settings: dict[str, Any]) -> None:
    """Train, resume, sample and evaluate."""
    given = SMALL | report.given | settings
    charrnn.train(report.corpora.get(corpus, corpus), folder, **given).run()
    run = charrnn.resume(folder, steps=given["steps"] + 6).run()
    assert run.trainer.progress.update == given["steps"] + 6
    model = charrnn.load(folder)
    sample = model.sample(0.2 if corpus == "sound" else 20, seed=1)
    for _ in sample:
        pass
    if corpus == "text":
        values = [
            model.evaluate(report.text, device=each).values["nats_per_step"]
            for each in (report.device, "cpu")
        ]
        assert abs(values[0] - values[1]) < 0.02, values


def same_as_processor(report: Report, folder: Path) -> str:
    """Twenty updates in fp32 and without dropout, here and on the processor."""
    tensors = []
    still = {"dropout": 0.0, "weight_drop": 0.0, "precision": "fp32", "steps": 20}
    for device in (report.device, "cpu"):
        given = SMALL | report.given | still | {"device": device}
        charrnn.train(report.text, folder / device, **given).run()
        tensors.append(charrnn.load(folder / device / "last.safetensors").checkpoint.weights())
    worst = max(float(np.abs(tensors[0][name] - tensors[1][name]).max()) for name in tensors[0])
    assert worst < 5e-3, worst
    return f"ok, weights differ by at most {worst:.1e}"


def fine_tuned(report: Report, folder: Path) -> None:
    """From a general model."""
    given = report.given | {"steps": 6, "eval_every": 3, "init_from": "english"}
    charrnn.train(report.text, folder, **given).run()


def out_of_memory(report: Report, folder: Path) -> str:
    """A batch that does not fit gives one line that says which does."""
    given = report.given | {"steps": 2}
    try:
        big = {"hidden": 4096, "layers": 8, "batch_size": 4096, "seq_length": 2048, "codec": "byte"}
        charrnn.train(long_text(folder), folder / "run", **given, **big).run()
    except DeviceError as error:
        return f"ok: {error}"
    raise AssertionError("it fitted")


def long_text(folder: Path) -> Path:
    """A corpus that is long enough for large batches."""
    folder.mkdir(parents=True, exist_ok=True)
    text = bundled("corpora").joinpath("tales.txt").read_text("utf-8")
    path = folder / "long.txt"
    path.write_text(text * 200, "utf-8")
    return path


def diverged(report: Report, folder: Path) -> str:
    """A weight that is not finite ends the run with one line."""
    given = SMALL | report.given
    run = charrnn.train(report.text, folder, **given)
    trainer = run.trainer
    with torch.no_grad():
        next(trainer.state.network.head.parameters()).fill_(float("inf"))
    try:
        run.run()
    except DivergenceError as error:
        return f"ok: {error}"
    raise AssertionError("it went on")


class Plain(nn.Module):
    """A character LSTM as one would write it with PyTorch, to compare with."""

    def __init__(self, size: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, size)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """Logits, (B, T, V)."""
        logits: torch.Tensor = self.head(self.lstm(self.embedding(steps))[0])
        return logits


def seconds_per_update(update: Callable[[], Any], device: str, most_s: float) -> float:
    """The median over spells of ten updates."""

    def spell() -> float:
        began = time.perf_counter()
        for _ in range(10):
            update()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / 10

    spell()
    times, until = [spell()], time.monotonic() + most_s
    while time.monotonic() < until and len(times) < 20:
        times.append(spell())
    return median(times)


def speed(
    report: Report,
    folder: Path,
    shape: tuple[int, int, int, int],
    networks: dict[str, dict[str, Any]],
    most_s: float,
) -> str:
    """Training beside a plain LSTM in PyTorch of the same size, in bf16 where there is bf16."""
    layers, hidden, batch, length = shape
    given = {"layers": layers, "hidden": hidden, "batch_size": batch, "seq_length": length}
    given |= report.given | {"embedding": hidden, "steps": 10**6}
    rows = {}
    for name, more in ({"default": {}} | networks).items():
        run = charrnn.train("tales", folder, **(given | more))
        trainer = run.trainer
        torch.set_num_threads(trainer.progress.threads)
        if report.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = seconds_per_update(trainer._update, report.device, most_s)
        memory = (
            f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if report.device == "cuda" else ""
        )
        rows[name] = (seconds, memory, trainer)
        run.close()
    size = trainer.codec.step.size
    network = Plain(size, hidden, layers).to(report.device)
    optimizer = torch.optim.AdamW(network.parameters(), fused=report.device == "cuda")
    block = torch.randint(size, (batch, length + 1), device=report.device)

    def update() -> None:
        is_bf16 = trainer.precision == "bf16"
        with torch.autocast(report.device, torch.bfloat16, enabled=is_bf16):
            logits = network(block[:, :-1]).flatten(0, 1).float()
            loss = nn.functional.cross_entropy(logits, block[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    plain = seconds_per_update(update, report.device, most_s)
    for name, (seconds, memory, own) in rows.items():
        tokens = batch * length / seconds
        flops = 6 * own.state.network.parameter_count * tokens
        chip = report.found["machine"]["device"]
        peak = next((tflops for name, tflops in PEAKS.items() if name in chip), 0)
        row = {
            "size": f"{layers}x{hidden}, batch {batch}, length {length}, {own.precision}",
            "network": name,
            "steps/s": round(tokens),
            "plain LSTM steps/s": round(batch * length / plain),
            "ratio": round(plain / seconds, 2),
            "share of peak": f"{flops / peak / 1e12:.1%}" if peak else "",
            "memory": memory,
        }
        report.found["speed"].append(row)
    tokens = batch * length / rows["default"][0]
    return f"{tokens:,.0f} steps/s"


def synchronisations(report: Report, folder: Path, resident: int) -> str:
    """How often the loop waits for the GPU: only at a log line.

    Args:
        report: of this device.
        folder: of the run.
        resident: the most numbers that a corpus on the device may have.
    """
    given = SMALL | report.given | {"steps": 10**6, "eval_every": 10**6}
    with mock.patch.object(feed, "RESIDENT", resident):
        trainer: Trainer = charrnn.train(report.text, folder, **given).trainer
    for _ in range(5):
        trainer._update()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if report.device == "cuda":
        torch.cuda.synchronize()
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(20):
            trainer._update()
    waits = {
        each.key: each.count
        for each in profile.key_averages()
        if "Synchronize" in each.key or each.key in ("aten::item", "aten::_local_scalar_dense")
    }
    waits.pop("cudaDeviceSynchronize", None)  # the profiler's own, at its end
    assert report.device == "cpu" or not waits, waits  # a processor waits for itself
    return f"ok, {sum(waits.values())} in 20 updates"


def quality(report: Report, folder: Path, corpus: str, seconds: float) -> str:
    """The loss that the default reaches."""
    run = charrnn.train(corpus, folder, minutes=seconds / 60, **report.given)
    curve = []
    for event in run:
        if isinstance(event, Evaluated):
            curve.append([round(event.elapsed_s, 1), round(event.val_nats_per_step, 4)])
    report.found["quality"] = {"corpus": Path(corpus).name, "seconds": seconds, "curve": curve}
    report.found["quality"]["settings"] = run.trainer.config.to_dict()
    best = min(loss for _, loss in curve)
    return f"{best:.4f} nats after {seconds:.0f} s on {Path(corpus).name}"


def gpu_tests() -> str:
    """The tests with the marker gpu."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
    ]
    outcome = subprocess.run(
        command,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    last = [line for line in outcome.stdout.splitlines() if line][-1:]
    assert outcome.returncode == 0, outcome.stdout[-2000:]
    return f"ok: {''.join(last)}"


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--corpus", default="tales")
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    device = "cpu" if options.cpu else "cuda"
    if not options.cpu and not torch.cuda.is_available():
        sys.exit("no CUDA device here; --cpu runs the same in small on the processor")
    if options.cpu:
        torch.set_num_threads(1)  # what is computed is too small for more
    report = Report(options.out, device, 60 * options.minutes)
    report.found["machine"] = machine(device)
    with tempfile.TemporaryDirectory(prefix="charrnn-gpu-") as scratch:
        folder = Path(scratch)
        text = bundled("corpora").joinpath("tales.txt").read_text("utf-8")[:6_000]
        (folder / "short.txt").write_text(text, "utf-8")
        sound, rate = soundfile.read(bundled("corpora").joinpath("dance.ogg"), frames=60_000)
        soundfile.write(folder / "short.wav", sound, rate)
        report.corpora = {"text": f"{folder}/short.txt", "sound": f"{folder}/short.wav"}
        for number, (name, corpus, settings) in enumerate(training_settings()):
            own = folder / str(number)
            report.check(name, lambda o=own, c=corpus, s=settings: whole(report, o, c, s))
        report.check("as on the processor", lambda: same_as_processor(report, folder))
        report.check("fine-tuning", lambda: fine_tuned(report, folder / "tuned"))
        report.check("out of memory", lambda: out_of_memory(report, folder / "memory"))
        report.check("divergence", lambda: diverged(report, folder / "diverged"))
        for name, most in (("", feed.RESIDENT), (", reading ahead", 0)):
            report.check(
                f"waits for the device{name}",
                lambda m=most: synchronisations(report, folder / "waits", m),
            )
        if device == "cuda":
            report.check("pytest -m gpu", gpu_tests, needs_s=60)
            shapes = [(2, 512, 64, 128), (3, 1024, 128, 128), (3, 2048, 128, 128)]
        else:
            shapes = [(2, 32, 8, 16)]
        for shape in shapes:
            name = "speed of {}x{}, batch {}, length {}".format(*shape)
            most_s = SPEED_S / 3 if device == "cuda" else 0.3
            networks = PLAIN | OTHERS if shape == shapes[0] else PLAIN
            own = folder / "speed"
            report.check(
                name,
                lambda o=own, s=shape, n=networks, m=most_s: speed(report, o, s, n, m),
                SPEED_S * len(networks),
            )
        seconds = min(QUALITY_S, report.left_s - 20) if device == "cuda" else 3.0
        report.check(
            "quality", lambda: quality(report, folder / "quality", options.corpus, seconds), 30
        )
    report.write()
    print((options.out / "gpu.md").read_text())
    print(f"{len(report.failed)} checks failed", *report.failed, sep="\n")
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
