"""Renders tunes as sound: decaying harmonics for notes, noise for drums, and no sound font."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.media.notes.tune import LENGTH, ONSET, PART, PITCH, VELOCITY, Tune

RATE = 44_100  # samples per second
BLOCK_S = 1.0  # rendered at a time
TAIL_S = 0.3  # a note fades out for so long after its end
ATTACK_S = 0.005
LONGEST_S = 20.0  # of a held note; by then it has faded
LOUDEST = 0.5  # of full scale, for one note
# Each family of eight General MIDI programs: amplitudes of the harmonics, and after how many
# seconds half of a held note is left.
STRUCK = ((1.0, 0.5, 0.3, 0.15, 0.1, 0.05), 0.5)
BLOWN = ((1.0, 0.25, 0.35, 0.1, 0.1), 4.0)
BOWED = ((1.0, 0.6, 0.45, 0.3, 0.2, 0.12, 0.08), 3.0)
BRIGHT = ((1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.15), 2.0)
LOW = ((1.0, 0.6, 0.3, 0.1), 0.8)
FAMILIES = (
    *(STRUCK, ((1.0, 0.0, 0.2, 0.0, 0.3), 0.4), ((1.0, 0.5, 0.5, 0.3, 0.2), 4.0), STRUCK),
    *(LOW, BOWED, BOWED, BRIGHT, BLOWN, BLOWN, BRIGHT, BOWED, BOWED, STRUCK, STRUCK, STRUCK),
)
# Drums: General MIDI pitches below the first number are deep, below the second medium.
DEEP, MEDIUM = 37, 42

Samples = NDArray[np.float32]


class Renderer:
    """The sound of a tune, in blocks.

    Args:
        tune: the tune.
        rate: samples per second.

    Attributes:
        samples: the total length.
    """

    def __init__(self, tune: Tune, rate: int = RATE) -> None:
        self._tune, self.rate = tune, rate
        begins = tune.seconds(tune.notes[:, ONSET])
        ends = tune.seconds(tune.notes[:, ONSET] + tune.notes[:, LENGTH])
        self._begins, self._lengths = begins, ends - begins
        last = float(tune.seconds([tune.steps])[0]) if tune.bars else 0.0
        self.samples = round((last + TAIL_S) * rate) if len(tune.notes) else 0

    def __iter__(self) -> Iterator[Samples]:
        block = round(BLOCK_S * self.rate)
        starts = np.rint(self._begins * self.rate).astype(int)
        pending = np.zeros(0, np.float32)
        place = 0
        for begin in range(0, self.samples, block):
            size = min(block, self.samples - begin)
            notes = []
            while place < len(starts) and starts[place] < begin + size:
                notes.append((starts[place] - begin, self._note(place)))
                place += 1
            longest = max([size, len(pending), *(at + len(sound) for at, sound in notes)])
            mixed = np.zeros(longest, np.float32)
            mixed[: len(pending)] = pending
            for at, sound in notes:
                mixed[at : at + len(sound)] += sound
            # A soft limit, so that many notes at once do not clip.
            yield np.tanh(mixed[:size]).astype(np.float32)
            pending = mixed[size:]

    def _note(self, index: int) -> Samples:
        """The sound of a note."""
        row, part = self._tune.notes[index], self._tune.parts[self._tune.notes[index, PART]]
        loudness = LOUDEST * (row[VELOCITY] / 127) ** 1.5
        if part.is_drum:
            return self._drum(int(row[PITCH])) * np.float32(loudness)
        held = min(LONGEST_S, float(self._lengths[index]))
        count = round((held + TAIL_S) * self.rate)
        times = np.arange(count) / self.rate
        harmonics, half_s = FAMILIES[part.program // 8]
        frequency = 440.0 * 2 ** ((int(row[PITCH]) - 69) / 12)
        sound = np.zeros(count)
        for number, amplitude in enumerate(harmonics, 1):
            if amplitude and number * frequency < self.rate / 2:
                decay = 0.5 ** (times * number**0.5 / half_s)
                sound += amplitude * decay * np.sin(2 * np.pi * number * frequency * times)
        sound *= np.minimum(1, times / ATTACK_S)
        sound *= np.clip((held + TAIL_S - times) / TAIL_S, 0, 1) ** 2
        return np.asarray(sound / sum(harmonics) * loudness, np.float32)

    def _drum(self, pitch: int) -> Samples:
        """The sound of a drum: noise, and below it a tone that falls."""
        seconds, tone = (0.25, 60) if pitch < DEEP else (0.2, 180) if pitch < MEDIUM else (0.1, 0)
        times = np.arange(round(seconds * self.rate)) / self.rate
        random = np.random.default_rng(pitch)
        noise = random.standard_normal(len(times)) * np.exp(-times * (60 if tone == 60 else 25))
        if not tone:
            noise = np.diff(noise, prepend=0)  # bright
        sound = (0.1 if tone == 60 else 0.4) * noise
        if tone:
            sound += np.sin(2 * np.pi * tone * (times + 0.02 * (1 - np.exp(-times * 40))))
        return np.asarray(sound * np.exp(-times * 5 / seconds), np.float32)
