"""The page of `charrnn insight`: one HTML file that carries the report and the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.export import html
from charrnn.export.packed import codec, engine, packed
from charrnn.model.cells import cell_of

WEB = Path(__file__).resolve().parent / "web"
SCRIPTS = ("reader.js", "draw.js", "steps.js", "text.js", "page.js")


def page(checkpoint: Checkpoint, data: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        checkpoint: the model.  The page carries it, with int8 matrices, if `data` has a codec:
            with it, it colours text.
        data: the report: `title`, `unit` and `report`, and where there are some `note`, `codec`,
            `passages` and `pictures`.  NumPy's numbers and arrays are allowed; what is not a
            finite number is left out of the curves.

    Raises:
        CheckpointError: as in `Checkpoint.tensors`.
    """
    model = checkpoint.config.model
    scripts = [codec(), *map(_read, SCRIPTS)]
    parts = ["h", "c"][: cell_of(model.cell).state_parts]
    network = {"layers": model.layers, "hidden": model.hidden, "parts": parts}
    return html.filled(
        _read("page.html"),
        style=_read("page.css"),
        script="\n".join(scripts),
        engine=engine(),
        data=html.data(_plain({**data, "network": network})),
        model=packed(checkpoint) if data.get("codec") else "",
    )


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _plain(value: Any) -> Any:
    """The same values as JSON can hold them; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
