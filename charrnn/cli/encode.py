"""`charrnn encode`: encode a corpus once, for many runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn import config
from charrnn.cli.options import Workers, typed, with_settings
from charrnn.cli.terminal import amount, note, one_line
from charrnn.cli.train import describe_sources
from charrnn.media.sources import Sources

TOLD_EVERY_S = 5.0
ALSO = ("codec", "val_fraction", "seed")  # beside the settings of the media


def build() -> Callable[..., None]:
    """The command, with an option for every setting that decides how a corpus is encoded."""
    known = config.all_settings().values()
    own = [s for s in known if s.name in ALSO or (s.owners and s.section == "data")]
    return with_settings(command, own)


def command(
    ctx: typer.Context,
    corpus: Annotated[
        list[str], typer.Argument(help="Files, directories, or - for standard input.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    workers: Workers = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an encoded corpus that is already there.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    **settings: Any,
) -> None:
    """Encode a corpus once, for many runs: charrnn encode texts/ -o corpus

    Then train on it: charrnn train corpus. The settings below are then those of the folder; a run
    cannot change them. If it is interrupted, the same command goes on from there (for text in
    several files).
    """
    from charrnn import api

    config.from_flags(settings, dashed=True)
    given = {name: value for name, value in settings.items() if value is not None}
    began = time.monotonic()

    def found(sources: Sources) -> None:
        describe_sources(sources, quiet)

    told_at = began

    def told(done: int, total: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > TOLD_EVERY_S or (done == total and told_at > began):
            told_at = time.monotonic()
            more = "; putting the parts together" if done == total else ""
            note(f"encoded {amount(done)}B of {amount(total)}B{more}", quiet)

    folder = api.encode(
        corpus,
        out,
        force=force,
        workers=workers,
        ignorable=[name for name in given if not typed(ctx, name)],
        found=found,
        told=told,
        **given,
    )
    encoded = folder.corpus
    for text in encoded.notices:
        note(one_line(text), quiet)
    note(
        f"{encoded.steps:,} {encoded.codec.unit}s in {time.monotonic() - began:.1f} s; "
        f"train on them: charrnn train {one_line(str(out))}",
        quiet,
    )
