from __future__ import annotations

import json
from pathlib import Path

import charrnn
from charrnn.files import bundled
from tests.conftest import Command


def test_shows_what_is_in_a_model(command: Command, run: Path) -> None:
    values = json.loads(command("inspect", run, "--json").stdout)
    network = charrnn.load(run).checkpoint.network()
    assert values["parameters"] == network.parameter_count
    assert values["config"]["model"]["hidden"] == 12
    assert values["training"]["step"] == 40
    assert values["resumable"] is False
    assert set(values["tensors"]) == set(network.state_dict())
    last = json.loads(command("inspect", run / "last.safetensors", "--json").stdout)
    assert last["resumable"] is True
    assert last["tensors"] == values["tensors"]
    shown = command("inspect", run).stdout
    assert f"{values['sha256']} (matches)" in shown
    assert "hidden 12" in shown


def test_a_general_model_has_a_page(command: Command) -> None:
    page = (bundled("checkpoints") / "english.md").read_text(encoding="utf-8")
    outcome = command("inspect", "english")
    assert outcome.returncode == 0
    assert outcome.stdout.endswith(page)
    assert "int8" in outcome.stdout
    assert json.loads(command("inspect", "english", "--json").stdout)["card"] == page


def test_a_damaged_model_is_one_line(command: Command, run: Path, tmp_path: Path) -> None:
    data = bytearray((run / "best.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(data)
    outcome = command("inspect", "bad.safetensors")
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("charrnn: bad.safetensors: damaged")
    assert outcome.stderr.count("\n") == 1
