"""Encodes text or parts of it with an existing codec and reports the loss, to evaluate a model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from charrnn.media.report import Passage, Reader, Report, losses
from charrnn.media.sources import source_label
from charrnn.media.text.reading import MARK, split, without_mark

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
        # The first step is not predicted.
        characters = self._characters - len(self.codec.decode(steps[:1].tolist()))
        report = _report(self.codec, characters, self._unknown, predicted, nats_per_step)
        report.notes += self._files.notices
        if self._unknown:
            report.notes.append(self.codec.unknown_note(self._unknown))
        return report


def passages(codec: TextCodec, files: TextFiles, by: str, notices: list[str]) -> Iterator[Passage]:
    """As `Codec.passages`: files, or their lines or documents.

    Args:
        codec: of the model.
        files: the text; to be cut into lines, it is read without documents.
        by: "line", "file" or "document".
        notices: gets what the user should know about the files.
    """
    start = codec.start(np.random.default_rng(0))
    # A line is a document of a model whose documents are lines, so it ends as one.
    has_end = by == "document" or (by == "line" and codec.reading.documents == "line")
    end = np.array([] if codec.end is None or not has_end else [codec.end], np.int32)
    all_unknown: Counter[str] = Counter()
    for name, blocks in files.named():
        parts = split(blocks, "\n" if by == "line" else MARK)
        texts = ["".join(blocks)] if by == "file" else parts
        for number, text in enumerate(texts, 1):
            if by == "line":
                text = without_mark(text.rstrip("\r\n"))
            text = text.replace(MARK, "\n") if codec.end is None else text
            if not text:
                if by == "file":
                    notices.append(f"left out {source_label(name)}: it is empty")
                continue
            unknown: Counter[str] = Counter()
            own = [steps.astype(np.int32) for steps in codec.encoded([text], unknown)]
            all_unknown += unknown
            steps = np.concatenate([start.astype(np.int32), *own, end])
            report = partial(_report, codec, codec.characters_in(text) + len(end), unknown)
            yield Passage(
                steps,
                len(start),
                partial(_with_total, report, codec, unknown),
                file=source_label(name),
                number=None if by == "file" else number,
                text=None if by == "file" else codec.readable(text),
                ended=bool(steps[-1] == codec.end) and len(steps) > len(start),
            )
    notices += files.notices
    if all_unknown:
        notices.append(codec.unknown_note(all_unknown))


def _report(
    codec: TextCodec,
    characters: int,
    unknown: Mapping[str, int],
    predicted: int,
    nats_per_step: float | None,
) -> Report:
    """The loss of so many characters, with counts of the unknown symbols in them; for words and
    bytes also per character."""
    report = losses(codec, predicted, nats_per_step)
    if nats_per_step is not None and codec.loss_detail(nats_per_step):
        nats = codec.total_nats(nats_per_step * predicted, unknown)
        bits = nats / math.log(2) / max(1, characters)
        report.values["bits_per_character"] = bits
        report.rows.insert(2, ("bits per character", f"{bits:.4f}"))
    return report


def _with_total(
    report_of: Callable[[int, float | None], Report],
    codec: TextCodec,
    unknown: Mapping[str, int],
    predicted: int,
    nats_per_step: float | None,
) -> Report:
    """The report of a passage, and the nats in all."""
    report = report_of(predicted, nats_per_step)
    nats = (nats_per_step or 0.0) * predicted
    lacking = ("nats_per_step", "bits_per_step", "perplexity")
    for key in (*lacking, *["bits_per_character"] * bool(codec.loss_detail(0.0))):
        report.values.setdefault(key, None)  # nothing in it is known
    report.values["nats"] = codec.total_nats(nats, unknown) if predicted else None
    report.values["unknown"] = sum(unknown.values())
    return report
