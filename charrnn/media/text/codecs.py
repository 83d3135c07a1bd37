"""The table of text codecs and their learners."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from charrnn.media.text.byte import ByteCodec, ByteLearner
from charrnn.media.text.char import CharCodec, CharLearner
from charrnn.media.text.codec import TextCodec, TextLearner
from charrnn.media.text.reading import Reading
from charrnn.media.text.settings import TextSettings
from charrnn.media.text.word import WordCodec, WordLearner

CODECS: dict[str, type[TextCodec]] = {"char": CharCodec, "word": WordCodec, "byte": ByteCodec}
LEARNERS: dict[str, Callable[[Iterator[str], Reading, TextSettings], TextLearner]] = {
    "char": lambda blocks, reading, _: CharLearner(blocks, reading),
    "word": lambda blocks, reading, settings: WordLearner(
        blocks, reading, settings.vocab_size, settings.min_count
    ),
    "byte": lambda blocks, reading, _: ByteLearner(blocks, reading),
}
