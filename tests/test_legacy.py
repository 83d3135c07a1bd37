"""Models and runs of released formats open for ever: they sample, resume and evaluate as then.

The runs under `tests/legacy/` were written by the version before the present layout of the package
(format 1): 25 of 40 updates of a tiny text, word and sound model.  `expected.json` has what that
version sampled from them, and the digests of the files with which it ended the runs.  Two files of
format 2 have the weights of the text model in fp16 and int8.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import charrnn
from charrnn import checkpoint
from tests.conftest import ROOT, Command
from tests.sounds import music, recorded

LEGACY = ROOT / "tests" / "legacy"
EXPECTED = json.loads((LEGACY / "expected.json").read_text(encoding="utf-8"))
KINDS = ["text", "words", "sound"]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def computes_as_then() -> bool:
    """Whether this machine rounds as the one that wrote the files.

    The matrix libraries choose their kernels by the maker of the processor, so that two makers can
    agree on one LSTM and not on a whole run.
    """
    cpu = Path("/proc/cpuinfo")
    maker = re.search(r"vendor_id\s*: (\w+)", cpu.read_text()) if cpu.exists() else None
    return (
        maker is not None
        and maker[1] == EXPECTED["maker"]
        and arithmetic() == EXPECTED["arithmetic"]
    )


def arithmetic() -> str:
    """A digest of what this processor and these libraries compute for an LSTM."""
    torch.manual_seed(0)
    lstm, steps = torch.nn.LSTM(12, 12), torch.randn(9, 4, 12)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lstm(steps)[0].square().sum().backward()
    torch.set_num_threads(threads)
    parts = [parameter.grad.numpy().tobytes() for parameter in lstm.parameters()]
    return digest(b"".join(parts))


@pytest.fixture(params=KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an old run, named as its kind."""
    return Path(shutil.copytree(LEGACY / request.param, tmp_path / request.param))


@pytest.mark.parametrize("file", ["best.safetensors", "last.safetensors"])
def test_an_old_model_opens(old: Path, file: str) -> None:
    loaded = checkpoint.read(old / file)
    loaded.network()
    stored = loaded.config.to_dict()
    assert stored["data"].keys() >= {"encoding", "sample_rate"}  # each had those of all media
    header = json.loads(loaded._header)
    assert json.loads(json.dumps(stored)) == header["config"]
    assert loaded.codec.to_dict() == header["codec"]


def test_an_old_model_samples_the_same(old: Path, command: Command) -> None:
    kind = old.name
    if kind == "sound":
        command("sample", old, "-n", 1, "--seed", 3, "-o", "out.wav")
        if computes_as_then():
            product = (old.parent / "out.wav").read_bytes()
            assert digest(product) == EXPECTED[kind]["sample_sha256"]
        found, _ = soundfile.read(old.parent / "out.wav", dtype="float32")
        levels = [float(np.sqrt(np.mean(part**2))) for part in np.split(found, 8)]
        np.testing.assert_allclose(levels, EXPECTED[kind]["levels"], rtol=0.02)
        array = charrnn.load(old).sample(1, seed=3).sound
        np.testing.assert_allclose(array, found, atol=1e-4)
        return
    assert command("sample", old, "-n", 120, "--seed", 3).stdout == EXPECTED[kind]["sample"]
    assert charrnn.load(old).sample(120, seed=3).text == EXPECTED[kind]["sample"]


@pytest.mark.parametrize("weights_as", ["fp16", "int8"])
def test_an_old_model_of_few_bits_samples_the_same(weights_as: str) -> None:
    loaded = charrnn.load(LEGACY / f"{weights_as}.safetensors")
    assert loaded.checkpoint.weights_as == weights_as
    assert loaded.sample(120, seed=3).text == EXPECTED[weights_as]["sample"]


def test_an_old_run_resumes_to_the_same_bytes(old: Path) -> None:
    """On the arithmetic that it was begun with; on another, to the same header and nearly the same
    weights."""
    charrnn.resume(old).run()
    for name in ("best", "last"):
        path = old / f"{name}.safetensors"
        if computes_as_then():
            assert digest(path.read_bytes()) == EXPECTED[old.name][name]
        loaded = checkpoint.read(path)
        assert loaded.training["step"] == EXPECTED[old.name][f"{name}_step"]
        bias = loaded.weights()["head.linear.bias"]
        np.testing.assert_allclose(bias[:4], EXPECTED[old.name][f"{name}_bias"], atol=1e-3)


def test_an_old_run_evaluates(old: Path) -> None:
    corpus = old.parent / "other.txt"
    corpus.write_text("The miller said nothing, and the river went on.\n" * 5)
    if old.name == "sound":
        corpus = recorded(old.parent / "other.wav", music(2.0))
    values = charrnn.load(old).evaluate(corpus).values
    assert values["nats_per_step"] > 0
