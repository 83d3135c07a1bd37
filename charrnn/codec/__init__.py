"""Media files to arrays of steps and back: the only room that knows text from anything else.

What a codec of sound needs is imported where one is met: text is written without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray

from charrnn.codec.byte import ByteCodec, ByteLearner
from charrnn.codec.char import CharCodec, CharLearner
from charrnn.codec.reading import Reading
from charrnn.codec.sources import Sources, binary, decoded, is_pipe, is_sound, is_utf8
from charrnn.codec.text import Decoder, Learner, TextCodec, shown
from charrnn.codec.word import WordCodec, WordLearner
from charrnn.config import Given, value
from charrnn.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from charrnn.codec.spectrogram import SpectrogramCodec, SpectrogramLearner

Codec: TypeAlias = "TextCodec | SpectrogramCodec"
__all__ = [
    "CODECS",
    "Codec",
    "Decoder",
    "TextCodec",
    "choose",
    "from_dict",
    "learn",
    "shown",
    "stream",
]
AUDIO = "audio"
HELD_OUT = 0.1  # of each recording, where nothing is given
CODECS: dict[str, type[TextCodec]] = {"char": CharCodec, "word": WordCodec, "byte": ByteCodec}
LEARNERS: dict[str, Callable[[Iterator[str], Reading, Given], Learner]] = {
    "char": lambda blocks, reading, _: CharLearner(blocks, reading),
    "word": lambda blocks, reading, given: WordLearner(
        blocks, reading, value(given, "vocab_size"), value(given, "min_count")
    ),
    "byte": lambda blocks, reading, _: ByteLearner(blocks, reading),
}


def choose(name: str, sources: Sources, encoding: str) -> tuple[str, str]:
    """The codec to use, and why where it was left open.

    Args:
        name: a codec's, or "auto".
        sources: the files, as `sources.find` gives them.
        encoding: of text files.
    """
    if name != "auto":
        return name, ""
    if any(map(is_sound, sources.files)):
        return AUDIO, "the corpus is sound"
    if is_utf8(encoding) and (odd := binary(sources)):
        return "byte", f"{odd} has NUL bytes, so it is no text"
    if any(map(is_pipe, sources.files)):
        return "char", "what comes through a pipe is taken as text"
    return "char", "the corpus is text"


def learn(name: str, sources: Sources, given: Given) -> Learner | SpectrogramLearner:
    """Walk through a corpus once: blocks of steps, and afterwards the codec that made them.

    Args:
        name: a codec's.
        sources: the files, as `sources.find` gives them.
        given: settings, of which encoding, normalisation, documents and vocabulary matter.

    Raises:
        ConfigError: settings that this codec has no use for.
    """
    if name == AUDIO:
        return _sound_learner(sources, given)
    documents = value(given, "documents")
    separator = value(given, "separator") if documents == "record" else ""
    reading = Reading(value(given, "normalize"), documents, separator)
    return LEARNERS[name](stream(name, sources, value(given, "encoding"), reading), reading, given)


def stream(name: str, sources: Sources, encoding: str, reading: Reading) -> Iterator[str]:
    """A corpus as the codec of this name reads it.

    Raises:
        ConfigError: an encoding or normalisation for bytes, which are read as they are.
    """
    if name == "byte":
        if not is_utf8(encoding) or reading.normalize != "none":
            raise ConfigError("bytes are read as they are: drop --encoding and --normalize")
        encoding = "latin-1"  # a byte as the character of its number
        reading = replace(reading, separator=reading.separator.encode().decode("latin-1"))
    return reading.stream(decoded(sources, encoding))


def _sound_learner(sources: Sources, given: Given) -> SpectrogramLearner:
    from charrnn.codec.spectrogram import SpectrogramLearner
    from charrnn.codec.stft import Stft

    if value(given, "documents") != "none" or value(given, "normalize") != "none":
        raise ConfigError("recordings have no --documents, and nothing to --normalize")
    stft = Stft(value(given, "n_fft"), value(given, "hop_length"))
    components = given["data"].get("components", min(value(given, "components"), stft.bins))
    if value(given, "encoding") != "utf-8":
        raise ConfigError("recordings have no --encoding")
    return SpectrogramLearner(
        sources,
        value(given, "sample_rate"),
        stft,
        components,
        given["data"].get("val_fraction", HELD_OUT),
    )


def from_dict(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> Codec:
    """Rebuild the codec of a checkpoint.

    Args:
        values: as `to_dict` gave them.
        arrays: what the codec had besides.

    Raises:
        CheckpointError: an unknown codec, or one that contradicts itself.
    """
    name = values.get("name")
    if name == AUDIO:
        from charrnn.codec.spectrogram import SpectrogramCodec

        return SpectrogramCodec.from_dict(values, arrays or {})
    if not isinstance(name, str) or name not in CODECS:
        raise CheckpointError(f"unknown codec {name!r}; known are {', '.join(CODECS)}, {AUDIO}")
    return CODECS[name].from_dict(values)
