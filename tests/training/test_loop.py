from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn import checkpoint, config
from charrnn.errors import CheckpointError, ConfigError, DivergenceError, RunError
from charrnn.media.text.char import CharCodec
from charrnn.model import device as devices
from charrnn.presets import load_preset, presets
from charrnn.run import Run
from charrnn.settings import ModelConfig
from charrnn.training import free_runs, probe
from charrnn.training.events import Evaluated, Sampled, Saved, Stepped, Stopped
from charrnn.training.loop import Trainer
from charrnn.training.prepare import initial_network
from charrnn.training.probe import Speed
from tests.conftest import TINY, trained
from tests.sounds import music, recorded
from tests.training.setup import preparing
from tests.tunes import folder_of_tunes

NO_BUDGET = config.from_flags({})


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    return checkpoint.read(path).tensors()


def assert_same_end(one: Path, other: Path) -> None:
    """Both runs ended with the same files: weights, moments, state, generator, and what is said
    of them."""
    for name in ("last.safetensors", "best.safetensors"):
        a, b = tensors_of(one / name), tensors_of(other / name)
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].tobytes() == b[key].tobytes(), key
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_learns_abab_by_heart(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("ab" * 300)
    settings = {"dropout": 0.0, "lr": 0.03, "steps": 150, "eval_every": 50}
    *_, end = trained(tmp_path / "corpus.txt", tmp_path / "run", **settings)
    assert isinstance(end, Stopped)
    assert end.reason == "budget"
    assert end.best_nats_per_step is not None
    assert end.best_nats_per_step < 0.02
    model = charrnn.load(tmp_path / "run")
    assert model.sample(20, prime="a", seed=0).text == "ba" * 10


def test_events_tell_the_run(corpus: Path, tmp_path: Path) -> None:
    events = trained(corpus, tmp_path / "run", steps=45, eval_every=20)
    kinds = [type(event) for event in events]
    assert kinds[-1] is Stopped
    assert kinds.count(Evaluated) == kinds.count(Sampled) == kinds.count(Saved) == 3
    assert [e.update for e in events if isinstance(e, Evaluated)] == [20, 40, 45]
    assert all(len(e.text) for e in events if isinstance(e, Sampled))
    fractions = [e.fraction for e in events if isinstance(e, Stepped)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    for event in events:
        json.dumps(event.to_dict())
    lines = Run(tmp_path / "run").read_metrics()
    names = "step epoch steps_seen train_nats_per_step lr grad_norm elapsed_s steps_per_s"
    assert list(lines[0]) == names.split()
    assert [line["step"] for line in lines if "val_nats_per_step" in line] == [20, 40, 45]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})


def test_same_seed_same_run(corpus: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(corpus, tmp_path / name, steps=25, eval_every=10, seed=seed)
    assert_same_end(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same_end(tmp_path / "a", tmp_path / "c")


def test_the_first_weights_do_not_depend_on_the_threads() -> None:
    """As the QR decomposition behind orthogonal matrices does, from some size on."""
    model = ModelConfig(cell="lstm", hidden=200, layers=1, embedding=8, dropout=0.0, norm="none")
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(initial_network(model, CharCodec("abc"), 7).state_dict())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "one-hot": {"embedding": 0},
    "batch norm": {"norm": "batch"},
    "layer norm": {"norm": "layer"},
    "bf16": {"precision": "bf16"},
    "two threads": {"threads": 2, "hidden": 64},
    "adam": {"optimizer": "adam", "clip_by": "value", "clip": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "schedule": "exponential", "lr_decay_after": 0},
    "epochs": {"steps": None, "epochs": 1.6},
    "no clipping": {"clip": 0, "schedule": "constant"},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "peephole": {"cell": "peephole"},
    "one-hot in the kernel": {"embedding": 0, "hidden": 32, "precision": "bf16"},
    "gru, one-hot": {"cell": "gru", "embedding": 0, "input_dropout": 0.2},
    "norm in the cell": {"cell_norm": "layer"},
    "peephole, norm in the cell": {"cell": "peephole", "cell_norm": "layer", "norm": "batch"},
    "weight drop": {"weight_drop": 0.3},
    "weight drop, gru": {"weight_drop": 0.3, "cell": "gru"},
    "recurrent dropout": {"recurrent_dropout": 0.3},
    "recurrent dropout, rnn": {"recurrent_dropout": 0.3, "cell": "rnn"},
    "variational": {"variational": True, "input_dropout": 0.1, "output_dropout": 0.5},
    "variational, one-hot": {"variational": True, "input_dropout": 0.1, "embedding": 0},
    "stateless": {"bptt": "stateless"},
    "many to one": {"bptt": "stateless", "targets": "last"},
    "sgd": {"optimizer": "sgd", "lr": 0.5, "schedule": "linear"},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0, "lr": 1.0},
    "plateau": {"schedule": "plateau", "lr_patience": 1, "lr": 0.3},
    "words": {"codec": "word", "batch_size": 2, "seq_length": 4},
    "bytes": {"codec": "byte"},
    "documents": {"documents": "line"},
    "muon": {"optimizer": "muon"},
    "skip": {"skip": True, "skip_input": True, "norm": "layer"},
}
SOUND = {"codec": "audio", "n_fft": 256, "hop_length": 128, "components": 8, "embedding": None}
SOUNDS: dict[str, dict[str, Any]] = {
    "sound": SOUND,
    "sound, mse": SOUND | {"head": "mse", "free_runs": 0.5},
}
SLOW = {"documents", "peephole", "peephole, norm in the cell", "recurrent dropout, rnn"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] * (name in SLOW))
        for name in sorted(VARIANTS | SOUNDS)
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    corpus: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = (VARIANTS | SOUNDS)[name]
    if name in SOUNDS:
        corpus = recorded(tmp_path / "clip.wav", music(1.0))
        monkeypatch.setattr(free_runs, "EVERY", 4)
    if variant.get("precision") == "bf16" and not devices.can_bf16(torch.device("cpu")):
        pytest.skip("this processor cannot train in bf16")
    settings = TINY | {"steps": 31, "eval_every": 9} | variant
    list(charrnn.train(corpus, tmp_path / "whole", **settings))
    polls = iter([False] * 7 + [True])
    with preparing([corpus], Run(tmp_path / "parts"), config.from_flags(settings)) as ready:
        *_, end = ready.begin().events(should_stop=lambda: next(polls))
    assert (end.reason, end.update) == ("interrupted", 7)
    for pause in (5, 11, None):
        trainer = Trainer.resumed(Run(tmp_path / "parts"), NO_BUDGET)
        until = None if pause is None else trainer.progress.update + pause
        *_, end = trainer.events(should_stop=lambda t=trainer, u=until: t.progress.update == u)
    assert end.reason == "budget"
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    metrics = [Run(tmp_path / part).read_metrics() for part in ("whole", "parts")]
    assert [m["step"] for m in metrics[0]] == [m["step"] for m in metrics[1]]


def test_minutes_plan_the_steps_and_end_in_time(corpus: Path, tmp_path: Path) -> None:
    """With a clock that ticks 0.1 s a look, a minute ends near its end and the rate with it."""
    settings = config.from_flags(TINY | {"minutes": 1.0, "eval_every": 20})
    ticks = iter(range(10**6))
    with preparing([corpus], Run(tmp_path / "run"), settings) as ready:
        trainer = ready.begin()
        events = list(trainer.events(clock=lambda: next(ticks) / 10))
    end = events[-1]
    assert isinstance(end, Stopped)
    assert end.reason == "budget"
    assert 55 < end.elapsed_s < 66
    steps = [event for event in events if isinstance(event, Stepped)]
    assert steps[-1].fraction > 0.9
    assert steps[-1].lr < 0.1 * max(event.lr for event in steps)


def test_threads_are_chosen_again_when_training_gets_slow(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is chosen is saved before the next step, and kept when the run is resumed."""
    monkeypatch.setattr("charrnn.training.threads.processors", lambda: 2)
    answers = iter([Speed(2, "fp32", 0.01), Speed(1, "fp32", 3.0), Speed(2, "fp32", 0.01)])
    asked = []

    def fastest(*_: object, **settings: object) -> Speed:
        asked.append(settings)
        return next(answers)

    monkeypatch.setattr(probe, "fastest", fastest)
    run, now = Run(tmp_path / "run"), [0.0]
    settings = config.from_flags(TINY | {"threads": 0, "steps": 40, "eval_every": 20})
    with preparing([corpus], run, settings) as ready:
        trainer = ready.begin()
        assert trainer.progress.threads == 2
        plain_update = trainer._update

        def update() -> tuple[torch.Tensor, torch.Tensor, int]:
            """On two threads 10 ms, while somebody else is at work 9 s; on one 3 s."""
            busy = 5 <= trainer.progress.update < 19
            now[0] += (9.0 if busy else 0.01) if trainer.progress.threads == 2 else 3.0
            return plain_update()

        monkeypatch.setattr(trainer, "_update", update)
        seen, before = [], torch.get_num_threads()
        for event in trainer.events(clock=lambda: now[0]):
            if isinstance(event, Saved):
                saved = checkpoint.read(run.last).progress or {}
                seen.append((event.update, saved["threads"]))
                assert torch.get_num_threads() == before
    assert [settings.get("precision") for settings in asked[1:]] == ["fp32", "fp32"]
    assert seen == [(6, 1), (20, 2), (40, 2)]


def test_threads_that_were_asked_for_stay(corpus: Path, tmp_path: Path) -> None:
    now = iter(range(10**6))
    settings = config.from_flags(TINY | {"threads": 1, "steps": 20, "eval_every": 10})
    with preparing([corpus], Run(tmp_path / "run"), settings) as ready:
        trainer = ready.begin()
        list(trainer.events(clock=lambda: next(now) ** 2))
        assert trainer.progress.threads == 1


def test_a_raised_budget_goes_on(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "run", steps=20, eval_every=10)
    run = Run(tmp_path / "run")
    for budget in ({}, {"steps": 20}, {"steps": 5}, {"epochs": 0.1}):
        with pytest.raises(ConfigError, match="has finished, after 20 steps"):
            Trainer.resumed(run, config.from_flags(budget))
    *_, end = Trainer.resumed(run, config.from_flags({"steps": 35})).events()
    assert (end.update, end.reason) == (35, "budget")
    assert checkpoint.read(run.last).config.training.steps == 35


def test_patience(corpus: Path, tmp_path: Path) -> None:
    """A rate of next to nothing after a wild one: validation cannot get better for ever."""
    settings = {"steps": 4000, "eval_every": 5, "patience": 3, "lr": 0.3, "dropout": 0.0}
    *_, end = trained(corpus, tmp_path / "run", **settings)
    assert isinstance(end, Stopped)
    assert end.reason == "patience"
    assert end.best_update == end.update - 15
    best = checkpoint.read(tmp_path / "run" / "best.safetensors").training
    assert best["step"] == end.best_update
    with pytest.raises(ConfigError, match="has finished"):
        Trainer.resumed(Run(tmp_path / "run"), NO_BUDGET)


def test_divergence_never_reaches_the_weights(corpus: Path, tmp_path: Path) -> None:
    settings = {"steps": 50, "eval_every": 5, "clip": 0, "schedule": "constant", "warmup": 0.0}
    run = Run(tmp_path / "run")
    with preparing([corpus], run, config.from_flags(TINY | settings)) as ready:
        trainer = ready.begin()
        events = trainer.events()
        next(event for event in events if isinstance(event, Saved))
        before = tensors_of(run.last)
        trainer.state.network.head.linear.bias.data[0] = math.nan
        with pytest.raises(DivergenceError, match=r"step 6: loss nan.*--lr.*last good state"):
            list(events)
    after = tensors_of(run.last)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert all(np.isfinite(value).all() for value in after.values())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e12])
def test_weights_that_could_not_be_opened_again_are_not_saved(
    corpus: Path, tmp_path: Path, value: float
) -> None:
    with preparing([corpus], Run(tmp_path / "run"), config.from_flags(TINY)) as ready:
        trainer = ready.begin()
        trainer.state.network.layers[0].kernel.bias_hh_l0.data[3] = value
        with pytest.raises(DivergenceError, match=r"step 0: model.layers.0.*has grown to .*--lr"):
            trainer.save()
    checkpoint.read(Run(tmp_path / "run").last).network()


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("skips", [False, True])
def test_an_infinite_loss_leaves_the_weights(
    corpus: Path, tmp_path: Path, optimizer: str, skips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every step is waited for, and where, as on a GPU, the kernel leaves it out."""
    fuses = optimizer != "rmsprop"
    monkeypatch.setattr(
        "charrnn.training.optimizers.can_skip", lambda o, d: skips and bool(o.defaults.get("fused"))
    )
    settings = TINY | {"steps": 50, "eval_every": 9, "optimizer": optimizer, "lr": 0.01}
    with preparing([corpus], Run(tmp_path / "run"), config.from_flags(settings)) as ready:
        trainer = ready.begin()
        plain = trainer.state.network.loss

        def loss(*given: Any, **options: Any) -> Any:
            value, nats, state = plain(*given, **options)
            bad = math.inf if trainer.progress.update == 6 else 1.0
            return value * bad, nats, state

        trainer.state.network.loss = loss  # type: ignore[method-assign]
        with pytest.raises(DivergenceError, match=r"step 7: loss \d.*norm (nan|inf)"):
            list(trainer.events())
        assert (trainer.progress.update > 6) == (skips and fuses)
    assert all(tensor.isfinite().all() for tensor in trainer.state.network.state_dict().values())
    last = checkpoint.read(Run(tmp_path / "run").last)
    assert last.progress is not None
    assert last.progress["step"] == 0


def test_the_state_is_carried_between_segments(corpus: Path, tmp_path: Path) -> None:
    """A segment begins with the state that the one before it ended with, an epoch with zeros."""
    settings = config.from_flags(TINY | {"steps": 60, "eval_every": 60})
    with preparing([corpus], Run(tmp_path / "run"), settings) as ready:
        trainer = ready.begin()
        began, plain = [], trainer.state.network.loss

        def loss(inputs, targets, state, *rest, **options):
            began.append((trainer.progress.segment, state, trainer.state.recurrent))
            return plain(inputs, targets, state, *rest, **options)

        trainer.state.network.loss = loss  # type: ignore[method-assign]
        ended = None
        for _ in range(40):
            trainer._update()
            segment, state, _ = began[-1]
            zeros = all(not part.any() for parts in state for part in parts)
            assert zeros == (segment == 0)
            assert segment == 0 or state is ended
            ended = trainer.state.recurrent
    assert {segment for segment, _, _ in began} > {0, 1, 2}


def test_a_corpus_that_was_exchanged_is_noticed(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "run", steps=9, eval_every=5)
    steps = np.load(tmp_path / "run" / "corpus.npy")
    for other in (steps[:-1], np.roll(steps, 1)):
        np.save(tmp_path / "run" / "corpus.npy", other)
        with pytest.raises(RunError, match="is not the corpus that this run began with"):
            Trainer.resumed(Run(tmp_path / "run"), config.from_flags({"steps": 20}))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update({"optimizer.0.exp_avg": np.zeros((3, 3), np.float32)}),
        lambda t: t.update({"state.0.0": np.zeros((1, 12), np.float32)}),
        lambda t: t.pop("state.1.1"),
        lambda t: t.update({"generator": np.zeros(3, np.uint8)}),
        lambda t: t.pop("generator"),
        lambda t: t.update({"model.head.linear.bias": t["model.head.linear.bias"].astype(int)}),
    ],
)
def test_broken_training_state_is_refused(
    corpus: Path, tmp_path: Path, change: Callable[[dict[str, np.ndarray]], object]
) -> None:
    """PyTorch would read and write out of bounds."""
    trained(corpus, tmp_path / "run", steps=9, eval_every=5)
    last = checkpoint.read(tmp_path / "run" / "last.safetensors")
    tensors = last.tensors()
    change(tensors)
    checkpoint.save(
        last.path,
        config=last.config,
        codec=last.codec,
        training=last.training,
        tensors=tensors,
        progress=last.progress,
    )
    with pytest.raises(CheckpointError, match=r"last\.safetensors: "):
        Trainer.resumed(Run(tmp_path / "run"), config.from_flags({"steps": 20}))


def test_a_raised_budget_stands_at_once(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "run", steps=9, eval_every=5)
    run = Run(tmp_path / "run")
    Trainer.resumed(run, config.from_flags({"steps": 20}))  # and killed before its next save
    assert Trainer.resumed(run, NO_BUDGET).progress.planned_updates == 20


def test_minutes_for_a_run_that_nobody_has_timed(corpus: Path, tmp_path: Path) -> None:
    """Stopped before its first line of metrics: the speed is measured, and the plan is sane."""
    settings = config.from_flags(TINY | {"steps": 10**6, "eval_every": 10**6})
    run = Run(tmp_path / "run")
    polls = iter([False] * 3 + [True])
    with preparing([corpus], run, settings) as ready:
        list(ready.begin().events(should_stop=lambda: next(polls)))
    run.metrics.unlink(missing_ok=True)
    trainer = Trainer.resumed(run, config.from_flags({"minutes": 10.0}))
    assert 3 < trainer.progress.planned_updates < 10**8
    assert trainer.progress.elapsed_s > 0
    assert Trainer.resumed(run, NO_BUDGET).progress.update == 3


def test_nothing_to_resume(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no last\.safetensors"):
        Trainer.resumed(Run(tmp_path), NO_BUDGET)
    (tmp_path / "last.safetensors").write_bytes((run / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="without the state to resume from"):
        Trainer.resumed(Run(tmp_path), NO_BUDGET)


@pytest.mark.long
@pytest.mark.parametrize("preset", sorted(set(presets()) - {"small", "medium", "large"}))
def test_presets_train(corpus: Path, tmp_path: Path, preset: str) -> None:
    """Small, but with the optimizer, schedule and clipping of the preset."""
    sizes = {"hidden": 8, "batch_size": 4, "seq_length": 8, "steps": 6, "eval_every": 3}
    data = load_preset(preset)["data"]
    if data.get("codec") in ("audio", "samples"):
        corpus = recorded(tmp_path / "clip.wav", music(3.0))
    elif data.get("codec") == "notes":
        corpus = folder_of_tunes(tmp_path / "tunes")
    elif data.get("documents") == "tune":
        corpus = tmp_path / "book.abc"
        corpus.write_text("".join(f"X:{n}\nK:C\nCDEF|GABc|\n\n" for n in range(30)))
    events = list(
        charrnn.train(corpus, tmp_path / "run", preset=preset, threads=1, device="cpu", **sizes)
    )
    assert isinstance(events[-1], Stopped)
    used = charrnn.load(tmp_path / "run").config
    wanted = load_preset(preset)
    assert used.training.optimizer == wanted["training"].get("optimizer", "adamw")
    assert used.sampling.top_k == wanted["sampling"].get("top_k", 0)


def test_the_plateau_lowers_the_rate(corpus: Path, tmp_path: Path) -> None:
    """A rate so wild that the loss gets no better: it is halved and halved again."""
    settings = {"schedule": "plateau", "lr": 30.0, "optimizer": "sgd", "clip": 0, "warmup": 0.0}
    settings |= {"norm": "none", "skip": False}  # with them, this rate diverges
    budget = {"steps": 60, "eval_every": 5, "lr_patience": 2, "patience": 0}
    events = trained(corpus, tmp_path / "run", **settings, **budget)
    losses = [e.val_nats_per_step for e in events if isinstance(e, Evaluated)]
    rates = {e.update: e.lr for e in events if isinstance(e, Stepped)}
    expected, best, waited = 30.0, math.inf, 0
    for number, loss in enumerate(losses[:-1], 1):
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == 2:
            expected, waited = expected / 2, 0
        assert rates[5 * number + 5] == expected
    assert expected < 30


def test_stateless_segments_begin_at_zero(corpus: Path, tmp_path: Path) -> None:
    settings = config.from_flags(TINY | {"steps": 60, "eval_every": 60, "bptt": "stateless"})
    with preparing([corpus], Run(tmp_path / "run"), settings) as ready:
        trainer = ready.begin()
        plain, seen = trainer.state.network.loss, []

        def loss(inputs, targets, state, *rest, **options):
            assert all(not part.any() for parts in state for part in parts)
            seen.append(inputs[0, 0])
            return plain(inputs, targets, state, *rest, **options)

        trainer.state.network.loss = loss  # type: ignore[method-assign]
        for _ in range(20):
            trainer._update()
    assert len(seen) == 20


def test_documents_are_shuffled_and_previewed(tmp_path: Path) -> None:
    names = [f"name{number:03}" for number in range(200)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    events = trained(
        tmp_path / "names.txt", tmp_path / "run", documents="line", steps=60, eval_every=60, lr=0.03
    )
    codec = charrnn.load(tmp_path / "run").codec
    steps = np.load(tmp_path / "run" / "corpus.npy")
    text = codec.decode(steps.tolist())
    assert text.endswith("\n")
    assert sorted(text.split()) == names
    assert text.split() != names
    (preview,) = [event.text for event in events if isinstance(event, Sampled)]
    assert len(preview.split("\n")) > 1


def test_bits_per_character_compare_codecs(corpus: Path, tmp_path: Path) -> None:
    """An untrained model of any codec is as good as chance, in characters."""
    for codec, name in (("char", "nats"), ("byte", "nats"), ("word", "nats")):
        events = trained(corpus, tmp_path / codec, codec=codec, steps=1, eval_every=1, lr=1e-9)
        (event,) = [event for event in events if isinstance(event, Evaluated)]
        model = charrnn.load(tmp_path / codec).codec
        uniform = math.log2(model.step.size) / model.characters_per_step
        extra = model.extra_nats_per_step / math.log(2) / model.characters_per_step
        assert event.val_bits_per_character == pytest.approx(uniform + extra, rel=0.1), name


@pytest.mark.gpu
@pytest.mark.parametrize("embedding", [0, 6])
def test_on_a_gpu(corpus: Path, tmp_path: Path, embedding: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    settings = {"device": "cuda", "steps": 30, "eval_every": 10, "precision": "auto"}
    *_, end = trained(corpus, tmp_path / "run", embedding=embedding, **settings)
    assert isinstance(end, Stopped)
    *_, end = Trainer.resumed(Run(tmp_path / "run"), config.from_flags({"steps": 40})).events()
    assert end.update == 40
