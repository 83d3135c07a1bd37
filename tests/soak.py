"""Long and large: what takes hours or gigabytes and so is no part of the suite; pytest does not
run it.

    python tests/soak.py [--minutes 60] [--only text,sound,large,checkpoint] [--scratch DIRECTORY]

text, sound: a run of so many minutes that evaluates, saves and writes previews all the time; its
memory must not grow.  large: a corpus of 5 GB encoded and then trained for a minute.  checkpoint: a
model of 500 MB saved and loaded.  Each prints a line of figures; a promise that is not kept ends in
exit code 1.  Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median

CHARRNN = [sys.executable, "-m", "charrnn"]
MAY_GROW = 16 << 20  # bytes from the first half of a run to its last tenth: what a heap wavers
MAY_TAKE = 1_500_000_000  # bytes, at the peak, of a corpus far larger
LARGE = 5_000_000_000  # bytes of text
HEAVY = 500_000_000  # bytes of a model


class Seen:
    """What a command has said and how much memory it took, (seconds, resident bytes)."""

    def __init__(self, command: list[str]) -> None:
        started = time.monotonic()
        self.memory: list[tuple[float, int]] = []
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(command, stdout=said)
            while process.poll() is None:
                self.memory.append((time.monotonic() - started, _resident(process.pid)))
                time.sleep(0.5)
            self.seconds = time.monotonic() - started
            status = process.returncode
            said.seek(0)
            self.lines = said.read().splitlines()
        if status:
            raise SystemExit(f"{' '.join(command)}: exit {status}")

    @property
    def peak(self) -> int:
        """The most memory that was seen."""
        return max(size for _, size in self.memory)

    @property
    def growth(self) -> int:
        """From the most of the first half, once all is warm, to the middle of the last tenth."""
        end = self.memory[-1][0]
        early = [size for when, size in self.memory if when < 0.5 * end]
        late = [size for when, size in self.memory if when > 0.9 * end]
        return int(median(late) - max(early))

    def events(self, kind: str) -> int:
        """How often an event has happened."""
        return sum(json.loads(line)["event"] == kind for line in self.lines)


def _resident(pid: int) -> int:
    """Resident bytes of a process; 0 if it has just ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def text(scratch: Path, minutes: float) -> bool:
    """An hour of text, which evaluates every few seconds."""
    return _long("tales", scratch / "text", minutes, "--eval-every", "50", "--schedule", "constant")


def sound(scratch: Path, minutes: float) -> bool:
    """An hour of sound, each evaluation with a preview and its picture."""
    return _long("dance", scratch / "sound", minutes, "--eval-every", "50")


def _long(corpus: str, out: Path, minutes: float, *options: str) -> bool:
    shape = ["--layers", "2", "--hidden", "128", "--patience", "0", "--threads", "1"]
    budget = ["--minutes", str(minutes)]
    seen = Seen(
        [*CHARRNN, "train", corpus, "-o", str(out), "-q", "--json", *shape, *budget, *options]
    )
    kinds = {kind: seen.events(kind) for kind in ("evaluated", "saved", "sampled")}
    quarters = [
        f"{max(s for t, s in seen.memory if part <= 4 * t / seen.seconds <= part + 1) / 1e6:.0f}"
        for part in range(4)
    ]
    return _row(
        f"{out.name}, {seen.seconds / 60:.1f} min, {kinds}",
        f"most memory by quarters {', '.join(quarters)} MB; growth {seen.growth / 1e6:.1f} MB",
        seen.growth <= MAY_GROW,
    )


def large(scratch: Path, minutes: float) -> bool:
    """A corpus that does not fit into memory."""
    corpus, out = scratch / "large.txt", scratch / "large"
    tales = Path(__file__).parent.parent / "corpora" / "tales.txt"
    with open(corpus, "wb") as stream:
        text = tales.read_bytes()
        for number in count():
            if stream.tell() >= LARGE:
                break
            stream.write(f"{number}\n".encode() + text)
    seen = Seen([*CHARRNN, "train", str(corpus), "-o", str(out), "-q", "--json", "--minutes", "1"])
    last = json.loads(seen.lines[-1])
    size = corpus.stat().st_size
    corpus.unlink()
    (out / "corpus.npy").unlink()
    return _row(
        f"large, {size / 1e9:.1f} GB, {seen.seconds:.0f} s in all, {last['step']} steps",
        f"at most {seen.peak / 1e6:.0f} MB",
        seen.peak <= MAY_TAKE,
    )


def checkpoint(scratch: Path, minutes: float) -> bool:
    """A large model, and what it takes to save and load it."""
    out = scratch / "heavy"
    shape = ["--layers", "3", "--hidden", "2560", "--batch-size", "1", "--seq-length", "8"]
    command = [*CHARRNN, "train", "tales", "-o", str(out), "-q", "--steps", "1", *shape]
    trained = Seen([*command, "--val-fraction", "0.01"])
    size = (out / "best.safetensors").stat().st_size
    resumed = Seen([*CHARRNN, "train", "--resume", str(out), "--steps", "2", "-q"])
    sampled = Seen([*CHARRNN, "sample", str(out), "-n", "20", "-q"])
    last = (out / "last.safetensors").stat().st_size
    return _row(
        f"checkpoint, best {size / 1e6:.0f} MB, last {last / 1e6:.0f} MB",
        f"trained {trained.seconds:.0f} s, {trained.peak / 1e6:.0f} MB; "
        f"resumed {resumed.seconds:.0f} s, {resumed.peak / 1e6:.0f} MB; "
        f"sampled {sampled.seconds:.1f} s, {sampled.peak / 1e6:.0f} MB",
        size >= HEAVY,
    )


def _row(what: str, figures: str, kept: bool) -> bool:
    print(f"| {what} | {figures} | {'kept' if kept else 'NOT KEPT'} |", flush=True)
    return kept


PARTS: dict[str, Callable[[Path, float], bool]] = {
    "text": text,
    "sound": sound,
    "large": large,
    "checkpoint": checkpoint,
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--scratch", type=Path, help="where there is room for 15 GB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        kept = [PARTS[part](Path(scratch), arguments.minutes) for part in arguments.only.split(",")]
    if not all(kept):
        sys.exit(1)


if __name__ == "__main__":
    main()
