from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, repeat
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import Config
from charrnn.data.lanes import ALL
from charrnn.media.steps import Continuous
from charrnn.model.network import Network
from charrnn.settings import DataConfig, ModelConfig, NoSettings, SamplingConfig, TrainingConfig
from charrnn.training import free_runs
from charrnn.training.free_runs import FreeRuns

BATCH, WIDTH, SIZE = 8, 5, 3
UNUSED = torch.autocast("cpu", enabled=False)


def no_conditions(read: np.ndarray) -> Iterator[np.ndarray]:
    """What is known of the steps that follow."""
    return repeat(np.zeros(0, np.float32))


def config(**training: Any) -> Config:
    needed = {"lr": 0.1, "weight_decay": 0, "lr_decay": 0.5, "eval_every": 1, "patience": 0}
    return Config(
        data=DataConfig(seq_length=WIDTH, batch_size=BATCH, val_fraction=0.1, bptt="stateless"),
        model=ModelConfig(hidden=4, layers=1, embedding=0, dropout=0.5, head="gaussian"),
        training=TrainingConfig(**(needed | {"precision": "fp32", "free_runs": 0.5} | training)),
        sampling=SamplingConfig(),
        codec_settings=NoSettings(),
    )


@pytest.fixture
def steps() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, SIZE)).astype(np.float32)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(config().model, Continuous(SIZE)).train()


def places_of(targets: torch.Tensor, steps: np.ndarray) -> np.ndarray:
    """The indices of targets, (..., F), in the corpus."""
    distances = np.abs(targets.numpy()[..., None, :] - steps).sum(-1)
    assert (distances.min(-1) == 0).all()
    return distances.argmin(-1)


def test_a_free_run_is_followed_through_noise_jumps_and_the_end(steps: np.ndarray) -> None:
    true = np.concatenate([np.arange(150, 200), np.arange(0, 40), np.arange(100, 140)])
    noise = np.random.default_rng(1).normal(size=(len(true), SIZE)).astype(np.float32)
    frames = torch.from_numpy(steps[true] + 0.2 * noise).unsqueeze(0)
    known, first = torch.from_numpy(steps), torch.tensor([149])
    (found,) = free_runs._places(frames, known, first, circular=True).numpy()
    assert (found == true).mean() > 0.95
    assert (found[:90] == true[:90]).all()  # without a jump, not even noise misleads
    (found,) = free_runs._places(frames[:, :51], known, first, circular=False).numpy()
    assert (found[:50] == true[:50]).all()
    assert (found >= 0).all()


def test_noise_alone_is_no_jump(steps: np.ndarray) -> None:
    """The nearest step is often another one; the place is not."""
    true = np.arange(20, 120)
    noise = np.random.default_rng(1).normal(size=(len(true), SIZE)).astype(np.float32)
    frames = torch.from_numpy(steps[true] + 0.6 * noise)
    nearest = torch.cdist(frames, torch.from_numpy(steps)).argmin(1).numpy()
    (found,) = free_runs._places(
        frames[None], torch.from_numpy(steps), torch.tensor([19]), circular=True
    ).numpy()
    assert (found == true).mean() > 0.8 > 0.6 > (nearest == true).mean()


def test_the_last_lanes_are_free_runs(steps: np.ndarray, network: Network) -> None:
    runs = FreeRuns(steps, no_conditions, config(), torch.device("cpu"))
    inputs, targets = torch.zeros(BATCH, WIDTH, SIZE), torch.zeros(BATCH, WIDTH, SIZE)
    same = runs.mixed(inputs, targets, 3, ALL)
    assert same[0] is inputs
    assert same[1] is targets
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    runs.renew(network, 3, UNUSED)
    assert network.training
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    mixed, wanted = runs.mixed(inputs, targets, 3, ALL)
    assert (mixed[:4] == 0).all()
    assert (wanted[:4] == 0).all()
    assert (mixed[4:] != 0).all()
    assert not inputs.any()  # nothing is changed in place
    stored = runs.tensors()
    for row in range(4, BATCH):  # a part of a free run, with the targets of this part
        begins = (stored["frames"] == mixed[row, 0]).all(-1).nonzero()
        assert len(begins) == 1
        run, begin = begins[0].tolist()
        for part, whole in ((mixed, "frames"), (wanted, "targets")):
            assert torch.equal(part[row], stored[whole][run, begin : begin + WIDTH])
    other = runs.mixed(inputs, targets, 4, ALL)[0]
    assert not torch.equal(other, mixed)
    parts = [runs.mixed(inputs[rows], targets[rows], 3, rows) for rows in (slice(4), slice(4, 8))]
    assert torch.equal(torch.cat([part[0] for part in parts]), mixed)
    assert torch.equal(torch.cat([part[1] for part in parts]), wanted)


def test_a_fraction_of_a_lane_is_one_now_and_then(steps: np.ndarray, network: Network) -> None:
    settings = config(free_runs=0.05)  # of 8 lanes: 0.4
    runs = FreeRuns(steps, no_conditions, settings, torch.device("cpu"))
    runs.renew(network, 0, UNUSED)
    nothing = torch.zeros(BATCH, WIDTH, SIZE)
    counts = [
        int((runs.mixed(nothing, nothing, update, ALL)[0] != 0).any(2).all(1).sum())
        for update in range(200)
    ]
    assert set(counts) == {0, 1}
    assert 0.25 < np.mean(counts) < 0.55


def test_free_runs_are_drawn_from_the_network(steps: np.ndarray, network: Network) -> None:
    """Each step is the prediction from all steps before it, and noise."""
    with torch.no_grad():
        network.head.variance.fill_(1e-8)
    runs = FreeRuns(steps, no_conditions, config(), torch.device("cpu"))
    runs.renew(network, 0, UNUSED)
    frames = runs.tensors()["frames"]
    assert frames.shape[1:] == (free_runs.LENGTH, SIZE)
    with torch.no_grad():
        expected, _ = network.eval()(frames, network.initial_state(len(frames)))
    # From the zero state, which is forgotten.
    torch.testing.assert_close(frames[:, 101:], expected[:, 100:-1], atol=3e-3, rtol=0)


def test_what_is_known_beforehand_is_not_drawn(steps: np.ndarray, network: Network) -> None:
    def ten_more(read: np.ndarray) -> Iterator[np.ndarray]:
        return (np.array([number], np.float32) for number in count(read[-1, -1] + 10, 10))

    steps[:, -1] = 10 * np.arange(len(steps))
    runs = FreeRuns(steps, ten_more, config(), torch.device("cpu"))
    runs.renew(network, 0, UNUSED)
    stored = runs.tensors()
    known, followed = stored["frames"][..., -1], stored["targets"][..., -1]
    assert (known.diff(dim=1) == 10).all()
    assert len(set(known[:, 0].tolist())) > 1
    inside = known < 10 * (len(steps) - 1)
    assert (followed == known + 10)[inside].float().mean() > 0.9  # it tells the place


def test_when_there_are_new_ones(steps: np.ndarray, network: Network) -> None:
    runs = FreeRuns(steps, no_conditions, config(), torch.device("cpu"))
    assert not runs.is_due(32, 0.29)
    assert runs.is_due(33, 0.3)
    runs.renew(network, 33, UNUSED)
    assert not runs.is_due(34, 0.31)
    assert runs.is_due(64, 0.1)  # a larger budget does not end them
    none = FreeRuns(steps, no_conditions, config(free_runs=0.0), torch.device("cpu"))
    assert not none.is_due(64, 0.9)
    assert none.nbytes == 0


def test_stored_and_restored(steps: np.ndarray, network: Network) -> None:
    runs, again = (FreeRuns(steps, no_conditions, config(), torch.device("cpu")) for _ in range(2))
    again.restore(runs.tensors())  # none yet
    assert again.is_due(5, 0.5)
    runs.renew(network, 0, UNUSED)
    stored = runs.tensors()
    assert sum(tensor.nbytes for tensor in stored.values()) == runs.nbytes
    again.restore(stored)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in again.tensors().items())
    none = FreeRuns(steps, no_conditions, config(free_runs=0.0), torch.device("cpu"))
    for other, tensors in (
        (again, stored | {"targets": stored["targets"][:, 1:]}),
        (again, {"frames": stored["frames"]}),
        (again, stored | {"other": stored["frames"]}),
        (none, stored),
    ):
        with pytest.raises(ValueError, match="free runs do not fit the configuration"):
            other.restore(tensors)


@pytest.mark.parametrize(("length", "runs"), [(64, 16), (2048, 2), (65536, 1)])
def test_long_segments_have_fewer_of_them(steps: np.ndarray, length: int, runs: int) -> None:
    settings = config()
    settings = replace(settings, data=replace(settings.data, seq_length=length, batch_size=16))
    longest = max(free_runs.LENGTH, length)
    found = FreeRuns(steps, no_conditions, settings, torch.device("cpu")).nbytes
    assert found == 2 * 4 * runs * longest * SIZE


def test_a_corpus_shorter_than_a_prime(network: Network) -> None:
    steps = np.random.default_rng(0).normal(size=(9, SIZE)).astype(np.float32)
    runs = FreeRuns(steps, no_conditions, config(), torch.device("cpu"))
    runs.renew(network, 0, UNUSED)
    assert set(places_of(runs.tensors()["targets"], steps).ravel()) <= set(range(9))


def test_a_long_corpus_is_seen_in_parts(
    steps: np.ndarray, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_runs, "PLACES", 60)
    runs = FreeRuns(steps, no_conditions, config(), torch.device("cpu"))
    parts = []
    for update in (0, 32, 64):
        runs.renew(network, update, UNUSED)
        places = places_of(runs.tensors()["targets"], steps)
        assert np.ptp(places) <= 60
        parts.append(int(places.min()))
    assert len(set(parts)) > 1
