"""What the page of a model of sound computes, held against the program itself, and the page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile
from PIL import Image

import charrnn
from charrnn.api import Model
from charrnn.export.packed import engine, packed
from charrnn.export.page import page as page_of
from charrnn.media.sound.envelope import EnvelopeStream
from charrnn.media.sound.learning import SpectrogramLearner
from charrnn.media.sound.phase import PhaseStream, integrated
from charrnn.media.sound.settings import SoundSettings
from charrnn.media.sound.spectrogram import BANDS, SpectrogramCodec
from charrnn.media.sound.stft import Stft
from charrnn.media.sound.webpage import ROUNDS, rounds_for, web_page
from charrnn.media.sources import Sources
from charrnn.sampling.generate import generator_of, vectors
from charrnn.sampling.runtime import Runtime, Stream
from tests.cli.test_sound import AUDIO
from tests.conftest import ROOT
from tests.export import Opened
from tests.sounds import RATE, convergence, music, recorded

pytestmark = pytest.mark.browser
HOSTILE = "</script><img src=x onerror='window.pwned=1'>\u202e\u2066<b>&amp;\0"
WEB = Path(web_page.__code__.co_filename).with_name("web")
SHARED = ROOT / "charrnn/export"
SMALL, MIDDLE = Stft(512, 128), Stft(1024, 512)  # frames without an envelope, and with one
FAKE_MEMORY = """{ multiply(weight, x, out) {
    for (let row = 0; row < out.length; row++) {
        out[row] = 0;
        for (let k = 0; k < x.length; k++) out[row] += weight[row * x.length + k] * x[k];
    }
} }"""


@pytest.fixture(scope="module")
def page(chromium: Any) -> Any:
    """A page with the scripts of the worker."""
    opened = chromium.new_page()
    names = ("fft.js", "spectrum.js", "envelope.js", "phases.js", "frames.js")
    files = [SHARED / "web/sampler.js", SHARED / "web/worker.js", *(WEB / name for name in names)]
    source = "\n".join([engine(), *(path.read_text(encoding="utf-8") for path in files)])
    opened.add_script_tag(content=source.replace("onmessage = ", "const listen = "))
    return opened


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("clip") / "clip.ogg", music(4.0))


@pytest.fixture(scope="module")
def model(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("sound") / "run"
    frames = {"n_fft": MIDDLE.n_fft, "hop_length": MIDDLE.hop}
    list(charrnn.train(clip, out, **(AUDIO | frames | {"steps": 20, "eval_every": 20})))
    return charrnn.load(out)


def learnt(clip: Path, components: int, stft: Stft = SMALL) -> tuple[np.ndarray, SpectrogramCodec]:
    """Features, and the codec."""
    learner = SpectrogramLearner(Sources((str(clip),)), RATE, stft, components, 0.1)
    raw = np.concatenate(list(learner))
    return np.concatenate(list(learner.second_pass(raw))), learner.codec


def earlier(codec: SpectrogramCodec, kind: str) -> SpectrogramCodec:
    """Such a codec as earlier versions had: with bands only, or, the oldest, not even them."""
    width = codec.stft.bins + (BANDS if kind == "bands" else 0)
    arrays = dict(codec.arrays)
    for name in ("mean", "remainder", "weight"):
        arrays[name] = arrays[name][:width]
    arrays["basis"] = arrays["basis"][:, :width]
    arrays["starts"] = arrays["starts"][..., : codec.components]  # without the position
    return SpectrogramCodec(codec.rate, codec.stft, arrays)


def given(codec: SpectrogramCodec) -> list[Any]:
    """What the page gets of a codec: values and tensors."""
    own = web_page(codec, SoundSettings())
    tensors = {f"codec.{name}": array.ravel().tolist() for name, array in own.arrays.items()}
    return [own.data["codec"], tensors]


# --- what it computes


@pytest.mark.parametrize("size", [6, 10, 64, 500, 512, 1024, 1536, 2 * 83, 2048, 4096])
def test_the_fourier_transform(page: Any, size: int) -> None:
    random = np.random.default_rng(0)
    values, window = random.normal(size=size), random.uniform(0.1, 1, size)
    re, im, back = page.evaluate(
        """([values, window]) => {
            const fft = new Fft(window);
            const half = window.length / 2;
            const [re, im] = [0, 1].map(() => new Float64Array(half + 4));
            const back = new Float64Array(window.length + 5).fill(1);
            fft.forward([0, 0, ...values], 2, re, im, 3);
            fft.addInverse(re, im, 3, back, 5);
            return [[...re], [...im], [...back]];
        }""",
        [values.tolist(), window.tolist()],
    )
    wanted = np.fft.rfft(values * window)
    np.testing.assert_allclose(np.array(re) + 1j * np.array(im), [0, 0, 0, *wanted], atol=1e-9)
    np.testing.assert_allclose(back, [1] * 5 + (1 + values * window**2).tolist(), atol=1e-12)


def test_random_numbers(page: Any) -> None:
    uniform, normal = page.evaluate(
        """() => {
            const noise = new Noise(new Random(3, 0));
            const draw = (name) => Array.from({ length: 20000 }, () => noise[name]());
            return [draw("uniform"), draw("normal")];
        }"""
    )
    assert 0 <= min(uniform) < 1e-3
    assert 1 - 1e-3 < max(uniform) < 1
    assert np.histogram(uniform, 10, (0, 1))[0] == pytest.approx(2000, abs=200)
    assert np.mean(normal) == pytest.approx(0, abs=0.03)
    assert np.std(normal) == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(normal) < 1) == pytest.approx(0.6827, abs=0.015)
    for numbers in (uniform, normal):
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.03


def magnitudes(page: Any, codec: SpectrogramCodec, features: np.ndarray, noisy: bool) -> np.ndarray:
    found = page.evaluate(
        f"""([codec, tensors, frames, isNoisy]) => {{
            const noise = new Noise(new Random(1, 0));
            const network = {{ tensors, memory: {FAKE_MEMORY} }};
            const spectrum = new Spectrum(codec, network, new Fft(hann(codec.n_fft)), noise);
            return frames.map((frame) => {{
                const out = new Float32Array(codec.bins);
                spectrum.magnitudes(Float32Array.from(frame), out, isNoisy);
                return [...out];
            }});
        }}""",
        [*given(codec), features.tolist(), noisy],
    )
    return np.array(found)


@pytest.mark.parametrize("kind", ["envelope", "bands", "oldest", "linear"])
def test_magnitudes(page: Any, clip: Path, kind: str) -> None:
    features, codec = learnt(clip, 0 if kind == "linear" else 24, MIDDLE)
    codec = earlier(codec, kind) if kind in ("bands", "oldest") else codec
    found = magnitudes(page, codec, features[:60], noisy=False)
    wanted = codec.magnitudes(features[:60])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * wanted.max())
    far = magnitudes(page, codec, features[:3] * 1000, noisy=True)
    assert np.isfinite(far).all()
    assert far.max() <= 100.001 * MIDDLE.full_scale


@pytest.mark.parametrize("kind", ["bands", "oldest"])
def test_noise(page: Any, tmp_path: Path, kind: str) -> None:
    """Replaces what the features leave out, as much of it and as smooth."""
    hiss = 0.1 * np.random.default_rng(1).standard_normal(4 * RATE).astype(np.float32)
    features, codec = learnt(recorded(tmp_path / "hiss.wav", hiss), 4)
    codec = earlier(codec, kind) if kind == "oldest" else codec
    found = np.log(magnitudes(page, codec, features, noisy=True) + 1e-3)
    noise = codec.noise(np.random.default_rng(0))
    wanted = np.log(codec.magnitudes(features, noise) + 1e-3)
    for low in range(1, SMALL.bins - 32, 32):
        ours, theirs = (logs[:, low : low + 32] for logs in (found, wanted))
        assert ours.mean() == pytest.approx(theirs.mean(), abs=0.03)
        assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
        changes = [np.abs(np.diff(logs, axis=0)).mean() for logs in (ours, theirs)]
        assert changes[0] == pytest.approx(changes[1], rel=0.05)


def test_integrated_phases(page: Any) -> None:
    """Equal where no phase is random: all bins are loud, and the first frames are known."""
    random = np.random.default_rng(0)
    logs = random.normal(size=(20, SMALL.bins)).cumsum(0).cumsum(1) / 20
    target = np.exp(2 * np.tanh(logs - logs.mean())).astype(np.float32)
    past = random.uniform(-np.pi, np.pi, (3, SMALL.bins))
    codec = {"n_fft": 512, "hop": 128, "bins": SMALL.bins, "block": 9, "ahead": 8}
    found = page.evaluate(
        """([codec, target, past]) => {
            const noise = new Noise(new Random(1, 0));
            const stream = new PhaseStream(codec, new Fft(hann(codec.n_fft)), noise);
            stream.past = past.length;
            for (const frame of target) stream.next().set(frame);
            past.flat().forEach((phase, at) => {
                stream.re[at] = Math.cos(phase);
                stream.im[at] = Math.sin(phase);
            });
            stream.integrate();
            return [...stream.phases];
        }""",
        [codec, target.tolist(), past.tolist()],
    )
    wanted = integrated(target, past, SMALL, random)
    turns = np.exp(1j * np.reshape(found, wanted.shape)) / np.exp(1j * wanted)
    assert np.abs(np.angle(turns))[3:].max() < 1e-4


@pytest.mark.parametrize(("size", "hop"), [(512, 128), (600, 200), (512, 256), (256, 8)])
def test_phases_make_sound_as_the_program_does(page: Any, size: int, hop: int) -> None:
    """And each frame one hop of it."""
    stft = Stft(size, hop)
    target = np.abs(stft.forward(music(hop / 90))).astype(np.float32)
    found = []
    for rounds in (0, 8):
        codec = {"n_fft": size, "hop": hop, "bins": stft.bins, "block": 16, "ahead": 8}
        blocks = page.evaluate(
            """([codec, target]) => {
                const noise = new Noise(new Random(1, 0));
                const stream = new PhaseStream(codec, new Fft(hann(codec.n_fft)), noise);
                const blocks = [];
                for (const frame of target) {
                    stream.next().set(frame);
                    if (!stream.isFull) continue;
                    const parts = stream.convert();
                    let part = parts.next();
                    while (!part.done) part = parts.next();
                    blocks.push([...part.value]);
                }
                return blocks;
            }""",
            [codec | {"rounds": rounds}, target.tolist()],
        )
        assert len(blocks) == (len(target) - 8) // 16
        lengths = np.cumsum([len(block) for block in blocks])
        wanted = np.arange(1, len(blocks) + 1) * 16 * hop - size // 2
        np.testing.assert_array_equal(lengths, np.maximum(wanted, 0))
        sound = np.concatenate(blocks).astype(np.float32)
        stream = PhaseStream(stft, 0, rounds)
        own = np.concatenate([stream.push(target), stream.flush()])[: len(sound)]
        edge = size // hop
        inner = slice(edge, len(sound) // hop - edge)
        ours, theirs = (
            convergence(target[inner], np.abs(stft.forward(x))[inner]) for x in (sound, own)
        )
        assert ours < theirs + 1.5
        found.append(ours)
    assert found[1] < found[0] - 3


def test_the_envelope_of_sound(page: Any, clip: Path) -> None:
    """As the program does it, whatever the blocks, which come later than the levels."""
    features, codec = learnt(clip, 24, MIDDLE)
    sound, wanted = music(4.0)[: len(features) * MIDDLE.hop], codec.envelope_of(features)
    pieces = page.evaluate(
        """([codec, tensors, sound, wanted, lengths]) => {
            const stream = new EnvelopeStream(codec, tensors);
            for (const levels of wanted) stream.next(Float32Array.from(levels));
            let begin = 0;
            return lengths.map((length) => {
                begin += length;
                return [...stream.push(Float32Array.from(sound.slice(begin - length, begin)))];
            });
        }""",
        [*given(codec), sound.tolist(), wanted.tolist(), [1, 0, 2000, 63, 64, 30000, 40000]],
    )
    assert codec.envelope is not None
    own = EnvelopeStream(codec.envelope).push(sound, wanted)
    found = np.concatenate(pieces)
    assert len(found) == 71_424  # all but what the next sound may change
    np.testing.assert_allclose(found, own[: len(found)], atol=1e-4)
    assert np.abs(own - sound[: len(own)]).max() > 0.01


def test_silence(page: Any) -> None:
    sound = page.evaluate(
        """() => {
            const codec = { n_fft: 512, hop: 128, bins: 257, block: 4, ahead: 2, rounds: 2 };
            const stream = new PhaseStream(codec, new Fft(hann(512)), new Noise(new Random(1, 0)));
            while (!stream.isFull) stream.next();
            return [...stream.convert().next().value];
        }"""
    )
    assert sound == [0.0] * 256


def drawn(page: Any, model: Model, seed: int, temperature: list[float], count: int) -> np.ndarray:
    data = web_page(model.checkpoint.codec, SoundSettings())
    found = page.evaluate(
        """async ([text, codec, temperature, seed, count]) => {
            const network = await Network.load(text);
            const frames = drawn(network, codec, temperature, new Random(seed, 0));
            const found = [];
            while (found.length < count) {
                const { value } = frames.next();
                if (value) found.push([...value]);
            }
            return found;
        }""",
        [
            packed(model.checkpoint, "fp32", data.arrays),
            data.data["codec"],
            temperature,
            seed,
            count,
        ],
    )
    return np.array(found, np.float32)


def test_frames_without_temperature_are_those_of_the_program(page: Any, model: Model) -> None:
    """After the same beginning, which the seed chooses."""
    runtime, codec = Runtime.of(model.checkpoint), model.checkpoint.codec
    config = model.checkpoint.config.sampling
    calm = type(config)(**(vars(config) | {"temperature": (0.0,)}))
    prime = np.zeros((0, codec.step.size), np.float32)
    for seed in (0, 1, 2**40 + 3):
        own = vectors(runtime, codec, prime, calm, generator_of(seed, 0))
        wanted = np.stack([step for step, _ in islice(own, 100)])
        np.testing.assert_allclose(drawn(page, model, seed, [0], 100), wanted, atol=1e-3)


def test_frames_have_the_right_deviation(page: Any, model: Model) -> None:
    """Temperatures alternate; each multiplies the deviation by its square root.  The network goes
    on from other noise than there is in a frame; the position has none."""
    runtime, codec = Runtime.of(model.checkpoint), model.checkpoint.codec
    assert isinstance(codec, SpectrogramCodec)
    assert codec.kept is not None
    whole = np.linalg.inv(codec.kept)
    frames = drawn(page, model, 5, [1, 0.25], 2000)
    stream = Stream(runtime)
    for step in codec.start(generator_of(5, 0)):
        stream.step(step)
    left = np.empty_like(frames)
    for index, frame in enumerate(frames):
        left[index] = frame - stream.logits
        left[index, :-2] = left[index, :-2] @ whole
        stream.step(stream.logits + left[index])
    np.testing.assert_allclose(np.hypot(*frames[:, -2:].T), 1, atol=1e-5)
    for first, factor in ((0, 1.0), (1, 0.5)):
        scaled = left[first::2, :-2] / (factor * runtime.deviation[:-2])
        assert scaled.mean() == pytest.approx(0, abs=0.06)
        assert scaled.std(0) == pytest.approx(1, abs=0.2)
        assert scaled.std() == pytest.approx(1, abs=0.03)


def test_rounds_for_what_is_more_work(clip: Path) -> None:
    _, codec = learnt(clip, 8)
    for stft, rounds in ((Stft(), 32), (Stft(2048, 256), 16), (Stft(4096, 64), 2), (SMALL, 32)):
        about: Any = SimpleNamespace(stft=stft, steps_per_s=RATE / stft.hop)
        assert rounds_for(about) == rounds
    assert web_page(codec, SoundSettings(griffin_lim=5)).data["codec"]["rounds"] == 5
    assert web_page(codec, SoundSettings(griffin_lim=500)).data["codec"]["rounds"] == ROUNDS


# --- the picture


def pictured(chromium: Any, calm: bool, scheme: str = "light") -> Any:
    """A page with a picture of 8 s."""
    reduced = "reduce" if calm else "no-preference"
    size = {"width": 400, "height": 500}
    context = chromium.new_context(viewport=size, reduced_motion=reduced, color_scheme=scheme)
    opened = context.new_page()
    opened.add_style_tag(content=(SHARED / "base.css").read_text(encoding="utf-8"))
    opened.add_style_tag(content=(WEB / "sound.css").read_text(encoding="utf-8"))
    for path in (SHARED / "elements.js", WEB / "picture.js"):
        opened.add_script_tag(content=path.read_text(encoding="utf-8"))
    opened.evaluate(
        """() => {
            const rows = [...Array(161).keys()];
            const codec = { rate: 22050, hop: 512, stride: 1, rows };
            const picture = (window.picture = new Picture({ codec, lowest_hz: 40 }));
            document.body.append(picture.element);
            for (let column = 0; column < 8 * 43; column++) {
                const level = (_, row) => (column * 7 + row * 3) % 256;
                picture.columns.push(Uint8Array.from({ length: 160 }, level));
            }
        }"""
    )
    return opened


def shown(opened: Any, time: float) -> np.ndarray:
    opened.evaluate("(time) => window.picture.show(time, 8)", time)
    picture = Image.open(io.BytesIO(opened.locator("canvas").screenshot())).convert("RGB")
    return np.asarray(picture)[:200, 60:150].astype(int)


def test_it_scrolls_or_turns_pages(chromium: Any) -> None:
    """Pages of 4 s on a narrow screen; otherwise it scrolls from 2.8 s on."""
    for calm in (False, True):
        opened = pictured(chromium, calm)
        before, after, later = (shown(opened, time) for time in (3.0, 3.4, 5.4))
        assert np.ptp(before) > 100
        assert (np.abs(before - after).max() < 10) == calm
        assert np.abs(before - later).max() > 50
        label = opened.locator("canvas").get_attribute("aria-label")
        assert label == "Spectrogram, 8 seconds: the darker, the louder"
        opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_colours_are_in_order(chromium: Any, scheme: str) -> None:
    opened = pictured(chromium, calm=True, scheme=scheme)
    name = scheme.upper()
    pixels = opened.evaluate(f"[...new Uint8Array(paletteOf({name}).buffer)]")
    red, green, blue, alpha = np.reshape(pixels, (256, 4)).T / 255
    linear = [np.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92) for x in (red, green)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * blue**2.2
    lightness = np.cbrt(luminance)
    steps = np.diff(lightness) if scheme == "dark" else -np.diff(lightness)
    assert (alpha == 1).all()
    assert steps.min() > -0.002
    assert steps.max() < 0.012
    assert np.ptp(lightness) > 0.6
    opened.context.close()


# --- the page


class Player(Opened):
    """A page that was opened, and what one can do with it."""

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, **values: Any) -> None:
        """Follow a link to the same page."""
        fragment = f"#{urlencode(values)}"
        self.page.evaluate("(fragment) => { location.hash = fragment; }", fragment)
        self.wait(f"document.querySelector('#seed').value === '{values['seed']}'")

    def play(self, name: str = "Play") -> None:
        """Play to the end."""
        self.click(name)
        self.wait("document.body.classList.contains('playing')")
        self.wait("!document.body.classList.contains('playing')")

    def sound(self) -> np.ndarray:
        """What can be saved."""
        with self.page.expect_download() as download:
            self.click("Save WAV")
        assert download.value.suggested_filename.endswith(".wav")
        sound, rate = soundfile.read(download.value.path(), dtype="float32")
        assert rate == RATE
        assert sound.ndim == 1
        return np.asarray(sound)

    @property
    def status(self) -> str:
        found: str = self.page.get_by_role("status").inner_text()
        return found

    @property
    def buttons(self) -> list[str]:
        found: list[str] = self.page.locator("button:enabled").all_inner_texts()
        return found


class Opener:
    def __init__(self, chromium: Any, folder: Path, model: Model) -> None:
        self._chromium, self._path, self._model = chromium, folder / "page.html", model
        self.opened: list[Player] = []

    def __call__(
        self,
        *,
        context: dict[str, Any] | None = None,
        rounds: int = 4,
        title: str = "",
        **link: Any,
    ) -> Player:
        html = page_of(self._model.checkpoint, title=title, about=title)
        assert f'"rounds":{ROUNDS},' in html
        html = html.replace(f'"rounds":{ROUNDS},', f'"rounds":{rounds},')
        self._path.write_text(html, encoding="utf-8")
        about = {"offline": True, **(context or {})}
        opened = self._chromium.new_context(**about)
        opened.add_init_script(
            """{
                const { start } = AudioBufferSourceNode.prototype;
                window.scheduled = [];
                AudioBufferSourceNode.prototype.start = function (when) {
                    window.scheduled.push([when, this.buffer.length / this.buffer.sampleRate]);
                    start.call(this, when);
                };
            }"""
        )
        player = Player(opened, f"{self._path.as_uri()}#{urlencode(link)}")
        self.opened.append(player)
        player.wait("document.body.dataset.ready !== undefined")
        return player


@pytest.fixture
def opening(chromium: Any, tmp_path: Path, model: Model) -> Iterator[Opener]:
    """Opens pages; at the end there were no errors and no requests in any of them."""
    opener = Opener(chromium, tmp_path, model)
    yield opener
    for each in opener.opened:
        each.finish()


@pytest.mark.long
def test_it_plays_on_a_click(opening: Opener) -> None:
    player = opening(seed=3, length=2)
    player.page.wait_for_timeout(300)
    assert player.page.evaluate("window.scheduled") == []
    assert player.buttons == ["Play", "Another", "Link"]
    player.play()
    sound = player.sound()
    assert sound.shape == (2 * RATE,)
    assert 0.01 < np.abs(sound).max() <= 1
    assert "2.0 of 2 s made, " in player.status
    assert "times as fast as it plays" in player.status
    started = np.array(player.page.evaluate("window.scheduled"))
    gaps = started[1:, 0] - started[:-1].sum(1)
    assert np.abs(gaps).max() < 1e-9
    assert started[:, 1].sum() == pytest.approx(2)


@pytest.mark.long
def test_the_same_seed_is_the_same_sound(opening: Opener) -> None:
    player = opening(seed=3, length=1)
    player.play()
    first = player.sound()
    player.play("Another")
    assert player.page.locator("#seed").input_value() != "3"
    assert not np.array_equal(player.sound(), first)
    player.follow(seed=3, length=1)
    player.play()
    np.testing.assert_array_equal(player.sound(), first)
    player.page.get_by_label("Temperature", exact=True).fill("0.3")
    player.play()
    assert not np.array_equal(player.sound(), first)


@pytest.mark.long
def test_it_goes_on_as_if_it_had_been_longer(opening: Opener) -> None:
    player = opening(seed=4, length=1)
    player.play()
    player.play("Go on")
    found = player.sound()
    assert player.page.evaluate("location.hash").endswith("length=2")
    link = player.page.evaluate("location.hash")
    player.play("From the start")
    np.testing.assert_array_equal(player.sound(), found)
    other = opening(seed=4, length=2)
    other.play()
    np.testing.assert_array_equal(other.sound(), found)
    assert other.page.evaluate("location.hash") == link


@pytest.mark.long
def test_the_keyboard(opening: Opener) -> None:
    player = opening(seed=4, length=60)
    page = player.page
    page.keyboard.press("Space")
    player.wait("document.querySelector('.main').textContent === 'Stop'")
    player.wait("window.scheduled.length > 0")
    page.keyboard.press("Escape")
    player.wait("document.querySelector('.main').textContent === 'Go on'")
    assert "of 60 s made" in player.status
    made = len(player.sound())
    assert 0 < made < 60 * RATE
    page.wait_for_timeout(400)
    assert len(player.sound()) - made <= RATE  # what the worker was at
    page.locator("#length").fill("5")
    page.locator("#length").press("Space")
    assert page.evaluate("document.querySelector('.main').textContent") == "Go on"
    page.locator("h1").click()
    page.keyboard.press("Space")
    player.wait("document.querySelector('.main').textContent === 'Stop'")
    page.keyboard.press("Space")
    player.wait("document.querySelector('.main').textContent === 'Go on'")


@pytest.mark.long
def test_a_slow_computer_waits_and_says_so(opening: Opener) -> None:
    player = opening(seed=4, length=1, rounds=1000)
    player.click("Play")
    player.wait("document.querySelector('.status').textContent.includes('so it waits for more')")
    player.wait("!document.body.classList.contains('playing')")
    started = np.array(player.page.evaluate("window.scheduled"))
    gaps = started[1:, 0] - started[:-1].sum(1)
    assert (gaps > 1e-6).sum() <= 2
    assert gaps.min() > -1e-9


@pytest.mark.long
@pytest.mark.parametrize("value", ["-1", "1e9", "NaN", "", "<b>", "1,2", "0x10000000000000000"])
def test_hostile_links(opening: Opener, value: str) -> None:
    player = opening(seed=value, length=value, temperature=value.replace("1,2", "1,,2"))
    assert player.page.locator("#length").input_value() == "10"
    assert player.page.locator("#temperature").input_value() == "0.8"
    assert int(player.page.locator("#seed").input_value()) < 2**31


@pytest.mark.long
def test_hostile_titles(opening: Opener) -> None:
    player = opening(seed=1, length=1, title=HOSTILE)
    player.play()
    player.sound()
    assert player.page.evaluate("window.pwned") is None
    assert player.page.locator("img").count() == player.page.locator("b").count() == 0
    assert "<img src=x onerror" in player.page.locator("h1").inner_text()


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_cut_off(opening: Opener, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    title = "a_long_word_without_a_place_to_break" * 3
    context = {"viewport": size, "color_scheme": scheme}
    player = opening(seed=1, length=1, title=title, context=context)
    player.play()
    assert player.page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("Go on", "From the start", "Another", "Save WAV", "Link"):
        box = player.page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= width
    unnamed = player.page.evaluate(
        "[...document.querySelectorAll('input')].filter((x) => !x.labels.length"
        " && !x.ariaLabel).length"
    )
    assert unnamed == 0
