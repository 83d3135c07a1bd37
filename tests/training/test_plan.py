from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn import config
from charrnn.data.encode import MIN_STEPS, Encoded
from charrnn.errors import ConfigError, CorpusError, SamplingError
from charrnn.media import MEDIA
from charrnn.media.medium import Defaults, Size
from charrnn.media.steps import Discrete
from charrnn.media.text import CPU_SIZES
from charrnn.media.text.char import CharCodec
from charrnn.model.network import Network
from charrnn.run import Run
from charrnn.settings import ModelConfig
from charrnn.training import plan, probe
from tests.conftest import TINY
from tests.sounds import music, recorded
from tests.training.setup import preparing

NOTHING = config.from_flags({})
CODEC = CharCodec("ab\n")
TEXT = MEDIA["text"]
SIZE = CPU_SIZES[1][1][0]


def defaults_of(corpus_steps: int, codec: str = "char", on_gpu: bool = False) -> Defaults:
    return TEXT.defaults(codec, corpus_steps, on_gpu=on_gpu)


def choose(
    asked: config.Given, corpus_steps: int, size: Size, codec: str = "char"
) -> tuple[config.Given, tuple[str, ...]]:
    asked = config.merge(asked, {"data": {"codec": codec}})
    return plan.choose(asked, corpus_steps, defaults_of(corpus_steps, codec), size, Discrete)


def planned(
    asked: config.Given, filled: config.Given, speed: probe.Speed, corpus_steps: int
) -> plan.Plan:
    corpus = Encoded(Path("corpus.npy"), corpus_steps, CODEC, "", None, None)
    return plan.make_plan(asked, filled, speed, 100, corpus, defaults_of(corpus_steps))


def test_the_time_of_judging_counts() -> None:
    steps, speed = 100_000, probe.Speed(1, "fp32", 0.02)
    filled, _ = choose(NOTHING, steps, defaults_of(steps).sizes[0], "char")
    corpus = Encoded(Path("corpus.npy"), steps, CODEC, "", None, None)
    short, long = (
        plan.make_plan(
            NOTHING, filled, speed, 100, corpus, replace(defaults_of(steps), judging_s=s)
        )
        for s in (0.0, 0.5)
    )
    assert short.config == long.config
    count = short.planned_updates / short.config.training.eval_every
    assert long.seconds - short.seconds == pytest.approx(0.5 * count)


@given(st.integers(MIN_STEPS, 10**10), st.sampled_from(["char", "word", "byte"]), st.booleans())
def test_every_corpus_gets_a_plan_that_fits(corpus_steps: int, codec: str, on_gpu: bool) -> None:
    speed = probe.Speed(1, "fp32", 0.02)
    for size in defaults_of(corpus_steps, codec, on_gpu).sizes:
        filled, notices = choose(NOTHING, corpus_steps, size, codec)
    built = planned(NOTHING, filled, speed, corpus_steps)
    assert plan.segments_of(built.config, corpus_steps) >= 1
    assert 1 <= built.config.training.eval_every <= built.planned_updates
    assert built.seconds <= 60 * plan.MINUTES + 1
    assert not notices or corpus_steps < 5000


@given(st.integers(MIN_STEPS, 10**9))
def test_words_need_fewer_passes(corpus_steps: int) -> None:
    words, characters = (defaults_of(corpus_steps, codec) for codec in ("word", "char"))
    assert 3 <= words.epochs <= characters.epochs


@given(st.integers(MIN_STEPS, 5000), st.integers(1, 300), st.integers(1, 300))
def test_short_corpora_shrink_the_batch(corpus_steps: int, batch: int, length: int) -> None:
    asked = config.from_flags({"batch_size": batch, "seq_length": length, "steps": 3})
    filled, notices = choose(asked, corpus_steps, SIZE)
    data = filled["data"]
    assert data["batch_size"] <= batch
    assert data["seq_length"] <= length
    assert bool(notices) == ((data["batch_size"], data["seq_length"]) != (batch, length))


def test_what_cannot_work_is_refused_before_training(corpus: Path, tmp_path: Path) -> None:
    for settings, error, message in (
        ({"cell_norm": "layer", "embedding": 0, "input_dropout": 0.1}, ConfigError, "one-hot"),
        ({"skip_input": True, "embedding": 0}, ConfigError, "need an --embedding"),
        ({"allow": "€"}, SamplingError, "--allow and --forbid leave nothing"),
        ({"unk": True}, SamplingError, "--unk is for models of words"),
    ):
        asked = config.from_flags(TINY | {"steps": 5} | settings)
        with (
            pytest.raises(error, match=message),
            preparing([corpus], Run(tmp_path / "run"), asked),
        ):
            pass
    assert not (tmp_path / "run").exists()


def test_free_runs_are_for_stateless_training(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "clip.wav", music(1.0))
    for flags, expected in (
        ({}, 0.25),
        ({"bptt": "stateful"}, 0.0),
        ({"free_runs": 0.5}, 0.5),
        ({"bptt": "stateful", "free_runs": 0.0}, 0.0),
    ):
        asked = config.from_flags({"hidden": 8, "threads": 1, "steps": 5} | flags)
        with preparing([recording], Run(tmp_path / "run"), asked) as ready:
            assert ready.plan.config.training.free_runs == expected
    asked = config.from_flags({"bptt": "stateful", "free_runs": 0.5, "steps": 5})
    with (
        pytest.raises(ConfigError, match="--free-runs has no effect without --bptt stateless"),
        preparing([recording], Run(tmp_path / "run"), asked),
    ):
        pass


def test_one_hot_input_is_read_by_the_first_layer_only() -> None:
    size = CPU_SIZES[1][1][1]
    assert size.skip_input
    for flags, expected in (({}, True), ({"embedding": 0}, False), ({"layers": 1}, False)):
        filled, _ = choose(config.from_flags(flags), 100_000, size)
        assert filled["model"]["skip_input"] is expected


def test_what_is_asked_for_stands() -> None:
    asked = config.from_flags({"hidden": 7, "lr": 0.5, "epochs": 3, "eval_every": 4, "patience": 2})
    filled, _ = choose(asked, 10**6, SIZE)
    speed = probe.Speed(2, "bf16", 0.02)
    built = planned(asked, filled, speed, 10**6).config
    assert (built.model.hidden, built.training.lr, built.training.epochs) == (7, 0.5, 3)
    assert (built.training.eval_every, built.training.patience) == (4, 2)
    assert (built.training.minutes, built.training.precision) == (None, "bf16")


@pytest.mark.parametrize(
    ("flags", "room"),
    [
        ({"minutes": 30}, True),
        ({"minutes": 3}, False),
        ({}, False),
        ({"minutes": 30, "hidden": 256}, False),
        ({"minutes": 30, "epochs": 2}, False),
        ({"minutes": 30, "dropout": 0.1}, True),
    ],
    ids=str,
)
def test_long_budgets_get_a_network_that_learns_more(flags: dict[str, Any], room: bool) -> None:
    """10^6 characters at 0.1 s an update: 10 passes take 9 minutes."""
    asked = config.from_flags(flags)
    defaults = defaults_of(10**6)
    large = defaults.sizes[-1]
    filled, _ = choose(asked, 10**6, large)
    speed = probe.Speed(1, "fp32", 0.1)
    assert plan.has_room(asked, filled, 10**6, speed, large, defaults) == room


@pytest.mark.parametrize(
    ("flags", "hurried"),
    [
        ({}, False),
        ({"minutes": 1}, True),
        ({"epochs": 3}, True),
        ({"epochs": 12}, False),
        ({"steps": 100}, False),
        ({"hidden": 100}, False),
    ],
    ids=str,
)
def test_a_hurry_is_one_that_was_asked_for(flags: dict[str, Any], hurried: bool) -> None:
    asked = config.from_flags(flags)
    first, *_ = plan.candidates(asked, defaults_of(10**6))
    assert first.hurried == hurried
    for codec in ("char", "word"):
        for length in (1000, 10**5, 10**8):
            assert plan.candidates(asked, defaults_of(length, codec))


def test_the_number_of_epochs_chooses_among_the_sizes() -> None:
    defaults = defaults_of(10**6)
    for epochs, index in ((3, 0), (8, 1), (14, 2)):
        first, *_ = plan.candidates(config.from_flags({"epochs": epochs}), defaults)
        assert first is defaults.sizes[index]


def test_a_network_is_foreseen_to_cost_the_square_of_its_width() -> None:
    """2 * 10^5 words at 20 ms a step: 7 passes take half a minute, four times the work 2."""
    defaults = defaults_of(2 * 10**5, "word")
    small, large = defaults.sizes
    speed = probe.Speed(1, "fp32", 0.02)
    for minutes, room in ((1.5, False), (2.5, True)):
        asked = config.from_flags({"minutes": minutes})
        filled, _ = choose(asked, 2 * 10**5, small, "word")
        assert plan.has_room(asked, filled, 2 * 10**5, speed, large, defaults) == room


def test_the_probe_leaves_the_network_alone() -> None:
    torch.manual_seed(0)
    model = ModelConfig(hidden=8, layers=2, embedding=0, dropout=0.2, norm="batch")
    network = Network(model, Discrete(9))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    threads = torch.get_num_threads()
    speed = probe.fastest(network, 4, 6)
    assert speed.seconds > 0
    assert speed.precision in ("fp32", "bf16")
    assert torch.get_num_threads() == threads
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    fixed = probe.fastest(network, 4, 6, threads=1, precision="fp32")
    assert (fixed.threads, fixed.precision) == (1, "fp32")


def test_planning_leaves_nothing_behind(corpus: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with preparing([corpus], run, config.from_flags(TINY | {"steps": 5})) as ready:
        assert ready.plan.planned_updates == 5
        assert ready.plan.step == ready.codec.step
    assert not run.path.exists()


def test_an_old_run_survives_a_new_one_that_fails(corpus: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    settings = config.from_flags(TINY | {"steps": 5})
    with preparing([corpus], run, settings) as ready:
        list(ready.begin().events())
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    bad = tmp_path / "bad.txt"
    bad.write_bytes("güt text and then ".encode() + b"\xff")
    with pytest.raises(CorpusError), preparing([bad], run, settings, force=True):
        pass
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before
