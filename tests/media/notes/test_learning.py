"""From files of tunes to steps: what is held out, transposed, left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from charrnn.config import value
from charrnn.data import corpus
from charrnn.data.encode import Encoded, encode
from charrnn.errors import CorpusError
from charrnn.media import MEDIA, medium_for
from charrnn.media.notes.codec import NotesCodec
from charrnn.media.notes.midi import to_midi
from charrnn.media.notes.reading import TuneReader
from charrnn.media.notes.tune import Tune
from charrnn.media.sources import find
from tests.tunes import SCALE, dance, folder_of_tunes, midi, off, on, track, tune_of


def encoded(tmp_path: Path, *files: Path, **data: object) -> tuple[Encoded, list[Tune], list[Tune]]:
    """A corpus, and its tunes: those to learn and those held out."""
    given = {"data": data, "model": {}, "training": {}, "sampling": {}}
    assert value(given, "codec") == "auto"
    found = encode(find(files, MEDIA.values()), "notes", "", given, tmp_path / "corpus.npy")
    codec, steps = found.codec, corpus.read(found.path)
    assert isinstance(codec, NotesCodec)
    assert found.val_fraction is not None
    learnt, held = corpus.split(steps, found.val_fraction)
    return found, codec.decode(learnt.tolist()), codec.decode(held.tolist())


def shape(tune: Tune) -> bytes:
    """What a tune and its shifted copies have in common."""
    notes = tune.notes.copy()
    notes[:, 2] -= notes[0, 2]
    return notes.tobytes()


def test_whole_tunes_are_held_out_and_not_shifted(tmp_path: Path) -> None:
    folder = folder_of_tunes(tmp_path / "tunes", 20)
    found, learnt, held = encoded(tmp_path, folder)
    assert found.held_out == "in 2 whole tunes"
    assert (len(learnt), len(held)) == (18 * 11, 2)
    assert found.documents == 200 + 1  # the first tune, too, follows an end
    assert not {shape(tune) for tune in learnt} & {shape(tune) for tune in held}
    originals = {dance(seed).notes[:, :3].tobytes() for seed in range(20)}
    assert all(tune.notes[:, :3].tobytes() in originals for tune in held)
    assert sum(tune.notes[:, :3].tobytes() in originals for tune in learnt) == 18


def test_transposition(tmp_path: Path) -> None:
    folder = folder_of_tunes(tmp_path / "tunes", 4)
    for semitones, copies in ((0, 1), (2, 5)):
        found, learnt, _ = encoded(tmp_path, folder, transpose=semitones)
        assert len(learnt) == 3 * copies
        assert any("--transpose 0" in notice for notice in found.notices) == (semitones > 0)
    by_shape: dict[bytes, set[int]] = {}
    for tune in learnt:
        by_shape.setdefault(shape(tune), set()).add(int(tune.notes[0, 2]))
    assert all(max(firsts) - min(firsts) == 4 for firsts in by_shape.values())


def test_copies_stay_within_the_range_of_midi_and_drums_stay(tmp_path: Path) -> None:
    low = tune_of([(0, 12, 2), (12, 12, 125)])
    drums = midi(track([(0, on(36, channel=9)), (480, off(36, channel=9)), *SCALE]))
    (tmp_path / "low.mid").write_bytes(to_midi(low))
    (tmp_path / "drums.mid").write_bytes(drums)
    (tmp_path / "other.mid").write_bytes(to_midi(dance(1)))
    _, learnt, held = encoded(
        tmp_path, tmp_path / "low.mid", tmp_path / "drums.mid", tmp_path / "other.mid"
    )
    every = learnt + held
    assert sum(tune.notes[:, 2].max() - tune.notes[:, 2].min() == 123 for tune in every) in (1, 5)
    pitches = {tuple(tune.notes[tune.is_drum, 2]) for tune in every if tune.is_drum.any()}
    assert pitches == {(36,)}


def test_the_end_of_a_single_tune_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "one.mid").write_bytes(to_midi(dance(1, bars=40)))
    found, learnt, held = encoded(tmp_path, tmp_path / "one.mid", transpose=0)
    assert found.held_out == "from the end of the tune"
    assert len(learnt) == 1
    assert len(learnt[0].bars) + sum(len(tune.bars) for tune in held) <= 40


def test_performances_have_no_metre(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "free").mkdir()
    for number in range(4):
        events = [
            event
            for delta, pitch in zip(
                random.integers(37, 400, 60), random.integers(50, 80, 60), strict=True
            )
            for event in ((int(delta), on(pitch)), (41, off(pitch)))
        ]
        (tmp_path / "free" / f"{number}.mid").write_bytes(midi(track(events)))
    found, learnt, _ = encoded(tmp_path, tmp_path / "free")
    assert isinstance(found.codec, NotesCodec)
    assert found.codec.in_seconds
    assert any("as a performance" in notice for notice in found.notices)
    assert learnt[0].per_quarter == 100


def test_broken_files_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    folder = folder_of_tunes(tmp_path / "tunes", 4)
    (folder / "broken.mid").write_bytes(b"nothing of the kind")
    (folder / "empty.mid").write_bytes(b"")
    (folder / "silent.mid").write_bytes(midi(track([])))
    (folder / "cut.mid").write_bytes(to_midi(dance(9))[:-40])
    found, *_ = encoded(tmp_path, folder)
    said = "\n".join(found.notices)
    for words in ("left out", "broken.mid has no MIDI header", "empty.mid is empty", "silent.mid"):
        assert words in said
    assert "cut.mid: it is cut short" in said
    with pytest.raises(CorpusError, match=r"broken\.mid: has no MIDI header"):
        encoded(tmp_path, folder / "broken.mid")


def test_a_book_in_abc(tmp_path: Path) -> None:
    tunes = [f"X:{k}\nT:t\nM:4/4\nL:1/8\nK:C\n|: C2DE F2GA | {'BAGF' * 2} :|\n\n" for k in range(6)]
    (tmp_path / "book.abc").write_text("".join(tunes))
    sources = find([tmp_path / "book.abc"], MEDIA.values())
    assert medium_for(sources, list(MEDIA.values())).name == "text"
    found, learnt, held = encoded(tmp_path, tmp_path / "book.abc", transpose=0)
    assert found.documents == 7
    assert [len(tune.bars) for tune in learnt + held] == [4] * 6


def test_an_evaluation_counts_what_it_reads(tmp_path: Path) -> None:
    folder = folder_of_tunes(tmp_path / "tunes", 5)
    codec = encoded(tmp_path, folder)[0].codec
    assert isinstance(codec, NotesCodec)
    reader = codec.reader(find([folder], MEDIA.values()), None)
    assert isinstance(reader, TuneReader)
    steps = np.concatenate(list(reader))
    report = reader.report(steps, len(steps) - 1, 1.0)
    assert report.values["tunes"] == 5
    assert report.values["notes"] == sum(len(dance(seed).notes) for seed in range(5))
    assert report.values["nats_per_tune"] == (len(steps) - 1) / 5
