"""Samples begin in states that training has met at beginnings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import charrnn
from charrnn.data import corpus
from charrnn.data.corpus import occurrences
from charrnn.sampling.runtime import Runtime
from charrnn.training.starts import learn_starts
from tests.conftest import TINY


def test_occurrences() -> None:
    steps = np.array([1, 2, 1, 2, 2, 1], np.uint8)
    assert occurrences(steps, np.array([1, 2])).tolist() == [0, 2]
    assert occurrences(steps, np.array([3])).tolist() == []


@pytest.mark.parametrize("bptt", ["stateful", "stateless"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "peephole"])
def test_a_document_begins_as_documents_begin(tmp_path: Path, cell: str, bptt: str) -> None:
    letters = np.random.default_rng(0).choice(list("abcdef"), (300, 12))
    (tmp_path / "c.txt").write_text("".join(f"Q{''.join(row)}Z\n" for row in letters))
    settings = TINY | {"steps": 150, "hidden": 24, "cell": cell, "bptt": bptt, "lr": 0.02}
    run = charrnn.train(tmp_path / "c.txt", tmp_path / "run", documents="line", **settings)
    model = run.run().model
    texts = [sample.text for sample in model.samples(30, num=40, seed=1)]
    assert sum(text.startswith("Q") for text in texts) >= 38
    primed = [sample.text for sample in model.samples(30, num=2, seed=1, prime="Qa")]
    assert all(primed)


def test_the_runtime_begins_as_the_network_does(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("one two three\n" * 60)
    run = charrnn.train(tmp_path / "c.txt", tmp_path / "run", **TINY | {"steps": 5})
    checkpoint = run.run().model.checkpoint
    starts = checkpoint.starts
    assert starts is not None
    read = checkpoint.codec.start(np.random.default_rng(0))
    state = tuple(tuple(torch.from_numpy(part[:2]) for part in layer) for layer in starts)
    steps = torch.from_numpy(np.stack([read] * 2).astype(np.int64))
    with torch.no_grad():
        logits, _ = checkpoint.network()(steps, state)
    runtime = Runtime.of(checkpoint)
    several, single = runtime.begin(read, [0, 1]).logits, runtime.begin(read, 1).logits
    np.testing.assert_allclose(several, logits[:, -1].numpy(), atol=1e-4)
    np.testing.assert_allclose(single, logits[1, -1].numpy(), atol=1e-4)
    assert single.ndim == 1  # a single stream is faster than one of several


def test_a_rare_beginning_is_sampled_as_often_as_it_occurs(tmp_path: Path) -> None:
    letters = np.random.default_rng(0).choice(list("def"), (20, 40))
    documents = [f"{'ABCQ'[min(i, 3)]}{''.join(row)}" for i, row in enumerate(letters)]
    (tmp_path / "c.txt").write_text("\n".join(documents) + "\n")
    settings = TINY | {"steps": 150, "hidden": 24, "lr": 0.02, "val_fraction": 0.05}
    run = charrnn.train(tmp_path / "c.txt", tmp_path / "run", documents="line", **settings)
    drawn = Counter(sample.text for sample in run.run().model.samples(1, num=800, seed=1))
    assert all(0.02 < drawn[letter] / 800 < 0.1 for letter in "ABC")


def test_a_run_that_is_killed_while_it_learns_starts_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.txt").write_text("one two three\nfour five\n" * 40)
    settings = TINY | {"steps": 20, "eval_every": 5, "documents": "line"}
    list(charrnn.train(tmp_path / "c.txt", tmp_path / "whole", **settings))
    with monkeypatch.context() as patch:
        patch.setattr("charrnn.training.loop.learn_starts", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(charrnn.train(tmp_path / "c.txt", tmp_path / "killed", **settings))
    list(charrnn.resume(tmp_path / "killed"))
    whole, killed = (tmp_path / name / "best.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def test_starts_depend_only_on_the_weights(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("one two three\nfour five\n" * 40)
    settings = TINY | {"steps": 20}
    run = charrnn.train(tmp_path / "c.txt", tmp_path / "run", documents="line", **settings)
    best = run.run().model.checkpoint.path
    before = best.read_bytes()
    steps, _ = corpus.split(corpus.read(run.path / "corpus.npy"), 0.1)
    learn_starts(best, steps, torch.device("cpu"))
    assert best.read_bytes() == before
