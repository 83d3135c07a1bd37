"""The medium of notes: MIDI files, encoded as events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from charrnn.media.codec import Codec
from charrnn.media.medium import Defaults, Learner, Medium, Size
from charrnn.media.notes.settings import NotesOptions, NotesSettings
from charrnn.media.sources import Sources
from charrnn.media.steps import Discrete

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_OUT = 0.1  # default fraction of the events that is held out
HEADER, WITHIN = b"MThd\0\0\0\x06", 256  # a RIFF or MacBinary header may come first
SUFFIXES, ABC = (".mid", ".midi", ".kar", ".rmi"), ".abc"
# The measurements behind these choices are in configs/README.md.
JOINED: dict[str, Any] = {"norm": "layer", "skip": True, "variational": True}
SIZE = Size(256, 0.2, 32, 128, 6e-3, weight_drop=0.1, **JOINED)
SETTINGS: Mapping[str, Mapping[str, Any]] = {"sampling": {"temperature": (0.7,)}}


class Notes(Medium):
    """MIDI files."""

    name = "notes"
    files = "MIDI files"
    kind: ClassVar = Discrete
    codecs = ("notes",)
    settings = NotesSettings
    options = NotesOptions

    def recognises(self, name: str, head: bytes, codec: str = "auto") -> bool:
        """As in `Medium`: by the header, or for an empty or broken file by its extension.  Books in
        ABC notation are text, unless this codec is asked for."""
        suffix = Path(name).suffix.lower()
        is_midi = HEADER in head[:WITHIN] or suffix in SUFFIXES
        return is_midi or (codec in self.codecs and suffix == ABC)

    def learner(
        self, codec: str, sources: Sources, settings: NotesSettings, val_fraction: float | None
    ) -> Learner:
        """As in `Medium`."""
        from charrnn.media.notes.learning import TuneLearner

        held_out = HELD_OUT if val_fraction is None else val_fraction
        return TuneLearner(sources, settings.transpose, held_out)

    def from_dict(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Codec:
        """As in `Medium`."""
        from charrnn.media.notes.codec import NotesCodec

        return NotesCodec.from_dict(values)

    def defaults(self, codec: str, corpus_steps: int, *, on_gpu: bool) -> Defaults:
        """As in `Medium`: 6 epochs for 1.5 million events, shifted copies included."""
        epochs = float(round(min(60.0, max(4.0, 5 * (2e6 / corpus_steps) ** 0.5))))
        return Defaults((SIZE,), epochs, SETTINGS)
