from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

import charrnn
from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.errors import CheckpointError


def header_of(path: Path) -> dict[str, object]:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["charrnn"].partition("\n")[2])  # type: ignore[no-any-return]


def rewritten(source: Checkpoint, path: Path, **changes: object) -> Path:
    """A copy with some of its header changed and the digest made to match."""
    header = json.dumps(header_of(source.path) | changes)
    tensors = source.tensors()
    digest = checkpoint.digest(header, tensors)
    save_file(tensors, path, metadata={"charrnn": f"{digest}\n{header}"})
    return path


@pytest.fixture
def best(run: Path) -> Checkpoint:
    return checkpoint.read(run / "best.safetensors")


def test_a_model_is_one_file(best: Checkpoint, tmp_path: Path) -> None:
    """Saved elsewhere from what was read, the same file and the same network come out."""
    copy = tmp_path / "copy.safetensors"
    checkpoint.save(
        copy,
        config=best.config,
        codec=best.codec,
        training=best.training,
        tensors=best.tensors(),
    )
    assert copy.read_bytes() == best.path.read_bytes()
    networks = [file.network() for file in (best, checkpoint.read(copy))]
    steps = torch.zeros(1, 3, dtype=torch.long)
    logits = [network(steps, network.initial_state(1))[0] for network in networks]
    assert torch.equal(*logits)
    assert not networks[0].training


def test_no_pickle_anywhere(run: Path) -> None:
    for path in run.glob("*.safetensors"):
        assert b"PK\x03\x04" not in path.read_bytes()[:4]
        with safe_open(path, framework="numpy") as file:
            assert len(file.metadata()["charrnn"].partition("\n")[0]) == 64


def test_flipped_bits_are_noticed(best: Checkpoint, tmp_path: Path) -> None:
    data = best.path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(data), 150):
        broken = bytearray(data)
        broken[place] ^= 1 << random.integers(8)
        path = tmp_path / "broken.safetensors"
        path.write_bytes(broken)
        with pytest.raises(CheckpointError):
            checkpoint.read(path).network()


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was(
    best: Checkpoint, run: Path, tmp_path: Path
) -> None:
    """Sampling from a run in training sees a whole model, the old one or the new one."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(best.path.read_bytes())
    opened = checkpoint.read(path)
    other = tmp_path / "other"
    other.write_bytes((run / "last.safetensors").read_bytes())
    other.replace(path)
    assert opened.tensors().keys() == best.tensors().keys()


def test_cut_files_are_noticed(best: Checkpoint, tmp_path: Path) -> None:
    data = best.path.read_bytes()
    path = tmp_path / "cut.safetensors"
    for percent in range(0, 100, 7):
        path.write_bytes(data[: len(data) * percent // 100])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
            checkpoint.read(path).tensors()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 3},
        {"format": None},
        {"config": {}},
        {"config": 7},
        {"codec": {"name": "pickle"}},
        {"codec": []},
        {"training": "good"},
        {"progress": 3},
    ],
    ids=str,
)
def test_broken_headers_are_refused(
    best: Checkpoint, tmp_path: Path, changes: dict[str, object]
) -> None:
    path = rewritten(best, tmp_path / "m.safetensors", **changes)
    with pytest.raises(CheckpointError, match=r"m\.safetensors: "):
        checkpoint.read(path)


@pytest.mark.parametrize("setting", [{"hidden": 13}, {"hidden": 32768}, {"layers": 3}])
def test_configs_that_contradict_the_tensors(
    best: Checkpoint, tmp_path: Path, setting: dict[str, int]
) -> None:
    config = best.config.to_dict()
    config["model"] |= setting
    path = rewritten(best, tmp_path / "m.safetensors", config=config)
    with pytest.raises(CheckpointError, match="its config requires"):
        checkpoint.read(path).network()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.pt")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("once upon a time " * 100)
    (tmp_path / "huge").write_bytes((10**12).to_bytes(8, "little") + b"{}")
    save_file({"a": np.zeros(2)}, tmp_path / "foreign.safetensors")
    os.mkfifo(tmp_path / "pipe")
    for name in ("model.pt", "empty", "text", "huge", "foreign.safetensors", "pipe", "none", "."):
        with pytest.raises(CheckpointError):
            checkpoint.read(tmp_path / name)


def test_deep_json_is_refused(best: Checkpoint, tmp_path: Path) -> None:
    header = "digest\n" + "[" * 100_000
    save_file(best.tensors(), tmp_path / "deep", metadata={"charrnn": header})
    with pytest.raises(CheckpointError, match="header is broken"):
        checkpoint.read(tmp_path / "deep")


def test_a_failed_save_leaves_the_old_file(
    best: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(best.path.read_bytes())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.save(
            path, config=best.config, codec=best.codec, training={}, tensors=best.tensors()
        )
    assert path.read_bytes() == best.path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_a_model(best: Checkpoint) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert best.path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(("weights_as", "least"), [("fp16", 1e-3), ("int8", 1 / 127)])
def test_fewer_bits(best: Checkpoint, tmp_path: Path, weights_as: str, least: float) -> None:
    """Each number is within half a step of its row's scale, and the file opens everywhere."""
    path = tmp_path / "small.safetensors"
    checkpoint.compact(path, best, weights_as)
    small = checkpoint.read(path)
    assert small.weights_as == weights_as
    assert header_of(path)["format"] == 2
    assert path.stat().st_size < best.path.stat().st_size
    whole, stored = best.weights(), small.weights()
    assert whole.keys() == stored.keys()
    for name, array in whole.items():
        assert stored[name].dtype == np.float32
        most = np.abs(array).max(-1, keepdims=True)
        assert (np.abs(array - stored[name]) <= 0.51 * least * most).all()
    texts = [charrnn.load(at).sample(50, seed=1).text for at in (path, path)]
    assert texts[0] == texts[1] != ""
    nats = [charrnn.load(at).nats("the tree").mean() for at in (best.path, path)]
    assert nats[0] == pytest.approx(nats[1], abs=0.01)


def test_a_compact_file_that_contradicts_itself(best: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    checkpoint.compact(path, best, "int8")
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    name = "head.linear.weight"
    scale, matrix = f"scale.{name}", f"model.{name}"
    broken = np.full_like(tensors[scale], np.nan)
    for changes, complaint in (
        ({scale: None}, "missing"),
        ({scale: tensors[scale][:-1]}, "its config requires"),
        ({scale: broken}, "numbers from nan"),
        ({scale: tensors[scale].astype(np.float16)}, "is F16, not F32"),
        ({matrix: tensors[matrix].astype(np.float16)}, "is I8, not F16|is F16, not I8"),
        ({matrix: tensors[matrix].astype(np.float32)}, "is F32, not I8"),
        ({"scale.more": tensors[scale]}, "its config requires none"),
    ):
        parts = {key: array for key, array in (tensors | changes).items() if array is not None}
        header = json.dumps(header_of(path))
        save_file(
            parts,
            tmp_path / "bad.safetensors",
            metadata={"charrnn": f"{checkpoint.digest(header, parts)}\n{header}"},
        )
        with pytest.raises(CheckpointError, match=complaint):
            checkpoint.read(tmp_path / "bad.safetensors").tensors()
