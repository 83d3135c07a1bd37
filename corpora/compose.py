"""Composes and synthesises `dance.ogg`, the corpus of sound: python corpora/compose.py

A slow dance in D minor for a bell, a reed, a plucked bass, a harp and a drum, made for this
project: A for bell, bass and harp, B with the reed, and A again an octave higher with all of them;
24 bars of four and an ending, about a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 22_050
BEAT_S = 0.6
NAMES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
CHORDS_A = ["Dm", "Gm", "C", "F", "Bb", "Gm", "A", "Dm"]
CHORDS_B = ["F", "C", "Gm", "Dm", "Bb", "F", "A", "A"]
# A note and its beats; a bar a line.
MELODY_A = """
D5 1 F5 .5 E5 .5 D5 1 A4 1
Bb4 1.5 A4 .5 G4 1 D5 1
E5 1 G5 .5 F5 .5 E5 1 C5 1
A4 1 C5 1 F5 2
F5 1 D5 .5 E5 .5 F5 1 Bb4 1
G4 .5 A4 .5 Bb4 1 D5 1 G5 1
E5 1.5 C#5 .5 A4 1 C#5 1
D5 3 - 1
"""
MELODY_B = """
A5 2 G5 1 F5 1
E5 1.5 F5 .5 G5 2
Bb5 1 A5 .5 G5 .5 D5 2
F5 1 E5 1 D5 2
D5 .5 F5 .5 Bb5 1 A5 1 F5 1
C5 1 F5 1 A5 2
G5 1 E5 1 C#5 1 E5 1
A4 3 - 1
"""
TRIADS = {"": (0, 4, 7), "m": (0, 3, 7)}


def pitch(name: str) -> int:
    """The MIDI number of a note such as Bb4."""
    accidental = {"#": 1, "b": -1}.get(name[1:2], 0)
    return NAMES[name[0]] + accidental + 12 * (int(name[-1]) + 1)


def tone(midi: float, seconds: float, partials: dict[float, float], decay_s: float) -> np.ndarray:
    """A struck or plucked tone: partials by their ratio to the note, each fading by itself."""
    time = np.arange(round(seconds * RATE)) / RATE
    frequency = 440 * 2 ** ((midi - 69) / 12)
    sound = np.zeros(len(time))
    for ratio, strength in partials.items():
        if frequency * ratio < RATE / 2:
            fade = np.exp(-time / decay_s * np.sqrt(ratio))
            sound += strength * fade * np.sin(2 * np.pi * frequency * ratio * time)
    return edged(sound)


def reed(midi: float, seconds: float) -> np.ndarray:
    """A held tone with odd partials and a slow beat in its strength."""
    time = np.arange(round(seconds * RATE)) / RATE
    frequency = 440 * 2 ** ((midi - 69) / 12)
    sound = sum(np.sin(2 * np.pi * frequency * k * time) / k**1.5 for k in (1, 3, 5, 7))
    return edged(sound * (1 + 0.2 * np.sin(2 * np.pi * 5 * time)), 0.04)


def edged(sound: np.ndarray, edge_s: float = 0.005) -> np.ndarray:
    """Without clicks at both ends."""
    edge = min(round(edge_s * RATE), len(sound) // 2)
    ramp = np.linspace(0, 1, edge)
    sound[:edge] *= ramp
    sound[len(sound) - edge :] *= ramp[::-1]
    return sound


def drum(random: np.random.Generator, seconds: float, low: bool) -> np.ndarray:
    """A beat of the hand: a falling tone, or a short hiss."""
    time = np.arange(round(seconds * RATE)) / RATE
    if low:
        return edged(
            np.sin(2 * np.pi * (50 * time + 6 * (1 - np.exp(-time * 30)))) * np.exp(-time * 14)
        )
    return edged(np.diff(random.normal(size=len(time) + 1)) * np.exp(-time * 60) * 0.3)


BELL = {1: 1.0, 2.76: 0.4, 5.4: 0.2, 8.9: 0.1}
HARP = {1: 1.0, 2: 0.5, 3: 0.25, 4: 0.12}
BASS = {1: 1.0, 2: 0.6, 3: 0.3, 4: 0.2, 5: 0.1}


def main() -> None:
    """Write the recording beside this file."""
    random = np.random.default_rng(0)
    score = [("A", CHORDS_A, MELODY_A), ("B", CHORDS_B, MELODY_B), ("C", CHORDS_A, MELODY_A)]
    bars = sum(len(chords) for _, chords, _ in score)
    sound = np.zeros(round((4 * bars + 4) * BEAT_S * RATE))

    def put(beat: float, piece: np.ndarray, strength: float) -> None:
        """Add a piece of sound, a hair late or early as a player would be."""
        start = max(0, round((beat * BEAT_S + random.normal(0, 0.004)) * RATE))
        piece = piece[: len(sound) - start]
        sound[start : start + len(piece)] += strength * random.uniform(0.85, 1.0) * piece

    beat = 0.0
    for part, chords, melody in score:
        words, place = melody.split(), beat
        for name, beats in zip(words[::2], map(float, words[1::2]), strict=True):
            if name != "-":
                put(place, tone(pitch(name) + 12 * (part == "C"), 1.8, BELL, 0.5), 0.5)
                if part != "A":
                    put(place, reed(pitch(name) - 12, beats * BEAT_S * 0.95), 0.16)
            place += beats
        for bar, chord in enumerate(chords):
            root = pitch(chord[: 2 if "b" in chord else 1] + "2")
            notes = [root + 24 + step for step in TRIADS["m" if chord.endswith("m") else ""]]
            at = beat + 4 * bar
            for offset, step in ((0, 0), (1.5, 0), (2, 7), (3, 0)):
                put(at + offset, tone(root + step, 1.2, BASS, 0.6), 0.45)
            for eighth in range(8):
                note = notes[(0, 1, 2, 1, 0, 2, 1, 2)[eighth]]
                put(at + eighth / 2, tone(note + 12 * (eighth % 4 == 2), 1.2, HARP, 0.35), 0.22)
            if part != "A" or bar >= 4:
                for offset in (0, 2, 2.5):
                    put(at + offset, drum(random, 0.3, low=True), 0.6)
                for offset in (1, 3, 3.5):
                    put(at + offset, drum(random, 0.15, low=False), 0.4)
        beat += 4 * len(chords)
    for name in ("D3", "A3", "D4", "F4", "D5"):
        put(beat, tone(pitch(name), 2.3, HARP, 0.9), 0.4)
    sound *= 0.8 / np.abs(sound).max()
    path = Path(__file__).parent / "dance.ogg"
    with soundfile.SoundFile(path, "w", RATE, 1, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(sound), RATE):
            file.write(sound[start : start + RATE])


if __name__ == "__main__":
    main()
