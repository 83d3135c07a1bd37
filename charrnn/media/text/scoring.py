"""Encodes text with an existing codec and reports the loss, to evaluate a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from charrnn.media.report import Reader, Report
from charrnn.media.text.reading import MARK

if TYPE_CHECKING:
    from charrnn.media.text.codec import Steps, TextCodec
    from charrnn.media.text.reading import TextFiles


class TextReader(Reader):
    """The `Reader` of text; counts the characters, and symbols that are not in the vocabulary.

    Args:
        codec: the codec of the model.
        files: the text, from `codec.files`.
    """

    codec: TextCodec

    def __init__(self, codec: TextCodec, files: TextFiles) -> None:
        super().__init__(codec)
        self._files = files
        self._unknown: dict[str, int] = {}
        self._characters = 0

    def __iter__(self) -> Iterator[Steps]:
        return self.codec.encoded(self._counted(), self._unknown)

    def _counted(self) -> Iterator[str]:
        for block in self._files.joined():
            if self.codec.end is None:
                block = block.replace(MARK, "\n")  # rows of a table
            self._characters += self.codec.characters_in(block)
            yield block

    def report(self, steps: Steps, predicted: int, nats_per_step: float | None) -> Report:
        """As in `Reader`; for words and bytes also bits per character, to compare models."""
        report = super().report(steps, predicted, nats_per_step)
        assert nats_per_step is not None
        report.notes += self._files.notices
        if self._unknown:
            report.notes.append(self.codec.unknown_note(self._unknown))
        if self.codec.loss_detail(nats_per_step):
            # The first step is not predicted.
            characters = self._characters - len(self.codec.decode(steps[:1].tolist()))
            nats = self.codec.total_nats(nats_per_step * predicted, self._unknown)
            bits = nats / math.log(2) / max(1, characters)
            report.values["bits_per_character"] = bits
            report.rows.insert(2, ("bits per character", f"{bits:.4f}"))
        return report
