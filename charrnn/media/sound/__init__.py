"""The medium of sound: recordings, encoded as spectrogram frames or as single samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from charrnn.media.codec import Codec
from charrnn.media.medium import Defaults, Learner, Medium, Size
from charrnn.media.sound.settings import COMPONENTS, SoundOptions, SoundSettings
from charrnn.media.sources import Sources
from charrnn.media.steps import Continuous, Discrete

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES, SAMPLES_RATE = "samples", 16_000
HELD_OUT = 0.1  # default fraction of each recording for validation
# First bytes of sound files; those that libsndfile cannot read get an error that says how to
# convert them.
SIGNATURES = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"caff", b".snd")
FORMS = (b"WAVE", b"AIFF", b"AIFC")  # after RIFF, RIFX, RF64 or FORM and a length
FILM = b"ftyp"  # after a length: m4a, mp4, mov
# Noise is added to the training input, because sampled frames are noisy.  Segments are read in
# random order, because a recording of a minute is too short for stateful lanes.
SIZE = Size(256, 0.0, 16, 64, 3e-3, embedding=0)
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "data": {"bptt": "stateless"},
    "model": {"head": "gaussian", "input_noise": 0.3},
    "training": {"free_runs": 0.25},
    "sampling": {"temperature": (0.8,)},
}
# Small enough to sample in real time.
SAMPLES_SIZE = Size(96, 0.0, 32, 64, 8e-3, norm="layer", skip=True, variational=True)
SAMPLES_SETTINGS: Mapping[str, Mapping[str, Any]] = {"sampling": {"temperature": (1.0,)}}


class Sound(Medium):
    """Recordings: any file that libsndfile reads."""

    name = "sound"
    files = "recordings"
    kind: ClassVar = Continuous
    codecs = ("audio", SAMPLES)
    settings = SoundSettings
    options = SoundOptions

    def kind_of(self, codec: str) -> type[Continuous] | type[Discrete]:
        """As in `Medium`: frames are vectors, samples are levels."""
        return Discrete if codec == SAMPLES else Continuous

    def recognises(self, name: str, head: bytes, codec: str = "auto") -> bool:
        """As in `Medium`: by the signature of the file format."""
        return head.startswith(SIGNATURES) or head[8:12] in FORMS or head[4:8] == FILM

    def suited(self, sources: Sources, codec: str) -> Mapping[str, Any]:
        """As in `Medium`: single samples at a lower rate, since each of them is a step."""
        return {"sample_rate": SAMPLES_RATE} if codec == SAMPLES else {}

    def learner(
        self, codec: str, sources: Sources, settings: SoundSettings, val_fraction: float | None
    ) -> Learner:
        """As in `Medium`."""
        if codec == SAMPLES:
            from charrnn.media.sound.samples import SamplesLearner

            return SamplesLearner(sources, settings.sample_rate)
        from charrnn.media.sound.learning import SpectrogramLearner
        from charrnn.media.sound.stft import Stft

        stft = Stft(settings.n_fft, settings.hop_length)
        components = settings.components
        if components == COMPONENTS:  # the default, which may be too large for a small --n-fft
            components = min(components, stft.bins)
        held_out = HELD_OUT if val_fraction is None else val_fraction
        return SpectrogramLearner(sources, settings.sample_rate, stft, components, held_out)

    def from_dict(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Codec:
        """As in `Medium`."""
        if values["name"] == SAMPLES:
            from charrnn.media.sound.samples import SamplesCodec

            return SamplesCodec.from_dict(values)
        from charrnn.media.sound.spectrogram import SpectrogramCodec

        return SpectrogramCodec.from_dict(values, arrays)

    def defaults(self, codec: str, corpus_steps: int, *, on_gpu: bool) -> Defaults:
        """As in `Medium`: 525 epochs of frames for 40 s of sound, 55 for an hour; of single samples
        10 for a minute, 4 for an hour.

        No early stopping for frames, since models from the end of training often sound best.
        """
        if codec == SAMPLES:
            epochs = float(round(min(40.0, max(4.0, 10 * (1e6 / corpus_steps) ** 0.5))))
            return Defaults((SAMPLES_SIZE,), epochs, SAMPLES_SETTINGS, evaluations=6)
        epochs = float(round(min(750.0, max(15.0, 525 * (1800 / corpus_steps) ** 0.5))))
        return Defaults(
            (SIZE,), epochs, SETTINGS, evaluations=20, judging_s=1.6, patience=0, every_segment=True
        )
