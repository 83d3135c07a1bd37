"""Comparing tunes with a corpus, rendering and drawing them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from charrnn.media.notes.codec import NotesCodec
from charrnn.media.notes.events import BACK
from charrnn.media.notes.judging import (
    MOST_ADDED,
    PER_FOLD,
    Listener,
    TuneCritic,
    form,
    in_scale,
    intervals,
    melody,
    runs,
)
from charrnn.media.notes.picture import draw
from charrnn.media.notes.settings import NotesSettings
from charrnn.media.notes.synth import RATE, TAIL_S, Renderer
from charrnn.media.notes.tune import Part, Tune
from charrnn.media.product import Drawn
from tests.media.notes.test_web import codec_of
from tests.tunes import dance, tune_of


def shuffled(tune: Tune, seed: int) -> Tune:
    """The same with its pitches mixed up."""
    notes = tune.notes.copy()
    notes[:, 2] = np.random.default_rng(seed).permutation(notes[:, 2])
    return Tune(notes, tune.parts, tune.bars)


def test_the_melody_is_the_highest_note() -> None:
    tune = tune_of([(0, 12, 60), (0, 12, 67), (12, 12, 62)])
    assert melody(tune).tolist() == [[0, 67], [12, 62]]
    assert intervals([tune])[16 - 5] == 1


def test_scale_and_form() -> None:
    c_major = [(12 * k, 12, p) for k, p in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]
    assert in_scale(tune_of(c_major)) == 1
    assert in_scale(tune_of([(12 * k, 12, 60 + k) for k in range(8)])) < 0.8
    assert form(dance(1, bars=16)) > 0.4
    assert form(tune_of([(12 * k, 12, 30 + 7 * k % 60) for k in range(32)], bars=8)) < 0.3
    assert form(tune_of([])) == 0


def test_tunes_like_the_corpus_are_nearer_than_noise() -> None:
    listener = Listener([dance(seed) for seed in range(40)])
    other = listener.figures([dance(seed) for seed in range(100, 110)])
    noise = listener.figures([shuffled(dance(seed), seed) for seed in range(100, 110)])
    for name in ("melody", "chords", "form"):
        assert noise[name] < other[name] - 0.1
    assert other["rhythm"] == pytest.approx(1)
    assert other["scale"] == pytest.approx(1, abs=0.05)
    assert other["new"] > 0.9


def test_copies_are_not_new() -> None:
    tunes = [dance(seed) for seed in range(10)]
    assert Listener(tunes).figures(tunes[:3])["new"] == 0
    higher = tune_of([(*row[:2], row[2] + 3, *row[3:]) for row in tunes[0].notes.tolist()], 8, 2)
    assert runs(higher) == runs(tunes[0])


def test_form_that_is_lacking_is_learnt() -> None:
    tunes = [dance(seed) for seed in range(12)]
    codec = codec_of(tunes)
    critic = TuneCritic(codec, np.concatenate([codec.encode(tune) for tune in tunes]))

    def drawn(tunes: list[Tune], codec: NotesCodec = codec) -> Iterator[Iterator[Drawn]]:
        return ((Drawn(step) for step in codec.encode(tune).tolist()) for tune in tunes)

    rows = [
        (48 * bar + 12 * k, 12, int(pitch))
        for bar in range(8)
        for k, pitch in enumerate(np.random.default_rng(bar).choice([60, 62, 64, 67, 69], 4))
    ]
    formless = [tune_of(rows, bars=8)]
    first = critic.look(drawn(formless), NotesSettings())
    assert first.figures is not None
    assert isinstance(first.learnt, NotesCodec)
    added = min(MOST_ADDED, -PER_FOLD * math.log(first.figures["form"]))
    assert added > 0.2
    assert first.learnt.repeats == pytest.approx(added)
    second = critic.look(drawn(formless), NotesSettings())
    assert isinstance(second.learnt, NotesCodec)
    assert second.learnt.repeats == pytest.approx(2 * added)
    again = critic.look(drawn(tunes), NotesSettings())
    assert isinstance(again.learnt, NotesCodec)
    assert again.learnt.repeats == pytest.approx(second.learnt.repeats, abs=0.05)
    silent = [tune_of([(0, 12, 60)], bars=1)]
    assert critic.look(drawn(silent), NotesSettings()).learnt is None  # they say nothing
    assert critic.look(drawn(formless), NotesSettings(repeats=0.0)).learnt is None
    flat = codec_of(formless)
    assert not flat.values(BACK)  # it knows no bar that equals an earlier one
    critic = TuneCritic(flat, np.concatenate([flat.encode(tune) for tune in formless]))
    assert critic.look(drawn(formless, flat), NotesSettings()).learnt is None


def test_nothing_to_judge() -> None:
    listener = Listener([tune_of([(0, 12, 60)])])
    assert set(listener.figures([]).values()) == {0.0}
    assert set(listener.figures([tune_of([])]).values()) == {0.0}


def frequency(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound))
    return float(spectrum.argmax() * RATE / len(sound))


def test_the_sound_of_a_note() -> None:
    tune = tune_of([(0, 24, 69)], bars=1)
    sound = np.concatenate(list(Renderer(tune)))
    assert len(sound) == Renderer(tune).samples == round((2 + TAIL_S) * RATE)
    assert frequency(sound[: RATE // 2]) == pytest.approx(440, abs=2)
    assert np.abs(sound[: RATE // 2]).max() > 0.05
    assert np.abs(sound[round(1.4 * RATE) :]).max() < 1e-3  # it lasts a second


def test_many_notes_do_not_clip_and_blocks_fit() -> None:
    rows = [(k, 96, 40 + k, 127) for k in range(48)]
    sound = np.concatenate(list(Renderer(tune_of(rows, bars=3))))
    assert np.abs(sound).max() <= 1
    steps = np.abs(np.diff(sound[RATE - 50 : RATE + 50]))
    assert steps.max() < 0.5  # no click where two blocks meet


@pytest.mark.parametrize("pitch", [36, 38, 42, 49])
def test_drums_sound(pitch: int) -> None:
    tune = tune_of([(0, 12, pitch)], bars=1)
    tune.parts = [Part(0, 0, is_drum=True)]
    assert np.abs(np.concatenate(list(Renderer(tune)))).max() > 0.05


def test_nothing_to_hear() -> None:
    assert Renderer(tune_of([])).samples == 0


def test_a_piano_roll(tmp_path: Path) -> None:
    draw(tmp_path / "roll.png", [("one", dance(1)), ("nothing", tune_of([]))])
    with Image.open(tmp_path / "roll.png") as opened:
        picture = np.asarray(opened)
    blue = (picture == (30, 90, 180)).all(-1)
    assert blue[:216].sum() > 500
    assert not blue[216:].any()
