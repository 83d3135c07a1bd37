"""Free runs of a model of sound: it goes on by itself, and is compared with the recording."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from charrnn.config import SamplingConfig
from charrnn.data.corpus import Steps
from charrnn.files import replacing
from charrnn.sampling.runtime import Runtime

if TYPE_CHECKING:
    from charrnn.codec.spectrogram import SpectrogramCodec
    from charrnn.sampling.listening import Figures

PREVIEW_S = 5.0  # of a free run that are written
COMPARED_S = 120.0  # of the recording
RUNS = 3  # one alone may be lucky


@dataclass(frozen=True)
class FreeRun:
    """What came of some free runs."""

    figures: Figures  # means over the runs
    distance: float  # of the runs from the recording, a mean as well
    _codec: SpectrogramCodec
    _features: Steps  # of the first one, (N, F)
    _recording: Steps
    _rounds: int

    def write(self, path: Path) -> None:
        """Write the beginning as sound, and beside it a picture of it below the recording.

        Raises:
            OSError: one of them cannot be written.
        """
        from charrnn.codec import audio

        codec = self._codec
        count = round(PREVIEW_S * codec.steps_per_s)
        heard = self._features[:count]
        decoder = codec.decoder(rounds=self._rounds)
        sound = np.concatenate([decoder.push(heard), decoder.flush()])
        with (
            replacing(path) as temporary,
            open(temporary, "wb+") as stream,
            audio.SoundFile(stream, path, codec.rate) as file,
        ):
            file.write(sound)
        self.draw(path.with_suffix(".png"), count)

    def draw(self, path: Path, count: int | None = None) -> None:
        """Write a picture of so many frames of it below the recording.

        Raises:
            OSError: it cannot be written.
        """
        from charrnn.codec import picture

        count = min(count or len(self._features), len(self._features))
        pieces = (("recording", self._recording), ("free run", self._features))
        panels = [
            (name, self._codec.magnitudes(np.asarray(features[:count])), self._codec.rate)
            for name, features in pieces
        ]
        picture.draw(path, panels)


class FreeRuns:
    """Makes free runs of a model in training.

    Args:
        codec: of the model.
        recording: what it learns from, (N, F).
    """

    def __init__(self, codec: SpectrogramCodec, recording: Steps) -> None:
        from charrnn.sampling.listening import Listener

        self._codec = codec
        self._recording = np.array(recording[: round(COMPARED_S * codec.steps_per_s)])
        self._listener = Listener(self._loudness(self._recording), codec.rate, codec.steps_per_s)

    def run(self, model: Runtime, config: SamplingConfig) -> FreeRun:
        """Let the model go on by itself, RUNS times, for as long as the listener hears."""
        from charrnn.sampling.frames import frames
        from charrnn.sampling.listening import Figures

        runs = []
        for index in range(RUNS):
            drawn = frames(model, self._codec.arrays["starts"], config=config, index=index)
            runs.append(np.stack(list(islice(drawn, self._listener.steps))))
        found = [self._listener.figures(self._loudness(run)) for run in runs]
        means = zip(*(figures.to_dict().values() for figures in found), strict=True)
        return FreeRun(
            Figures(*map(mean, means)),
            mean(figures.distance for figures in found),
            self._codec,
            runs[0],
            self._recording,
            config.griffin_lim,
        )

    def _loudness(self, features: Steps) -> Steps:
        """Magnitudes of full scale, (N, bins), with what the features leave out."""
        codec = self._codec
        return codec.magnitudes(features, np.random.default_rng(0)) / codec.stft.full_scale
