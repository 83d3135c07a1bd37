"""The page of `charrnn insight`: one HTML file that carries the report and the model.

A Content-Security-Policy lets it run only its own script and ask for nothing.  Everything that
comes from a corpus or a model is in blocks of data that a browser does not run; the script puts it
into the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.export.packed import codec, engine, packed
from charrnn.model.cells import cell_of

WEB = Path(__file__).resolve().parent / "web"
SCRIPTS = ("text.js", "page.js")  # after the others
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}  # "</script" would end a block of data


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
    style, model = _read("page.css"), checkpoint.config.model
    script = "\n".join([_read("reader.js"), _read("draw.js"), codec(), *map(_read, SCRIPTS)])
    parts = ["h", "c"][: cell_of(model.cell).state_parts]
    network = {"layers": model.layers, "hidden": model.hidden, "parts": parts}
    report = json.dumps(_plain({**data, "network": network}), separators=(",", ":"))
    blocks = {
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "engine": engine(),
        "data": report.translate(ESCAPES),
        "model": packed(checkpoint) if data.get("codec") else "",
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: blocks[match[1]], _read("page.html"))


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """The page may run this style and this script, start a worker from a part of itself, and show
    pictures that it contains; nothing else."""
    allowed = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data:",
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {source}" for kind, source in allowed.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


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
