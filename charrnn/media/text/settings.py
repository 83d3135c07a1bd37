"""The settings of text."""

from __future__ import annotations

import dataclasses

from charrnn.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How text is read and cut into steps, and what may be written."""

    encoding: str = setting(
        "Encoding of text files, e.g. utf-8, cp1252, latin-1, utf-16.",
        "Text",
        default="utf-8",
        needs=("codec", "char", "word"),
        section="data",
        when_reading=True,
    )
    normalize: str = setting(
        "Unicode normalisation form.",
        "Text",
        default="none",
        choices=("none", "NFC", "NFD", "NFKC", "NFKD"),
        needs=("codec", "char", "word"),
        section="data",
    )
    vocab_size: int = setting(
        "Word codec: size of the vocabulary, the most frequent words; other words become <unk>.",
        "Text",
        default=20_000,
        least=4,
        most=2**24,
        needs=("codec", "word"),
        section="data",
    )
    min_count: int = setting(
        "Word codec: how often a word must occur to be in the vocabulary.",
        "Text",
        default=2,
        least=1,
        most=10**9,
        needs=("codec", "word"),
        section="data",
    )
    documents: str = setting(
        "Treat each line, file or record (text between separators) as a document of its own. "
        "They are shuffled once, and a sample is one document.",
        "Text",
        default="none",
        choices=("none", "line", "file", "record"),
        section="data",
    )
    separator: str = setting(
        "Text between two records; implies --documents record. \\n is a newline.",
        "Text",
        default="\n\n",
        needs=("documents", "record"),
        section="data",
        escapes=True,
    )
    allow: str = setting(
        "Write only these characters; empty: any.",
        "Text",
        default="",
        section="sampling",
        escapes=True,
    )
    forbid: str = setting(
        "Never write these characters.", "Text", default="", section="sampling", escapes=True
    )
    unk: bool = setting(
        "Word models: allow <unk> in the output.", "Text", default=False, section="sampling"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Options of a single call of `sample` for text."""

    stop: str = setting(
        "Stop a sample before this text; \\n is a newline.", "Text", default="", escapes=True
    )
