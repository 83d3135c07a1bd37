"""A sample of text as a stream of pieces, and previews during training."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from charrnn.errors import SamplingError
from charrnn.media.codec import ENDLESS
from charrnn.media.product import Critic, Drawn, Sample, Verdict

if TYPE_CHECKING:
    from charrnn.media.text.codec import Decoder, TextCodec

PREVIEW_STEPS = 320
PREVIEW_DOCUMENTS = 8
SEEN = 16  # characters that are looked at again when more follow
# Where each of them ends; what must follow is not part of it.
ENDINGS = {
    "word": r"[\w'’](?![\w'’])(?=.|\n)|[\u3040-\u30ff\u3400-\u9fff]",
    "sentence": r"[.!?…][\"'”’»)\]]*(?=\s)|[。！？]",
    "line": r"\n",
    "paragraph": r"\n\n",
}
TAIL = 2_000  # characters at the end of a sample in which loops are looked for
LEAST_LOOP, ROUNDS = 100, 3  # characters and repetitions from which it is called a loop


class TextSample(Sample):
    """Text; iterate for pieces while they are generated.

    Args:
        drawn: the sampled steps; the sample ends with them, or before.
        decoder: turns steps into text.
        length: the maximum number of steps.
        stop: the sample ends before this text; "": none.
        end: the sample ends before this step; None: none.
        prime: the text it continues; iterating does not repeat it.
        finish: after `length` steps the sample goes on to the end of a "word", "sentence", "line"
            or "paragraph", up to twice that length; None: it does not.
    """

    def __init__(
        self,
        drawn: Iterator[Drawn],
        decoder: Decoder,
        length: int,
        stop: str = "",
        end: int | None = None,
        prime: str = "",
        finish: str | None = None,
    ) -> None:
        super().__init__()
        if finish and length >= ENDLESS and end is None:
            raise SamplingError("--finish: a sample without end is never finished; drop it")
        self._drawn, self._decoder = drawn, decoder
        self._length, self._stop, self._end = length, stop, end
        self.prime, self._finish = prime, finish
        self._tail = ""

    def __repr__(self) -> str:
        return f"<TextSample, {self.steps} steps so far, seed {self.seed}>"

    @property
    def text(self) -> str:
        """All of it, without the prime."""
        return "".join(self)

    def __str__(self) -> str:
        return self.text

    @property
    def complaint(self) -> str:
        """As in `Sample`: that the text repeats itself at its end."""
        looped = loop_of(self._tail)
        return "" if not looped else f"it repeats itself: {looped[:40]!r}"

    def pieces(self) -> Iterator[str]:
        """As in `Sample`."""
        for piece in self._finished() if self._finish else self._decoded(self._length):
            self._tail = (self._tail + piece)[-TAIL:]
            yield piece

    def _finished(self) -> Iterator[str]:
        """The text to the end of a word, sentence, line or paragraph."""
        pattern = re.compile(ENDINGS[self._finish or ""])
        text, least, decoded = "", -1, self._decoded(2 * self._length)
        for piece in decoded:
            text += piece
            if self.steps >= self._length:
                least = len(text) if least < 0 else least  # of the finished text
                ends = (match.end() for match in pattern.finditer(text) if match.end() >= least)
                if (end := next(ends, None)) is not None:
                    self.stopped = True
                    decoded.close()
                    self._close()
                    yield text[:end]
                    return
            if len(text) > SEEN:  # what comes may show that an ending is one, so keep some of it
                ready = len(text) - SEEN
                yield text[:ready]
                text, least = text[ready:], least - ready if least >= 0 else least
                least = max(least, 1) if self.steps >= self._length else least
        yield text

    def _decoded(self, length: int) -> Generator[str, None, None]:
        """The text of at most `length` steps, to the stop text or the end of the document."""
        held = ""  # text that may be the beginning of the stop text
        while self.steps < length and (drawn := next(self._drawn, None)) is not None:
            self.steps += 1
            self.nats += drawn.nats
            if drawn.step == self._end:
                self.stopped = True
                break
            if not self._stop:
                if piece := self._decoder.push(drawn.step):
                    yield piece
                continue
            held += self._decoder.push(drawn.step)
            if (end := held.find(self._stop)) >= 0:
                self.stopped = True
                held = held[:end]
                break
            keep = _overlap(held, self._stop)
            if piece := held[: len(held) - keep]:
                yield piece
            held = held[len(held) - keep :]
        else:
            held += self._decoder.flush()
        self._close()
        if held:
            yield held

    def _close(self) -> None:
        """Stop sampling."""
        if (close := getattr(self._drawn, "close", None)) is not None:
            close()

    def to_dict(self) -> dict[str, Any]:
        """As in `Sample`, with the text, including the prime."""
        return {
            "text": self.prime + self.text,
            "prime": self.prime,
            "steps": self.steps,
            "nats_per_step": self.nats_per_step,
            "ended": self.stopped,
        }

    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        """As in `Sample`: UTF-8, including the prime."""
        stream.write((self.prime + self.text).encode())


def loop_of(text: str) -> str:
    """What a text repeats at its end, at least ROUNDS times and LEAST_LOOP characters long in all;
    empty if it repeats nothing."""
    for size in range(1, len(text) // ROUNDS + 1):
        rounds = max(ROUNDS, -(-LEAST_LOOP // size))
        if rounds * size <= len(text) and text.endswith(text[-size:] * rounds):
            return text[-size:]
    return ""


def _overlap(text: str, stop: str) -> int:
    """The length of the longest suffix of `text` that is a proper prefix of `stop`."""
    return next(
        (n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0
    )


class TextCritic(Critic):
    """Previews a short sample, or a few documents; judging the model is left to the loss."""

    def __init__(self, codec: TextCodec) -> None:
        self._codec = codec
        self._between = codec.reading.between
        self.num = PREVIEW_DOCUMENTS if self._between else 1

    def look(self, drawn: Iterable[Iterator[Drawn]], settings: Any) -> Verdict:
        """As in `Critic`."""
        texts: list[str] = []
        steps = 0
        # A constraint such as --no-repeat-ngram may leave nothing to sample: show what there is.
        with suppress(SamplingError):
            for sequence in drawn:
                sample = TextSample(
                    sequence, self._codec.decoder(), PREVIEW_STEPS, end=self._codec.end
                )
                texts.append("")
                for piece in sample:
                    texts[-1] += piece
                if (steps := steps + sample.steps) >= PREVIEW_STEPS:
                    break
        return Verdict(text=self._between.join(texts))
