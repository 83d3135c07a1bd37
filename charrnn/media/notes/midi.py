"""Reads MIDI files with symusic, also broken ones as far as they are sound, and writes them."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.media.notes.tune import (
    IN_SECONDS,
    LENGTH,
    MAX_BARS,
    MAX_LENGTH,
    ONSET,
    PART,
    PITCH,
    PITCHES,
    QUARTER,
    SECOND,
    TEMPO,
    VELOCITY,
    Losses,
    Metre,
    Part,
    Tune,
    bar_steps,
    bars_of,
    in_order,
    one_at_a_time,
)

HEADER = b"MThd"
WITHIN = 1 << 16  # bytes in which the header must begin: RIFF and MacBinary put some before it
MAX_BYTES = 1 << 26
END_OF_TRACK = b"\xff\x2f\x00"  # after a time
CHANNELS = 16
PEDAL = 64  # controller
LONGEST_REST = 10_000  # quarters; what follows a longer one is left out
ON_GRID = 0.1  # of a grid step: notes farther off count as moved
# Closes every note of every channel, so that those without an end last to the end of the track;
# symusic would leave them out.
CLOSING = b"".join(
    bytes([0, 0x80 | channel, pitch, 0]) for channel in range(CHANNELS) for pitch in range(PITCHES)
)
DATA_BYTES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}  # of a channel message
SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # of a message that does not belong in a file; others: 0


class MidiError(ValueError):
    """The bytes contain no MIDI file; the message says why."""


@dataclass
class Score:
    """The notes of a MIDI file in their own times.

    Attributes:
        notes: (N, 5), as in `tune.COLUMNS`, but in ticks.
        parts: the instruments.
        metres: tick and metre.
        tempos: tick and quarters per minute.
        ticks: per quarter note.
        damage: what is wrong with the file; may be empty.
    """

    notes: NDArray[np.int64]
    parts: list[Part]
    metres: list[tuple[int, Metre]] = field(default_factory=list)
    tempos: list[tuple[int, float]] = field(default_factory=list)
    ticks: int = 480
    damage: str = ""

    @property
    def off_grid(self) -> int:
        """How many notes begin farther than a tenth of a grid step from the grid."""
        steps = self.notes[:, ONSET] * (QUARTER / self.ticks)
        return int((np.abs(steps - np.rint(steps)) > ON_GRID).sum())

    def seconds(self, ticks: NDArray[np.integer]) -> NDArray[np.float64]:
        """The times of ticks, (n,), in seconds."""
        tune = Tune(self.notes, self.parts, [], self.tempos or [(0, TEMPO)], self.ticks)
        return tune.seconds(ticks)


def read_scores(data: bytes) -> Iterator[Score]:
    """The tunes of a MIDI file: one, or in format 2 one for each track.

    Args:
        data: the file; what follows a fault in a track is left out.

    Raises:
        MidiError: there is no header, or the file is too long.
    """
    import symusic

    header = data.find(HEADER, 0, WITHIN)
    if header < 0 or len(data) < header + 14:
        raise MidiError("has no MIDI header" if data else "is empty")
    if len(data) > MAX_BYTES:
        raise MidiError(
            f"has {len(data) / 1e6:,.0f} MB; a MIDI file may have {MAX_BYTES / 1e6:,.0f}"
        )
    length, form, _, division = struct.unpack(">IHHH", data[header + 4 : header + 14])
    ticks, damage = division, ""
    if is_smpte := bool(division & 0x8000):  # frames per second and ticks per frame; a quarter of
        ticks = (256 - (division >> 8)) * (division & 0xFF) // 2  # TEMPO is half a second
    if not 0 < ticks < 0x8000:
        ticks, damage = 480, "its header has no division"
    tracks: list[tuple[bytes, bool]] = []  # events, and whether they had an end
    for track, fault in _tracks(data, header + 8 + (length if 6 <= length <= 1024 else 6)):
        tracks.append((track.removesuffix(END_OF_TRACK), track.endswith(END_OF_TRACK)))
        damage = damage or fault
    for together in [[track] for track in tracks] if form == 2 else [tracks]:
        try:
            score = symusic.Score.from_midi(_file(together, ticks))
        except RuntimeError:
            whole = [(_sound_part(track), False) for track, _ in together]
            damage = damage or "it has an event that is no MIDI"
            try:
                score = symusic.Score.from_midi(_file(whole, ticks))
            except RuntimeError as error:  # a fault that is new to us
                raise MidiError(f"cannot be read ({error})") from None
        yield _score(score, ticks, damage, is_smpte)


def _tracks(data: bytes, at: int) -> Iterator[tuple[bytes, str]]:
    """The events of each track, and what is wrong with it."""
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        at += 8
        if kind == b"MTrk":
            events = data[at : at + length]
            yield events, "it is cut short" if at + length > len(data) else ""
        elif not kind.isalpha():
            yield b"", "it has bytes between its tracks that are no MIDI"
            return
        at += length


def _file(tracks: Sequence[tuple[bytes, bool]], ticks: int) -> bytes:
    """A MIDI file of these tracks, in which every note has an end."""
    parts = [HEADER, struct.pack(">IHHH", 6, 1, len(tracks), ticks)]
    for events, has_end in tracks:
        # Of a track that has an end, its time is still there.
        closing = CLOSING[1:] if has_end else CLOSING
        events += closing + _pedals_up(events) + b"\x00" + END_OF_TRACK
        parts += [b"MTrk", struct.pack(">I", len(events)), events]
    return b"".join(parts)


def _pedals_up(events: bytes) -> bytes:
    """Lifts the pedal in the channels in which it is pressed."""
    found = bytearray()
    for channel in range(CHANNELS):
        pressed = re.escape(bytes([0xB0 | channel, PEDAL])) + b"[\x40-\x7f]"
        if re.search(pressed, events, re.S):
            found += bytes([0, 0xB0 | channel, PEDAL, 0])
    return bytes(found)


def _sound_part(events: bytes) -> bytes:
    """The events of a track before the first that is none, and without those that symusic does not
    know."""
    kept, at, status = bytearray(), 0, 0
    while True:
        begin = at
        delta_end, _ = _number(events, at)
        at = delta_end
        if at >= len(events):
            return bytes(kept)
        byte = events[at]
        if byte & 0x80:
            at, status = at + 1, byte
        if status >> 4 in DATA_BYTES:
            end = at + DATA_BYTES[status >> 4]
            if any(value & 0x80 for value in events[at:end]):
                return bytes(kept)
        elif status in (0xFF, 0xF0, 0xF7):
            at, length = _number(events, at + (status == 0xFF))
            end = at + length
            if status == 0xFF and events[begin:at].endswith(b"\x2f\x00"):
                return bytes(kept)  # the end of the track
        else:
            at, status = at + SYSTEM_BYTES.get(status, 0), 0
            continue
        if end > len(events):
            return bytes(kept)
        if not byte & 0x80:  # running status: write it out
            kept += events[begin:delta_end] + bytes([status])
        kept += events[delta_end if not byte & 0x80 else begin : end]
        at = end


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length: where it ends, and its value."""
    value = 0
    for place in range(at, min(at + 4, len(data))):
        value = value << 7 | data[place] & 0x7F
        if not data[place] & 0x80:
            return place + 1, value
    return len(data) + 1, value


def _score(score: Any, ticks: int, damage: str, is_smpte: bool) -> Score:
    """The notes of a file that symusic has read."""
    blocks, parts = [], []
    counts: dict[tuple[int, bool], int] = {}
    pedals = _pedals(score.tracks)
    for track in score.tracks:
        if not len(track.notes):
            continue
        kind = (0 if track.is_drum else int(track.program) % 128, bool(track.is_drum))
        number = counts[kind] = counts.get(kind, -1) + 1
        number = 0 if kind[1] else number
        part = Part(kind[0], number, kind[1])
        if part not in parts:
            parts.append(part)
        own = track.notes.numpy()
        block = np.zeros((len(own["time"]), 5), np.int64)
        block[:, ONSET], block[:, LENGTH] = own["time"], own["duration"]
        block[:, PITCH], block[:, VELOCITY] = own["pitch"], own["velocity"]
        block[:, PART] = parts.index(part)
        if not part.is_drum:
            _lengthen(block, pedals[part.program])
        blocks.append(block)
    notes = np.concatenate([np.zeros((0, 5), np.int64), *blocks])
    is_odd = (notes[:, ONSET] < 0) | (notes[:, LENGTH] < 0) | (notes[:, PITCH] >= PITCHES)
    notes = notes[~is_odd & (notes[:, PITCH] >= 0)]
    notes = notes[np.argsort(notes[:, ONSET], kind="stable")]
    rests = np.diff(notes[:, ONSET], prepend=0) > LONGEST_REST * ticks
    if is_odd.any() or rests.any():
        damage = damage or "it has a rest of hours"
        notes = notes[: int(np.argmax(rests))] if rests.any() else notes
    metres = [
        (int(change.time), Metre(int(change.numerator), int(change.denominator)))
        for change in score.time_signatures
    ]
    tempos = {int(change.time): float(change.qpm) for change in score.tempos}
    tempos = {} if is_smpte else {at: bpm for at, bpm in tempos.items() if 1 <= bpm <= 6000}
    if min(tempos, default=1) > 0:
        tempos[0] = TEMPO
    in_order = sorted(tempos.items())
    return Score(notes, parts, _metres(metres), in_order, ticks, damage)


def _metres(found: Sequence[tuple[int, Metre]]) -> list[tuple[int, Metre]]:
    """The changes of metre, without repeats and impossible ones."""
    changes: dict[int, Metre] = {}
    for at, metre in found:
        # Of others, the bars would be off the grid.
        if at >= 0 and metre.is_possible and metre.quarters * QUARTER % 1 == 0:
            changes[at] = metre
    kept: list[tuple[int, Metre]] = []
    for at, metre in sorted(changes.items()):
        if not kept or kept[-1][1] != metre:
            kept.append((at, metre))
    return kept


def _pedals(tracks: Any) -> dict[int, NDArray[np.int64]]:
    """For each program when its pedal is down, (n, 2), in order.

    A pedal is one of a channel, which symusic does not tell; but a piano whose hands have a track
    each has one program.
    """
    found: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
    for track in tracks:
        own = found[int(track.program) % 128]
        if len(track.pedals) and not track.is_drum:
            spans = track.pedals.numpy()
            downs = np.asarray(spans["time"], np.int64)
            own.append(np.stack([downs, downs + np.asarray(spans["duration"], np.int64)], 1))
    empty = np.zeros((0, 2), np.int64)
    joined = {program: np.concatenate([empty, *own]) for program, own in found.items()}
    return {program: own[np.argsort(own[:, 0])] for program, own in joined.items()}


def _lengthen(notes: NDArray[np.int64], pedals: NDArray[np.int64]) -> None:
    """Let notes that end while the pedal is down sound until it is lifted, or their pitch is
    struck again."""
    if not len(pedals):
        return
    downs, ups = pedals[:, 0], np.maximum.accumulate(pedals[:, 1])
    ends = notes[:, ONSET] + notes[:, LENGTH]
    places = np.searchsorted(downs, ends, "right") - 1
    held = (places >= 0) & (ups[places] > ends)
    ends[held] = ups[places[held]]
    ordered = np.lexsort((notes[:, ONSET], notes[:, PITCH]))
    pitches, onsets = notes[ordered, PITCH], notes[ordered, ONSET]
    nexts = np.full(len(notes), np.iinfo(np.int64).max)
    is_same = pitches[1:] == pitches[:-1]
    nexts[ordered[:-1][is_same]] = onsets[1:][is_same]
    longest = np.maximum(nexts - notes[:, ONSET], notes[:, LENGTH])
    notes[:, LENGTH] = np.minimum(ends - notes[:, ONSET], longest)


def on_grid(score: Score, *, in_seconds: bool = False) -> Tune:
    """A score as a tune on the grid.

    Args:
        score: the notes of a file.
        in_seconds: a performance without a metre: the grid counts hundredths of a second.
    """
    losses = Losses()
    notes = score.notes.copy()
    ends = notes[:, ONSET] + notes[:, LENGTH]
    onsets: NDArray[Any]
    lengths: NDArray[Any]
    if in_seconds:
        onsets = score.seconds(notes[:, ONSET]) * SECOND
        lengths = score.seconds(ends) * SECOND - onsets
        metres, tempos, per_quarter = [(0, IN_SECONDS)], [(0, 60.0)], SECOND
    else:
        scale = QUARTER / score.ticks
        onsets, lengths = notes[:, ONSET] * scale, notes[:, LENGTH] * scale
        metres = [(round(at * scale), metre) for at, metre in score.metres]
        tempos = [(round(at * scale), bpm) for at, bpm in score.tempos]
        per_quarter = QUARTER
    notes[:, ONSET] = np.rint(onsets)
    notes[:, LENGTH] = np.maximum(1, np.rint(lengths))
    losses.moved = int((np.abs(onsets - notes[:, ONSET]) > ON_GRID).sum())
    is_long = notes[:, LENGTH] > MAX_LENGTH
    losses.cut = int(is_long.sum())
    notes[is_long, LENGTH] = MAX_LENGTH
    end = int(notes[:, ONSET].max()) + 1 if len(notes) else 0
    bars = bars_of(metres, end, per_quarter)
    if len(bars) == MAX_BARS:
        is_in = notes[:, ONSET] < bars[-1].begin + bars[-1].length
        losses.left_out = int((~is_in).sum())
        notes = notes[is_in]
    notes, parts = in_order(notes, score.parts, losses)
    notes = one_at_a_time(notes, losses)
    return Tune(notes, parts, bars, tempos, per_quarter, losses)


def to_midi(tune: Tune) -> bytes:
    """A MIDI file of format 1: a track for each part, with tempo and metre.

    Args:
        tune: at most 15 parts besides drums.
    """
    import symusic

    ticks = 480 if tune.per_quarter == QUARTER else 500
    scale = ticks // tune.per_quarter
    score: Any = symusic.Score(ticks)
    for at, bpm in tune.tempos:
        score.tempos.append(symusic.Tempo(at * scale, bpm))
    last: Metre | None = None
    expected = 0
    for bar in tune.bars:
        if bar.metre != IN_SECONDS and (bar.metre != last or bar.begin != expected):
            score.time_signatures.append(symusic.TimeSignature(bar.begin * scale, *bar.metre))
        last, expected = bar.metre, bar.begin + bar_steps(bar.metre, tune.per_quarter)
    for index, part in enumerate(tune.parts):
        own = tune.notes[tune.notes[:, PART] == index]
        if not len(own):
            continue
        track: Any = symusic.Track("", part.program, part.is_drum)
        columns = (ONSET, LENGTH, PITCH, VELOCITY)
        onset, length, pitch, velocity = (own[:, column] for column in columns)
        track.notes = symusic.Note.from_numpy(
            (onset * scale).astype(np.int32),
            (length * scale).astype(np.int32),
            pitch.astype(np.int8),
            velocity.astype(np.int8),
        )
        score.tracks.append(track)
    return bytes(score.dumps_midi())
