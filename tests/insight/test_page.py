"""The page of `charrnn insight` in a browser, opened as a file, with the network off."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import charrnn
from charrnn import checkpoint as checkpoints
from charrnn.checkpoint import Checkpoint
from charrnn.insight import page as page_module
from charrnn.insight.page import page as page_of
from charrnn.media.text.char import CharCodec
from charrnn.sampling.filters import softmax
from charrnn.sampling.runtime import Runtime, Stream
from tests.conftest import TEXT, trained
from tests.export import WAIT_S, Opened

pytestmark = pytest.mark.browser
HOSTILE = "</script><img src=x onerror='window.pwned=1'>\u202e\u2066<b>&amp;\0\ud800"
OWN_BYTES = 50_000  # of the page's own script, style and HTML


def report_of(text: str = "text") -> dict[str, Any]:
    """A report with something in every place; every string contains `text`."""
    curve = {"name": f"LSTM {text}", "x": [1, 2, 4, 8, 16, 32, 64], "y": np.linspace(2, 1, 7)}
    falling = {"name": text, "x": [1, 2, 3, 4], "y": [1.0, 0.1, float("nan"), 1e-4]}
    kind = {"kind": text, "share": 0.5, "held_out": 1.5, "learnt": None, "part": 0.6}
    copy = {"longest": 27, "text": text, "place": text}
    return {
        "verdict": [{"title": text, "text": text, "advice": text}],
        "surprise": {
            "nats_per_step": 1.3,
            "groups": [{"name": text, "rows": [kind, kind | {"learnt": 1.0}]}],
            "costly": [{"name": text, "rows": [{"text": text, "count": 2, "nats": 9.5}]}],
            "over_time": {"x_label": text, "y_label": text, "x": [0.0, 1.0], "y": [2.0, 1.0]},
        },
        "cells": {
            "found": [
                {"layer": 2, "unit": 3, "part": "c", "follows": text, "score": 0.9, "table": 0.2}
            ],
            "shuffled": 0.04,
            "nothing": text,
            "half_lives": [{"layer": 1, "median": 2.0, "longest": 30.0}],
        },
        "memory": {
            "x_label": text,
            "curves": [curve, curve | {"name": "RNN"}],
            "gradients": [falling],
        },
        "map": {
            "units": [
                {"layer": 1, "unit": n, "x": n, "y": n % 3, "label": text * (n == 3)}
                for n in range(6)
            ],
            "symbols": [{"label": text, "x": n, "y": -n, "kind": text} for n in range(3)],
        },
        "copies": {
            "sample": copy,
            "held_out": copy,
            "histogram": [
                {"length": 5, "sample": 0.5, "held_out": 0.4},
                {"length": 10, "sample": 0.1, "held_out": 0.0},
            ],
        },
        "learning": {
            "curves": [{"name": text, "y_label": text, "log": True, "series": [falling]}],
            "samples": [{"update": 10, "text": text}, {"update": 2000, "text": text}],
        },
    }


def data_of(model: Checkpoint, text: str, **further: Any) -> dict[str, Any]:
    codec = model.codec
    assert isinstance(codec, CharCodec)
    return {
        "title": "LSTM 2x12",
        "note": "This page contains text of the corpus.",
        "unit": "character",
        "codec": {
            "name": "char",
            "symbols": list(codec.symbols),
            "labels": [codec.symbol_label(symbol) for symbol in codec.symbols],
            "end": None,
            "start": codec.start(np.random.default_rng(0)),
            "can_type": True,
        },
        "passages": [
            {"name": "held-out text", "steps": codec.encode(text)[0], "caption": "From the end"},
            {"name": "sample", "steps": codec.encode(text[7:60])[0], "caption": ""},
        ],
        "report": report_of(),
        **further,
    }


@pytest.fixture(scope="module")
def model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """In int8, as the page has it."""
    path = tmp_path_factory.mktemp("int8") / "model.safetensors"
    checkpoints.compact(path, charrnn.load(run).checkpoint, "int8")
    return checkpoints.read(path)


class Read(Opened):
    """A page that was opened, and what its text looks like."""

    def wait_until_read(self) -> None:
        """Wait until every step is painted, and nothing is left to read."""
        self.wait(
            "[...document.querySelectorAll('.step')].every((step) => step.amount !== undefined)"
            " && document.querySelector('[role=status]').textContent === ''"
        )

    def wait_for_amounts(self, expected: np.ndarray, atol: float) -> None:
        """Wait until the steps are coloured so."""
        until = time.monotonic() + WAIT_S
        while not np.allclose(self.amounts(), expected, rtol=0, atol=atol):
            if time.monotonic() > until:
                np.testing.assert_allclose(self.amounts(), expected, rtol=0, atol=atol)
            self.page.wait_for_timeout(20)

    def amounts(self) -> list[float]:
        """How strongly each step is coloured, below 0 for the other colour."""
        found: list[float] = self.page.evaluate(
            "[...document.querySelectorAll('.step')].map((step) => Number(step.amount || 0))"
        )
        return found


class Opener:
    def __init__(self, chromium: Any, folder: Path) -> None:
        self._chromium, self._folder = chromium, folder
        self.opened: list[Read] = []

    def __call__(self, model: Checkpoint, data: dict[str, Any], **context: Any) -> Read:
        path = self._folder / f"page{len(self.opened)}.html"
        path.write_text(page_of(model, data), encoding="utf-8")
        self.opened.append(Read(self._chromium.new_context(offline=True, **context), path.as_uri()))
        return self.opened[-1]


@pytest.fixture
def opening(chromium: Any, tmp_path: Path) -> Iterator[Opener]:
    """Opens pages; at the end there were no errors and no requests in any of them."""
    opener = Opener(chromium, tmp_path)
    yield opener
    for each in opener.opened:
        each.page.context.close()
        assert each.problems == []


def surprises(model: Checkpoint, steps: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Nats of each step, (N,), and the probabilities of all, (N, V)."""
    stream = Runtime.of(model).begin(model.codec.start(np.random.default_rng(0)))
    chances = []
    for step in steps:
        chances.append(softmax(stream.logits))
        stream.step(step)
    found = np.array(chances)
    return -np.log(found[np.arange(len(steps)), steps]), found


def test_its_size() -> None:
    own = list((Path(page_module.__file__).parent / "web").iterdir())
    assert len(own) == 7
    assert sum(path.stat().st_size for path in own) < OWN_BYTES


def test_text_is_coloured_by_surprise(opening: Opener, model: Checkpoint) -> None:
    data = data_of(model, TEXT[:200])
    opened = opening(model, data)
    opened.wait_until_read()
    steps = data["passages"][0]["steps"].tolist()
    nats, chances = surprises(model, steps)
    full = np.ceil(1.3 * np.log(model.codec.step.size + 1))
    opened.wait_for_amounts(np.minimum(nats / full, 1), 2e-3)
    assert opened.page.title() == "LSTM 2x12"
    assert opened.page.locator("section").count() == 9
    # Hovering shows the likeliest alternatives.
    for place in (0, 30, 150):
        opened.page.locator(".step").nth(place).hover()
        rows = opened.page.locator(".expected li").all()
        labels = data["codec"]["labels"]
        found = {r.locator(".symbol").inner_text(): r.locator(".chance").inner_text() for r in rows}
        assert len(found) in (8, 9)
        best = np.argsort(-chances[place])[:8].tolist()
        assert set(found) == {labels[step] for step in [*best, steps[place]]}
        for step in best:
            shown = float(found[labels[step]].rstrip("%")) / 100
            assert shown == pytest.approx(chances[place, step], abs=1e-3)
        came = opened.page.locator(".expected li.came .symbol")
        assert came.inner_text() == labels[steps[place]]


def test_saliency(opening: Opener, model: Checkpoint) -> None:
    """Against the runtime, with a symbol that is the mean of all in the place of each step."""
    data = data_of(model, TEXT[:90])
    opened = opening(model, data)
    opened.wait_until_read()
    before = opened.amounts()
    opened.page.locator(".step").nth(60).click()
    steps = data["passages"][0]["steps"].tolist()
    weights, _ = model.weights_and_starts()
    unused = next(s for s in range(model.codec.step.size) if s not in steps[:60])
    usual, _ = surprises(model, steps)
    weights["embedding.weight"][unused] = weights["embedding.weight"].mean(0)
    runtime = Runtime(model.config.model, weights)
    changes = np.zeros(len(steps))
    for place in range(20, 60):
        read = [*model.codec.start(np.random.default_rng(0)), *steps[:60]]
        read[place - 60] = unused
        logits = runtime.begin(read).logits.copy()
        changes[place] = -np.log(softmax(logits)[steps[60]]) - usual[60]
    opened.wait_for_amounts(changes / np.abs(changes).max(), 2e-3)
    opened.page.keyboard.press("Escape")
    opened.wait_for_amounts(np.array(before), 0)


def test_any_unit(opening: Opener, model: Checkpoint) -> None:
    """A unit that was found, and one that is chosen by its number."""
    data = data_of(model, TEXT[:200])
    opened = opening(model, data)
    opened.wait_until_read()
    steps = data["passages"][0]["steps"].tolist()
    stream = Stream(Runtime.of(model))
    start = model.codec.start(np.random.default_rng(0)).tolist()
    states = []
    for step in [*start, *steps]:
        stream.step(step)
        states.append([[part.copy() for part in layer.state[1:]] for layer in stream._layers])
    states = states[len(start) :]
    opened.page.locator("#units button").first.click()
    expected = np.array([state[1][1][3] for state in states])  # layer 2, unit 3, c
    opened.wait("document.querySelectorAll('.legend')[0].textContent.includes('unit 3, c')")
    opened.wait_for_amounts(expected / np.abs(expected).max(), 5e-3)
    opened.page.get_by_label("unit", exact=True).fill("5")
    opened.page.get_by_label("part", exact=True).select_option("h")
    opened.page.get_by_label("layer", exact=True).select_option("1")
    opened.wait("document.querySelectorAll('.legend')[0].textContent.includes('unit 5, h')")
    expected = np.array([state[0][0][5] for state in states])
    opened.wait_for_amounts(expected / np.abs(expected).max(), 5e-3)
    opened.page.get_by_role("button", name="Surprise").click()
    opened.wait("document.querySelectorAll('.legend')[0].textContent.startsWith('Surprise')")
    assert min(opened.amounts()) >= 0


def test_own_text_is_coloured_while_it_is_typed(opening: Opener, model: Checkpoint) -> None:
    opened = opening(model, data_of(model, TEXT[:50]))
    opened.page.get_by_role("tab", name="Your own text").click()
    opened.page.locator("textarea").press_sequentially("The river ☃")
    text = "The river "
    opened.wait("document.querySelectorAll('.step').length === 10")
    opened.wait_until_read()
    nats, _ = surprises(model, model.codec.encode(text)[0].tolist())
    full = np.ceil(1.3 * np.log(model.codec.step.size + 1))
    opened.wait_for_amounts(np.minimum(nats / full, 1), 2e-3)
    assert "☃" in opened.page.locator("#left-out").inner_text()
    opened.page.locator("textarea").fill("The miller")
    opened.wait("document.querySelectorAll('.step')[4].textContent === 'm'")
    opened.wait_until_read()
    nats, _ = surprises(model, model.codec.encode("The miller")[0].tolist())
    opened.wait_for_amounts(np.minimum(nats / full, 1), 2e-3)


def test_the_keyboard(opening: Opener, model: Checkpoint) -> None:
    opened = opening(model, data_of(model, TEXT[:200]))
    opened.wait_until_read()
    page = opened.page
    page.get_by_role("tab").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".step").count() == 53
    page.keyboard.press("ArrowLeft")
    opened.wait_until_read()
    page.locator(".step").first.focus()
    place = "[...document.querySelectorAll('.step')].indexOf(document.activeElement)"
    for key, expected in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 199)):
        page.keyboard.press(key)
        assert page.evaluate(place) == expected
    assert page.locator(".what").inner_text()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    below = page.evaluate(place)
    assert below > 10
    page.keyboard.press("ArrowUp")
    assert page.evaluate(place) == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    opened.wait(f"document.querySelectorAll('.step')[{below}].classList.contains('explained')")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_hostile_strings_stay_text(opening: Opener, model: Checkpoint) -> None:
    """In the vocabulary, and everywhere in the report."""
    data = data_of(model, TEXT[:50], title=HOSTILE, note=HOSTILE, report=report_of(HOSTILE))
    codec = data["codec"]
    codec["symbols"] = [HOSTILE for _ in codec["symbols"]]
    codec["labels"] = [HOSTILE for _ in codec["labels"]]
    for passage in data["passages"]:
        passage |= {"name": HOSTILE, "caption": HOSTILE}
    opened = opening(model, data)
    opened.wait_until_read()
    page = opened.page
    page.locator(".step").nth(3).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.locator("#units button").first.click()
    page.get_by_role("tab").last.click()
    page.locator("textarea").fill(HOSTILE)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img").count() == page.locator("b").count() == 0
    assert page.locator("script").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    shown = page.evaluate("document.body.innerText") + page.title()
    assert "<img src=x onerror" in shown
    assert not set("\u202e\u2066\0\ud800") & set(shown)


def test_no_other_script_runs(opening: Opener, model: Checkpoint) -> None:
    opened = opening(model, data_of(model, TEXT[:50]))
    opened.wait_until_read()
    assert opened.problems == []
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.pwned = 1";
            document.body.append(script, new Image());
            document.images[0].src = "https://localhost/x.png";
        }"""
    )
    opened.wait("document.images[0].complete")
    assert opened.page.evaluate("window.pwned") is None
    assert any("inline" in problem for problem in opened.problems)
    opened.problems = [p for p in opened.problems if "Content Security Policy" not in p]
    assert set(opened.problems) <= {"inline", "https://localhost/x.png"}
    opened.problems = []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_cut_off(opening: Opener, model: Checkpoint, width: int, scheme: str) -> None:
    long = report_of("a_long_word_without_a_place_to_break" * 3)
    data = data_of(model, TEXT[:300], report=long)
    size = {"width": width, "height": 800}
    opened = opening(model, data, viewport=size, color_scheme=scheme)
    opened.wait_until_read()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    picture = Image.open(io.BytesIO(opened.page.screenshot())).convert("L")
    corner = picture.getpixel((2, 2))
    assert isinstance(corner, int)
    assert (corner < 60) == (scheme == "dark")
    for drawing in opened.page.locator(".drawing svg").all():
        box = drawing.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_frames_have_pictures_and_no_text(opening: Opener, model: Checkpoint) -> None:
    """What does not apply is not shown, and the model is not carried."""
    stream = io.BytesIO()
    Image.new("L", (8, 4)).save(stream, "PNG")
    png = base64.b64encode(stream.getvalue()).decode()
    data = {"title": "t", "unit": "frame", "pictures": [{"title": "t", "png": png, "alt": "a"}]}
    opened = opening(model, data | {"report": {}})
    assert opened.page.locator("section").count() == 1
    assert opened.page.evaluate("document.images[0].naturalWidth") == 8
    assert len(page_of(model, data | {"report": {}})) < 70_000


@pytest.mark.parametrize("codec", ["word", "byte"])
def test_words_and_bytes(codec: str, opening: Opener, tmp_path: Path) -> None:
    """What is typed becomes the same steps as in Python, and is written as it was typed."""
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    trained(tmp_path / "corpus.txt", tmp_path / "run", steps=10, lr=0.02, codec=codec)
    model = charrnn.load(tmp_path / "run").checkpoint
    symbols = [str(symbol) for symbol in model.codec.symbols]
    about = {
        "name": codec,
        "symbols": symbols,
        "labels": [model.codec.symbol_label(symbol) for symbol in symbols],
        "end": None,
        "start": model.codec.start(np.random.default_rng(0)),
        "can_type": codec == "byte",
    }
    text = 'The grüne heron  said,"Ah" – it\'s nothing. 東 went .\n'
    steps = model.codec.encode(text)[0].tolist()
    passages = [{"name": "held-out text", "steps": steps, "caption": ""}]
    data = {"title": "t", "unit": codec, "codec": about, "passages": passages, "report": {}}
    opened = opening(model, data)
    opened.wait_until_read()
    written = "document.querySelector('.text').textContent"
    shown = opened.page.evaluate(written)
    opened.page.get_by_role("tab").last.click()
    opened.page.locator("textarea").fill(text)
    opened.wait_until_read()
    assert opened.page.locator(".step").count() == len(steps)
    assert opened.page.evaluate(written) == shown
    if codec == "byte":
        assert shown.replace("·", "") == text.replace("\n", "↵\n")
    else:
        assert shown == 'The grüne heron  said,"Ah" – <unk> nothing. <unk> went .↵\n'
