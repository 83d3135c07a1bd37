"""A run that is prepared, without the API around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from charrnn import media
from charrnn.checkpoint import Checkpoint
from charrnn.config import Given, codec_settings, value
from charrnn.layering import over_preset, possible_media
from charrnn.media.sources import find
from charrnn.run import Run
from charrnn.training.prepare import Prepared, prepared


@contextmanager
def preparing(
    paths: Iterable[Path],
    run: Run,
    given: Given,
    *,
    force: bool = False,
    init_from: Checkpoint | None = None,
) -> Iterator[Prepared]:
    given = over_preset({}, given)
    among = possible_media(given, [])
    codec, reason = value(given, "codec"), ""
    sources = find(paths, among, codec)
    if codec == "auto" and init_from is not None:
        codec = init_from.codec.name
    if codec == "auto":
        medium = media.medium_for(sources, among)
        codec, reason = medium.choose(sources, codec_settings(given, medium))
    with prepared(sources, codec, reason, run, given, force=force, init_from=init_from) as ready:
        yield ready
