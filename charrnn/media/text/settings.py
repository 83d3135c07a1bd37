"""The settings of text."""

from __future__ import annotations

import dataclasses

from charrnn.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How text is read and cut into steps, and what may be written."""

    encoding: str = setting(
        "Encoding of all text files, e.g. utf-8, cp1252, latin-1, utf-16. auto finds that of each "
        "file.",
        "Text",
        default="auto",
        needs=("codec", "char", "word"),
        section="data",
        when_reading=True,
    )
    newline: str = setting(
        "Line ends: lf reads CRLF and CR as LF; keep leaves them as they are.",
        "Text",
        default="lf",
        choices=("lf", "keep"),
        needs=("codec", "char", "word"),
        section="data",
    )
    normalize: str = setting(
        "Unicode normalisation form.",
        "Text",
        default="none",
        choices=("none", "NFC", "NFD", "NFKC", "NFKD"),
        needs=("codec", "char", "word"),
        section="data",
    )
    extra_characters: str = setting(
        "Char codec: characters to have in the vocabulary even if the corpus lacks them, so that a "
        "model that is fine-tuned later has weights for them.",
        "Text",
        default="",
        needs=("codec", "char"),
        section="data",
        escapes=True,
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
        "Treat each line, file, record (text between separators), row (see --field) or tune (ABC "
        "notation; the default for .abc files) as a document of its own. They are shuffled once, "
        "and a sample is one document.",
        "Text",
        default="none",
        choices=("none", "line", "file", "record", "row", "tune"),
        section="data",
    )
    field: str = setting(
        "Read only this column of CSV or TSV, or this key of JSON lines or of a JSON list; "
        "implies --documents row.",
        "Text",
        default="",
        needs=("codec", "char", "word"),
        section="data",
        when_reading=True,
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
    strict: bool = setting(
        "ABC notation: draw a tune again if something is wrong with it, e.g. if a bar does not add "
        "up.",
        "Text",
        default=False,
        random=True,
    )
    finish: str | None = setting(
        "After --length steps, go on to the end of the word, sentence, line or paragraph, at most "
        "as long again.",
        "Text",
        default=None,
        choices=("word", "sentence", "line", "paragraph"),
        random=True,
    )
