"""Models as ONNX, as arrays, as smaller files, and as a page about them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import charrnn
from charrnn.api.exporting import FORMATS
from charrnn.checkpoint import save
from charrnn.errors import CheckpointError, UsageError
from charrnn.export.card import card
from charrnn.export.onnx import onnx_model
from charrnn.media.steps import Continuous, Discrete, Step
from charrnn.settings import CELLS
from tests.conftest import Command, trained
from tests.export.test_engine import F, Model, V, model_of
from tests.sounds import music, recorded


def exported(model: Model) -> Any:
    """As much of a checkpoint as is exported."""
    config = SimpleNamespace(model=model.network.config, to_dict=dict)
    codec = SimpleNamespace(step=model.network.step, to_dict=dict)
    weights = lambda: model.weights_and_starts()[0]  # noqa: E731
    return SimpleNamespace(config=config, codec=codec, training={}, path="x", weights=weights)


def run_both(step: Step, **settings: Any) -> None:
    model = model_of(step, **settings)
    session = onnxruntime.InferenceSession(onnx_model(exported(model)).SerializeToString())
    random = np.random.default_rng(0)
    for count, lanes in ((7, 3), (1, 1)):  # any length, any batch
        shape = (count, lanes)
        steps = random.integers(0, V, shape)
        if isinstance(step, Continuous):
            steps = random.normal(size=(*shape, F)).astype(np.float32)
        state = [
            [torch.randn(lanes, model.network.config.hidden) for _ in parts]
            for parts in model.network.initial_state(lanes)
        ]
        flat = [part for parts in state for part in parts]
        names = [each.name for each in session.get_inputs()]
        feeds = dict(zip(names[1:], (part.numpy()[None] for part in flat), strict=True))
        found = session.run(None, {"steps": steps, **feeds})
        with torch.no_grad():
            read = torch.from_numpy(np.moveaxis(steps, 0, 1))
            expected, after = model.network(read, tuple(map(tuple, state)))
        np.testing.assert_allclose(found[0], np.moveaxis(expected.numpy(), 0, 1), atol=1e-5)
        kept = [part.numpy() for parts in after for part in parts]
        for own, part in zip(found[1:], kept, strict=True):
            np.testing.assert_allclose(own[0], part, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("embedding", [0, 5])
def test_onnx_against_the_network(cell: str, norm: str, embedding: int) -> None:
    run_both(Discrete(V), cell=cell, norm=norm, embedding=embedding, layers=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"skip": True},
        {"dense": 6},
        {"skip": True, "dense": 6, "layers": 3},
        {"skip_input": True, "layers": 3},
    ],
)
def test_onnx_with_other_heads(settings: dict[str, Any]) -> None:
    run_both(Discrete(V), **{"layers": 2, "embedding": 5} | settings)


@pytest.mark.parametrize("input_norm", ["none", "batch"])
def test_onnx_of_frames(input_norm: str) -> None:
    run_both(Continuous(F), head="gaussian", embedding=0, layers=2, input_norm=input_norm)


def test_what_onnx_has_no_operator_for() -> None:
    model = model_of(Discrete(V), cell_norm="layer", layers=1, embedding=5)
    with pytest.raises(UsageError, match="no operator for layer norm in the cell"):
        onnx_model(exported(model))


def test_a_run_as_onnx(command: Command, run: Path, tmp_path: Path) -> None:
    outcome = command("export", run, "-o", "model.onnx")
    assert outcome.returncode == 0, outcome.stderr
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    about = json.loads(session.get_modelmeta().custom_metadata_map["charrnn"])
    model = charrnn.load(run)
    assert about["codec"] == json.loads(json.dumps(model.codec.to_dict()))
    # A greedy sample by the runtime of ONNX, against ours.
    [start] = model.codec.start(np.random.default_rng(0))
    state = {e.name: np.zeros((1, 1, 12), np.float32) for e in session.get_inputs()[1:]}
    stream, step = model.runtime.begin([start]), int(start)
    for _ in range(40):
        logits, *after = session.run(None, {"steps": np.array([[step]]), **state})
        state = dict(zip(state, after, strict=True))
        np.testing.assert_allclose(logits[0, 0], stream.logits, atol=1e-4)
        step = int(logits[0, 0].argmax())
        stream.step(step)


def test_arrays(command: Command, run: Path, tmp_path: Path) -> None:
    assert command("export", run, "-o", "model.npz").returncode == 0
    found = np.load(tmp_path / "model.npz")
    weights = charrnn.load(run).checkpoint.weights()
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)
    assert json.loads(str(found["charrnn"]))["codec"]["name"] == "char"


def test_arrays_of_sound(command: Command, tmp_path: Path) -> None:
    recorded(tmp_path / "sound.wav", music())
    trained(tmp_path / "sound.wav", tmp_path / "run", steps=2, embedding=0)
    assert command("export", "run", "-o", "model.npz").returncode == 0
    codec = charrnn.load(tmp_path / "run").codec
    np.testing.assert_array_equal(
        np.load(tmp_path / "model.npz")["codec.mean"], codec.arrays["mean"]
    )
    page = command("export", "run", "-o", "page.md")
    assert page.returncode == 0, page.stderr


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_smaller_files(command: Command, run: Path, tmp_path: Path, weights: str) -> None:
    outcome = command("export", run, "-o", "small.safetensors", "--weights", weights)
    assert outcome.returncode == 0, outcome.stderr
    small = charrnn.load(tmp_path / "small.safetensors")
    assert small.checkpoint.weights_as == weights
    text = "The miller said nothing."
    assert small.nats(text).mean() == pytest.approx(charrnn.load(run).nats(text).mean(), abs=0.02)
    back = command("export", "small.safetensors", "-o", "back.safetensors", "--weights", "fp32")
    assert back.returncode == 0, back.stderr
    whole = charrnn.load(tmp_path / "back.safetensors")
    assert whole.checkpoint.weights_as == "fp32"
    np.testing.assert_array_equal(whole.nats(text), small.nats(text))


def test_the_model_itself_is_not_replaced(command: Command, tmp_path: Path, corpus: Path) -> None:
    trained(corpus, tmp_path / "run", steps=2)
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "run" / "best.safetensors")
    for out in ("run/best.safetensors", "run/last.safetensors", "link.safetensors"):
        outcome = command("export", "run", "-o", out, "--weights", "int8")
        assert outcome.returncode == 2
        assert "is the model itself" in outcome.stderr
    assert charrnn.load(tmp_path / "run").checkpoint.weights_as == "fp32"


def test_a_page_about_a_model(command: Command, run: Path, tmp_path: Path) -> None:
    named = ("--title", "Herons | and rivers", "--about", "A tale, CC0.", "--seed", "3")
    outcome = command("export", run, "-o", "README.md", *named)
    assert outcome.returncode == 0, outcome.stderr
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    model = charrnn.load(run)
    assert "# Herons \\| and rivers" in page
    assert "A tale, CC0." in page
    assert model.checkpoint.sha256 in page
    assert f"{model.checkpoint.training['best_nats_per_step']:.4f} nats" in page
    first = model.sample(600, seed=3).text.strip().splitlines()[0]
    assert f"    {first}" in page


def test_a_page_about_documents_shows_several(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Albert\nMarie\nJon\n" * 20, encoding="utf-8")
    few = {"documents": "line", "steps": 5}
    trained(tmp_path / "names.txt", tmp_path / "names", **few)
    model = charrnn.load(tmp_path / "names")
    model.export(tmp_path / "page.md", seed=2)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    lines = page.partition("## A sample (seed 2)\n\n")[2].partition("\n\n## ")[0].splitlines()
    written = "\n".join(each.text for each in model.samples(60, num=10, seed=2))
    assert len([line for line in lines if line.startswith("    ")]) == written.count("\n") + 1 == 10


def test_what_is_too_large_for_fp16(run: Path, tmp_path: Path) -> None:
    model = charrnn.load(run)
    tensors = model.checkpoint.tensors()
    name = next(name for name in tensors if name.endswith("weight_hh_l0"))
    tensors[name] = tensors[name] * np.float32(1e9)
    path = tmp_path / "large.safetensors"
    save(path, config=model.config, codec=model.codec, training={}, tensors=tensors)
    with pytest.raises(CheckpointError, match="too large for fp16"):
        charrnn.load(path).export(tmp_path / "small.safetensors", weights="fp16")
    assert [each.name for each in tmp_path.iterdir()] == ["large.safetensors"]


def test_nothing_in_a_page_about_a_model_is_markup(run: Path, tmp_path: Path) -> None:
    model = charrnn.load(run)
    model.export(tmp_path / "page.md", title="<b>*x*</b> [y](z)\n# \udcff")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "# \\<b\\>\\*x\\*\\</b\\> \\[y\\](z) \\# ?\n" in page
    licence = "no: [x"
    text = card(model.checkpoint, licence=licence, address="hf://user/name")
    [stated] = [line for line in text.splitlines() if line.startswith("license: ")]
    assert json.loads(stated.removeprefix("license: ")) == licence  # JSON is YAML, too
    assert "    charrnn sample hf://user/name\n" in text


def test_a_model_file_without_the_state_of_training(run: Path, tmp_path: Path) -> None:
    last = charrnn.load(run / "last.safetensors")
    assert last.checkpoint.progress is not None
    for weights in (None, "fp32"):
        last.export(tmp_path / "model.safetensors", weights=weights)
        found = charrnn.load(tmp_path / "model.safetensors").checkpoint
        assert found.progress is None
        assert {name.partition(".")[0] for name in found.shapes} <= {"model", "start", "codec"}
        for name, array in last.checkpoint.weights().items():
            np.testing.assert_array_equal(found.weights()[name], array)


@pytest.mark.parametrize("name", ["x.md", "x.safetensors"])
def test_links_stay_links(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("target")
    charrnn.load(run).export(tmp_path / name)
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "target").stat().st_size


def test_a_name_is_that_of_the_link(run: Path, tmp_path: Path) -> None:
    """The cache of the hub has links to files named by their digest."""
    (tmp_path / "herons.safetensors").symlink_to(run / "best.safetensors")
    charrnn.load(tmp_path / "herons.safetensors").export(tmp_path / "page.md")
    assert "\n# herons\n" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_models_that_are_mixed(run: Path, tmp_path: Path) -> None:
    charrnn.load(run).export(tmp_path / "other.safetensors", weights="int8")
    mixed = charrnn.load(run).mixed({tmp_path / "other.safetensors": 0.5})
    for suffix in FORMATS:
        with pytest.raises(UsageError, match="models that are mixed"):
            mixed.export(tmp_path / f"mixed{suffix}")
    with pytest.raises(UsageError, match="models that are mixed"):
        mixed.push("user/name")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-o", "model.pdf"], "the ending says the format; there is .html, .onnx"),
        (["-o", "model"], "the ending says the format"),
        (["-o", "model.npz", "--weights", "int8"], "no effect on .npz"),
        (["-o", "model.html", "--weights", "int4"], "there is fp32, fp16, int8"),
        (["-o", "model.html", "--weights", "fp16"], "a page has int8 or fp32"),
        (["-o", "model.onnx", "--title", "x"], "are for pages"),
        (["-o", "nowhere/model.npz"], "nowhere/model.npz"),
        (["-o", "model.html", "--seed", "1"], "--seed has no effect"),
        ([], "--out"),
    ],
)
def test_bad_arguments(
    command: Command, run: Path, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    outcome = command("export", run, *arguments)
    assert outcome.returncode in (1, 2)
    assert problem in outcome.stderr
    assert not list(tmp_path.iterdir())
