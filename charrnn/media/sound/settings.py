"""The settings of sound."""

from __future__ import annotations

import dataclasses

from charrnn.settings import PrimeOptions, setting

COMPONENTS = 192


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundSettings:
    """The spectrogram of recordings, and how it is turned back into sound."""

    sample_rate: int = setting(
        "Sample rate that recordings are resampled to, in Hz; by default 16000 with --codec "
        "samples.",
        "Sound",
        default=22_050,
        least=8_000,
        most=48_000,
        section="data",
    )
    n_fft: int = setting(
        "FFT size, even.",
        "Sound",
        default=2048,
        least=64,
        most=8_192,
        needs=("codec", "audio"),
        section="data",
    )
    hop_length: int = setting(
        "Samples between frames; must divide --n-fft.",
        "Sound",
        default=512,
        least=16,
        most=4_096,
        needs=("codec", "audio"),
        section="data",
    )
    components: int = setting(
        "PCA components per spectrogram frame; 0: raw magnitudes.",
        "Sound",
        default=COMPONENTS,
        least=0,
        most=4_096,
        needs=("codec", "audio"),
        section="data",
    )
    griffin_lim: int = setting(
        "Iterations of the Griffin-Lim algorithm, which finds the phases.",
        "Sound",
        default=32,
        least=0,
        most=1_000,
        needs=("codec", "audio"),
        section="sampling",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundOptions(PrimeOptions):
    """Options of a single call of `sample` for sound."""

    bits: int | None = setting(
        "Bit depth of WAV and FLAC, 16 or 24. (default: 16)", "Sound", default=None
    )
