"""The medium of text, with steps that are characters, words or bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from charrnn.errors import ConfigError, CorpusError
from charrnn.media.codec import Codec
from charrnn.media.medium import Defaults, Learner, Medium, Size
from charrnn.media.sources import Sources, is_pipe
from charrnn.media.steps import Discrete
from charrnn.media.text.settings import TextOptions, TextSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charrnn.media.text.codec import TextCodec

# The class of each codec, imported when it is used.
CODECS = {
    "char": "charrnn.media.text.char.CharCodec",
    "word": "charrnn.media.text.word.WordCodec",
    "byte": "charrnn.media.text.byte.ByteCodec",
}
# Default sizes: (corpus length below which they apply, sizes from small to large).  Larger networks
# need more training.  The measurements behind these choices are in configs/README.md.
JOINED: dict[str, Any] = {"norm": "layer", "skip": True, "variational": True}
READING: dict[str, Any] = JOINED | {"skip_input": True}
CPU_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    (30_000, (Size(128, 0.5, 8, 64, 8e-3, weight_drop=0.2, **JOINED),)),
    (
        200_000,
        (
            Size(256, 0.5, 16, 64, 8e-3, weight_drop=0.2, **READING, hurried=True),
            Size(256, 0.55, 16, 64, 6e-3, weight_drop=0.3, **READING, passes=0.8),
        ),
    ),
    (400_000, (Size(256, 0.4, 16, 64, 6e-3, weight_drop=0.2, **READING),)),
    (
        4_000_000,
        (
            Size(256, 0.05, 32, 64, 6e-3, weight_drop=0.05, **READING, hurried=True),
            Size(256, 0.15, 32, 64, 6e-3, weight_drop=0.1, **JOINED, passes=0.45, hurried=True),
            Size(256, 0.2, 32, 64, 6e-3, weight_drop=0.1, **JOINED, passes=0.75),
        ),
    ),
    (
        math.inf,
        (
            Size(256, 0.0, 32, 64, 8e-3, **JOINED, hurried=True),
            Size(256, 0.05, 32, 64, 6e-3, **JOINED, passes=0.4),
            Size(512, 0.2, 32, 96, 3e-3),
        ),
    ),
)
GPU_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    *CPU_SIZES[:3],
    (4_000_000, (Size(512, 0.4, 32, 96, 3e-3),)),
    (math.inf, (Size(1024, 0.2, 64, 128, 2e-3),)),
)
# Words carry more information than characters: a corpus has fewer steps and a larger vocabulary.
WORD_SIZES: tuple[tuple[float, tuple[Size, ...]], ...] = (
    (20_000, (Size(128, 0.65, 8, 32, 4e-3, embedding=128, weight_drop=0.2, **JOINED),)),
    (200_000, (Size(256, 0.7, 16, 32, 4e-3, embedding=256, weight_drop=0.2, **JOINED),)),
    (
        math.inf,
        (
            Size(256, 0.5, 32, 32, 4e-3, embedding=256, **JOINED),
            Size(512, 0.5, 32, 32, 4e-3, embedding=256, **JOINED),
        ),
    ),
)
# Fine-tuning of the general models: (corpus length below which it applies, size, epochs).
TUNED_SIZES: tuple[tuple[float, Size, float], ...] = (
    (60_000, Size(512, 0.2, 16, 64, 1e-3, variational=True), 5.0),
    (400_000, Size(512, 0.2, 16, 64, 1e-3, variational=True), 3.0),
    (math.inf, Size(512, 0.2, 32, 64, 1.5e-3, variational=True), 6.0),
)


ABC = ".abc"  # tunes as text


class Text(Medium):
    """Text files; with the byte codec, any file."""

    name = "text"
    files = "text files"
    kind: ClassVar = Discrete
    codecs = tuple(CODECS)
    settings = TextSettings
    options = TextOptions

    def recognises(self, name: str, head: bytes, codec: str = "auto") -> bool:
        """As in `Medium`: text has no NUL bytes; the byte codec reads any file."""
        from charrnn.media.text.encoding import looks_like_text

        return codec == "byte" or looks_like_text(head)

    def choose(self, sources: Sources, settings: TextSettings) -> tuple[str, str]:
        """As in `Medium`: bytes if a file is binary, otherwise characters."""
        from charrnn.media.text.encoding import first_binary, may_be_bytes

        if may_be_bytes(settings.encoding) and (odd := first_binary(sources)):
            if settings.field:
                raise CorpusError(
                    f"{odd} has NUL bytes, so it is no table in {settings.encoding} text; "
                    "is it UTF-16? Try --encoding utf-16-le"
                )
            return "byte", f"{odd} has NUL bytes, so it is not text"
        if any(map(is_pipe, sources.files)):
            return "char", "a pipe is read as text"
        return "char", "the corpus is text"

    def suited(self, sources: Sources, codec: str) -> Mapping[str, Any]:
        """As in `Medium`: in books in ABC notation each tune is a document."""
        is_abc = all(name.lower().endswith(ABC) for name in sources.files)
        return {"documents": "tune"} if is_abc else {}

    def implied(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """As in `Medium`: --separator implies --documents record, and --field implies row."""
        if given.get("field") == "":
            raise ConfigError("--field is empty; name a column or a key")
        if "documents" in given:
            return {}
        if "field" in given:
            return {"documents": "row"}
        return {"documents": "record"} if "separator" in given else {}

    def learner(
        self, codec: str, sources: Sources, settings: TextSettings, val_fraction: float | None
    ) -> Learner:
        """As in `Medium`."""
        from charrnn.media.text.reading import Reading

        newline = "keep" if codec == "byte" else settings.newline
        separator = settings.separator if settings.documents == "record" else ""
        reading = Reading(
            settings.normalize, settings.documents, separator, newline, settings.field
        )
        reading = replace(reading, separator=reading.with_newlines(separator))
        kind = codec_class(codec)
        return kind.learner(kind.files(sources, settings.encoding, reading), reading, settings)

    def from_dict(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Codec:
        """As in `Medium`."""
        return codec_class(values["name"]).from_dict(values)

    def defaults(self, codec: str, corpus_steps: int, *, on_gpu: bool) -> Defaults:
        """As in `Medium`: 30 epochs for 100 KB, 14 for 1 MB; 11 for 30,000 words, 6 for 300,000."""
        if codec == "word":
            table, epochs = WORD_SIZES, min(30.0, max(3.0, 11 * (3e4 / corpus_steps) ** 0.25))
        else:
            table = GPU_SIZES if on_gpu else CPU_SIZES
            epochs = min(60.0, max(10.0, 30 * (1e5 / corpus_steps) ** (1 / 3)))
        sizes = next(row for limit, row in table if corpus_steps < limit)
        return Defaults(sizes, float(round(epochs)))

    def fine_tuning(self, codec: str, corpus_steps: int) -> Defaults:
        """As in `Medium`: a few epochs for characters."""
        rows = ((size, epochs) for limit, size, epochs in TUNED_SIZES if corpus_steps < limit)
        size, epochs = next(rows)
        return Defaults((size,), epochs)


def codec_class(name: str) -> type[TextCodec]:
    """The class of a text codec."""
    module, _, kind = CODECS[name].rpartition(".")
    found: type[TextCodec] = getattr(import_module(module), kind)
    return found
