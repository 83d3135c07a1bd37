"""charrnn learns text or music and generates more like it.

run = charrnn.train("book.txt", out="runs/book", minutes=3)
for event in run: print(event)          # or: run.run()
model = charrnn.load("runs/book")
print(model.sample(500, prime="Once", temperature=0.7).text)
print(model.evaluate("held-out.txt").values)

`import charrnn` is fast: modules are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.api import Model, TrainingRun, encode, keep_freed_memory, load, resume, train
    from charrnn.errors import (
        CharrnnError,
        CheckpointError,
        ConfigError,
        CorpusError,
        DeviceError,
        DivergenceError,
        RunError,
        SamplingError,
        UsageError,
    )

__version__ = "0.1.0"
__all__ = [
    "CharrnnError",
    "CheckpointError",
    "ConfigError",
    "CorpusError",
    "DeviceError",
    "DivergenceError",
    "FinishedError",
    "Model",
    "PeerError",
    "RunError",
    "SamplingError",
    "TrainingRun",
    "UsageError",
    "encode",
    "keep_freed_memory",
    "load",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    module = "charrnn.errors" if name.endswith("Error") else "charrnn.api"
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
