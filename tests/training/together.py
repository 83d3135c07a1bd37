"""Trains and resumes runs in several processes, which torchrun starts; see test_group.py.

Arguments: a JSON list of objects with `files`, `out` and settings for `train`, or `resume` and a
budget.
"""

from __future__ import annotations

import json
import sys

import charrnn

for case in json.loads(sys.argv[1]):
    if "resume" in case:
        run = charrnn.resume(case.pop("resume"), **case)
    else:
        run = charrnn.train(case.pop("files"), case.pop("out"), **case)
    for event in run:
        print(type(event).__name__, event.update)
