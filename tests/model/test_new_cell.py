"""CONTRIBUTING's recipe for a cell: a file, `light_gru.py` beside this one, and a line in the table
are enough for all that charrnn does with a cell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import charrnn
from charrnn import config
from charrnn.checkpoint import Checkpoint
from charrnn.errors import ConfigError
from charrnn.model.cells import cell_of
from charrnn.model.memory import BASE_BYTES, peak_bytes
from charrnn.run import Run
from charrnn.sampling.filters import softmax
from charrnn.sampling.runtime import Runtime, Stream
from charrnn.settings import CELLS, ModelConfig
from charrnn.training.events import Evaluated
from charrnn.training.loop import Trainer
from tests.conftest import ROOT, TEXT, TINY, Command, flags, trained
from tests.model import test_layers
from tests.sampling import test_runtime

NAME, MODULE = "light_gru", "tests.model.light_gru"


@pytest.fixture(autouse=True)
def line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's second half."""
    monkeypatch.setitem(CELLS, NAME, MODULE)


@pytest.mark.parametrize("cell_norm", ["none", "layer"])
def test_it_obeys_its_equations(cell_norm: str) -> None:
    """Step by step in float64, of one-hot inputs as numbers and as vectors."""
    layer = test_layers.layer_of(NAME, cell_norm=cell_norm).double()
    steps, state = test_layers.steps_of(), test_layers.state_of(NAME)
    p = {name: t.detach().numpy() for name, t in layer.state_dict().items()}
    one_hot = nn.functional.one_hot(steps, test_layers.V).double()
    h, expected = state[0].double().numpy(), []
    for x in one_hot.numpy():
        shares = []
        for gate in range(2):
            rows = slice(gate * test_layers.H, (gate + 1) * test_layers.H)
            a, b = x @ p["kernel.weight_ih_l0"][rows].T, h @ p["kernel.weight_hh_l0"][rows].T
            if cell_norm == "layer":
                a, b = (test_layers.norm(s) * p["gains"][i, gate] for i, s in enumerate((a, b)))
            shares.append(a + b + p["kernel.bias_ih_l0"][rows] + p["kernel.bias_hh_l0"][rows])
        z, candidate = test_layers.sigmoid(shares[0]), np.maximum(shares[1], 0)
        h = z * h + (1 - z) * candidate
        expected.append(h)
    for inputs in (steps, one_hot):
        outputs, _ = layer(inputs, tuple(part.double() for part in state))
        np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_by_finite_differences(normed: bool, masked: bool) -> None:
    test_layers.test_gradients_by_finite_differences(NAME, normed, masked)


@pytest.mark.parametrize("dense", [False, True])
def test_dropout_inside_the_layer(dense: bool) -> None:
    test_layers.test_recurrent_dropout_masks_the_state_alike_at_all_steps(NAME)
    test_layers.test_weight_drop_drops_recurrent_weights(NAME, dense)


@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("cell_norm", ["none", "layer"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_runtime_and_shapes_are_those_of_the_network(
    norm: str, cell_norm: str, embedding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_runtime.test_shapes_are_those_of_the_network(NAME, norm, cell_norm, embedding)
    for layers in (1, 3):
        test_runtime.test_the_networks_own_distribution(
            NAME, norm, cell_norm, embedding, layers, monkeypatch
        )


@pytest.fixture
def model(corpus: Path, tmp_path: Path) -> Checkpoint:
    events = trained(corpus, tmp_path / "run", cell=NAME, steps=60, eval_every=20, lr=0.02)
    losses = [event.val_nats_per_step for event in events if isinstance(event, Evaluated)]
    assert losses[-1] < losses[0]
    return charrnn.load(tmp_path / "run").checkpoint


def test_it_trains_and_samples(model: Checkpoint) -> None:
    """What the runtime draws from the file is what the network that was trained would."""
    assert model.config.model.cell == NAME
    network, steps = model.network(), model.codec.encode(TEXT[:150])[0]
    with torch.inference_mode():
        wide = torch.as_tensor(steps.astype(np.int64))[None]
        expected = network(wide, network.initial_state(1))[0].softmax(-1)[0].numpy()
    stream = Stream(Runtime.of(model))
    for step, wanted in zip(steps.tolist(), expected, strict=True):
        np.testing.assert_allclose(softmax(stream.step(step)), wanted, atol=1e-5)
    for num in (1, 3):
        ours, theirs = (
            test_runtime.texts_from(each, model, length=100, num=num)
            for each in (Runtime(model.config.model, model.weights()), test_runtime.Model(network))
        )
        assert ours == theirs
    loaded = charrnn.load(model.path)
    assert loaded.sample(100, seed=1).text == loaded.sample(100, seed=1).text


def test_a_run_that_goes_on_gives_the_same_files(corpus: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"cell": NAME, "eval_every": 5, "schedule": "constant", "warmup": 0}
    trained(corpus, tmp_path / "whole", steps=20, **settings)
    trained(corpus, tmp_path / "parts", steps=10, **settings)
    run = Run(tmp_path / "parts")
    with run.locked():
        list(Trainer.resumed(run, config.from_flags({"steps": 20})).events())
    for name in ("best.safetensors", "last.safetensors"):
        whole, parts = (tmp_path / folder / name for folder in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


def test_what_is_known_of_it_comes_from_its_record(corpus: Path, command: Command) -> None:
    outcome = command("train", corpus, "-o", "run", *flags(cell=NAME, steps=3, **TINY))
    assert outcome.returncode == 0, outcome.stderr
    assert f"{cell_of(NAME).label} 2x12" in outcome.stderr
    assert NAME in config.all_settings()["cell"].choices
    with pytest.raises(ConfigError, match=f"must be one of .*{NAME}"):
        config.from_flags({"cell": "nonsense"})
    network = ModelConfig(cell=NAME, hidden=64, layers=2, embedding=0, dropout=0.0)
    kept = 4 * 8 * 16 * 2 * 64 * cell_of(NAME).kept_in_loop
    assert peak_bytes(network, 8, 16, 50) > BASE_BYTES + kept


def test_without_the_line_it_is_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CELLS, NAME)
    with pytest.raises(ConfigError, match="must be one of"):
        config.from_flags({"cell": NAME})


@pytest.mark.parametrize("name", [*CELLS, NAME])
def test_a_cells_file_does_without_pytorch(name: str) -> None:
    module = CELLS.get(name, MODULE)
    code = f"import sys, {module}; assert {module}.CELL.gates; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_sampling_does_without_pytorch(model: Checkpoint) -> None:
    words = ["charrnn", "sample", str(model.path), "-n", "20", "-q"]
    code = f"import sys; sys.argv = {words}\nfrom charrnn.settings import CELLS\n"
    code += f"CELLS[{NAME!r}] = {MODULE!r}\nfrom charrnn.cli.main import main\n"
    code += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    code += "assert 'torch' not in sys.modules"
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert len(outcome.stdout) == 20
