"""The web page of a model of text: one types, and the network goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.media.web import WebPage

if TYPE_CHECKING:
    from charrnn.media.text.codec import TextCodec

CHARACTERS = 500  # written at a time, until another length is given
WORDS = 150  # the same for long steps


def web_page(codec: TextCodec, settings: Any) -> WebPage:
    """As `Codec.web_page`."""
    symbols = ["" if step == codec.end else text for step, text in enumerate(codec.symbols)]
    data = {
        "codec": {
            "name": codec.name,
            "symbols": symbols,
            "end": codec.end,
            "start": codec.start(np.random.default_rng(0)).tolist(),
            "normalize": codec.reading.normalize,
        },
        "is_fixed_width": _is_fixed_width(symbols, codec.reading.documents),
        "length": CHARACTERS if codec.characters_per_step < 2 else WORDS,
        "never": codec.never(settings).tolist(),
    }
    note = (
        "A small neural network invents the text, piece by piece: names, facts and quotations in "
        "it are made up."
    )
    folder = Path(__file__).resolve().parent / "web"
    return WebPage(folder, "text.css", ("paper.js", "text.js"), (), data, note)


def _is_fixed_width(symbols: list[str], documents: str) -> bool:
    """Whether the text is to be shown in a font whose characters are of equal width: tunes in ABC
    notation and programs, i.e. what has braces, but not bytes, which have everything."""
    has_braces = "{" in symbols and "}" in symbols and "\x01" not in symbols
    return has_braces or documents == "tune"
