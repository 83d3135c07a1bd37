"""Disks that are full, directories that vanish, files that are no files: what was saved stays."""

from __future__ import annotations

import json
import os
import resource
import shutil
import threading
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint import read
from charrnn.errors import CharrnnError, RunError
from charrnn.run import Run
from tests.conftest import TINY, flags, trained
from tests.forks import Call, commands, ended, forked
from tests.sounds import music, recorded

SOUND = {"codec": "audio", "n_fft": 256, "hop_length": 128, "components": 8, "sample_rate": 8_000}
BIG = TINY | {"hidden": 64}  # 0.3 MB, and with what its optimizer keeps three times as much


def with_small_files(words: list[str], said: Path, largest: int) -> None:
    """A command where no file may grow beyond so many bytes: as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    commands([Call(words, said)], 1 << 30, 60)


def said_by(tmp_path: Path, words: list[object], largest: int) -> tuple[str, str]:
    """Exit code and what was said."""
    said = tmp_path / "said"
    assert ended(forked(with_small_files, list(map(str, words)), said, largest)) == 0
    text, _, code = said.read_text().removesuffix("\n").rpartition("\n")
    return code, text


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_corpus_that_does_not_fit(corpus: Path, tmp_path: Path) -> None:
    words = ["train", corpus, "-o", tmp_path / "run", "-q", *flags(**TINY, steps=4)]
    code, said = said_by(tmp_path, words, 500)
    assert code == "1"
    assert said.endswith("cannot be written (File too large)")
    assert not (tmp_path / "run").exists()


def test_a_first_save_that_does_not_fit(corpus: Path, tmp_path: Path) -> None:
    """Nothing is left of a new run, and with --force all of an old one."""
    words = ["train", corpus, "-o", tmp_path / "run", "-q", *flags(**BIG, steps=4), "--force"]
    code, said = said_by(tmp_path, words, 50_000)
    assert (code, said.partition("cannot")[2]) == (
        "1",
        " be written (File too large)",
    )
    assert not (tmp_path / "run").exists()
    trained(corpus, tmp_path / "run", steps=9, eval_every=3)
    before = contents(tmp_path / "run")
    assert said_by(tmp_path, words, 50_000)[0] == "1"
    assert contents(tmp_path / "run") == before


def test_a_later_save_that_does_not_fit(corpus: Path, tmp_path: Path) -> None:
    """The optimizer's state comes with the first step, and does not fit any more."""
    run = Run(tmp_path / "run")
    words = ["train", corpus, "-o", run.path, "-q", *flags(**BIG, steps=40, eval_every=9)]
    code, said = said_by(tmp_path, words, 400_000)
    assert code == "1"
    assert said.startswith(f"charrnn: {run.last}: cannot be written (File too large)")
    assert said.endswith("the file that was there is unchanged")
    assert read(run.last).progress is not None
    assert not [path for path in run.path.iterdir() if "tmp" in path.name]
    trained(corpus, tmp_path / "whole", **BIG, steps=40, eval_every=9)
    assert said_by(tmp_path, ["train", "--resume", run.path, "-q"], 1 << 30) == ("0", "")
    assert run.last.read_bytes() == Run(tmp_path / "whole").last.read_bytes()


def test_a_preview_that_does_not_fit(tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(3.0, 8_000), 8_000)
    small = TINY | SOUND | {"embedding": 0, "hidden": 4, "layers": 1}
    words = ["train", clip, "-o", tmp_path / "run", "-q", *flags(**small, steps=4, eval_every=2)]
    code, said = said_by(tmp_path, words, 16_000)
    assert code == "1"
    assert "cannot be written (File too large" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_sound_that_does_not_fit(tmp_path: Path, name: str) -> None:
    clip = recorded(tmp_path / "clip.wav", music(1.0, 8_000), 8_000)
    list(charrnn.train(clip, tmp_path / "run", **(TINY | SOUND | {"embedding": 0, "steps": 2})))
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / name
    code, said = said_by(tmp_path, ["sample", tmp_path / "run", "-n", 20, "-o", path, "-q"], 9_000)
    assert (code, said) == ("1", f"charrnn: {path}: cannot be written (File too large)")
    assert not list(path.parent.iterdir())


def test_text_that_does_not_fit(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("mine")
    code, said = said_by(tmp_path, ["sample", run, "-n", 9_000, "-o", path, "-q"], 3_000)
    assert (code, said) == ("1", f"charrnn: {path}: cannot be written (File too large)")
    assert path.read_text() == "mine"


def test_room_is_looked_for_before_the_first_step(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(corpus, tmp_path / "old", steps=4, eval_every=2)
    before = contents(tmp_path / "old")
    monkeypatch.setattr("charrnn.run.free_bytes", lambda path: 1_000_000)
    for out in ("new", "old"):
        with pytest.raises(RunError, match=r"needs 4 MB .* has 1 MB left; make room, or"):
            trained(corpus, tmp_path / out, steps=4, force=True)
    assert contents(tmp_path / "old") == before
    assert not (tmp_path / "new").exists()


def test_a_run_that_vanishes(corpus: Path, tmp_path: Path) -> None:
    events = charrnn.train(corpus, tmp_path / "run", **TINY, steps=90, eval_every=9)
    next(events)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(CharrnnError, match=r"the run's directory has gone|No such file"):
        list(events)


def test_the_encoded_corpus_may_vanish(corpus: Path, tmp_path: Path) -> None:
    """It is mapped: training goes on, and resuming says what is missing."""
    events = charrnn.train(corpus, tmp_path / "run", **TINY, steps=20, eval_every=9)
    next(events)
    Run(tmp_path / "run").corpus.unlink()
    list(events)
    code, said = said_by(tmp_path, ["train", "--resume", tmp_path / "run", "--steps", 30], 1 << 30)
    assert code == "1"
    assert "corpus.npy: not a readable corpus" in said


@pytest.mark.parametrize("name", ["corpus.npy", "metrics.jsonl", "last.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_names_of_a_run_that_are_no_files(run: Path, tmp_path: Path, name: str, kind: str) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / name
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    code, said = said_by(tmp_path, ["train", "--resume", path.parent, "--steps", 50], 1 << 30)
    assert code in ("1", "2")
    assert str(path.parent) in said
    assert "\n" not in said


def test_what_is_said_of_the_owner_goes_through_no_link(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run" / ".owner.json").symlink_to(tmp_path / "precious")
    words = ["train", "--resume", tmp_path / "run", "--steps", 44, "-q"]
    assert said_by(tmp_path, words, 1 << 30) == ("0", "")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("owner", ["", "{}", "[" * 150, '{"pid": "' + "9" * 10**6 + '"}'])
def test_an_owner_that_lies(tmp_path: Path, owner: str) -> None:
    run = Run(tmp_path / "run")
    with run.locked():
        (run.path / ".owner.json").write_text(owner)
        with pytest.raises(RunError, match="is being written by another process"), run.locked():
            pass


@pytest.mark.parametrize("line", ['{"step": "x"}', '{"step": null}', "[" * 10**5, "\0", '{"a": 1}'])
def test_metrics_of_nonsense(run: Path, tmp_path: Path, line: str) -> None:
    shutil.copytree(run, tmp_path / "run")
    with open(tmp_path / "run" / "metrics.jsonl", "a") as stream:
        stream.write(f"{line}\n")
    words = ["train", "--resume", tmp_path / "run", "--steps", 45, "-q"]
    assert said_by(tmp_path, words, 1 << 30) == ("0", "")
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics[-1])["step"] == 45


@pytest.mark.long
def test_sampling_while_training_sees_whole_models(corpus: Path, tmp_path: Path) -> None:
    """From the first save to the end, whatever is read at whatever moment has its digest."""
    over, seen = threading.Event(), set[str]()
    failed: list[BaseException] = []

    def look() -> None:
        while not over.is_set():
            try:
                if Run(tmp_path / "run").exists:
                    found = charrnn.load(tmp_path / "run").checkpoint
                    found.tensors()
                    seen.add(found.sha256)
            except CharrnnError as error:
                failed.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        trained(corpus, tmp_path / "run", steps=60, eval_every=1)
    finally:
        over.set()
        thread.join()
    assert not failed
    assert len(seen) > 3


def test_a_second_training_is_told_of_the_first(corpus: Path, tmp_path: Path) -> None:
    """Before and after its first save, whether it was to be overwritten, resumed or neither."""
    events = charrnn.train(corpus, tmp_path / "run", **TINY, steps=90, eval_every=9)
    next(events)
    for words in (
        ["train", corpus, "-o", tmp_path / "run"],
        ["train", corpus, "-o", tmp_path / "run", "--force"],
        ["train", "--resume", tmp_path / "run"],
    ):
        code, said = said_by(tmp_path, [*words, "-q"], 1 << 30)
        assert code == "1"
        assert f"is being written by process {os.getpid()}, since 20" in said
    list(events)
