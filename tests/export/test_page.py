"""The page that writes, in a browser, opened as a file, with the network off."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

import charrnn
from charrnn.api import Model
from charrnn.checkpoint import Checkpoint
from charrnn.export.page import page as page_of
from charrnn.media.text.char import CharCodec
from tests.conftest import TEXT, trained
from tests.export import Opened, Opener

pytestmark = [pytest.mark.browser, pytest.mark.long]
HOSTILE = "</script><img src=x onerror='window.pwned=1'>\u202e\u2066<b>&amp;\0"
OWN_BYTES = 40 << 10  # of JavaScript without lines of comment and indentation
NAMES = "".join(f"{a}{b}\n" for a in ("Al", "Ber", "Jo", "Ma") for b in ("bert", "la", "rie", "n"))
CODECS = ("char", "word", "byte", "names")


@pytest.fixture(scope="module")
def models(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Models of characters, words, bytes and documents."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder / "names.txt").write_text(NAMES * 8, encoding="utf-8")
    few = {"steps": 15, "lr": 0.05}
    trained(folder / "text.txt", folder / "word", codec="word", min_count=1, **few)
    trained(folder / "text.txt", folder / "byte", codec="byte", **few)
    trained(folder / "names.txt", folder / "names", documents="line", **few)
    return {"char": charrnn.load(run)} | {n: charrnn.load(folder / n) for n in CODECS[1:]}


class Player(Opened):
    """A page that was opened, and what one can do with it."""

    def wait_until_ready(self) -> None:
        self.wait("document.body.dataset.ready !== undefined")

    def wait_until_written(self) -> None:
        self.wait("!document.body.classList.contains('writing')")

    def follow(self, **values: Any) -> None:
        """Follow a link to the same page."""
        self.page.evaluate("(fragment) => { location.hash = fragment; }", link(**values))
        self.wait(f"document.querySelector('#seed').value === '{values['seed']}'")
        self.wait(f"document.querySelector('#beginning').value === {json.dumps(values['prime'])}")

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def write(self, name: str = "Write") -> None:
        self.click(name)
        self.wait_until_written()

    @property
    def text(self) -> str:
        found: str = self.page.locator("#beginning").input_value()
        return found

    @property
    def texts(self) -> list[str]:
        found: list[str] = self.page.locator(".texts li").evaluate_all(
            "(items) => items.map((item) => item.textContent)"
        )
        return found

    @property
    def status(self) -> str:
        found: str = self.page.locator(".status").inner_text()
        return found

    @property
    def problem(self) -> str:
        found: str = self.page.locator("#left-out").inner_text()
        return found


@pytest.fixture
def opening(chromium: Any, tmp_path: Path) -> Iterator[Opener[Player]]:
    opener = Opener(chromium, tmp_path, Player)
    yield opener
    opener.finish()


def link(**values: Any) -> str:
    return f"#{urlencode(values)}"


def with_sampling(model: Model, **changes: Any) -> Checkpoint:
    """The same model, with other settings stored in it."""
    own = model.checkpoint
    sampling = dataclasses.replace(own.config.sampling, **changes)
    return dataclasses.replace(own, config=dataclasses.replace(own.config, sampling=sampling))


def test_its_size(models: dict[str, Model]) -> None:
    page = page_of(models["char"].checkpoint)
    scripts = re.findall(
        r"<script(?: type=\"text/plain\" id=\"worker\")?>(.*?)</script>", page, re.S
    )
    lines = [line.strip() for script in scripts for line in script.splitlines()]
    code = [line for line in lines if not line.startswith(("//", "const KERNEL"))]
    assert len(scripts) == 2
    assert sum(len(line.encode()) + 1 for line in code) < OWN_BYTES


@pytest.mark.parametrize(
    ("codec", "primes"),
    [
        ("char", ["", "The miller ", "\n\nThe"]),
        ("word", ["", 'The miller said, "nothing ', "The  "]),
        ("byte", ["", "grü"]),
        ("names", ["", "Al"]),
    ],
)
def test_the_same_text_as_sample(
    opening: Opener[Player], models: dict[str, Model], codec: str, primes: list[str]
) -> None:
    model = models[codec]
    assert model.checkpoint.starts_count > 1
    player = opening(model)
    for prime in primes:
        for seed in (0, 5, 2**31 + 12_345_678_901):
            player.follow(prime=prime, seed=seed, length=200, texts=12)
            player.write()
            if codec == "names":
                found = list(model.samples(200, num=12, prime=prime, seed=seed))
                assert player.texts == [prime + sample.text for sample in found]
            else:
                assert player.text == prime + model.sample(200, prime=prime, seed=seed).text


def test_random_numbers(opening: Opener[Player], models: dict[str, Model]) -> None:
    """Those of NumPy, also where a half is left over, and for numbers that do not divide 2^32."""
    page = opening(models["char"]).page
    source = page.evaluate("document.getElementById('worker').textContent")
    blank = page.context.new_page()
    blank.add_script_tag(content=source.replace("onmessage = ", "const listen = "))
    for seed, index in ((0, 0), (1, 7), (2**31 - 1, 63), (2**40 + 5, 2**33)):
        found = blank.evaluate(
            """([seed, index]) => {
                const random = new Random(seed, index);
                const belows = [1, 2, 7, 32, 1000, 3000000000, 1024];
                return belows.map((below) => [random.integers(below), random.random()]);
            }""",
            [seed, index],
        )
        own = np.random.default_rng([seed, index])
        belows = (1, 2, 7, 32, 1000, 3_000_000_000, 1024)
        assert found == [[int(own.integers(below)), own.random()] for below in belows]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": (1.3,)},
        {"temperature": (0.0,)},
        {"temperature": (1.5, 0.5, 0.2)},
        {"top_p": 0.7},
        {"top_k": 5},
        {"min_p": 0.1},
        {"typical_p": 0.6},
        {"top_k": 9, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9, "temperature": (1.4, 0.9)},
        {"repetition_penalty": 1.4, "repetition_window": 20},
        {"no_repeat_ngram": 3},
        {"no_repeat_ngram": 4, "repetition_penalty": 1.1, "top_p": 0.95, "temperature": (1.2,)},
    ],
)
def test_the_settings_of_the_model(
    opening: Opener[Player], models: dict[str, Model], settings: dict[str, Any]
) -> None:
    model = models["char"]
    player = opening(with_sampling(model, **settings), fragment=link(seed=7, length=200))
    player.write()
    assert player.text == model.sample(200, seed=7, **settings).text
    shown = player.page.locator("#main").inner_text()
    for name, value in settings.items():
        if name not in ("temperature", "top_p"):
            assert f"{name.replace('_', '-')} {value:g}" in shown


def test_the_settings_of_the_page(opening: Opener[Player], models: dict[str, Model]) -> None:
    model = models["char"]
    player = opening(model, fragment=link(seed=3, length=200))
    player.page.get_by_label("Temperature", exact=True).fill("1.2, 0.4")
    player.page.get_by_label("Top-p", exact=True).fill("0.8")
    player.write()
    settings: dict[str, Any] = {"temperature": (1.2, 0.4), "top_p": 0.8}
    assert player.text == model.sample(200, seed=3, **settings).text
    slider = player.page.get_by_label("Temperature, slider")
    assert slider.input_value() == "1.2"
    slider.focus()
    player.page.keyboard.press("ArrowLeft")
    player.click("Again")
    player.wait_until_written()
    assert player.text == model.sample(200, seed=3, temperature=1.15, top_p=0.8).text
    player.page.get_by_label("Temperature", exact=True).fill("warm")
    assert player.page.locator("#temperature").get_attribute("aria-invalid") == "true"
    player.page.keyboard.press("Tab")
    assert player.page.locator("#temperature").input_value() == "0.8"


def test_documents_of_a_least_length(opening: Opener[Player], models: dict[str, Model]) -> None:
    model = models["names"]
    settings: dict[str, Any] = {"min_length": 9, "temperature": (1.1,)}
    player = opening(with_sampling(model, **settings), fragment=link(seed=1, texts=5))
    player.write()
    expected = [s.text for s in model.samples(500, num=9, seed=1, **settings)]
    assert player.texts == expected[:5]
    assert all(len(text) >= 9 for text in player.texts)
    player.page.get_by_label("Number", exact=True).fill("4")
    player.write("More")
    assert player.texts == expected
    player.page.locator("#beginning").fill("Ma")
    player.page.keyboard.press("Enter")
    player.wait_until_written()
    assert len(player.texts) == 4
    assert all(text.startswith("Ma") for text in player.texts)


def test_it_goes_on(opening: Opener[Player], models: dict[str, Model]) -> None:
    """At the end as if it had been longer, otherwise from the cursor."""
    model = models["char"]
    player = opening(model, fragment=link(seed=5, length=60, prime="The "))
    player.write()
    player.write("Go on")
    whole = "The " + model.sample(120, prime="The ", seed=5).text
    assert player.text == whole
    field = player.page.locator("#beginning")
    field.evaluate("(field) => field.setSelectionRange(30, 30)")
    player.write("Go on from the cursor")
    assert player.text == whole[:30] + model.sample(60, prime=whole[:30], seed=5).text
    field.press("End")
    field.press_sequentially(" heron")
    assert player.page.get_by_role("button", name="Again").is_enabled()
    text = player.text
    assert text.endswith(" heron")
    player.write("Go on")
    assert player.text == text + model.sample(60, prime=text, seed=5).text
    player.write("Another")
    assert player.text.startswith(text)
    seed = int(player.page.locator("#seed").input_value())
    assert player.text == text + model.sample(60, prime=text, seed=seed).text


def test_stop(opening: Opener[Player], models: dict[str, Model]) -> None:
    """In the middle, with the keyboard; then it goes on as if it had not stopped."""
    model = models["char"]
    player = opening(model, fragment=link(seed=9, length=1_000_000))
    player.page.locator("#beginning").focus()
    player.page.keyboard.press("Control+Enter")
    player.wait("document.querySelector('#beginning').value.length > 200")
    player.page.keyboard.press("Escape")
    player.wait_until_written()
    assert player.status.startswith("Stopped after ")
    length = len(player.text)
    player.page.wait_for_timeout(100)
    assert len(player.text) == length
    player.page.get_by_label("Length", exact=True).fill("100")
    player.write("Go on")
    whole = model.sample(length + 100, seed=9).text
    # Much later a rounding may have changed a draw.
    assert player.text[:300] == whole[:300]
    assert len(player.text) == length + 100
    # Typing stops it as well, and nothing is written into what is typed.
    player.page.get_by_label("Length", exact=True).fill("1000000")
    player.click("Go on")
    player.wait(f"document.querySelector('#beginning').value.length > {length + 300}")
    player.page.locator("#beginning").press("x")
    player.wait_until_written()
    typed = player.text
    assert typed.endswith("x")
    player.page.wait_for_timeout(100)
    assert player.text == typed


def test_the_link_restores_everything(opening: Opener[Player], models: dict[str, Model]) -> None:
    model = models["char"]
    player = opening(model)
    field = player.page.locator("#beginning")
    field.fill('The grüne "heron" & = #%\n')
    player.page.get_by_label("Temperature", exact=True).fill("1.1, 0.3")
    player.page.get_by_label("Top-p", exact=True).fill("0.9")
    player.page.get_by_label("Length", exact=True).fill("80")
    assert "#" in player.problem
    player.write()
    player.write("Go on")
    player.wait("location.hash.includes('length=160')")
    fragment = player.page.evaluate("location.hash")
    other = opening(model, fragment=fragment)
    assert other.text == 'The grüne "heron" & = #%\n'
    for name in ("temperature", "top_p", "seed"):
        own = player.page.locator(f"#{name}").input_value()
        assert other.page.locator(f"#{name}").input_value() == own
    other.write()
    assert other.text == player.text
    other.follow(seed=4, length=30, prime="river")
    other.write()
    assert (
        other.text
        == "river" + model.sample(30, prime="river", seed=4, temperature=(1.1, 0.3), top_p=0.9).text
    )


@pytest.mark.parametrize(
    "fragment",
    [
        link(prime=HOSTILE, seed="<b>", temperature="1e999", top_p="-1", length="1e30"),
        "#%%%&prime=%ff%fe&seed=&seed=1&length=-3&__proto__=1&constructor=2&temperature=NaN",
        "#prime=" + "a" * 100_000 + "&seed=9007199254740993&top_p=0&length=0x10&texts=1e9",
        "#" + HOSTILE.replace("\0", ""),
    ],
)
def test_a_hostile_link_is_harmless(
    opening: Opener[Player], models: dict[str, Model], fragment: str
) -> None:
    player = opening(models["char"], fragment=fragment)
    page = player.page
    assert page.locator("#temperature").input_value() == "0.8"
    assert page.locator("#top_p").input_value() == "1"
    assert 0 <= int(page.locator("#seed").input_value()) < 2**31
    assert len(player.text) <= 10_000
    page.get_by_label("Length", exact=True).fill("20")
    before = len(player.text)
    player.write()
    assert len(player.text) >= before + 20
    refuse_pwned(player)


def refuse_pwned(player: Player) -> None:
    page = player.page
    assert page.evaluate("window.pwned") is None
    assert page.locator("img").count() == page.locator("b").count() == 0
    assert page.locator("script").count() == 4


def test_a_hostile_vocabulary_stays_text(opening: Opener[Player], models: dict[str, Model]) -> None:
    own = models["char"].checkpoint
    codec = own.codec
    assert isinstance(codec, CharCodec)
    symbols = [f"{symbol}{HOSTILE}" for symbol in codec.symbols]
    hostile = CharCodec("".join(codec.symbols), codec.beginning, codec.reading)
    hostile.symbols = symbols
    hostile.start = lambda random: codec.start(random)  # type: ignore[method-assign]
    given = {"title": HOSTILE, "about": HOSTILE}
    player = opening(dataclasses.replace(own, codec=hostile), fragment=link(length=50), **given)
    player.page.get_by_label("Colour by surprise").check()
    player.write()
    refuse_pwned(player)
    shown = player.page.evaluate("document.body.innerText") + player.page.title() + player.text
    assert "<img src=x onerror" in player.text
    assert not set("\u202e\u2066\0") & set(shown)
    assert player.page.evaluate("document.documentElement.scrollWidth") <= 1280


def as_shown(text: str) -> str:
    """A text as it stands in the page: without carriage returns, and with signs for controls."""
    shown = ""
    for character in text.replace("\r", ""):
        code, kind = ord(character), unicodedata.category(character)
        if kind not in ("Cc", "Cf") or character in "\t\n\u200c\u200d":
            shown += character
        else:
            shown += chr(0x2400 + code) if code < 0x20 else f"⟨{code:04X}⟩"
    return shown


def test_bytes_become_whole_characters(opening: Opener[Player], models: dict[str, Model]) -> None:
    """Those of a model that draws nearly any byte are mostly none at all."""
    model = models["byte"]
    player = opening(model, fragment=link(seed=2, length=200, temperature=4))
    player.page.get_by_label("Colour by surprise").check()
    player.write()
    expected = model.sample(200, seed=2, temperature=4).text
    assert "\ufffd" in expected
    assert player.text == as_shown(expected)
    assert player.page.evaluate("document.querySelector('.under').textContent") == player.text


def test_surprise(opening: Opener[Player], models: dict[str, Model]) -> None:
    """Each symbol that was written is coloured, and nothing that was typed."""
    model = models["char"]
    player = opening(model, fragment=link(seed=5, length=100, prime="The river "))
    player.write()
    assert player.page.locator(".step").count() == 0
    player.page.get_by_label("Colour by surprise").press("Space")
    amounts = player.page.locator(".step").evaluate_all(
        "(steps) => steps.map((step) => Number(step.style.getPropertyValue('--amount')))"
    )
    sample = model.sample(100, prime="The river ", seed=5)
    drawn = model.nats("The river " + sample.text)
    full = np.ceil(1.3 * np.log(model.codec.step.size + 1))
    # `nats` begins with the start of a text, which the prime replaces: only roughly the same.
    np.testing.assert_allclose(amounts, np.minimum(drawn[10:] / full, 1), atol=0.2)
    assert np.mean(amounts) * full == pytest.approx(sample.nats_per_step, abs=0.05)
    player.write("Go on")
    assert player.page.locator(".step").count() == 200
    player.page.get_by_label("Colour by surprise").uncheck()
    assert player.page.locator(".step").count() == 0


def test_a_long_text_stays_in_bounds(opening: Opener[Player], models: dict[str, Model]) -> None:
    """Memory does; and the page answers meanwhile."""
    player = opening(models["char"], fragment=link(seed=5, length=25_000))
    page = player.page
    session = page.context.new_cdp_session(page)

    def used() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"])

    before = used()
    player.write()
    page.get_by_label("Length", exact=True).fill("75000")
    player.click("Go on")
    # Timers run, and a field takes what is typed, long before the text is complete.
    page.evaluate("() => new Promise((done) => setTimeout(() => setTimeout(done, 10), 10))")
    page.get_by_label("Seed", exact=True).fill("6")
    assert page.evaluate("document.body.classList.contains('writing')")
    player.wait_until_written()
    assert len(player.text) == 100_000
    assert used() - before < 30e6


def test_what_the_network_does_not_know(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(models["word"], fragment=link(prime="The zebra "))
    assert "zebra" in player.problem
    assert "<unk>" in player.problem
    player.page.locator("#beginning").fill("The miller")
    assert player.problem == ""


def test_buttons_copy(opening: Opener[Player], models: dict[str, Model]) -> None:
    context = {"permissions": ["clipboard-read", "clipboard-write"]}
    player = opening(models["char"], fragment=link(seed=5, length=40), context=context)
    player.write()
    player.click("Copy")
    player.wait("document.querySelector('.status').textContent === 'Copied'")
    assert player.page.evaluate("navigator.clipboard.readText()") == player.text
    player.click("Link")
    player.wait("navigator.clipboard.readText().then((text) => text.includes('length=40'))")


@pytest.mark.parametrize("codec", ["char", "names"])
def test_nothing_is_cut_off(opening: Opener[Player], models: dict[str, Model], codec: str) -> None:
    long = "a_long_word_without_a_place_to_break" * 3
    fragment = link(prime=long, length=300)
    player = opening(models[codec], title=long, about=long, fragment=fragment)
    player.page.get_by_label("Colour by surprise").check()
    player.write()
    for width, scheme in itertools.product((320, 360, 1280), ("light", "dark")):
        player.page.set_viewport_size({"width": width, "height": 800})
        player.page.emulate_media(color_scheme=scheme)
        assert player.page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = "[...document.querySelectorAll('.layers > *')].map((each) => each.scrollHeight)"
        assert len(set(player.page.evaluate(sizes))) <= 1  # the field shows its whole text
        picture = Image.open(io.BytesIO(player.page.screenshot())).convert("L")
        corner = picture.getpixel((2, 2))
        assert isinstance(corner, int)
        assert (corner < 60) == (scheme == "dark")


def test_what_it_says(opening: Opener[Player], models: dict[str, Model]) -> None:
    about = "Learnt from a miller's words; the model is CC0."
    player = opening(models["char"], title="The mill", about=about, weights="int8")
    assert player.page.title() == "The mill"
    shown = player.page.evaluate("document.body.innerText")
    for sentence in (about, "made up", "LSTM, 2 layers of 12 units"):
        assert sentence in shown
    # Every field has a name.
    for field in player.page.locator("input, textarea, button").all():
        named = "(e) => e.labels?.length || e.ariaLabel || e.textContent"
        assert field.evaluate(named)
    assert player.page.evaluate("document.activeElement === document.body")


def test_another_link_while_it_writes(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(models["char"], fragment=link(seed=1, length=500_000))
    player.click("Write")
    player.wait("document.querySelector('#beginning').value.length > 100")
    player.follow(prime="The", seed=3, length=50)
    player.wait_until_written()
    assert player.text == "The"
    player.write()
    assert player.text == "The" + models["char"].sample(50, prime="The", seed=3).text


def test_what_stands_after_the_cursor_comes_back(
    opening: Opener[Player], models: dict[str, Model]
) -> None:
    written = models["char"].sample(30, prime="The ", seed=1).text
    typed = f"The {written[0]}eron said"  # it begins as what is written in its place
    player = opening(models["char"], fragment=link(prime=typed, seed=1, length=30))
    field = player.page.locator("#beginning")
    field.evaluate("(e) => { e.focus(); e.setSelectionRange(4, 4); }")
    assert player.page.get_by_role("button", name="Undo").count() == 0
    player.write("Write from the cursor")
    assert player.text == "The " + written
    player.click("Undo")
    assert player.text == typed
    player.write()
    field.press_sequentially("mine")
    player.write("Another")
    player.click("Undo")
    assert player.text.endswith("mine")


def test_writes_while_one_types(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(models["char"], fragment=link(seed=1, length=25))
    player.page.get_by_label("Write while I type").check()
    field = player.page.locator("#beginning")
    for typed in ("The m", "iller"):
        begun = player.text[: field.evaluate("(e) => e.selectionEnd")] + typed
        field.press_sequentially(typed)
        expected = begun + models["char"].sample(25, prime=begun, seed=1).text
        player.wait(f"document.querySelector('#beginning').value === {json.dumps(expected)}")
        assert field.evaluate("(e) => e.selectionEnd") == len(begun)


def test_what_is_typed_into_fields(opening: Opener[Player], models: dict[str, Model]) -> None:
    player = opening(models["char"])
    page = player.page
    for name, typed, tidied in (
        ("temperature", "0,8", "0.8"),
        ("temperature", "0.5, 1", "0.5, 1"),
        ("top_p", "0,9", "0.9"),
        ("top_p", "7", "1"),
        ("length", "2000000", "1000000"),
        ("length", "0", "1"),
        ("length", "many", "500"),
    ):
        field = page.locator(f"#{name}")
        field.fill(typed)
        is_wrong = typed not in ("0,8", "0.5, 1", "0,9")
        assert field.get_attribute("aria-invalid") == str(is_wrong).lower()
        hint = page.locator(f"#{name}-hint").inner_text()
        assert (" to " in hint and any(c.isdigit() for c in hint)) == (is_wrong), hint
        field.blur()
        assert field.input_value() == tidied


def test_a_damaged_page(opening: Opener[Player], models: dict[str, Model], tmp_path: Path) -> None:
    html = page_of(models["char"].checkpoint).replace('id="model">H4sI', 'id="model">H5sI')
    path = tmp_path / "damaged.html"
    path.write_text(html, encoding="utf-8")
    player = opening(models["char"])
    player.page.goto(path.as_uri())
    player.wait("document.querySelector('.status').textContent.includes('get the file again')")
    assert player.page.get_by_role("button", name="Write", exact=True).is_disabled()
