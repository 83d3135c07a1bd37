"""Reads tunes in ABC notation (version 2.1, abcnotation.com).

Played are notes, chords, ties, tuplets, broken rhythm, repeats with their endings, changes of key,
metre and tempo, several voices and overlays (&); graces, decorations, chord symbols, lyrics and the
order of parts (P:) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from charrnn.media.notes.midi import Score
from charrnn.media.notes.tune import (
    COMMON,
    LENGTH,
    MAX_BARS,
    ONSET,
    TEMPO,
    Metre,
    Part,
)

VELOCITY = 80
WHOLE = 40_320  # ticks of a whole note, so that all common tuplets are exact
MAX_NOTES = 100_000  # of a tune, with repeats
LONGEST = 64  # whole notes
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}
SHARPS = "FCGDAEB"  # in the order in which keys gain them
# How many fifths below the major key of the same tonic.
MODES = {"": 0, "maj": 0, "ion": 0, "m": 3, "min": 3, "aeo": 3}
MODES |= {"mix": 1, "dor": 2, "phr": 4, "loc": 5, "lyd": -1}
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # p notes in the time of q
FIELD = re.compile(r"([A-Za-z+]):(.*)")
TOKEN = re.compile(
    r"""\s+ | "[^"]*" | ![^!\n]*! | \{[^}]*\} | [.~HLMOPSTuv)`$] | \\$ | y\d* | \+[a-zA-Z]+\+
    | \[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
    | (?P<bar> :*\|+[\]:|]* | \[\| | ::+ | \|?\[(?=[0-9"]) | :+(?=\s*$) )
      (?P<ending> (?:"[^"]*" | [0-9][0-9,\-]*)? )
    | \((?P<p>[2-9])(?::(?P<q>[1-9]?))?(?::(?P<r>[1-9]?))?
    | \( | (?P<open>\[) | (?P<close>\])(?P<close_length>[0-9/]*)
    | (?P<accidental>\^{1,2}|_{1,2}|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)(?P<length>[0-9/]*)
    | (?P<rest>[zxZX])(?P<rest_length>[0-9/]*)
    | (?P<tie>-) | (?P<broken>[<>]{1,3}) | (?P<overlay>&)""",
    re.VERBOSE,
)


@dataclass
class Measure:
    """What stands between two bar lines of one voice.

    Attributes:
        notes: onset and length in whole notes, pitch, and whether it is tied to the next.
        length: in whole notes; while it is read, where the next note begins.
        metre: of the tune at this place; None: free.
        opening, closing: the bar lines before and after it.
        endings: after how many repeats it is played; empty: always.
        bpm: the tempo from here on; None: as before.
        others: the length of what stands before an overlay (&).
    """

    notes: list[tuple[Fraction, Fraction, int, bool]] = field(default_factory=list)
    length: Fraction = Fraction(0)
    metre: Metre | None = None
    opening: str = ""
    closing: str = ""
    endings: frozenset[int] = frozenset()
    bpm: float | None = None
    others: Fraction = Fraction(0)

    @property
    def adds_up(self) -> bool:
        """Whether it lasts as long as the metre says; at a repeat or a double bar it may be
        shorter, since the rest stands elsewhere."""
        if self.metre is None:
            return True
        wanted = Fraction(self.metre.beats, self.metre.unit)
        lines = f"{self.opening} {self.closing}"
        is_edge = bool(self.endings) or any(sign in lines for sign in (":", "||", "]", "[", "^"))
        return self.length == wanted or (is_edge and self.length < wanted)


@dataclass
class Song:
    """A tune in ABC: its voices in order, each a list of measures.

    Attributes:
        voices: name -> measures.
        bpm: quarters per minute.
        odd: how many signs are no ABC.
        has_key: whether there is a K: field, without which it is no tune.
    """

    voices: dict[str, list[Measure]] = field(default_factory=dict)
    bpm: float = TEMPO
    odd: int = 0
    has_key: bool = False

    @property
    def trouble(self) -> str:
        """What is wrong with it, in a few words; may be empty."""
        if not self.has_key:
            return "it has no key (K:)"
        if not any(measure.notes for measures in self.voices.values() for measure in measures):
            return "it has no notes"
        if self.odd:
            return f"it has {self.odd} signs that are no ABC"
        for measures in self.voices.values():
            for number, measure in enumerate(measures, 1):
                if not measure.adds_up:
                    return f"bar {number} does not add up"
        return ""


def tunes_of(text: str) -> list[str]:
    """The tunes of a book: each begins with X:."""
    parts = re.split(r"(?m)^(?=X:)", text.replace("\r\n", "\n").replace("\r", "\n"))
    return [part for part in parts if part.startswith("X:") or re.search(r"(?m)^K:", part)]


def parse(text: str) -> Song:
    """Read one tune; what is no ABC is counted and passed over."""
    return _Parser().parse(text)


class _Voice:
    """What is known while the measures of one voice are read."""

    def __init__(self) -> None:
        self.measures: list[Measure] = []
        self.now = Measure(opening="^")  # ^: the beginning
        self.local: dict[str, int] = {}  # accidentals of this bar, in all octaves
        self.tied: dict[tuple[str, int], int] = {}  # those of notes that are tied over the bar line
        self.names: list[tuple[str, int]] = []  # of the last notes
        self.ratio, self.left = Fraction(1), 0  # of a tuplet
        self.stretch: Fraction | None = None  # of the next note, by broken rhythm
        self.last: list[int] = []  # the notes that broken rhythm would change
        self.before: Fraction | None = None  # the length of the last note or rest of this bar
        self.chord: list[tuple[int, Fraction, bool]] | None = None  # pitch, length, tied
        self.endings: frozenset[int] = frozenset()


class _Parser:
    def __init__(self) -> None:
        self.song = Song()
        self.metre: Metre | None = COMMON
        self.unit: Fraction | None = None
        self.key: dict[str, int] = {}
        self._voices: dict[str, _Voice] = {}
        self._voice = ""

    def parse(self, text: str) -> Song:
        """As the function `parse`."""
        in_body = False
        for whole in text.splitlines():
            line = re.sub(r"(?<!\\)%.*", "", whole)
            found = FIELD.match(line)
            if found and not (in_body and line[0] in "ABCDEFGabcdefg" and line[2:3] in "|:"):
                self._field(found[1], found[2].strip())
                in_body = in_body or found[1] == "K"
            elif not whole.strip() and in_body:
                break  # an empty line ends a tune
            elif in_body:
                self._music(line)
        for name, voice in self._voices.items():
            self._end_bar(voice, "^", "")
            if voice.measures:
                self.song.voices[name] = voice.measures
        return self.song

    @property
    def voice(self) -> _Voice:
        """The current one."""
        if self._voice not in self._voices:
            self._voices[self._voice] = _Voice()
            self._voices[self._voice].now.metre = self.metre
        return self._voices[self._voice]

    def _field(self, name: str, value: str) -> None:
        if name == "M":
            self.metre = _metre(value)
            for voice in self._voices.values():
                if not voice.now.length:
                    voice.now.metre = self.metre
        elif name == "L":
            self.unit = _fraction(value) or self.unit
        elif name == "K":
            self.song.has_key = True
            key = _key(value)
            self.key = self.key if key is None else key
        elif name == "Q":
            if self._voices:
                self.voice.now.bpm = _tempo(value)
            else:
                self.song.bpm = _tempo(value) or self.song.bpm
        elif name == "V":
            self._voice = value.split()[0] if value.split() else ""

    def _music(self, line: str) -> None:
        at = 0
        while at < len(line):
            found = TOKEN.match(line, at)
            if not found or found.end() == at:
                self.song.odd += 1
                at += 1
                continue
            at = found.end()
            self._sign(found)

    def _sign(self, found: re.Match[str]) -> None:
        voice = self.voice
        if found["field"]:
            self._field(found["field"], found["value"].strip())
        elif found["bar"]:
            if voice.chord is not None or voice.stretch is not None:
                self.song.odd += 1
            self._end_bar(voice, found["bar"], found["ending"] or "")
        elif found["p"]:
            p = int(found["p"])
            is_compound = self.metre is not None and self.metre.beats in (6, 9, 12)
            q = int(found["q"] or 0) or TUPLETS.get(p, 3 if is_compound else 2)
            voice.ratio, voice.left = Fraction(q, p), int(found["r"] or 0) or p
        elif found["open"]:
            if voice.chord is not None:
                self.song.odd += 1
            voice.chord = []
        elif found["close"]:
            if not voice.chord:
                self.song.odd += 1
                voice.chord = None
                return
            chord, voice.chord = voice.chord, None
            length = chord[0][1] * _length(found["close_length"])
            self._add(voice, [pitch for pitch, _, _ in chord], length * self._unit)
            ties = [is_tied for _, _, is_tied in chord]
            for index, is_tied in zip(voice.last, ties, strict=False):
                voice.now.notes[index] = (*voice.now.notes[index][:3], is_tied)
        elif found["letter"]:
            pitch, length = self._pitch(voice, found), _length(found["length"])
            if voice.chord is not None:
                voice.chord.append((pitch, length, False))
            else:
                self._add(voice, [pitch], length * self._unit)
        elif found["rest"]:
            length = _length(found["rest_length"])
            if found["rest"] in "ZX" and self.metre is not None:
                whole = Fraction(self.metre.beats, self.metre.unit)
                for number in range(min(int(length), MAX_BARS)):
                    if number:
                        self._end_bar(voice, "|", "")
                    voice.now.length += whole
            else:
                self._add(voice, [], length * self._unit)
        elif found["tie"] and voice.chord:
            voice.chord[-1] = (*voice.chord[-1][:2], True)
            self._keep_accidentals(voice, voice.names[-1:])
        elif found["tie"]:
            self._keep_accidentals(voice, voice.names)
            for index in voice.last:
                voice.now.notes[index] = (*voice.now.notes[index][:3], True)
        elif found["broken"]:
            self._break(voice, found["broken"])
        elif found["overlay"]:
            now = voice.now
            now.others, now.length = max(now.others, now.length), Fraction(0)

    @property
    def _unit(self) -> Fraction:
        """The length of a note without a number."""
        if self.unit is not None:
            return self.unit
        is_short = self.metre is not None and self.metre.quarters < 3
        return Fraction(1, 16 if is_short else 8)

    def _pitch(self, voice: _Voice, found: re.Match[str]) -> int:
        letter = found["letter"].upper()
        octave = 5 + found["letter"].islower()
        octave += found["octave"].count("'") - found["octave"].count(",")
        if found["accidental"]:
            voice.local[letter] = ACCIDENTALS[found["accidental"]]
        shift = voice.local.get(letter, self.key.get(letter, 0))
        carried = voice.tied.pop((letter, octave), shift)
        shift = shift if found["accidental"] else carried
        if voice.chord is None or not voice.chord:
            voice.names = []
        voice.names.append((letter, octave))
        return 12 * octave + SEMITONES[letter] + shift

    def _keep_accidentals(self, voice: _Voice, names: Sequence[tuple[str, int]]) -> None:
        """A tied note keeps its accidental in the next bar."""
        for letter, octave in names:
            if letter in voice.local:
                voice.tied[letter, octave] = voice.local[letter]

    def _add(self, voice: _Voice, pitches: Sequence[int], length: Fraction) -> None:
        if voice.left:
            length *= voice.ratio
            voice.left -= 1
        if voice.stretch is not None:
            length *= voice.stretch
            voice.stretch = None
        now = voice.now
        if not now.length and not now.notes:
            now.metre = self.metre
        if not 0 < length <= LONGEST or any(not 0 <= pitch < 128 for pitch in pitches):
            self.song.odd += 1
            voice.last = []
            return
        first = len(now.notes)
        now.notes += [(now.length, length, pitch, False) for pitch in pitches]
        now.length += length
        voice.last = list(range(first, len(now.notes)))
        voice.before = length

    def _break(self, voice: _Voice, signs: str) -> None:
        """Broken rhythm: the note before becomes longer and the next shorter, or the reverse."""
        half = Fraction(1, 2 ** len(signs))
        longer, shorter = 2 - half, half
        here, voice.stretch = (longer, shorter) if signs[0] == ">" else (shorter, longer)
        length = voice.before
        if length is None:
            self.song.odd += 1
            voice.stretch = None
            return
        for index in voice.last:
            onset, _, pitch, tied = voice.now.notes[index]
            voice.now.notes[index] = (onset, length * here, pitch, tied)
        voice.now.length += length * (here - 1)

    def _end_bar(self, voice: _Voice, sign: str, ending: str) -> None:
        now = voice.now
        now.length = max(now.length, now.others)
        if now.length:
            now.closing += sign
            now.endings = voice.endings
            voice.measures.append(now)
            voice.now = Measure(opening=sign, metre=self.metre)
        else:
            now.opening += sign
            if voice.measures:
                voice.measures[-1].closing += sign
        if ending or any(mark in sign for mark in (":", "||", "|]")):
            voice.endings = _endings(ending)
        voice.local, voice.left, voice.stretch, voice.last = {}, 0, None, []
        voice.before = voice.chord = None


def _length(text: str) -> Fraction:
    """The number after a note: 2, 3/2, /, //."""
    found = re.fullmatch(r"(\d{0,4})(/*)(\d{0,4})", text)
    if not found:
        return Fraction(0)
    top, slashes, bottom = Fraction(int(found[1] or 1)), len(found[2]), int(found[3] or 0)
    if not slashes:
        return top
    return top / (bottom or 2 ** min(slashes, 10))


def _fraction(text: str) -> Fraction | None:
    found = re.match(r"(\d{1,3})\s*/\s*(\d{1,3})", text)
    if not found or not int(found[1]) or not int(found[2]):
        return None
    return Fraction(int(found[1]), int(found[2]))


def _metre(text: str) -> Metre | None:
    """The metre of an M: field; None: free."""
    if text.startswith("C|"):
        return Metre(2, 2)
    if text.startswith("C"):
        return COMMON
    found = re.match(r"\(?(\d{1,2}(?:\+\d{1,2})*)\)?\s*/\s*(\d{1,2})", text)
    if not found:
        return None
    metre = Metre(sum(map(int, found[1].split("+"))), int(found[2]))
    return metre if metre.is_possible else None


def _key(text: str) -> dict[str, int] | None:
    """The accidentals of a K: field; None: it names no key."""
    found = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)", text)
    own = {
        letter.upper(): ACCIDENTALS[sign]
        for sign, letter in re.findall(r"(?:^|\s)(\^{1,2}|_{1,2}|=)([A-Ga-g])\b", text)
    }
    if not found:
        return own if own or text.lower().startswith(("none", "hp")) else None
    mode = found[3].lower()
    mode = mode if mode == "m" else mode[:3]
    fifths = SHARPS.index(found[1]) - 1 + {"#": 7, "b": -7, "": 0}[found[2]] - MODES.get(mode, 0)
    fifths = max(-7, min(7, fifths))
    if mode == "exp":  # only the accidentals that follow
        return own
    return signature(fifths) | own


def signature(fifths: int) -> dict[str, int]:
    """The accidentals of a key with so many sharps, or, below 0, flats."""
    sharps = dict.fromkeys(SHARPS[: max(0, fifths)], 1)
    return sharps | dict.fromkeys(SHARPS[::-1][: max(0, -fifths)], -1)


def _tempo(text: str) -> float | None:
    """The quarters per minute of a Q: field, e.g. 1/4=120."""
    text = re.sub(r'"[^"]*"', "", text).strip()
    found = re.match(r"((?:\d+/\d+\s*)*)=?\s*(\d{1,4}(?:\.\d+)?)", text)
    if not found or not float(found[2]):
        return None
    beat = sum((_fraction(part) or 0 for part in found[1].split()), Fraction(0)) or Fraction(1, 4)
    bpm = float(found[2]) * float(beat) * 4
    return bpm if 1 <= bpm <= 6000 else None


def _endings(text: str) -> frozenset[int]:
    """The numbers of an ending: 1, 1,3 or 1-3."""
    found: set[int] = set()
    for part in text.strip('"').split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            end = int(last) if last.isdigit() else int(first)
            found |= set(range(int(first), min(end, int(first) + 16) + 1))
    return frozenset(found)


def played(measures: Sequence[Measure]) -> Iterator[Measure]:
    """The measures in the order in which they are played, at most MAX_BARS."""
    start = place = count = 0  # `start`: where the part begins that is repeated
    passes = 1
    while place < len(measures) and count < MAX_BARS:
        measure = measures[place]
        follows = measures[place + 1].endings if place + 1 < len(measures) else frozenset()
        if measure.opening.endswith(":") and place != start:
            start, passes = place, 1
        if measure.endings and passes not in measure.endings:
            place += 1
            continue
        count += 1
        yield measure
        place += 1
        if measure.closing.startswith(":"):
            numbers = {n for m in measures[start:place] for n in m.endings} | follows
            if passes < max({2, *numbers}):
                place, passes = start, passes + 1
                continue
            start, passes = place, 1
        elif measure.endings and not follows:
            start, passes = place, 1


def to_score(song: Song) -> Score:
    """A tune in ABC as it is played."""
    rows: list[list[int]] = []
    metres: list[tuple[int, Metre]] = []
    tempos = {0: song.bpm}
    for part, measures in enumerate(song.voices.values()):
        at = Fraction(0)
        tied: dict[int, int] = {}  # pitch -> the row whose note goes on
        for index, measure in enumerate(played(measures)):
            wanted = measure.metre and Fraction(measure.metre.beats, measure.metre.unit)
            if not index and wanted and measure.length < wanted:
                at = wanted - measure.length  # an upbeat
            if not part and measure.metre is not None:
                if not metres:
                    metres.append((0, measure.metre))
                elif metres[-1][1] != measure.metre:
                    metres.append((round(at * WHOLE), measure.metre))
            if measure.bpm is not None:
                tempos[round(at * WHOLE)] = measure.bpm
            for onset, length, pitch, is_tied in sorted(measure.notes):
                begin, end = round((at + onset) * WHOLE), round((at + onset + length) * WHOLE)
                row = tied.pop(pitch, None)
                if row is not None and rows[row][ONSET] + rows[row][LENGTH] == begin:
                    rows[row][LENGTH] = end - rows[row][ONSET]
                elif len(rows) < MAX_NOTES:
                    rows.append([begin, end - begin, pitch, VELOCITY, part])
                    row = len(rows) - 1
                if is_tied and row is not None:
                    tied[pitch] = row
            at += measure.length
    notes = np.array(rows, np.int64).reshape(-1, 5)
    notes = notes[np.argsort(notes[:, ONSET], kind="stable")]
    parts = [Part(0, number) for number in range(max(1, len(song.voices)))]
    damage = song.trouble if song.odd or not song.has_key else ""
    return Score(notes, parts, metres, sorted(tempos.items()), WHOLE // 4, damage)


def read_book(text: str) -> Iterator[Score]:
    """The tunes of a book."""
    return (to_score(parse(tune)) for tune in tunes_of(text))
