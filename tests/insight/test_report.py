"""What is said about a model, as values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.errors import CorpusError, UsageError
from charrnn.insight.learning import learning
from charrnn.insight.maps import plane
from charrnn.insight.report import SHOWN, Insight, Text
from charrnn.insight.surprise import by_kind, costly
from charrnn.insight.values import for_page, values
from charrnn.insight.vectors import similarities
from charrnn.insight.verdict import verdict
from charrnn.media.steps import Discrete
from charrnn.media.traits import Kinds, Parts, Traits
from charrnn.run import Run
from tests.conftest import TEXT, trained

LONG = TEXT * 6  # 6,000 characters


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose held-out text is long enough to look for everything."""
    folder = tmp_path_factory.mktemp("insight")
    (folder / "corpus.txt").write_text(LONG, encoding="utf-8")
    trained(
        folder / "corpus.txt", folder / "run", steps=60, eval_every=20, lr=0.02, val_fraction=0.4
    )
    return folder / "run"


@pytest.fixture(scope="module")
def found(longer: Path) -> Insight:
    return charrnn.load(longer).insight()


def test_everything_is_found_and_fits_json(found: Insight) -> None:
    every = values(found)
    assert json.loads(json.dumps(every)) == every
    assert {text["name"] for text in every["texts"]} == {"held-out part", "sample", "learnt part"}
    assert {"verdict", "surprise", "cells", "memory", "saliency", "map", "copies", "learning"} <= (
        every.keys()
    )
    page = for_page(found)
    assert json.loads(json.dumps(page)) == page
    assert [len(passage["steps"]) for passage in page["passages"]] == [2_000, 2_000]


def test_the_losses_by_kind_add_up(found: Insight) -> None:
    surprise = values(found)["surprise"]
    [kinds, _] = surprise["groups"]
    assert sum(row["share"] for row in kinds["rows"]) == pytest.approx(1)
    assert sum(row["part"] for row in kinds["rows"]) == pytest.approx(1)
    total = sum(row["share"] * row["held_out"] for row in kinds["rows"])
    assert total == pytest.approx(surprise["nats_per_step"])


def test_the_loss_is_that_of_evaluate(longer: Path, tmp_path: Path) -> None:
    model = charrnn.load(longer)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    evaluated = model.evaluate(tmp_path / "text.txt").values
    # Evaluation only reads the first character; here it follows the start of a text.
    nats = model.nats(TEXT)
    read = model.insight(text=TEXT, show=["losses"])
    assert read.text.trace.nats[2:].mean() == pytest.approx(evaluated["nats_per_step"], abs=0.02)
    assert read.text.trace.nats[-100:].mean() == pytest.approx(nats[-100:].mean(), abs=1e-3)


def test_advice_has_its_figure(found: Insight) -> None:
    for finding in verdict(found):
        if finding.advice:
            assert any(character.isdigit() for character in finding.text)
    titles = {finding.title for finding in verdict(found)}
    assert titles & {"fits", "overfits", "underfits", "still learns", "by heart", "loss"}
    assert {"memory", "units", "copies", "surprise"} <= titles


def test_only_what_is_asked_for(longer: Path) -> None:
    model = charrnn.load(longer)
    every = values(model.insight(show=["copies"]))
    assert "copies" in every
    assert not {"cells", "memory", "verdict", "surprise", "map"} & every.keys()
    with pytest.raises(UsageError, match="not shown: gears; there is verdict"):
        model.insight(show=["gears"])
    with pytest.raises(UsageError, match="--cell 3:0: layers are 1 to 2, units 0 to 11"):
        model.insight(show=["gates"], cell=(2, 0))
    with pytest.raises(UsageError, match="either files or a text"):
        model.insight("file.txt", text="text")
    with pytest.raises(CorpusError, match="0 characters that the model knows"):
        model.insight(text="")
    assert set(SHOWN) >= {"verdict", "surprise"}


def test_two_models_beside_each_other(longer: Path, run: Path, tmp_path: Path) -> None:
    model = charrnn.load(longer)
    both = values(model.insight(against=run, show=["memory"]))["memory"]
    assert [each["name"] for each in both["curves"]] == ["LSTM 2x12, run", "LSTM 2x12, run"]
    assert both["curves"][0]["y"] != both["curves"][1]["y"]
    assert len(both["gradients"]) == 2
    other = tmp_path / "other.txt"
    other.write_text("The heron said nothing about it to anyone. " * 40, encoding="utf-8")
    trained(other, tmp_path / "few", steps=2)
    notes = model.insight(against=tmp_path / "few", show=["memory"]).notes
    assert any("left out" in note and "does not know" in note for note in notes)
    trained(other, tmp_path / "words", steps=2, codec="word")
    with pytest.raises(UsageError, match="compare models of the same kind"):
        model.insight(against=tmp_path / "words", show=["memory"])


def test_a_model_without_a_corpus_reads_its_own_sample(longer: Path, tmp_path: Path) -> None:
    charrnn.load(longer).save(tmp_path / "alone.safetensors")
    alone = charrnn.load(tmp_path / "alone.safetensors").insight(length=500)
    assert [text.name for text in alone.texts] == ["sample"]
    assert "no corpus beside it" in alone.notes[0]
    assert alone.copies is None
    assert alone.learning is None


def test_curves_of_a_run(longer: Path) -> None:
    lines = Run(longer).read_metrics()
    found = learning(lines)
    validation = found.curve("val_nats_per_step")
    assert validation is not None
    assert list(validation.updates) == [20, 40, 60]
    assert [sample.update for sample in found.samples] == [20, 40, 60]
    assert all(sample.text for sample in found.samples)
    assert found.seconds > 0
    assert learning([]).curves == []
    odd = [{"step": k, "lr": value} for k, value in enumerate([None, "1", True, 0.5, float("nan")])]
    assert learning(odd).curves == []


def test_losses_of_kinds_and_parts() -> None:
    nats = np.array([0.0, 1, 2, 3, 4])
    rows = by_kind(nats, Kinds("", ("a", "b", "c"), np.array([0, 0, 1, 1, -1])))
    assert [row.nats for row in rows] == [0.5, 2.5, 0]
    assert [row.share for row in rows] == [0.4, 0.4, 0]
    assert [row.part for row in rows] == [0.1, 0.5, 0]
    parts = Parts("", [(0, 2), (2, 3), (3, 5), (1, 2)], ["x", "y", "z", "x"])
    assert [(part.text, part.count, part.nats) for part in costly(nats, parts)] == [
        ("z", 1, 7),
        ("y", 1, 2),
        ("x", 2, 1),
    ]


def test_principal_components() -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(50, 2)) * [5, 1]
    points -= points.mean(0)
    turned = points @ np.linalg.qr(random.normal(size=(6, 6)))[0][:2]
    found = plane(turned)
    assert found.explained == pytest.approx(1)
    assert np.abs(found.points).max() == pytest.approx(1)
    assert abs(np.corrcoef(found.points[:, 0], points[:, 0])[0, 1]) > 0.99
    assert plane(np.zeros((3, 2))).points.tolist() == [[0, 0]] * 3


def test_vectors_do_not_depend_on_their_neighbours(run: Path, tmp_path: Path) -> None:
    model = charrnn.load(run)
    lines = ["The heron", "nothing, and the river went on.", "a", "The miller said"] * 40
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    for average in (False, True):
        found = list(model.embed(tmp_path / "lines.txt", average=average))
        assert [passage.text for passage, _ in found] == lines
        for (_, vector), line in list(zip(found, lines, strict=True))[:4]:
            own = model.vector(line, average=average)
            assert vector.shape == (24,)
            np.testing.assert_allclose(vector, own, atol=1e-5)
    scores = similarities(np.stack([vector for _, vector in found]), model.vector("The heron"))
    assert scores.shape == (160,)
    exact = similarities(
        np.stack([model.vector(line) for line in lines[:4]]), model.vector("The heron")
    )
    assert exact.argmax() == 0
    assert exact[0] == pytest.approx(1)
    (tmp_path / "blank.txt").write_text("\n\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="no lines to read"):
        model.embed(tmp_path / "blank.txt")


def test_kinds_that_a_short_text_lacks_are_not_compared(longer: Path) -> None:
    found = charrnn.load(longer).insight(show=["verdict"])
    assert found.learnt is not None
    [kinds, *_], [known, *_] = found.text.traits.kinds, found.learnt.traits.kinds
    fewer = Kinds(known.name, known.labels[:2], np.minimum(known.of, 1))
    learnt = Text("learnt part", found.learnt.trace, Traits(kinds=[fewer]))
    learnt.trace.nats[:] *= 0.1
    found.learnt, found.texts[0] = (
        learnt,
        Text("held-out part", found.text.trace, Traits(kinds=[kinds])),
    )
    [where] = [finding for finding in verdict(found) if finding.title == "where"]
    assert all(label not in where.text for label in kinds.labels[2:])


def test_metrics_by_anybody() -> None:
    """What cannot be drawn is left out."""
    key = "val_nats_per_step"
    junk = [
        {"step": True, key: 2.0, "sample": "x"},
        {"step": 10**400, key: 2.0},
        {"step": 1, key: 10**400},
        {"step": 2, key: 1e308, "elapsed_s": float("inf")},
        {"step": 3, key: 2.0, "sample": "half a pair: \ud800"},
        {"step": 4, key: 1.0},
    ]
    found = learning(junk)
    assert [list(curve.updates) for curve in found.curves] == [[3, 4]]
    assert [sample.text for sample in found.samples] == ["half a pair: ?"]
    assert found.seconds == 0


def told(held: np.ndarray, learnt: np.ndarray, **curve: object) -> list[str]:
    """The titles of a verdict on these losses."""
    from types import SimpleNamespace

    from charrnn.insight.learning import Curve, Learning
    from charrnn.insight.report import HELD_OUT, LEARNT, Text
    from charrnn.insight.trace import Trace
    from charrnn.media.traits import Traits

    def text(name: str, nats: np.ndarray) -> Text:
        nothing = np.zeros((0, 0))
        return Text(name, Trace(nats, nats, nothing, nothing, nothing, {}, {}), Traits())

    step = SimpleNamespace(unit="character", step=Discrete(5))
    config = SimpleNamespace(model=SimpleNamespace(dropout=0.2, hidden=64))
    checkpoint = SimpleNamespace(codec=step, config=config)
    insight = Insight(checkpoint, ["verdict"])  # type: ignore[arg-type]
    insight.texts, insight.learnt = [text(HELD_OUT, held)], text(LEARNT, learnt)
    if curve:
        own = Curve("val_nats_per_step", "", "", "", False, **curve)  # type: ignore[arg-type]
        insight.learning = Learning([own], [], 60.0)
    return [finding.title for finding in verdict(insight)]


def test_verdicts_on_the_fit() -> None:
    random = np.random.default_rng(0)
    losses = {mean: random.normal(mean, 0.5, 20_000) for mean in (1.0, 1.1, 1.5)}
    updates = [100, 200, 300, 400, 500]
    assert told(losses[1.1], losses[1.0]) == ["fits"]
    assert told(losses[1.5], losses[1.0]) == ["by heart"]
    assert told(losses[1.0], losses[1.0]) == ["underfits"]
    assert told(losses[1.0], losses[1.5]) == ["loss"]  # the held-out part is easier
    assert told(losses[1.5][:500], losses[1.0]) == ["loss"]  # too little to judge by
    rises = [1.5, 1.2, 1.1, 1.2, 1.3]
    assert told(losses[1.1], losses[1.0], updates=updates, values=rises) == ["overfits"]
    falls = [1.5, 1.4, 1.3, 1.2, 1.1]
    assert told(losses[1.1], losses[1.0], updates=updates, values=falls) == ["still learns"]
    settles = [1.5, 1.2, 1.11, 1.105, 1.1]
    assert told(losses[1.1], losses[1.0], updates=updates, values=settles) == ["fits"]
