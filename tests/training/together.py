"""Trains and resumes runs in several processes, which torchrun starts; see test_group.py.

Arguments: a JSON list of objects with `files`, `out` and settings for `train`, or `resume` and a
budget.  Prints the events of each, and the names of the threads at the end (on Linux).
"""

from __future__ import annotations

import atexit
import json
import sys
from pathlib import Path

import charrnn


def line(*words: object) -> None:
    """Written at once: with PYTHONUNBUFFERED, `print` writes word by word, and lines would mix."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def threads() -> list[str]:
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


# Called last, after whatever charrnn has registered.
atexit.register(lambda: line("threads", *threads()))
for case in json.loads(sys.argv[1]):
    if "resume" in case:
        run = charrnn.resume(case.pop("resume"), **case)
    else:
        run = charrnn.train(case.pop("files"), case.pop("out"), **case)
    for event in run:
        line(type(event).__name__, event.update)
