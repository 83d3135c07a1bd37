"""Writes tunes in ABC notation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from charrnn.media.notes.abc import SEMITONES, signature
from charrnn.media.notes.tune import (
    COMMON,
    LENGTH,
    ONSET,
    PART,
    PITCH,
    QUARTER,
    Bar,
    Tune,
    bar_steps,
)

UNIT = 8  # the length of a note without a number: an eighth
# Keys, from five flats to six sharps.
FLATTEST = -5
MAJORS = ("Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#")
MINORS = ("Bbm", "Fm", "Cm", "Gm", "Dm", "Am", "Em", "Bm", "F#m", "C#m", "G#m", "D#m")
PER_LINE = 4  # bars
SIGNS = {0: "=", 1: "^", -1: "_"}


def to_abc(tune: Tune, title: str = "", number: int = 1) -> str:
    """A tune in ABC notation, a voice for each part.

    Args:
        tune: its grid must be that of a metre.
        title: of the T: field.
        number: of the X: field.
    """
    used = [part for part in range(len(tune.parts)) if (tune.notes[:, PART] == part).any()]
    bars = tune.bars or [Bar(0, bar_steps(COMMON), COMMON)]
    key, fifths = _best_key(tune)
    bpm = tune.tempos[0][1]
    lines = [f"X:{number}", f"T:{title or 'untitled'}", f"M:{bars[0].metre}", f"L:1/{UNIT}"]
    lines += [f"Q:1/4={bpm:g}", f"K:{key}"]
    for voice, part in enumerate(used or [0], 1):
        lines += [f"V:{voice}"] if len(used) > 1 else []
        written = _voice(tune, part, bars, fifths)
        lines += [
            " | ".join(written[i : i + PER_LINE]) + " |" for i in range(0, len(written), PER_LINE)
        ]
    return "\n".join(lines) + "]\n"


def _best_key(tune: Tune) -> tuple[str, int]:
    """The major or minor key that has most of the notes; its name and number of sharps."""
    counts = np.bincount(tune.pitched[:, PITCH] % 12, minlength=12)
    last = int(tune.notes[-1, PITCH]) % 12 if len(tune.notes) else 0
    best = max(
        range(FLATTEST, FLATTEST + len(MAJORS)),
        key=lambda k: (counts[[(7 * (k + i)) % 12 for i in range(-1, 6)]].sum(), -abs(k)),
    )
    is_minor = last == (7 * (best + 3)) % 12
    return (MINORS if is_minor else MAJORS)[best - FLATTEST], best


def _voice(tune: Tune, part: int, bars: Sequence[Bar], fifths: int) -> list[str]:
    """The bars of a part, as text."""
    notes = tune.notes[tune.notes[:, PART] == part]
    onsets, ends = notes[:, ONSET], notes[:, ONSET] + notes[:, LENGTH]
    end = max(tune.steps, bars[-1].begin + bars[-1].length)
    bounds = sorted({0, end, *onsets.tolist(), *ends.tolist(), *(bar.begin for bar in bars)})
    after = bars[-1].begin + bars[-1].length
    while after < end:  # the last notes may last longer than the last bar
        bars = [*bars, Bar(after, bars[-1].length, bars[-1].metre)]
        bounds, after = sorted({*bounds, after}), after + bars[-1].length
    bounds = sorted({*bounds, after})
    written: list[str] = []
    signs_of = _Signs(fifths)
    metre = bars[0].metre
    for bar in bars:
        signs = []
        if bar.metre != metre:
            metre = bar.metre
            signs.append(f"[M:{metre}]")
        signs_of.begin_bar()
        inside = [at for at in bounds if bar.begin <= at <= bar.begin + bar.length]
        for begin, stop in pairwise(inside):
            sounding = notes[(onsets <= begin) & (ends > begin)]
            names = [
                signs_of.name(int(row[PITCH]), is_tied=row[ONSET] < bar.begin == begin)
                + _number(stop - begin)
                + "-" * bool(row[ONSET] + row[LENGTH] > stop)
                for row in sounding[np.argsort(sounding[:, PITCH])]
            ]
            rest = "z" + _number(stop - begin)
            signs.append(
                rest if not names else names[0] if len(names) == 1 else f"[{''.join(names)}]"
            )
        written.append(" ".join(signs))
    return written


def _number(steps: int) -> str:
    """The length of a note in grid steps, relative to the unit."""
    length = Fraction(steps * UNIT, 4 * QUARTER)
    return "" if length == 1 else str(length)


class _Signs:
    """What the letters mean in a bar: an accidental holds in its octave, or as the standard has it
    in all octaves, so one is written wherever the two differ.

    Args:
        fifths: of the key.
    """

    def __init__(self, fifths: int) -> None:
        self._wanted = 1 if fifths >= 0 else -1
        self._key = dict.fromkeys(SEMITONES, 0) | signature(fifths)
        self._before: set[str] = set()  # letters that had an accidental in the bar before
        self._of_letter: dict[str, int] = {}
        self._of_octave: dict[tuple[str, int], int] = {}

    def begin_bar(self) -> None:
        """Forget the accidentals of the bar before."""
        self._before = set(self._of_letter)
        self._of_letter, self._of_octave = {}, {}

    def name(self, pitch: int, *, is_tied: bool = False) -> str:
        """A note, with an accidental where it needs one.

        Args:
            pitch: its MIDI number.
            is_tied: to a note of the bar before, whose accidental it would keep.
        """
        options = [
            (letter, (pitch - semitone - shift) // 12, shift)
            for letter, semitone in SEMITONES.items()
            for shift in (0, 1, -1)
            if (pitch - semitone - shift) % 12 == 0
        ]
        fitting = [option for option in options if self._is_known(*option)]
        by_key = [option for option in options if self._key[option[0]] == option[2]]
        options.sort(key=lambda option: (abs(option[2]), option[2] != self._wanted))
        letter, octave, shift = (fitting or by_key or options)[0]
        is_clear = self._is_known(letter, octave, shift)
        is_clear = is_clear and not (is_tied and letter in self._before)
        sign = "" if is_clear else SIGNS[shift]
        if sign:
            self._of_letter[letter] = self._of_octave[letter, octave] = shift
        if octave >= 6:
            return sign + letter.lower() + "'" * (octave - 6)
        return sign + letter + "," * (5 - octave)

    def _is_known(self, letter: str, octave: int, shift: int) -> bool:
        own = self._of_octave.get((letter, octave), self._key[letter])
        return own == shift == self._of_letter.get(letter, self._key[letter])
