"""The media, i.e. the kinds of corpus (text, sound), behind one protocol: files to steps and back.

`MEDIA` lists them.  Code outside this folder never checks which medium a corpus is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charrnn.errors import CheckpointError
from charrnn.media.codec import Codec
from charrnn.media.medium import Medium
from charrnn.media.sound import Sound
from charrnn.media.sources import Sources, head_of
from charrnn.media.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In the order in which they are tried on a file; the last one is the fallback.
MEDIA: dict[str, Medium] = {
    "sound": Sound(),
    "text": Text(),
}


def register(medium: Medium) -> None:
    """Add a medium from another package to the table; it is tried first."""
    others = {name: other for name, other in MEDIA.items() if name != medium.name}
    MEDIA.clear()
    MEDIA.update({medium.name: medium} | others)


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
    raise CheckpointError(f"unknown codec {codec!r:.80}; known are {', '.join(codec_names()[1:])}")


def choose(
    sources: Sources, among: Sequence[Medium], settings: Mapping[str, Any]
) -> tuple[str, str]:
    """The codec for a corpus, and the reason.

    Args:
        sources: the files.
        among: the possible media, in the order of the table.
        settings: name of a medium -> an instance of its settings.
    """
    heads = [(name, head) for name in sources.files if (head := head_of(name))]

    def recognised_by(media: Iterable[Medium]) -> Medium | None:
        matching = (m for m in media if any(m.recognises(name, head) for name, head in heads))
        return next(matching, None)

    # If the files clearly belong to a medium that the settings rule out, choose it all the same:
    # an error about the settings is better than reading, say, a recording as text.
    medium = recognised_by(among) or recognised_by(MEDIA.values()) or among[-1]
    return medium.choose(sources, settings[medium.name])


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
