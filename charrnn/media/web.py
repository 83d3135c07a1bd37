"""What the web page of a model has of its own, which depends on the medium; `charrnn export` adds
what all pages have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class WebPage:
    """The files of a medium's page, and what they get.

    Args:
        folder: where the files are.
        style: CSS; that of all pages comes before it.
        scripts: JavaScript of the page, in order; the last one starts it.
        worker: JavaScript of its worker, which computes, after the network and the random numbers.
        data: values that JSON can hold.
        note: a sentence on what the network makes.
        arrays: of one or two dimensions; are packed with the network, as its tensors
            "codec.NAME".
        draws_symbols: whether the worker draws symbols as for text; if not, its own scripts draw.
    """

    folder: Path
    style: str
    scripts: tuple[str, ...]
    worker: tuple[str, ...]
    data: dict[str, Any]
    note: str
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    draws_symbols: bool = True
