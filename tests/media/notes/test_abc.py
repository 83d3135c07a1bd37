"""ABC notation, read and written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.media.notes.abc import parse, read_book, to_score, tunes_of
from charrnn.media.notes.abc_writing import to_abc
from charrnn.media.notes.midi import on_grid, read_scores
from charrnn.media.notes.tune import Losses, Metre, Tune, one_at_a_time
from tests.tunes import dance, tune_of

HEAD = "X:1\nT:test\nM:4/4\nL:1/8\nK:C\n"
FREE = HEAD.replace("4/4", "none")


def played(body: str, head: str = HEAD) -> list[list[int]]:
    """Onset, length and pitch of each note, in twelfths of a quarter."""
    return on_grid(to_score(parse(head + body))).notes[:, :3].tolist()


def lengths(body: str) -> list[int]:
    return [length for _, length, _ in played(body, FREE)]


def pitches(body: str, head: str = HEAD) -> list[int]:
    return [pitch for *_, pitch in played(body, head)]


def test_pitches() -> None:
    assert pitches("C, C c c' ^C _D =c") == [48, 60, 72, 84, 61, 61, 72]
    assert pitches("F ^F F | F", HEAD) == [65, 66, 66, 65]  # an accidental lasts to the bar line
    assert pitches("F c B", HEAD.replace("K:C", "K:D")) == [66, 73, 71]
    assert pitches("B E", HEAD.replace("K:C", "K:Gmin")) == [70, 63]
    assert pitches("F B", HEAD.replace("K:C", "K:E dor")) == [66, 71]
    assert pitches("B [K:F] B") == [71, 70]


def test_lengths() -> None:
    assert lengths("C C2 C/ C/2 C3/2") == [6, 12, 3, 3, 9]
    assert lengths("C>D C<D") == [9, 3, 3, 9]
    assert lengths("(3CDE F") == [4, 4, 4, 6]
    assert lengths("(3:2:2CD E F") == [4, 4, 6, 6]
    assert lengths("C-C C") == [12, 6]
    assert lengths("[CE]2 C") == [12, 12, 6]
    assert [onset for onset, *_ in played("C z C x2 C", FREE)] == [0, 12, 30]
    assert [onset for onset, *_ in played("C8 | Z | C8")] == [0, 96]


def test_ties_within_chords() -> None:
    assert sorted(played("[C2-E2] C2", FREE)) == [[0, 12, 64], [0, 24, 60]]


def test_what_is_passed_over() -> None:
    assert pitches('"Am"!trill!{cd}C .D ~E (F G) A $ % B') == [60, 62, 64, 65, 67, 69]
    assert pitches("C\nw: a song\nD\n% nothing\nE") == [60, 62, 64]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("|: C8 :| D8 |", [60, 60, 62]),
        ("C8 :| D8 :|", [60, 60, 62, 62]),
        ("|: C8 |1 D8 :|2 E8 || F8 |", [60, 62, 60, 64, 65]),
        ("|: C8 |[1 D8 :|[2 E8 |] F8 |", [60, 62, 60, 64, 65]),
        ("C8 :: D8 :|", [60, 60, 62, 62]),
        ("|: C8 |1,3 D8 :|2 E8 :| F8 |", [60, 62, 60, 64, 60, 62, 65]),
        ("|: C8 |1 D8 :|2 E8 :|: F8 :|", [60, 62, 60, 64, 65, 65]),
        ("C8 | D8 | E8 |]", [60, 62, 64]),
    ],
)
def test_repeats(body: str, expected: list[int]) -> None:
    assert pitches(body) == expected


def test_an_upbeat_stands_before_the_bar_line() -> None:
    (score,) = read_book(HEAD + "C2 | D8 | E8 |")
    tune = on_grid(score)
    assert tune.notes[:, 0].tolist() == [36, 48, 96]
    assert [bar.begin for bar in tune.bars] == [0, 48, 96]


def test_voices() -> None:
    tune = on_grid(to_score(parse(HEAD + "V:1\nC8 | D8 |\nV:2\nE4 G4 | c8 |\n")))
    assert len(tune.parts) == 2
    assert tune.notes[:, 4].tolist() == [0, 1, 1, 0, 1]


def test_a_book() -> None:
    book = HEAD + "C8 |\n\n" + HEAD.replace("M:4/4", "M:6/8").replace("X:1", "X:2") + "D6 |\n"
    assert len(tunes_of(book)) == 2
    first, second = read_book(book.replace("\n", "\r\n"))
    assert first.metres == [(0, Metre(4, 4))]
    assert second.metres == [(0, Metre(6, 8))]


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        (HEAD + "C8 | D8 |", ""),
        (HEAD + "C2 | D8 | E6 :|", ""),
        (HEAD + "C8 | D7 | E8 |", "bar 2 does not add up"),
        (HEAD + "C8 | D9 |", "bar 2 does not add up"),
        (HEAD + "C8 | ; D8 |", "it has 1 signs that are no ABC"),
        (HEAD, "it has no notes"),
        ("X:1\nM:4/4\n", "it has no key (K:)"),
    ],
)
def test_what_is_wrong_with_a_tune(text: str, trouble: str) -> None:
    assert parse(text).trouble == trouble


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="XTMLKQVCDEFGabc123/|:[](){}<>^_='\",-z! \n%&", max_size=200))
def test_no_text_raises(text: str) -> None:
    for score in read_book(HEAD + text):
        on_grid(score)


@pytest.mark.parametrize("body", ["|: C :| " * 3000, "C9999/1 " * 50, "Z9999 |" * 5, "[" * 5000])
def test_hostile_tunes_end(body: str) -> None:
    on_grid(to_score(parse(HEAD + body)))


def same(tune: Tune, text: str) -> None:
    again = on_grid(to_score(parse(text)))
    assert again.notes[:, :3].tolist() == tune.notes[:, :3].tolist()
    assert again.notes[:, 4].tolist() == tune.notes[:, 4].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_a_tune_written_and_read(seed: int) -> None:
    tune = dance(seed)
    text = to_abc(tune, "dance")
    assert parse(text).trouble == ""
    same(tune, text)


rows = st.lists(
    st.tuples(st.integers(0, 48 * 3 - 1), st.integers(1, 60), st.integers(40, 90)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_any_tune_written_and_read(found: list[tuple[int, ...]]) -> None:
    tune = tune_of(found, bars=3)
    tune.notes = one_at_a_time(tune.notes, Losses())
    same(tune, to_abc(tune))


@pytest.mark.skipif(shutil.which("abc2midi") is None, reason="abc2midi is not installed")
@pytest.mark.parametrize(
    "body",
    [
        "|: C2 D2 E2 F2 |1 G4 A4 :|2 B4 c4 || c8 |",
        "(3CDE F2 G>A B<c | [CEG]4 z4 | ^F _B =B c- c4 |",
        "C,2 D'2 e'2 f,2 | (3:2:3 c/d/e/ f3 g4 |",
    ],
)
def test_abc2midi_plays_the_same(body: str, tmp_path: Path) -> None:
    source, target = tmp_path / "a.abc", tmp_path / "a.mid"
    source.write_text(HEAD + body + "\n")
    subprocess.run(["abc2midi", source, "-o", target], check=True, capture_output=True)
    (score,) = read_scores(target.read_bytes())
    theirs, own = on_grid(score).notes, on_grid(to_score(parse(HEAD + body))).notes
    theirs, own = (notes[np.lexsort(notes[:, [0, 2]].T)] for notes in (theirs, own))
    assert np.array_equal(theirs[:, 2], own[:, 2])
    assert np.abs(theirs[:, 0] - own[:, 0]).max() <= 2  # it spreads chords a little


def test_an_empty_line_ends_a_tune() -> None:
    assert pitches("C D |\n\nFeel free to dance") == [60, 62]


def test_fields_and_signs_that_are_not_played() -> None:
    assert pitches("C D [P:A] E [r:a remark] y3 F +trill+ G") == [60, 62, 64, 65, 67]
    assert parse(HEAD + "C4 [P:A] y D4 | +fermata+E8 |").trouble == ""


def test_accidentals() -> None:
    assert pitches("^C c C, | C") == [61, 73, 49, 60]  # in all octaves, to the bar line
    assert played("^C8- | C4 C4 |") == [[0, 72, 61], [72, 24, 60]]  # a tie keeps it
    assert pitches("F C", HEAD.replace("K:C", "K:D exp _b")) == [65, 60]
    assert pitches("B F", HEAD.replace("K:C", "K:D phr ^f")) == [70, 66]


def test_tempo_and_overlay() -> None:
    score = to_score(parse(HEAD.replace("K:C", "Q:1/4=100\nK:C") + "C8 | [Q:1/4=60] D8 |"))
    assert [bpm for _, bpm in score.tempos] == [100, 60]
    assert played("C8 & E8 | G8") == [[0, 48, 64], [0, 48, 60], [48, 48, 67]]
    assert lengths("(5CDEFG") == [2] * 5  # five in the time of two: 2.4


def test_signs_are_right_whether_they_hold_in_one_octave_or_in_all() -> None:
    major = [(6 * k, 6, p) for k, p in enumerate((60, 62, 64, 65, 67, 69, 71, 60))]
    tune = tune_of([*major, (48, 12, 61), (60, 12, 72), (72, 12, 73), (84, 12, 61)])
    assert "^C2 =c2 ^c2 C2" in to_abc(tune)
