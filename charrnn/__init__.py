"""charrnn learns a sequence and goes on with it.  Importing it costs nothing.

for event in charrnn.train("book.txt", out="run", minutes=3): ...
model = charrnn.load("run")
text = "".join(charrnn.sample(model, length=500))
charrnn.evaluate(model.network(), steps)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.run import load
    from charrnn.sampling.generate import sample
    from charrnn.training.evaluate import evaluate
    from charrnn.training.prepare import train

__version__ = "0.1.0"
__all__ = ["evaluate", "load", "sample", "train"]

_HOME = {
    "evaluate": "charrnn.training.evaluate",
    "load": "charrnn.run",
    "sample": "charrnn.sampling.generate",
    "train": "charrnn.training.prepare",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
