"""Composes `tunes.mid`, the corpus of notes: python corpora/compose_tunes.py (needs mido)

Forty dances for a fiddle and chords, made for this project: jigs, reels, waltzes and marches.  Each
has two or three parts of eight bars, played twice with two endings.  A part is made of motifs of a
bar, repeated in sequence over the chords, and closes with a cadence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

TICKS = 480  # of a quarter note
TUNES = 40
FIDDLE, ACCORDION = 40, 21
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
# Chords of the eight bars of a part, as degrees of the scale; the second ending comes home.
PROGRESSIONS = (
    (0, 0, 3, 4, 0, 0, 4, 0),
    (0, 3, 0, 4, 0, 3, 4, 0),
    (0, 5, 3, 4, 0, 5, 4, 0),
    (3, 0, 3, 0, 3, 0, 4, 0),
    (0, 4, 5, 3, 0, 4, 4, 0),
    (5, 3, 0, 4, 5, 3, 4, 0),
)


@dataclass(frozen=True)
class Dance:
    """A kind of dance: its metre, tempo, and the rhythms of a bar in eighths."""

    name: str
    metre: tuple[int, int]
    bpm: float  # quarters per minute
    rhythms: tuple[tuple[float, ...], ...]
    ending: tuple[float, ...]
    chords: tuple[float, ...]  # lengths of the chords of a bar, in eighths


DANCES = (
    Dance(
        "jig",
        (6, 8),
        168,
        ((1,) * 6, (2, 1, 1, 1, 1), (2, 1, 2, 1), (1, 1, 1, 2, 1)),
        (2, 1, 3),
        (3, 3),
    ),
    Dance(
        "reel",
        (4, 4),
        184,
        ((1,) * 8, (2, 1, 1, 2, 1, 1), (3, 1, 1, 1, 1, 1), (2, 2, 1, 1, 1, 1)),
        (2, 2, 4),
        (4, 4),
    ),
    Dance("waltz", (3, 4), 150, ((2, 2, 2), (3, 1, 2), (2, 1, 1, 2), (4, 2)), (6,), (6,)),
    Dance(
        "march",
        (2, 4),
        112,
        ((1, 1, 1, 1), (1.5, 0.5, 1, 1), (2, 1, 1), (1, 0.5, 0.5, 1, 1)),
        (2, 2),
        (2, 2),
    ),
)


@dataclass(frozen=True)
class Note:
    """A note: onset and length in eighths, pitch, velocity, channel."""

    onset: float
    length: float
    pitch: int
    velocity: int
    channel: int


class Composer:
    """Composes one dance from a random generator."""

    def __init__(self, dance: Dance, random: np.random.Generator) -> None:
        self.dance, self.random = dance, random
        self.scale = MINOR if random.random() < 0.3 else MAJOR
        self.tonic = int(random.choice([60, 62, 64, 65, 67, 69]))
        beats, unit = dance.metre
        self.bar = 8 * beats / unit  # in eighths

    def pitch(self, degree: int) -> int:
        """The MIDI number of a degree of the scale, 0 for the tonic."""
        return self.tonic + 12 * (degree // 7) + self.scale[degree % 7]

    def motif(self) -> tuple[tuple[float, ...], list[int]]:
        """A rhythm, and the steps of its notes relative to the first: few leaps, many steps."""
        rhythm = self.dance.rhythms[self.random.integers(len(self.dance.rhythms))]
        steps = self.random.choice([-2, -1, -1, 0, 1, 1, 2, 3], len(rhythm) - 1)
        return rhythm, np.cumsum([0, *steps]).tolist()

    def on(
        self, motif: tuple[tuple[float, ...], list[int]], chord: int, near: int
    ) -> list[tuple[float, int]]:
        """A motif over a chord: it begins on the note of the chord that is nearest."""
        rhythm, shape = motif
        tones = [chord + third + 7 * octave for third in (0, 2, 4) for octave in (-1, 0, 1)]
        first = min(tones, key=lambda tone: abs(tone - near))
        degrees = [first + step for step in shape]
        while max(degrees, default=0) > 11:
            degrees = [degree - 7 for degree in degrees]
        while min(degrees, default=0) < -3:
            degrees = [degree + 7 for degree in degrees]
        return list(zip(rhythm, degrees, strict=True))

    def part(self) -> list[list[tuple[float, int]]]:
        """Nine bars: eight, and the second ending in place of the last."""
        progression = PROGRESSIONS[self.random.integers(len(PROGRESSIONS))]
        first, second, close = self.motif(), self.motif(), self.motif()
        near = int(self.random.integers(0, 8))
        bars: list[list[tuple[float, int]]] = []
        for number, chord in enumerate(progression[:6]):
            motif = (first, first, second, close)[number % 4]
            bars.append(
                bars[number - 4]
                if number >= 4 and progression[number] == progression[number - 4]
                else self.on(motif, chord, near)
            )
            near = bars[-1][-1][1]
        bars.append(self.on(close, progression[6], near))
        rhythm = self.dance.ending
        open_end = [*self.on((rhythm[:-1], [0, 1][: len(rhythm) - 1]), 4, 4), (rhythm[-1], 4)]
        closed = [*self.on((rhythm[:-1], [0, -1][: len(rhythm) - 1]), 4, 2), (rhythm[-1], 0)]
        self.progression = progression
        return [*bars, open_end, closed]

    def notes(self) -> list[Note]:
        """The whole dance."""
        found: list[Note] = []
        at = 0.0
        for _ in range(int(self.random.choice([2, 2, 3]))):
            bars = self.part()
            for ending in (7, 8):
                for number, bar in enumerate([*bars[:7], bars[ending]]):
                    onset = at
                    for length, degree in bar:
                        found.append(Note(onset, length, self.pitch(degree), 96, 0))
                        onset += length
                    chord = (4, 0)[ending - 7] if number == 7 else self.progression[number]
                    onset = at
                    for length in self.dance.chords:
                        for third in (0, 2, 4):
                            found.append(Note(onset, length, self.pitch(chord + third) - 12, 64, 1))
                        onset += length
                    at += self.bar
        return found


def track(dance: Dance, number: int, notes: list[Note]) -> mido.MidiTrack:
    """A dance as one track."""
    eighth = TICKS // 2
    messages: list[tuple[int, int, mido.Message | mido.MetaMessage]] = [
        (0, 0, mido.MetaMessage("track_name", name=f"{dance.name} {number}")),
        (0, 1, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(dance.bpm))),
        (
            0,
            2,
            mido.MetaMessage(
                "time_signature", numerator=dance.metre[0], denominator=dance.metre[1]
            ),
        ),
        (0, 3, mido.Message("program_change", channel=0, program=FIDDLE)),
        (0, 4, mido.Message("program_change", channel=1, program=ACCORDION)),
    ]
    for note in notes:
        begin, end = round(note.onset * eighth), round((note.onset + note.length) * eighth)
        shared = {"channel": note.channel, "note": note.pitch}
        messages.append((begin, 6, mido.Message("note_on", velocity=note.velocity, **shared)))
        messages.append((end, 5, mido.Message("note_off", **shared)))
    result, now = mido.MidiTrack(), 0
    for at, _, message in sorted(messages, key=lambda each: each[:2]):
        result.append(message.copy(time=at - now))
        now = at
    result.append(mido.MetaMessage("end_of_track"))
    return result


def main() -> None:
    """Write the file."""
    book = mido.MidiFile(type=2, ticks_per_beat=TICKS)
    for number in range(TUNES):
        dance = DANCES[number % len(DANCES)]
        composer = Composer(dance, np.random.default_rng([2026, number]))
        book.tracks.append(track(dance, number // len(DANCES) + 1, composer.notes()))
    book.save(Path(__file__).with_name("tunes.mid"))


if __name__ == "__main__":
    main()
