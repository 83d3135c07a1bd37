"""Media files to arrays of steps and back: the only room that knows text from anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charrnn.codec.sources import Sources, decoded
from charrnn.codec.text import CharCodec, CharLearner
from charrnn.errors import CheckpointError

Codec = CharCodec
Learner = CharLearner
CODECS = {"char": CharCodec}
LEARNERS = {"auto": CharLearner, "char": CharLearner}


def learn(name: str, sources: Sources, encoding: str) -> Learner:
    """Walk through a corpus once: blocks of steps, and afterwards the codec that made them.

    Args:
        name: a codec's, or "auto".
        sources: the files, as `sources.find` gives them.
        encoding: of text files.
    """
    return LEARNERS[name](decoded(sources, encoding))


def from_dict(values: Mapping[str, Any]) -> Codec:
    """Rebuild the codec of a checkpoint.

    Raises:
        CheckpointError: an unknown codec, or one that contradicts itself.
    """
    name = values.get("name")
    if not isinstance(name, str) or name not in CODECS:
        raise CheckpointError(f"unknown codec {name!r}; known are {', '.join(CODECS)}")
    return CODECS[name].from_dict(values)
