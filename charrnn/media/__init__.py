"""The media (text, sound, notes) behind one protocol: files to steps and back.

`MEDIA` lists them.  Code outside this folder never checks which medium a corpus is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charrnn.errors import CheckpointError, ConfigError
from charrnn.media.codec import Codec
from charrnn.media.medium import Medium
from charrnn.media.notes import Notes
from charrnn.media.sound import Sound
from charrnn.media.sources import Sources, head_of
from charrnn.media.text import Text
from charrnn.settings import SECTIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In the order in which they are tried on a file; the last one is the fallback.
MEDIA: dict[str, Medium] = {
    "notes": Notes(),
    "sound": Sound(),
    "text": Text(),
}


# Names of options and arguments that no setting of a medium may have.
RESERVED = (
    *("as_json", "beam", "by", "codec", "corpus", "debug", "device", "dry_run", "dynamic", "files"),
    *("first", "force", "forever", "ignorable", "init_from", "json_lines", "length", "mix"),
    *("length_penalty", "model", "no_copy", "num", "out", "picture", "preset", "prime"),
    *("prime_file", "primes", "processes", "quiet", "resume", "scored", "seed", "sort", "text"),
    *("top", "tune", "width", "workers"),
)


def register(medium: Medium) -> None:
    """Add a medium from another package; it is asked first whether a file belongs to it.

    Raises:
        ConfigError: its codecs or settings collide with others, or are declared wrongly.
    """
    others = {name: other for name, other in MEDIA.items() if name != medium.name}
    refuse_collisions(medium, others.values())
    MEDIA.clear()
    MEDIA.update({medium.name: medium} | others)


def refuse_collisions(medium: Medium, others: Iterable[Medium]) -> None:
    """Raise if a medium cannot stand beside others.

    Raises:
        ConfigError: names a codec or setting that another has, or that is declared wrongly.
    """
    taken: dict[str, tuple[str, Any]] = dict.fromkeys(RESERVED, ("the commands", None))
    for kind in SECTIONS.values():
        taken |= {field.name: ("all media", None) for field in dataclasses.fields(kind)}
    codecs = {"auto": "the commands"}
    for other in others:
        codecs |= dict.fromkeys(other.codecs, other.name)
        for kind in (other.settings, other.options):
            taken |= {field.name: (other.name, field) for field in dataclasses.fields(kind)}
    for name in medium.codecs:
        if name in codecs:
            raise ConfigError(f"{medium.name}: codec {name} belongs to {codecs[name]}")
    for kind, sections in ((medium.settings, ("data", "sampling")), (medium.options, ("",))):
        for field in dataclasses.fields(kind):
            owner, theirs = taken.get(field.name, ("", field))
            if theirs is not field:  # not inherited from the same class
                raise ConfigError(f"{medium.name}: setting {field.name} of {owner}")
            if field.metadata.get("section") not in sections:
                allowed = " or ".join(sections) or "none"
                raise ConfigError(f"{medium.name}: setting {field.name} needs section {allowed}")
            if field.default is dataclasses.MISSING:
                raise ConfigError(f"{medium.name}: setting {field.name} needs a default")


def codec_names() -> tuple[str, ...]:
    """The values of `--codec`, text first."""
    return ("auto", *(name for medium in reversed(MEDIA.values()) for name in medium.codecs))


def medium_of(codec: str) -> Medium:
    """The medium that a codec belongs to.

    Raises:
        CheckpointError: there is no such codec.
    """
    for medium in MEDIA.values():
        if codec in medium.codecs:
            return medium
    raise CheckpointError(
        f"needs the codec {codec!r:.80}, which this charrnn lacks; "
        "import the package that adds it, or update charrnn"
    )


def medium_for(sources: Sources, among: Sequence[Medium]) -> Medium:
    """The medium that the files of a corpus belong to.

    Args:
        sources: the files.
        among: the possible media, in the order of the table.
    """

    def recognised_by(media: Iterable[Medium]) -> Medium | None:
        media = list(media)
        first = len(media)
        for name in sources.files:
            head = head_of(name)
            matching = (i for i in range(first) if head and media[i].recognises(name, head))
            first = next(matching, first)
        return media[first] if first < len(media) else None

    # If the files clearly belong to a medium that the settings rule out, choose it all the same:
    # an error about the settings is better than reading, say, a recording as text.
    return recognised_by(among) or recognised_by(MEDIA.values()) or among[-1]


def recognised(head: bytes) -> Medium | None:
    """The medium whose files begin like this; the last one, the fallback, is not considered."""
    *others, _ = MEDIA.values()
    return next((medium for medium in others if medium.recognises("", head)), None)


def codec_from_dict(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Codec:
    """Rebuild the codec of a checkpoint.

    Raises:
        CheckpointError: the codec is unknown or inconsistent.
    """
    name = values.get("name")
    return medium_of(name if isinstance(name, str) else repr(name)).from_dict(values, arrays)
