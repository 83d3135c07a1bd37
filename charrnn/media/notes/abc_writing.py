"""Writes tunes in ABC notation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from charrnn.media.notes.abc import SEMITONES, SHARPS
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
    counts = np.bincount(tune.notes[~tune.is_drum, PITCH] % 12, minlength=12)
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
    metre = bars[0].metre
    for bar in bars:
        signs = []
        if bar.metre != metre:
            metre = bar.metre
            signs.append(f"[M:{metre}]")
        known = _accidentals(fifths)
        inside = [at for at in bounds if bar.begin <= at <= bar.begin + bar.length]
        for begin, stop in pairwise(inside):
            sounding = notes[(onsets <= begin) & (ends > begin)]
            names = [
                _name(int(row[PITCH]), known, fifths)
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


def _accidentals(fifths: int) -> dict[tuple[str, int], int]:
    """What each letter means at the beginning of a bar, in every octave."""
    sharps = dict.fromkeys(SHARPS[: max(0, fifths)], 1)
    flats = dict.fromkeys(SHARPS[::-1][: max(0, -fifths)], -1)
    return {
        (letter, octave): (sharps | flats).get(letter, 0)
        for letter in SEMITONES
        for octave in range(-1, 11)
    }


def _name(pitch: int, known: dict[tuple[str, int], int], fifths: int) -> str:
    """A note in ABC; `known`, what letters mean in this bar, is kept up to date."""
    options = [
        (letter, (pitch - semitone - shift) // 12, shift)
        for letter, semitone in SEMITONES.items()
        for shift in (0, 1, -1)
        if (pitch - semitone - shift) % 12 == 0
    ]
    fitting = [option for option in options if known[option[0], option[1]] == option[2]]
    wanted = 1 if fifths >= 0 else -1
    letter, octave, shift = (fitting or sorted(options, key=lambda o: (abs(o[2]), o[2] != wanted)))[
        0
    ]
    sign = "" if known[letter, octave] == shift else {0: "=", 1: "^", -1: "_"}[shift]
    known[letter, octave] = shift
    if octave >= 6:
        return sign + letter.lower() + "'" * (octave - 6)
    return sign + letter + "," * (5 - octave)
