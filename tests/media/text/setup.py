"""Texts for the tests as the files of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from charrnn.media.text.reading import Reading, TextFiles


class Texts:
    """Files whose blocks are these; takes the place of `Decoded`, and of `TextFiles`."""

    notices = ()

    def __init__(self, *files: Iterable[str], named: bool = False) -> None:
        self._files, self._named = files, named

    def __iter__(self) -> Iterator[Any]:
        for number, blocks in enumerate(self._files):
            yield (f"file {number}", iter(blocks)) if self._named else iter(blocks)


def streamed(reading: Reading, files: Iterable[Iterable[str]]) -> Iterator[str]:
    """The text of files as a codec reads it."""
    decoded: Any = Texts(*files, named=True)
    return TextFiles(decoded, reading).joined()
