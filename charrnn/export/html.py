"""What the pages share in Python: a page is one file that carries everything.

A Content-Security-Policy lets it run only its own script and ask for nothing.  Everything that
comes from a corpus or a model is in blocks of data that a browser does not run; the script puts it
into the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}  # "</script" would end a block of data


def filled(template: str, *, style: str, script: str, **blocks: str) -> str:
    """A page: a template in which each {{name}} is replaced by the block with that name.

    Args:
        template: HTML with {{policy}}, {{style}}, {{script}} and the other blocks.
        style: the page's own CSS; that of all pages comes before it.
        script: the page's own JavaScript; `elements.js` comes before it.
        blocks: the others.
    """
    style, script = source("base.css") + style, source("elements.js") + script
    blocks |= {"policy": _policy(style, script), "style": style, "script": script}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: blocks[match[1]], template)


def source(name: str) -> str:
    """A file of this folder, which the pages share."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def data(value: Any) -> str:
    """A value as JSON, for a block of data."""
    return json.dumps(value, separators=(",", ":")).translate(_ESCAPES)


def _policy(style: str, script: str) -> str:
    """The page may run this style and this script, start a worker from a part of itself, compile
    WebAssembly, and show pictures that it contains; nothing else."""
    allowed = {
        "default-src": "'none'",
        "script-src": f"{_hash(script)} 'wasm-unsafe-eval'",
        "style-src": _hash(style),
        "img-src": "data:",
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {what}" for kind, what in allowed.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
