"""MIDI files, whole, odd and broken."""

from __future__ import annotations

import io
import struct
import time

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.media.notes.midi import MidiError, Score, on_grid, read_scores, to_midi
from charrnn.media.notes.tune import MAX_LENGTH, Metre, Part, Tune
from tests.tunes import SCALE, dance, midi, off, on, track, tune_of


def only(data: bytes) -> Score:
    (score,) = read_scores(data)
    return score


def rows(tune: Tune) -> list[list[int]]:
    return tune.notes[:, :3].tolist()


WHOLE = [[0, 12, 60], [12, 12, 62], [24, 12, 64], [36, 12, 65]]
RUNNING = [(0, on(60)), (480, bytes([60, 0])), (0, bytes([62, 90])), (480, bytes([62, 0]))]


def test_a_scale() -> None:
    for form in (0, 1):
        assert rows(on_grid(only(midi(track(SCALE), form=form)))) == WHOLE


def test_running_status() -> None:
    assert rows(on_grid(only(midi(track(RUNNING))))) == WHOLE[:2]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda data: b"RIFF" + struct.pack("<I", len(data) + 12) + b"RMIDdata\0\0\0\0" + data,
        lambda data: bytes(128) + data,
        lambda data: data + b"trailing bytes",
    ],
    ids=["RMID", "MacBinary", "more"],
)
def test_a_file_within_another(wrapped: object) -> None:
    assert callable(wrapped)
    assert rows(on_grid(only(wrapped(midi(track(SCALE)))))) == WHOLE


def test_no_end_of_track_and_notes_without_end() -> None:
    assert rows(on_grid(only(midi(track(SCALE, end=False))))) == WHOLE
    held = [(0, on(60)), (480, on(64)), (480, off(64))]
    assert rows(on_grid(only(midi(track(held))))) == [[0, 24, 60], [12, 12, 64]]


def test_smpte_counts_seconds() -> None:
    score = only(midi(track(SCALE), division=0xE728))  # 25 frames of 40 ticks: a second is 1000
    assert score.ticks == 500
    assert rows(on_grid(score))[0] == [0, 12, 60]


def test_format_2_holds_a_tune_in_each_track() -> None:
    scores = list(read_scores(midi(track(SCALE), track(SCALE[:4]), form=2)))
    assert [len(score.notes) for score in scores] == [4, 2]


def test_the_pedal_lengthens_notes_until_they_are_struck_again() -> None:
    pedal = [(0, b"\xb0\x40\x7f"), *SCALE[:2], *SCALE[:2], (480, b"\xb0\x40\x00")]
    assert rows(on_grid(only(midi(track(pedal))))) == [[0, 12, 60], [12, 24, 60]]


def test_metre_and_tempo_change() -> None:
    meta = [
        (0, b"\xff\x58\x04\x03\x02\x18\x08"),
        (0, b"\xff\x51\x03\x07\xa1\x20"),
        (1440, b"\xff\x58\x04\x06\x03\x18\x08"),
        (0, b"\xff\x51\x03\x0f\x42\x40"),
    ]
    tune = on_grid(only(midi(track(meta), track(SCALE * 2))))
    assert [bar.metre for bar in tune.bars] == [Metre(3, 4), Metre(6, 8), Metre(6, 8)]
    assert tune.tempos == [(0, 120.0), (36, 60.0)]
    assert tune.seconds([12, 48]).tolist() == [0.5, 2.5]


def test_a_bar_that_is_cut_short_by_another_metre() -> None:
    meta = [(0, b"\xff\x58\x04\x04\x02\x18\x08"), (720, b"\xff\x58\x04\x03\x02\x18\x08")]
    tune = on_grid(only(midi(track(meta), track(SCALE))))
    assert [str(bar.metre) for bar in tune.bars] == ["3/8", "3/4"]
    assert [bar.length for bar in tune.bars] == [18, 36]


def test_drums_and_programs_are_parts() -> None:
    events = [(0, b"\xc0\x05"), (0, on(60)), (0, on(36, channel=9)), (480, off(60)), *SCALE[:2]]
    score = only(midi(track(events), track([(0, on(48)), (480, off(48))]), form=1))
    assert set(score.parts) == {Part(5), Part(0, 0, is_drum=True), Part(0)}


def test_what_does_not_fit_is_counted() -> None:
    late = [(10, on(60)), (470, off(60)), (0, on(60)), (480 * 100, off(60))]
    tune = on_grid(only(midi(track(late))))
    assert (tune.losses.moved, tune.losses.cut) == (1, 1)
    assert tune.notes[1, 1] == MAX_LENGTH
    twice = [(0, on(60)), (0, on(60)), (480, off(60)), (480, off(60))]
    assert on_grid(only(midi(track(twice)))).losses.left_out == 1


@pytest.mark.parametrize("data", [b"", b"MThd", b"no MIDI at all" * 10, bytes(1000)])
def test_what_is_no_midi(data: bytes) -> None:
    with pytest.raises(MidiError, match=r"has no MIDI header|is empty"):
        list(read_scores(data))


def test_a_file_that_is_cut_is_read_up_to_there() -> None:
    whole = midi(track(SCALE))
    score = only(whole[:-14])
    assert score.damage == "it is cut short"
    assert rows(on_grid(score))[:2] == WHOLE[:2]


@pytest.mark.parametrize("status", [0xF1, 0xF2, 0xF4, 0xF5, 0xF6, 0xF9, 0xFD])
def test_messages_that_do_not_belong_in_a_file(status: int) -> None:
    extra = bytes([status]) + bytes({0xF1: 1, 0xF2: 2}.get(status, 0))
    score = only(midi(track([*SCALE[:4], (0, extra), *SCALE[4:]])))
    assert rows(on_grid(score)) == WHOLE


def test_hostile_files_take_little_time() -> None:
    million = [event for _ in range(500_000) for event in ((0, on(60)), (1, off(60)))]
    far = [(0x0FFFFFFF, on(60)), (0x0FFFFFFF, off(60))] * 30
    zero = [(0, b"\xff\x51\x03\x00\x00\x00"), (0, b"\xff\x58\x04\x00\x40\x18\x08"), *SCALE]
    files = (
        midi(track(million)),
        midi(track(far)),
        midi(track(zero)),
        midi(track(SCALE), division=0),
        midi(*[track([])] * 2000),
        midi(b"MTrk\xff\xff\xff\xff" + b"\x00" * 50),
    )
    for data in files:
        for score in read_scores(data):
            started = time.process_time()
            on_grid(score)
            on_grid(score, in_seconds=True)
            assert time.process_time() - started < 20  # seconds rather than hours


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_file_raises_another_error(data: st.DataObject) -> None:
    whole = bytearray(midi(track(SCALE), track(RUNNING)))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        for score in read_scores(bytes(whole[:cut])):
            on_grid(score)
            on_grid(score, in_seconds=True)
    except MidiError:
        pass


@pytest.mark.parametrize("seed", range(5))
def test_written_files_are_read_by_others(seed: int) -> None:
    tune = dance(seed)
    data = to_midi(tune)
    other = mido.MidiFile(file=io.BytesIO(data))
    assert other.type == 1
    sounding = sum(m.type == "note_on" and m.velocity > 0 for t in other.tracks for m in t)
    assert sounding == len(tune.notes)
    again = on_grid(only(data))
    assert np.array_equal(again.notes, tune.notes)
    assert again.bars == tune.bars


def test_a_tune_without_notes_can_be_written() -> None:
    assert only(to_midi(tune_of([]))).notes.shape == (0, 5)


def test_two_parts_of_one_program_stay_apart() -> None:
    tune = tune_of([(0, 12, 60, 80, 0), (0, 24, 60, 80, 1)], parts=2)
    assert np.array_equal(on_grid(only(to_midi(tune))).notes, tune.notes)


def test_a_note_without_end_lasts_to_the_end_of_the_track() -> None:
    data = midi(track([(0, on(60)), (480, b"\xff\x2f\x00")], end=False))
    assert rows(on_grid(only(data))) == [[0, 12, 60]]


def test_the_pedal_of_a_piano_holds_both_hands() -> None:
    pedal = [(0, b"\xb0\x40\x7f"), *SCALE[:2], (480, b"\xb0\x40\x00")]
    tune = on_grid(only(midi(track(pedal), track([(0, on(48)), (240, off(48))]))))
    assert rows(tune) == [[0, 24, 60], [0, 24, 48]]
    never_lifted = [(0, b"\xb0\x40\x7f"), *SCALE[:2], (480, on(70)), (10, off(70))]
    assert rows(on_grid(only(midi(track(never_lifted)))))[0] == [0, 24, 60]


def test_parts_are_in_order_and_no_more_than_channels() -> None:
    tune = tune_of([(0, 12, 60, 80, 0), (0, 12, 72, 80, 1)], parts=2)
    tune.parts = [Part(40), Part(0)]
    again = on_grid(only(to_midi(tune)))
    assert again.parts == [Part(0), Part(40)]
    assert again.notes[:, [2, 4]].tolist() == [[72, 0], [60, 1]]
    many = midi(*[track([(0, on(40 + k % 60)), (480, off(40 + k % 60))]) for k in range(200)])
    tune = on_grid(only(many))
    assert len(tune.parts) == 15
    assert tune.losses.other_part == 185


def test_a_metre_whose_bars_are_off_the_grid_is_passed_over() -> None:
    odd = [(0, b"\xff\x58\x04\x05\x05\x18\x08")]  # 5/32
    assert on_grid(only(midi(track(odd), track(SCALE)))).bars[0].metre == Metre(4, 4)
