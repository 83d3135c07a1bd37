"""The page of a model of notes, in a browser, opened as a file, with the network off."""

from __future__ import annotations

import dataclasses
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

import charrnn
from charrnn.api import Model
from charrnn.media.codec import Prime
from charrnn.media.notes.codec import NotesCodec
from charrnn.media.notes.midi import read_scores, to_midi
from charrnn.media.notes.synth import RATE, Renderer
from charrnn.media.notes.tune import Tune
from tests.conftest import trained
from tests.export import Opened, Opener
from tests.media.notes.test_web import performance, varied
from tests.tunes import folder_of_tunes

pytestmark = [pytest.mark.browser, pytest.mark.long]
HOSTILE = "</script><img src=x onerror='window.pwned=1'>\u202e\u2066<b>&amp;\0"


RECORDING = """
    window.said = [];
    window.heard = [];
    window.contexts = 0;
    const [Own, Sound] = [Worker, AudioContext];
    window.Worker = class extends Own {
        constructor(url) {
            super(url);
            this.addEventListener("message", ({ data }) => window.said.push(data));
        }
        postMessage(data) {
            window.heard.push(data);
            super.postMessage(data);
        }
    };
    window.AudioContext = class extends Sound {
        constructor(about) {
            super(about);
            window.contexts++;
        }
    };
"""


class Player(Opened):
    """A page that was opened, and what one can do with it."""

    def ready(self) -> None:
        self.wait("document.body.dataset.ready !== undefined")

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def play(self, name: str = "Play") -> list[int]:
        """Have a tune generated; gives its steps."""
        self.click(name)
        return self.steps()

    def steps(self) -> list[int]:
        """What the worker has written when the last tune is complete, which may be more."""
        self.wait("document.querySelector('.status').textContent !== 'Inventing …'")
        found: list[int] = self.page.evaluate(
            """() => {
                const { id } = heard.findLast(({ kind }) => kind === "write");
                const written = said.filter((data) => data.kind === "written" && data.id === id);
                return written.flatMap(({ steps }) => steps);
            }"""
        )
        return found

    @property
    def prime(self) -> list[int]:
        """What the last tune goes on from."""
        found: list[int] = self.page.evaluate(
            "heard.findLast(({ kind }) => kind === 'write').prime"
        )
        return found

    @property
    def is_playing(self) -> bool:
        return bool(self.page.locator(".bar .main").inner_text() == "Stop")

    @property
    def beginning(self) -> str:
        found: str = self.page.locator("#beginning").inner_text()
        return found

    def saved(self, name: str) -> bytes:
        with self.page.expect_download() as download:
            self.click(name)
        return Path(download.value.path()).read_bytes()


@pytest.fixture
def opening(chromium: Any, tmp_path: Path) -> Iterator[Opener[Player]]:
    opener = Opener(chromium, tmp_path, Player, RECORDING)
    yield opener
    opener.finish()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Models of tunes of two parts, of tunes in which all varies, and of performances."""
    folder = tmp_path_factory.mktemp("models")
    folder_of_tunes(folder / "dances")
    trained(folder / "dances", folder / "dance", steps=20, lr=0.02)
    found = {"dance": charrnn.load(folder / "dance")}
    for name, kind in (("varied", varied), ("performance", performance)):
        (folder / f"{name}s").mkdir()
        for seed in range(6):
            (folder / f"{name}s" / f"{seed}.mid").write_bytes(to_midi(kind(seed)))
        trained(folder / f"{name}s", folder / name, steps=10, lr=0.02)
        found[name] = charrnn.load(folder / name)
    return found


def codec_of(model: Model) -> NotesCodec:
    codec = model.checkpoint.codec
    assert isinstance(codec, NotesCodec)
    return codec


def link(**values: Any) -> str:
    return f"#{urlencode(values)}"


def with_sampling(model: Model, **changes: Any) -> Any:
    """The same model, with other settings stored in it."""
    own = model.checkpoint
    sampling = dataclasses.replace(own.config.sampling, **changes)
    return dataclasses.replace(own, config=dataclasses.replace(own.config, sampling=sampling))


def sampled(model: Model, length: float | None = None, **given: Any) -> tuple[list[int], Tune]:
    """The steps of a sample, and its tune."""
    sample = model.sample(length, **given)
    sample.keep_steps = True
    tune = sample.tune
    return sample.kept_steps[0][1:-1].tolist(), tune


def played(data: bytes) -> tuple[list[Any], list[Any]]:
    """The notes and the tempos of a MIDI file."""
    (score,) = read_scores(data)
    notes = sorted((*row[:4], *score.parts[row[4]][::2]) for row in score.notes.tolist())
    return notes, [(at, round(bpm, 2)) for at, bpm in score.tempos]


@pytest.mark.parametrize("name", ["dance", "varied", "performance"])
def test_the_same_tune_as_sample(
    opening: Opener[Player], models: dict[str, Model], name: str
) -> None:
    model = models[name]
    assert codec_of(model).in_seconds == (name == "performance")
    checkpoint = with_sampling(model, min_length=250)
    for seed in (3, 2**31 + 12_345_678_901):
        player = opening(checkpoint, fragment=link(seed=seed, length=10_000))
        found = player.play()
        steps, tune = sampled(model, seed=seed, min_length=250)
        assert len(steps) >= 250
        assert found[: len(steps)] == steps
        assert found[len(steps) :] in ([0], [])
        notes, tempos = played(player.saved("MIDI"))
        expected, own = played(to_midi(tune))
        assert notes == expected
        assert np.allclose(np.array(tempos), np.array(own), atol=0.02)


def test_the_settings_of_the_page(opening: Opener[Player], models: dict[str, Model]) -> None:
    model = models["dance"]
    player = opening(with_sampling(model, min_length=90), fragment=link(seed=4))
    player.page.get_by_label("Temperature", exact=True).fill("1.2, 0.4")
    player.page.get_by_label("Top-p", exact=True).fill("0.8")
    player.page.get_by_label("Length", exact=True).fill("3")
    found = player.play()
    settings: dict[str, Any] = {"temperature": (1.2, 0.4), "top_p": 0.8, "min_length": 90}
    steps, tune = sampled(model, 3, seed=4, **settings)
    assert found[: len(steps)] == steps
    before = played(player.saved("MIDI"))
    assert before == played(to_midi(tune))
    player.page.get_by_label("Tempo", exact=True).fill("150")
    notes, tempos = played(player.saved("MIDI"))
    assert notes == before[0]
    assert tempos == [(0, 180.0)]
    assert "180 quarters a minute" in player.page.locator("#tempo-hint").inner_text()
    again = player.page.get_by_label("Seed", exact=True).input_value()
    assert player.play("Another")[: len(steps)] != steps
    assert player.page.get_by_label("Seed", exact=True).input_value() != again
    player.click("Stop")
    player.page.get_by_label("Seed", exact=True).fill("4")
    assert player.play()[: len(steps)] == steps


def test_nothing_plays_before_a_click(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(with_sampling(models["dance"], min_length=300), fragment=link(seed=4))
    player.page.wait_for_timeout(300)
    assert player.page.evaluate("[contexts, said.length]") == [0, 1]
    player.page.keyboard.press("Space")
    player.wait("document.querySelector('.bar .main').textContent === 'Stop'")
    assert player.page.evaluate("contexts") == 1
    player.steps()
    player.page.wait_for_timeout(300)
    assert player.is_playing
    player.page.keyboard.press("Space")
    assert not player.is_playing
    player.page.keyboard.press("Space")
    assert player.is_playing
    player.page.keyboard.press("Escape")
    assert not player.is_playing
    assert player.page.evaluate("heard.filter(({ kind }) => kind === 'write').length") == 1


def test_it_stops_at_the_end(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(with_sampling(models["dance"], min_length=40), fragment=link(length=3, seed=1))
    player.page.get_by_label("Tempo", exact=True).fill("400")
    player.play()
    player.wait("document.querySelector('.bar .main').textContent === 'Play'")


def test_the_files(opening: Opener[Player], models: dict[str, Model]) -> None:
    """A WAV file as long as that of the program, and as loud."""
    player = opening(with_sampling(models["varied"], min_length=50), fragment=link(seed=2))
    player.play()
    (score,) = read_scores(player.saved("MIDI"))
    with wave.open(io.BytesIO(player.saved("WAV"))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    _, tune = sampled(models["varied"], 200, seed=2, min_length=50)
    expected = np.concatenate(list(Renderer(tune)))
    assert len(score.notes) == len(tune.notes)
    assert len(samples) == len(expected)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(np.sqrt(np.mean(expected**2)), rel=0.1)


def test_what_is_played(opening: Opener[Player], models: dict[str, Model]) -> None:
    """What is scheduled sounds as what is saved."""
    player = opening(models["dance"].checkpoint)
    model = models["dance"]
    _, tune = sampled(model, seed=3, min_length=60)
    codec = codec_of(model)
    steps = codec.encode(codec.fitted(tune)).tolist()
    found = player.page.evaluate(
        """async (steps) => {
            const { codec, families } = JSON.parse(at("data").textContent);
            const sounds = new Sounds(codec.parts, families);
            const tune = Tune.of(codec, steps);
            const rendering = mixed(tune, 1, sounds);
            let part = rendering.next();
            while (!part.done) part = rendering.next();
            const expected = part.value;
            const context = new OfflineAudioContext(1, expected.length, RATE);
            const player = new Player(sounds, () => {});
            Object.assign(player, { context, channel: limiterOf(context) });
            Object.assign(player, { tune, next: 0, origin: 0 });
            player.schedule(Infinity);
            const own = (await context.startRendering()).getChannelData(0);
            let [most, loudest] = [0, 0];
            own.forEach((sample, k) => {
                most = Math.max(most, Math.abs(sample - expected[k]));
                loudest = Math.max(loudest, Math.abs(sample));
            });
            const seconds = own.length / RATE;
            return { most, loudest, isFinite: own.every(Number.isFinite), seconds };
        }""",
        steps,
    )
    assert found["isFinite"]
    assert found["loudest"] > 0.1
    assert found["most"] < 0.02  # a note begins at a sample, or between two
    assert found["seconds"] == pytest.approx(tune.seconds([tune.steps])[0] + 0.3, abs=0.1)


def test_a_beginning_on_the_keyboard(opening: Opener[Player], models: dict[str, Model]) -> None:
    model = models["dance"]
    codec = codec_of(model)
    player = opening(with_sampling(model, min_length=60), fragment=link(seed=6))
    keyboard = player.page.keyboard
    for key in "zcbc":  # C E G E
        keyboard.down(key)
        player.page.wait_for_timeout(500)
        keyboard.up(key)
    assert player.beginning == "The tune begins with 4 notes"
    found = player.play()
    prime = player.prime
    pitches = [codec.events[step].value for step in prime if codec.events[step].kind == "note"]
    assert pitches == [48, 52, 55, 52]
    steps, _ = sampled(model, seed=6, min_length=60, prime=Prime(np.array(prime)))
    assert found[: len(steps)] == steps
    (score,) = read_scores(player.saved("MIDI"))
    assert score.notes[0, 2] == 48
    assert {48, 52, 55} <= set(score.notes[:, 2].tolist())
    player.page.wait_for_timeout(400)
    shared = player.page.evaluate("location.hash")
    other = opening(with_sampling(model, min_length=60), fragment=shared)
    assert other.play()[: len(steps)] == steps
    assert other.prime == prime
    other.click("Clear")
    assert other.beginning == ""
    assert other.play()[: len(steps)] != steps
    assert other.prime == [0]


def test_keys_by_pointer_and_focus(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(models["performance"].checkpoint)
    player.page.get_by_role("button", name="C4").click(delay=50)
    assert player.beginning.startswith("The tune begins with ")
    keys = player.page.locator(".keys button[tabindex='0']")
    assert keys.count() == 1
    keys.focus()
    for key in ("ArrowRight", "ArrowRight", "Enter", "Space"):
        player.page.keyboard.press(key)
    assert player.page.evaluate("document.activeElement.getAttribute('aria-label')") == "D4"
    assert player.page.evaluate("document.querySelectorAll('.keys .down').length") == 0
    assert not player.is_playing
    player.play()
    codec = codec_of(models["performance"])
    notes = [codec.symbols[step] for step in player.prime if codec.events[step].kind == "note"]
    assert notes == [note for note in ("note 60", "note 62", "note 62") if note in codec.symbols]


def test_keys_by_finger(opening: Opener[Player], models: dict[str, Model]) -> None:
    about = {"viewport": {"width": 360, "height": 700}, "has_touch": True, "is_mobile": True}
    player = opening(models["dance"].checkpoint, context=about)
    keys = player.page.locator(".keys button")
    for index in (0, 2, 4):
        keys.nth(index).tap()
    assert player.beginning.startswith("The tune begins with ")
    y = player.page.locator(".keys").bounding_box()
    assert y is not None
    devices = player.page.context.new_cdp_session(player.page)
    points = [{"x": x, "y": y["y"] + y["height"] - 15, "id": x} for x in (30, 110)]
    devices.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    assert player.page.locator(".keys .down").count() == 2
    devices.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert player.page.locator(".keys .down").count() == 0
    player.play()
    codec = codec_of(models["dance"])
    notes = [step for step in player.prime if codec.events[step].kind == "note"]
    known = [f"note {48 + index}" in codec.symbols for index in (0, 2, 4, 0, 4)]
    assert 1 <= len(notes) <= sum(known)


@pytest.mark.parametrize(
    "prime",
    [
        *("1e9.-1.NaN.0.0x5", "<img src=x>", "." * 100_000, "3." * 50_000, "9".join("12345")),
        ".".join(map(str, range(40))),
    ],
)
def test_hostile_links(opening: Opener[Player], models: dict[str, Model], prime: str) -> None:
    values = {"seed": "-5", "temperature": "hot", "top_p": "9", "length": "1e99", "tempo": "0"}
    player = opening(models["varied"].checkpoint, fragment=link(prime=prime, **values))
    fields = player.page.locator(".settings input:not([type=range])")
    found = {field.get_attribute("id"): field.input_value() for field in fields.all()}
    assert int(found.pop("seed")) >= 0
    assert found == {"temperature": "0.7", "top_p": "1", "tempo": "100", "length": "200"}
    player.play()
    assert len(player.prime) < 2500
    rules = codec_of(models["varied"]).rules()
    for step in player.prime:  # the beginning is grammatical
        assert rules is not None
        assert step == 0 or rules.allowed()[step]
        rules.add(step)
    assert player.page.evaluate("window.pwned") is None


def test_hostile_titles(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(models["dance"].checkpoint, title=HOSTILE, about=HOSTILE)
    player.play()
    assert player.page.evaluate("window.pwned") is None
    assert player.page.locator("img").count() == 0
    with player.page.expect_download() as download:
        player.click("MIDI")
    assert download.value.suggested_filename.startswith("script-img-src-x")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(opening: Opener[Player], models: dict[str, Model], scheme: str) -> None:
    about = {"viewport": {"width": 360, "height": 700}, "color_scheme": scheme}
    player = opening(models["varied"].checkpoint, context=about, fragment=link(seed=1))
    player.play()
    assert player.page.evaluate("document.documentElement.scrollWidth") == 360
    unnamed = player.page.evaluate(
        """[...document.querySelectorAll("input, select, button, canvas")].filter((own) =>
            !own.labels?.length && !own.textContent && !own.getAttribute("aria-label")).length"""
    )
    assert unnamed == 0
    shown = player.page.evaluate(
        """() => {
            const pen = document.querySelector(".roll").getContext("2d");
            const { data } = pen.getImageData(0, 0, 300, 150);
            return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    assert shown > 3


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_motion(opening: Opener[Player], models: dict[str, Model], motion: str) -> None:
    """The roll follows the playhead, or jumps by bars."""
    player = opening(models["dance"].checkpoint, context={"reduced_motion": motion})
    _, tune = sampled(models["dance"], seed=3, min_length=100)
    codec = codec_of(models["dance"])
    lefts, begins = player.page.evaluate(
        """(steps) => {
            const { codec } = JSON.parse(at("data").textContent);
            const roll = new Roll(codec.parts);
            roll.show(Tune.of(codec, steps), 0);
            const lefts = [];
            for (let place = 0; place < 16; place += 0.05) lefts.push(roll.leftOf(place, 4));
            return [lefts, roll.tune.bars.map(({ begin }) => roll.tune.seconds(begin))];
        }""",
        codec.encode(codec.fitted(tune)).tolist(),
    )
    assert all(0 <= 0.05 * k - left <= 4 for k, left in enumerate(lefts))
    if motion == "reduce":
        assert set(lefts) <= set(begins)
        assert len(set(lefts)) > 2
    else:
        assert np.diff(lefts).max() < 0.051
