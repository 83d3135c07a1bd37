"""What the page of a model of notes computes, held against the program itself."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.media.notes import events
from charrnn.media.notes.codec import NotesCodec
from charrnn.media.notes.events import Constants
from charrnn.media.notes.grammar import TuneRules
from charrnn.media.notes.midi import on_grid, read_scores, to_midi
from charrnn.media.notes.synth import RATE, Renderer
from charrnn.media.notes.tune import (
    Bar,
    Losses,
    Metre,
    Part,
    Tune,
    bars_of,
    one_at_a_time,
    sort,
)
from charrnn.media.notes.webpage import web_page
from tests.conftest import ROOT
from tests.tunes import dance, tune_of

pytestmark = pytest.mark.browser
WEB = Path(web_page.__code__.co_filename).with_name("web")
PARTS = [Part(0), Part(33), Part(40, 1), Part(0, 0, is_drum=True)]


@pytest.fixture(scope="module")
def page(chromium: Any) -> Any:
    """A page with the scripts that compute."""
    opened = chromium.new_page()
    shared = ROOT / "charrnn/export/web"
    files = [WEB / "rules.js", WEB / "tune.js", WEB / "synth.js", shared / "files.js"]
    script = "\n".join(path.read_text(encoding="utf-8") for path in files)
    opened.add_script_tag(content=f"let newRules;\n{script}")
    return opened


def varied(seed: int) -> Tune:
    """A tune of several parts, metres, tempos and velocities."""
    random = np.random.default_rng(seed)
    metres = [(0, Metre(4, 4)), (96, Metre(6, 8)), (96 + 72, Metre(3, 4))]
    bars = bars_of(metres, 300)
    count = 120
    rows = [
        *(random.integers(0, 300, count), random.integers(1, 60, count)),
        *(random.integers(40, 80, count), random.integers(1, 128, count)),
        random.integers(0, len(PARTS), count),
    ]
    notes = one_at_a_time(sort(np.stack(rows, 1)), Losses())
    return Tune(notes, sorted(PARTS), bars, [(0, 90.0), (96, 140.0), (204, 101.5)])


def performance(seed: int) -> Tune:
    """A tune on a grid of hundredths of a second."""
    random = np.random.default_rng(seed)
    rows = [(0, 5, 60, 80, 0)]
    for onset in np.cumsum(random.integers(1, 90, 60)).tolist():
        length, pitch, velocity = random.integers((3, 50, 20), (250, 80, 120)).tolist()
        rows.append((onset, length, pitch, velocity, 0))
    notes = one_at_a_time(np.array(rows), Losses())
    end = int(notes[:, 0].max()) + 1
    bars = [Bar(at, 100, Metre(0, 1)) for at in range(0, end, 100)]
    return Tune(notes, [Part(0)], bars, [(0, 60.0)], 100)


def corpus(name: str) -> list[Tune]:
    if name == "bundled":
        data = (ROOT / "corpora/tunes.mid").read_bytes()
        return [on_grid(score) for score in itertools.islice(read_scores(data), 12)]
    if name == "varied":
        return [varied(seed) for seed in range(4)]
    if name == "performance":
        return [performance(seed) for seed in range(3)]
    if name == "drums":
        return [dataclasses.replace(tune_of([(0, 3, 36), (12, 3, 42)]), parts=[PARTS[-1]])]
    return [dance(seed) for seed in range(4)]


CORPORA = ("bundled", "varied", "performance", "drums", "dance")


def codec_of(tunes: list[Tune]) -> NotesCodec:
    constants = Constants.of(tunes)
    return NotesCodec.of([events.encode(tune, constants) for tune in tunes], constants)


def plain(codec: NotesCodec) -> Any:
    """The data of the page."""
    return json.loads(json.dumps(web_page(codec, None).data))


def walk(codec: NotesCodec, seed: int, count: int = 300) -> list[int]:
    """Random steps that the grammar allows."""
    random, rules = np.random.default_rng(seed), codec.rules()
    steps: list[int] = []
    for _ in range(count):
        allowed = np.flatnonzero(rules.allowed())
        # The end is rare, so that tunes are long.
        steps.append(int(random.choice(allowed[allowed > 0] if random.random() < 0.9 else allowed)))
        rules.add(steps[-1])
    return steps


@pytest.mark.parametrize("name", CORPORA)
def test_the_same_events_may_follow(page: Any, name: str) -> None:
    tunes = corpus(name)
    codec = codec_of(tunes)
    walks = [walk(codec, seed) for seed in range(3)]
    anything = np.random.default_rng(0).integers(0, codec.step.size, 200).tolist()
    for steps in [*walks, anything, *(codec.encode(tune).tolist()[:300] for tune in tunes[:4])]:
        found = page.evaluate(
            """([codec, steps]) => {
                const rules = newRules(codec);
                const masks = [];
                for (const step of steps) {
                    rules.add(step);
                    masks.push([...rules.allowed()].join(""));
                }
                return masks;
            }""",
            [plain(codec)["codec"], steps],
        )
        rules = codec.rules()
        assert isinstance(rules, TuneRules)
        for place, (step, mask) in enumerate(zip(steps, found, strict=True)):
            rules.add(step)
            expected = "".join(map(str, rules.allowed().astype(int)))
            assert mask == expected, (place, [str(codec.events[s]) for s in steps[: place + 1]])


def test_the_same_bars_are_favoured(page: Any) -> None:
    codec = codec_of(corpus("dance")).with_repeats(1.5)
    logits = np.random.default_rng(0).normal(size=codec.step.size)
    steps = walk(codec, 1, 100)
    found = page.evaluate(
        """([codec, steps, logits]) => {
            const rules = newRules(codec);
            return steps.map((step) => {
                rules.add(step);
                const changed = [...logits];
                rules.restrict(changed);
                return changed.map((logit) => (Number.isFinite(logit) ? logit : null));
            });
        }""",
        [plain(codec)["codec"], steps, logits.tolist()],
    )
    rules, raised = codec.rules(), 0
    for step, own in zip(steps, found, strict=True):
        rules.add(step)
        allowed = rules.allowed()
        expected = rules.favoured(np.where(allowed, logits, -np.inf))
        assert [logit is not None for logit in own] == allowed.tolist()
        values = [logit for logit in own if logit is not None]
        np.testing.assert_allclose(values, expected[allowed], atol=1e-9)
        raised += bool((expected[allowed] > logits[allowed] + 0.01).any())
    assert raised > 3


def in_page(page: Any, codec: NotesCodec, steps: list[int], speed: float = 1) -> Any:
    """A tune of the page: notes with their times, and its MIDI file."""
    return page.evaluate(
        """([codec, steps, speed]) => {
            const tune = Tune.of(codec, steps);
            const { notes, bars, tempos } = tune;
            const rows = notes.map((n) => [n.onset, n.length, n.pitch, n.velocity, n.part]);
            const times = notes.map((note) => [note.begin, tune.endOf(note)]);
            const midi = [...midiOf(tune, speed)];
            const end = tune.seconds(tune.steps);
            return { rows, times, midi, end, tempos, bars: bars.map(({ begin }) => begin) };
        }""",
        [plain(codec)["codec"], steps, speed],
    )


def tunes_of(codec: NotesCodec, name: str) -> Iterator[tuple[list[int], Tune]]:
    """Steps of tunes, and what the program makes of them."""
    for seed in range(6):
        steps = walk(codec, seed, 400)
        first = steps[: steps.index(0) + 1] if 0 in steps else steps
        yield first, codec.decode(first)[0]
    for tune in corpus(name)[:4]:
        yield codec.encode(tune).tolist(), codec.decode(codec.encode(tune).tolist())[0]


@pytest.mark.parametrize("name", CORPORA)
def test_the_same_tune(page: Any, name: str) -> None:
    codec = codec_of(corpus(name))
    parts = plain(codec)["codec"]["parts"]
    for steps, tune in tunes_of(codec, name):
        found = in_page(page, codec, steps)
        notes = one_at_a_time(tune.notes, Losses())
        tune = dataclasses.replace(tune, notes=notes)
        begins, ends = tune.seconds(notes[:, 0]), tune.seconds(notes[:, 0] + notes[:, 1])
        expected = sorted(
            (*row[:4], *tune.parts[row[4]], begin, end)
            for row, begin, end in zip(notes.tolist(), begins.tolist(), ends.tolist(), strict=True)
        )
        own = sorted(
            (*row[:4], *parts[row[4]], *times)
            for row, times in zip(found["rows"], found["times"], strict=True)
        )
        assert np.allclose(np.array(own, float), np.array(expected, float), atol=1e-9)
        assert found["bars"] == [bar.begin for bar in tune.bars]
        assert found["end"] == pytest.approx(float(tune.seconds([tune.steps])[0]))


@pytest.mark.parametrize("speed", [1, 1.25])
@pytest.mark.parametrize("name", CORPORA)
def test_the_same_midi_file(page: Any, name: str, speed: float) -> None:
    codec = codec_of(corpus(name))
    for steps, tune in tunes_of(codec, name):
        tune.notes = one_at_a_time(tune.notes, Losses())
        tune.tempos = [(at, bpm * speed) for at, bpm in tune.tempos]
        (own,) = read_scores(bytes(in_page(page, codec, steps, speed)["midi"]))
        (expected,) = read_scores(to_midi(tune))
        assert not own.damage
        assert own.ticks == expected.ticks
        assert own.metres == expected.metres
        assert [at for at, _ in own.tempos] == [at for at, _ in expected.tempos]
        assert np.allclose([t for _, t in own.tempos], [t for _, t in expected.tempos], atol=1e-3)

        def named(score: Any) -> list[tuple[Any, ...]]:
            return sorted((*row[:4], *score.parts[row[4]][::2]) for row in score.notes.tolist())

        assert named(own) == named(expected)


def sound_in_page(page: Any, codec: NotesCodec, steps: list[int], speed: float = 1) -> Any:
    found = page.evaluate(
        """([{ codec, families }, steps, speed]) => {
            const sounds = new Sounds(codec.parts, families);
            const rendering = mixed(Tune.of(codec, steps), speed, sounds);
            for (;;) {
                const { value, done } = rendering.next();
                if (!done) continue;
                let text = "";
                for (const byte of new Uint8Array(value.buffer)) text += String.fromCharCode(byte);
                return btoa(text);
            }
        }""",
        [plain(codec), steps, speed],
    )
    return np.frombuffer(base64.b64decode(found), np.float32)


def test_the_same_sound(page: Any) -> None:
    """Of notes; that of drums has other noise."""
    tune = varied(1)
    tune.notes = tune.notes[tune.notes[:, 0] < 140]
    tune.notes = tune.notes[~tune.is_drum]
    codec = codec_of([tune])
    steps = codec.encode(tune).tolist()
    expected = np.concatenate(list(Renderer(codec.decode(steps)[0])))
    found = sound_in_page(page, codec, steps)
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() < 1e-4


def test_the_sound_of_drums(page: Any) -> None:
    """As loud, as long and as bright as that of the program, but with other noise."""
    for pitch in (36, 38, 46):
        tune = dataclasses.replace(tune_of([(0, 12, pitch)], bars=1), parts=[PARTS[-1]])
        codec = codec_of([tune])
        expected = np.concatenate(list(Renderer(tune)))
        found = sound_in_page(page, codec, codec.encode(tune).tolist())
        assert len(found) == len(expected)
        bands = [np.abs(np.fft.rfft(sound[: RATE // 4])) ** 2 for sound in (found, expected)]
        for low, high in ((0, 1000), (1000, 4000), (4000, 20000)):
            own, other = (np.sqrt(band[low // 4 : high // 4].sum()) for band in bands)
            assert own == pytest.approx(other, rel=0.25, abs=3)


def test_another_speed(page: Any) -> None:
    tune = dance(3)
    codec = codec_of([tune])
    steps = codec.encode(tune).tolist()
    faster = dataclasses.replace(codec.decode(steps)[0], tempos=[(0, 180.0)])
    expected = np.concatenate(list(Renderer(faster)))
    found = sound_in_page(page, codec, steps, 1.5)
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("name", CORPORA)
def test_the_same_beginning(page: Any, name: str) -> None:
    """What is played on the keyboard becomes the events that the program reads in a file of it."""
    codec = codec_of(corpus(name))
    data = plain(codec)
    metre = codec.events[data["keyboard"]["metre"]].value
    part = Part(*data["codec"]["parts"][data["keyboard"]["part"]])
    per_quarter = 100 if codec.in_seconds else 12
    random = np.random.default_rng(5)
    for count in (0, 1, 5, 40):
        onsets = np.sort(random.integers(0, 200, count))
        rows = np.stack(
            [
                *(onsets, random.integers(1, 300, count), random.integers(30, 90, count)),
                *(random.integers(1, 128, count), np.zeros(count, int)),
            ],
            1,
        )
        names = ("onset", "length", "pitch", "velocity")
        notes = [
            dict(zip(names, row, strict=False)) | {"part": data["keyboard"]["part"]}
            for row in rows.tolist()
        ]
        found = page.evaluate(
            """([{ codec, keyboard }, notes]) =>
                new Encoder(codec).encode(notes, keyboard.tempo, keyboard.metre)""",
            [data, notes],
        )
        kept = np.isin(rows[:, 2], codec.values(events.DRUM if part.is_drum else events.NOTE))
        if not kept.any():
            assert found == []
            continue
        rows = sort(rows[kept])
        bars = bars_of([(0, metre)], int(rows[:, 0].max()) + 1, per_quarter)
        tempo = codec.constants.tempo or 120.0
        tune = codec.fitted(Tune(rows, [part], bars, [(0, tempo)], per_quarter))
        encoded = events.encode(tune, codec.constants, ())
        assert found == [codec.step_of[event] for event in encoded if event in codec.step_of]
