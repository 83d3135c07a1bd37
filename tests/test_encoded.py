"""A corpus encoded once: runs on it are those on its files, and its folder may be broken."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import charrnn
from charrnn import checkpoint, encoded
from charrnn.data import corpus as arrays
from charrnn.data import parts
from charrnn.data.encode import KEPT
from charrnn.errors import CharrnnError, ConfigError, CorpusError, RunError, UsageError
from charrnn.media.sources import ENCODED_FILE
from tests.conftest import TEXT, TINY, Command, trained
from tests.forks import ended, forked, kill_at
from tests.sounds import music, recorded
from tests.tunes import folder_of_tunes

SHORT = {"steps": 4, "eval_every": 2}
SOUND = {"codec": "audio", "sample_rate": 8_000, "n_fft": 256, "hop_length": 128, "components": 8}


def of_text(folder: Path) -> tuple[Path, dict[str, Any]]:
    for number in range(3):
        (folder / f"{number}.txt").write_text(TEXT.replace("heron", f"heron{number}"))
    return folder, {"normalize": "NFC"}


def of_documents(folder: Path) -> tuple[Path, dict[str, Any]]:
    return of_text(folder)[0], {"codec": "word", "documents": "line", "min_count": 1}


def of_sound(folder: Path) -> tuple[Path, dict[str, Any]]:
    for number in range(2):
        recorded(folder / f"{number}.wav", music(1.0, 8_000, seed=number), 8_000)
    return folder, SOUND


def of_notes(folder: Path) -> tuple[Path, dict[str, Any]]:
    return folder_of_tunes(folder / "tunes", 4), {"codec": "notes"}


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Path:
    return charrnn.encode(corpus, tmp_path / "encoded").path


@pytest.mark.parametrize("made", [of_text, of_documents, of_sound, of_notes])
def test_a_run_is_the_same_as_on_the_files(tmp_path: Path, made: Any) -> None:
    (tmp_path / "files").mkdir()
    files, how = made(tmp_path / "files")
    more = {"embedding": 0} if how is SOUND else {}
    trained(files, tmp_path / "one", **SHORT, **how, **more)
    folder = charrnn.encode(files, tmp_path / "encoded", **how).path
    trained(folder, tmp_path / "other", **SHORT, **more)
    for name in ("corpus.npy", "best.safetensors", "last.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_runs_share_the_array_and_do_not_need_the_folder(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        trained(folder, tmp_path / name, **SHORT)
    array = folder / "corpus.npy"
    assert array.stat().st_nlink == 3
    for path in folder.iterdir():
        path.unlink()
    charrnn.resume(tmp_path / "one", steps=6).run()
    assert len(charrnn.load(tmp_path / "two").sample(20, no_copy=15).text) == 20


def test_another_file_system(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    run = charrnn.train(folder, tmp_path / "run", **SHORT, **TINY)
    assert any("only refers to" in text for text in run.plan.notices)
    run.run()
    assert (tmp_path / "run" / "corpus.npy").is_symlink()
    charrnn.resume(tmp_path / "run", steps=6).run()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"refers to .*, which is gone; put it back there"):
        charrnn.resume(tmp_path / "run", steps=8).run()
    monkeypatch.setattr(Path, "symlink_to", refused)
    trained(tmp_path / "elsewhere", tmp_path / "copy", **SHORT)
    assert (tmp_path / "copy" / "corpus.npy").stat().st_nlink == 1


def test_settings_that_decide_belong_to_the_folder(folder: Path, tmp_path: Path) -> None:
    for name, value in {
        "normalize": "NFC",
        "codec": "word",
        "documents": "line",
        "val_fraction": 0.3,
        "extra_characters": "xyz",
    }.items():
        with pytest.raises(ConfigError) as caught:
            charrnn.train(folder, tmp_path / "run", **{name: value})
        flag = f"--{name.replace('_', '-')}"
        assert str(caught.value).startswith(f"{flag} {value}: {folder} was encoded with")
    charrnn.train(folder, tmp_path / "run", normalize="none", codec="auto", seed=7, seq_length=9)
    charrnn.train(folder, tmp_path / "run", normalize="NFC", ignorable=["normalize"])
    with pytest.raises(ConfigError, match="--sample-rate is for sound"):
        charrnn.train(folder, tmp_path / "run", sample_rate=8_000)


def test_only_train_reads_it_and_only_whole(folder: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name its folder, and nothing else"):
        charrnn.train([corpus, folder], tmp_path / "run")
    with pytest.raises(UsageError, match="is encoded already"):
        charrnn.encode(folder, tmp_path / "again")
    with pytest.raises(CorpusError, match="has an encoded corpus already"):
        charrnn.encode(corpus, folder)
    trained(tmp_path, tmp_path / "run", **SHORT)  # a directory in which it is left out
    with pytest.raises(CorpusError, match="is an encoded corpus, which only train reads"):
        charrnn.load(tmp_path / "run").evaluate(folder)
    with pytest.raises(CorpusError, match="is a run"):
        charrnn.encode(corpus, tmp_path / "run")


def test_encoding_again_leaves_earlier_runs_as_they_are(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path / "run", **SHORT)
    (tmp_path / "other.txt").write_text(TEXT[::-1])
    charrnn.encode(tmp_path / "other.txt", folder, force=True, codec="byte")
    assert encoded.read(folder).corpus.codec.name == "byte"
    charrnn.resume(tmp_path / "run", steps=6).run()


def test_a_large_array_is_checked_once(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "LARGE", 1)
    folder = charrnn.encode(corpus, tmp_path / "encoded").path
    reads: list[bytes] = []
    real = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda block, *v: (reads.append(block), real(block, *v))[1])
    trained(folder, tmp_path / "run", **SHORT)
    charrnn.resume(tmp_path / "run", steps=6).run()
    assert not reads
    with charrnn.train(folder, tmp_path / "planned", **SHORT, **TINY) as run:
        assert run.plan.corpus_steps
    assert not (tmp_path / "planned").exists()
    data = (folder / "corpus.npy").read_bytes()
    (folder / "corpus.npy").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # that of the run, too
    with pytest.raises(RunError, match="is not the corpus that this run began with"):
        charrnn.resume(tmp_path / "run", steps=8).run()
    with pytest.raises(CorpusError, match="is not the corpus that was encoded"):
        trained(folder, tmp_path / "other", **SHORT)


def test_a_changed_array_is_refused(folder: Path, tmp_path: Path) -> None:
    array = folder / "corpus.npy"
    data = bytearray(array.read_bytes())
    data[-1] ^= 1
    array.write_bytes(data)
    with pytest.raises(CorpusError, match="is not the corpus that was encoded"):
        trained(folder, tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()
    array.write_bytes(data[:-1])
    with pytest.raises(CharrnnError):
        trained(folder, tmp_path / "run", **SHORT)
    np.save(array, np.zeros((4, 4), np.float32))
    with pytest.raises(CharrnnError):
        trained(folder, tmp_path / "run", **SHORT)
    array.unlink()
    with pytest.raises(RunError, match="encode the corpus again"):
        charrnn.train(folder, tmp_path / "run")


ODD = (None, "x", "\ud800", [], {}, True, -1, 10**400, 0.75, float("nan"), [["x"]], "y" * 10**6)


@pytest.mark.parametrize("codec", ["char", "word", "audio"])
def test_broken_and_hostile_headers_are_one_line(tmp_path: Path, codec: str) -> None:
    (tmp_path / "files").mkdir()
    files, how = (of_sound if codec == "audio" else of_text)(tmp_path / "files")
    path = charrnn.encode(files, tmp_path / "encoded", **how | {"codec": codec}).path
    name = path / ENCODED_FILE
    tensors = load_file(name)
    *_, header = checkpoint.opened(name, encoded.KEY)

    def refused(values: Any, tensors: dict[str, np.ndarray] = tensors) -> None:
        text = values if isinstance(values, str) else json.dumps(values)
        save_file(tensors, name, {encoded.KEY: f"{checkpoint.digest(text, tensors)}\n{text}"})
        with pytest.raises(CharrnnError) as caught:
            print(f"{encoded.read(path)!r:.300}", text[:300])  # shown only if it is not refused
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused("{}")
    refused("[" * 100_000)
    refused(json.loads(header), {"other.x": np.zeros(1, np.float32)} | tensors)
    values = json.loads(header)
    codec_values = values["codec"]
    for inside in (values, values["settings"], codec_values):
        for field, good in list(inside.items()):
            for odd in ODD:
                inside[field] = odd
                if not fits(inside is values, field, odd):
                    refused(values)
            del inside[field]
            if inside is not codec_values:  # older codecs lack some of their values
                refused(values)
            inside[field] = good
    for place in tensors:
        bad = tensors | {place: np.full_like(tensors[place], np.nan)}
        refused(values, bad)


def fits(outer: bool, field: str, odd: object) -> bool:
    """Whether this is a good value, too."""
    if not outer:
        return True  # what the codec and the settings accept is tested with them
    if field in ("reason", "held_out"):
        return odd in ("x", "\ud800")
    return (field in ("documents", "val_fraction") and odd is None) or (
        (field, odd) in (("crc32", -1), ("crc32", 10**400), ("notices", []))
    )


def test_a_damaged_header_is_refused(folder: Path) -> None:
    name = folder / ENCODED_FILE
    data = name.read_bytes()
    name.write_bytes(data.replace(b"documents", b"dokuments", 1))
    with pytest.raises(CharrnnError, match=r"damaged|broken"):
        encoded.read(folder)
    for bad in (b"", data[:20], b"\xff" * 100):
        name.write_bytes(bad)
        with pytest.raises(CharrnnError, match="not a charrnn corpus"):
            encoded.read(folder)


def test_the_command(command: Command, corpus: Path, tmp_path: Path) -> None:
    outcome = command("encode", corpus, "-o", "enc", "--documents", "line")
    assert outcome.returncode == 0
    assert "train on them: charrnn train enc" in outcome.stderr
    outcome = command("inspect", "enc", "--json")
    assert outcome.returncode == 0, outcome.stderr
    values = json.loads(outcome.stdout)
    assert values["steps"] == np.load(tmp_path / "enc" / "corpus.npy").size - 1
    assert values["settings"]["documents"] == "line"
    assert "documents line" in command("inspect", "enc").stdout
    outcome = command("encode", corpus, "-o", "enc")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("charrnn: enc: has an encoded corpus already")


def test_a_folder_of_its_own_is_removed_after_an_error(command: Command, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("ab")
    for out in ("enc", "new/enc", "there"):
        (tmp_path / "there").mkdir(exist_ok=True)
        outcome = command("encode", "short.txt", "-o", out, "-q")
        assert (outcome.returncode, outcome.stderr) == (
            1,
            "charrnn: short.txt: too short: 2 of at least 16 steps\n",
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short.txt", "there"]


@pytest.mark.parametrize("out", ["files", ".", "-"])
def test_the_folder_is_not_that_of_the_corpus(command: Command, tmp_path: Path, out: str) -> None:
    (tmp_path / "files" / "inner").mkdir(parents=True)
    of_text(tmp_path / "files" / "inner")
    outcome = command("encode", "files", "-o", out)
    assert outcome.returncode == 2
    inside = "has a file of the corpus, files/inner/0.txt; choose another"
    told = inside if out == "files" else "must be a directory of its own"
    assert outcome.stderr == f"charrnn: --out {out}: {told}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    assert command("encode", "files", "-o", "files/encoded").returncode == 0


def test_parts_that_are_kept_are_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 400)
    (tmp_path / "files").mkdir()
    files, _ = of_text(tmp_path / "files")
    (files / "2.txt").write_bytes("ä".encode() + b"\xff")
    outcome = command("encode", "files", "-o", "enc", "-q", "--workers", 1)
    assert outcome.returncode == 1
    assert outcome.stderr.endswith(f"; {KEPT}\n")
    (files / "2.txt").write_text(TEXT)
    assert command("encode", "files", "-o", "enc", "-q", "--workers", 1).returncode == 0
    names = {path.name for path in (tmp_path / "enc").iterdir()}
    assert names == {".lock", "corpus.npy", "encoded.safetensors"}


def killed(corpus: Path, out: Path, until: int, force: bool) -> None:
    kill_at(until, out)
    charrnn.encode(corpus, out, force=force)


@pytest.mark.parametrize("force", [False, True])
def test_killed_at_each_touch_of_a_file(corpus: Path, tmp_path: Path, force: bool) -> None:
    """The same call encodes it again, and a description never stands beside another array."""
    other = tmp_path / "other.txt"
    other.write_text(TEXT.upper())
    whole = charrnn.encode(corpus, tmp_path / "whole").path
    for number in itertools.count(1):
        out = tmp_path / f"encoded-{number}"
        if force:
            charrnn.encode(other, out)
        is_killed = ended(forked(killed, corpus, out, number, force)) != 0
        with contextlib.suppress(CharrnnError):  # there is none
            folder = encoded.read(out)
            array, step = out / "corpus.npy", folder.corpus.codec.step
            assert arrays.checked(array, arrays.read(array), step) == folder.crc32
        if not is_killed:
            break
        with contextlib.suppress(CorpusError):  # killed when all was done
            charrnn.encode(corpus, out, force=force)
        for name in ("corpus.npy", ENCODED_FILE):
            assert (out / name).read_bytes() == (whole / name).read_bytes()
        names = {path.name for path in out.iterdir()} - {".owner.json"}
        assert names == {".lock", "corpus.npy", ENCODED_FILE}
    assert number > 8
