"""What a notebook calls."""

from __future__ import annotations

import copy
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

import charrnn
from charrnn.run import Run
from charrnn.training.events import Evaluated, Sampled, Saved, Stopped
from tests.conftest import TEXT, TINY, trained
from tests.sounds import RATE, music, recorded

SOUND = {name: value for name, value in TINY.items() if name != "embedding"}


def test_arguments_are_checked_at_once(corpus: Path, tmp_path: Path, run: Path) -> None:
    for wrong, error in (
        ({"hidden": 0}, charrnn.ConfigError),
        ({"hiden": 3}, charrnn.ConfigError),
        ({"preset": "nothing"}, charrnn.ConfigError),
        ({"n_fft": 512}, charrnn.ConfigError),
        ({"momentum": 0.5}, charrnn.ConfigError),
        ({"init_from": tmp_path / "nothing"}, charrnn.CheckpointError),
    ):
        with pytest.raises(error):
            charrnn.train(corpus, tmp_path / "new", **wrong)  # type: ignore[arg-type]
    with pytest.raises(charrnn.CorpusError):
        charrnn.train(tmp_path / "nothing", tmp_path / "new")
    with pytest.raises(charrnn.RunError, match="already"):
        charrnn.train(corpus, run)
    with pytest.raises(charrnn.UsageError):
        charrnn.resume(tmp_path)
    assert not (tmp_path / "new").exists()
    charrnn.train(corpus, tmp_path / "new", ignorable=["momentum"], momentum=0.5)


def test_a_run_is_walked_left_and_taken_up_again(corpus: Path, tmp_path: Path) -> None:
    run = charrnn.train(corpus, tmp_path / "run", steps=30, eval_every=10, **TINY)
    assert not (tmp_path / "run").exists()
    assert run.plan.planned_updates == 30
    assert "new" in repr(run)
    for event in run:
        if isinstance(event, Saved):
            break
    assert run.trainer.progress.update == 10
    with pytest.raises(charrnn.RunError, match="being written"), Run(tmp_path / "run").locked():
        pass
    *_, end = run
    assert isinstance(end, Stopped)
    assert end.update == 30
    assert list(run) == []
    with Run(tmp_path / "run").locked():  # it has let go of it
        pass
    trained(corpus, tmp_path / "whole", steps=30, eval_every=10)
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_can_be_stopped_closed_and_resumed(corpus: Path, tmp_path: Path) -> None:
    with charrnn.train(corpus, tmp_path / "run", steps=30, eval_every=10, **TINY) as run:
        run.should_stop = lambda: run.trainer.progress.update >= 7
        *_, end = run
    assert (end.reason, end.update) == ("interrupted", 7)
    with pytest.raises(charrnn.ConfigError, match="steps"):
        charrnn.resume(tmp_path / "run", steps=0)
    resumed = charrnn.resume(tmp_path / "run", steps=12)
    with pytest.raises(charrnn.UsageError, match="no plan"):
        _ = resumed.plan
    assert resumed.run().trainer.progress.update == 12
    assert isinstance(resumed.model, charrnn.Model)


def test_a_closed_or_broken_run_says_so(corpus: Path, tmp_path: Path) -> None:
    settings = TINY | {"steps": 30, "eval_every": 10}
    run = charrnn.train(corpus, tmp_path / "run", **settings)
    with pytest.raises(charrnn.RunError, match="has not started"):
        _ = run.model
    next(run)
    run.close()
    with pytest.raises(charrnn.RunError, match=r"ended by close.*charrnn\.resume"):
        next(run)
    with pytest.raises(charrnn.RunError, match=r"ended by close.*charrnn\.resume"):
        run.run()
    broken = charrnn.resume(tmp_path / "run")

    def press_ctrl_c() -> bool:
        raise KeyboardInterrupt

    broken.should_stop = press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    with pytest.raises(charrnn.RunError, match="ended by KeyboardInterrupt"):
        broken.run()
    assert charrnn.resume(tmp_path / "run").run().trainer.progress.update == 30


def test_a_run_that_was_only_planned_is_closed_too(corpus: Path, tmp_path: Path) -> None:
    with charrnn.train(corpus, tmp_path / "run", steps=3, **TINY) as run:
        _ = run.plan
    for begin in (lambda: next(run), run.run):
        with pytest.raises(charrnn.RunError, match=r"ended by close\(\) before it started"):
            begin()
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_forgotten_lets_go(corpus: Path, tmp_path: Path) -> None:
    run = charrnn.train(corpus, tmp_path / "run", steps=30, **TINY)
    next(run)
    with pytest.raises(charrnn.RunError, match="another run in this process"):
        next(charrnn.resume(tmp_path / "run"))
    del run
    next(charrnn.resume(tmp_path / "run"))


def test_runs_get_directories_of_their_own(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (".", "-", "", tmp_path.parent):
        with pytest.raises(charrnn.UsageError, match="a directory of its own"):
            charrnn.train(corpus, out, force=True)
    one, other = (charrnn.train(corpus, steps=2, **TINY) for _ in range(2))
    next(one)
    next(other)
    assert one.path != other.path


def test_a_run_that_never_begins_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    with charrnn.train(corpus, tmp_path / "runs" / "a", steps=3, **TINY) as run:
        assert run.plan.documents is None
    assert not (tmp_path / "runs").exists()
    abandoned = charrnn.train(corpus, tmp_path / "runs" / "b", steps=3, **TINY)
    _ = abandoned.plan
    del abandoned
    assert not (tmp_path / "runs").exists()


def test_text(run: Path, tmp_path: Path) -> None:
    model = charrnn.load(run)
    assert repr(model).startswith("<Model LSTM 2x12, char codec (")
    assert "nats per character" in repr(model)
    sample = model.sample(50, prime="The ", temperature=0.7, seed=1)
    pieces = list(sample)
    assert len(pieces) > 10
    assert sample.text == "".join(pieces) == str(sample)
    assert (sample.steps, sample.seed) == (50, 1)
    assert sample.nats_per_step > 0
    assert model.sample(50, prime="The ", temperature=0.7, seed=1).text == sample.text
    sample.save(tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "The " + sample.text
    texts = [each.text for each in model.samples(20, num=3, seed=1)]
    assert len(set(texts)) == 3
    (best,) = model.beam(4, 10, prime="The ")
    with pytest.raises(charrnn.UsageError, match="drop temperature, finish"):
        model.beam(4, 10, temperature=0.5, finish="word")
    assert len(best.text) == 10
    assert model.sample(10).seed != model.sample(10).seed
    assert (
        copy.deepcopy(model).sample(50, prime="The ", temperature=0.7, seed=1).text == sample.text
    )
    out_of_range = [{"num": 0}, {"seed": -1}, {"seed": 1.5}, {"length": -1}, {"length": 0.5}]
    for wrong in (*out_of_range, {"bits": 16}, {"nonsense": 1}, {"hidden": 3}, {"top_p": 2.0}):
        with pytest.raises(charrnn.CharrnnError):
            model.sample(**({"length": 10} | wrong))
    for width, num in ((0, 1), (-1, 1), (2, 3), (5000, 1)):
        with pytest.raises(charrnn.UsageError):
            model.beam(width, 8, num=num)


def test_a_model_is_saved_whole(run: Path, tmp_path: Path) -> None:
    charrnn.load(run).save(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == (run / "best.safetensors").read_bytes()
    with pytest.raises(charrnn.SamplingError, match="cannot be written"):
        charrnn.load(run).save(tmp_path / "nowhere" / "model.safetensors")


def test_evaluating_files_or_text(run: Path, tmp_path: Path) -> None:
    model = charrnn.load(run)
    (tmp_path / "a.txt").write_text(TEXT[:400], encoding="utf-8")
    report = model.evaluate(tmp_path / "a.txt")
    assert report.values == model.evaluate(text=TEXT[:400]).values
    assert report.values["steps"] == 399
    (tmp_path / "b.txt").write_bytes(TEXT[:400].replace("–", "-").encode("cp1252"))
    known = 399 - TEXT[:400].count("–")  # the hyphen is not in the vocabulary
    assert model.evaluate(tmp_path / "b.txt", encoding="cp1252").values["steps"] == known
    for wrong in ({}, {"files": tmp_path / "a.txt", "text": "and a text"}):
        with pytest.raises(charrnn.UsageError, match="either files or a text"):
            model.evaluate(**wrong)  # type: ignore[arg-type]
    with pytest.raises(charrnn.UsageError, match="no pictures"):
        model.evaluate(tmp_path / "a.txt", picture=tmp_path / "a.png")
    for settings in ({"sample_rate": 8000}, {"foo": 1}, {"hidden": 3}, {"stop": "x"}):
        with pytest.raises(charrnn.UsageError):
            model.evaluate(tmp_path / "a.txt", **settings)
    for text in ("", "\ud800"):
        with pytest.raises(charrnn.CharrnnError):
            model.evaluate(text=text)
    with pytest.raises(charrnn.CorpusError, match="no corpus"):
        model.evaluate([])


def test_nats_of_each_character(run: Path) -> None:
    """Held against the evaluation of the whole text, which leaves out the first character."""
    model, text = charrnn.load(run), TEXT[:300]
    nats = model.nats(text)
    assert nats.shape == (300,)
    assert "".join(model.pieces(text)) == text
    start = model.codec.start(np.random.default_rng(0))
    assert len(start) == 1
    beginning = model.codec.decode(start.tolist())
    whole = model.evaluate(text=beginning + text).values["nats_per_step"]
    assert nats.mean() == pytest.approx(whole, rel=1e-2)  # which begins in the zero state
    unknown = model.nats("The \N{SNOWMAN}miller")
    assert np.flatnonzero(np.isnan(unknown)).tolist() == [4]
    assert model.nats("").shape == (0,)


@pytest.mark.parametrize("codec", ["word", "byte"])
def test_nats_of_words_and_bytes(codec: str, corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "run", steps=5, codec=codec)
    model = charrnn.load(tmp_path / "run")
    text = 'The grüne miller said, "3.14 – nothing" and xylophone'
    pieces, nats = model.pieces(text), model.nats(text)
    assert "".join(pieces) == text
    assert len(nats) == len(pieces)
    assert np.isfinite(nats).all()
    assert (nats > 0).all()
    if codec == "word":
        assert pieces[:3] == ["The", " grüne", " miller"]
        assert nats[-1] > nats[:3].max()  # the spelling of a word that it does not know
    else:
        assert pieces == list(text)


def test_sound(tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(3.0))
    settings = SOUND | {"n_fft": 512, "hop_length": 256, "components": 8, "steps": 12}
    run = charrnn.train(clip, tmp_path / "run", eval_every=6, **settings)
    events = list(run)
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert all(event.score_name == "distance from the recording" for event in evaluated)
    assert evaluated[-1].best_score == min(event.score for event in evaluated)
    for event in events:
        if isinstance(event, Sampled):
            assert event.text is None
            assert event.path is not None
            assert event.path.exists()
    model = run.model
    assert "frame" in repr(model)
    sample = model.sample(0.5, seed=2)
    assert sample.rate == RATE
    assert sample.sound.shape == (RATE // 2,)
    assert np.abs(np.asarray(sample)).max() <= 1
    assert np.array_equal(np.concatenate(list(sample)), sample.sound)
    for name in ("out.flac", "again.flac"):
        sample.save(tmp_path / name)
    assert (tmp_path / "out.flac").read_bytes() == (tmp_path / "again.flac").read_bytes()
    started = model.sample(0.5, seed=2)
    next(iter(started))
    assert np.array_equal(started.sound, sample.sound)
    model.sample(0.5, prime=clip, include_prime=True, bits=24).save(tmp_path / "on.wav")
    assert (tmp_path / "on.wav").stat().st_size > 3 * 3 * RATE
    report = model.evaluate(clip, picture=tmp_path / "judged.png")
    assert set(report.values["free_run"]) >= {"flux", "onsets"}
    assert (tmp_path / "judged.png").exists()
    for ask in (model.nats, lambda text: model.evaluate(text=text)):
        with pytest.raises(charrnn.SamplingError, match="frames, not text"):
            ask("text")


def test_the_process_stays_as_it_is(
    corpus: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of PyTorch and BLAS, signals, and the C library's allocator."""

    def state() -> object:
        handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        blas = [library["num_threads"] for library in threadpool_info()]
        return torch.get_num_threads(), blas, handlers

    monkeypatch.setattr("charrnn.model.device.keep_freed_memory", lambda: pytest.fail("allocator"))
    monkeypatch.setattr("charrnn.sampling.runtime.LARGE_MATRIX", 1)
    before = state()
    for _ in charrnn.train(corpus, tmp_path / "run", eval_every=3, steps=6, **TINY):
        assert state() == before
    model = charrnn.load(run)
    for _ in model.sample(200):
        pass
    model.evaluate(text=TEXT)
    model.nats(TEXT)
    assert state() == before
    clip = recorded(tmp_path / "clip.wav", music(2.0))
    settings = SOUND | {"n_fft": 512, "hop_length": 256, "components": 8, "steps": 4}
    sounding = charrnn.train(clip, tmp_path / "sound", **settings).run().model
    assert len(sounding.sample(0.3).sound)
    sounding.evaluate(clip)
    assert state() == before
    with pytest.raises(pytest.fail.Exception, match="allocator"):
        charrnn.keep_freed_memory()
