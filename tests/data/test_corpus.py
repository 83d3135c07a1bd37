from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.data import corpus
from charrnn.errors import CorpusError, RunError
from charrnn.media.steps import Discrete

BLOCKS = st.lists(st.lists(st.integers(0, 100_000), max_size=20), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BLOCKS)
def test_what_is_written_is_read(tmp_path: Path, blocks: list[list[int]]) -> None:
    path = tmp_path / "corpus.npy"
    flat = [step for block in blocks for step in block]
    assert corpus.write(path, map(np.array, blocks)) == len(flat)
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.npy"]
    if flat:
        steps = corpus.read(path)
        assert steps.tolist() == flat
        assert steps.dtype == np.min_scalar_type(max(flat))
        assert isinstance(steps, np.memmap)


def test_nothing_is_left_of_a_broken_stream(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield np.array([1, 2])
        raise CorpusError("no more")

    with pytest.raises(CorpusError, match="no more"):
        corpus.write(tmp_path / "corpus.npy", broken())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [600, 3000])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    """Full at first, and full while the array is copied into a wider one."""
    code = (
        "import resource, signal, sys; import numpy as np; from pathlib import Path\n"
        "from charrnn.data import corpus; from charrnn.errors import CorpusError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "blocks = [np.full(2000, 1)] * (1 if sys.argv[1] == '3000' else 9) + [np.full(2000, 999)]\n"
        "try: corpus.write(Path('corpus.npy'), blocks)\n"
        "except CorpusError as error: print(error)"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code, str(limit)], cwd=tmp_path, capture_output=True, text=True
    )
    assert outcome.stdout == "corpus.npy: cannot be written (File too large)\n", outcome.stderr
    assert not list(tmp_path.iterdir())


def test_checksums_tell_corpora_apart(tmp_path: Path) -> None:
    one, path = np.array([1, 2, 3], np.uint8), tmp_path / "corpus.npy"
    sums = []
    for steps in (one, one[:2], one[::-1], one.astype(np.uint16), one):
        np.save(path, steps)
        sums.append(corpus.checked(path, corpus.read(path), Discrete(1000)))
    assert len(set(sums)) == 4
    assert sums[0] == sums[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data + b"x", "its length does not match its header"),
        (lambda data: data[:-2], "not a readable corpus"),
        (lambda data: data.replace(b"(3,)", b"(2,)"), "its length does not match its header"),
        (lambda data: data.replace(b"<u2", b"<f2"), "not an array of steps"),
        (lambda data: data.replace(b"<u2", b"|O "), "not a readable corpus"),
        (lambda data: data.replace(b"(3,)", b"(3:)"), "not a readable corpus"),
        (lambda data: data.replace(b"(3,)", b"(-3)"), "not a readable corpus"),
        (lambda data: data[:80], "not a readable corpus"),
        (lambda data: b"PK" + data, "another kind of file"),
        (lambda data: data[:-1] + b"\xff", r"has step 65\d+, but the codec has only 1000"),
    ],
)
def test_corpora_that_are_none(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "corpus.npy"
    corpus.write(path, [np.array([1, 300, 3])])
    assert corpus.checked(path, corpus.read(path), Discrete(1000))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(RunError, match=message):
        corpus.checked(path, corpus.read(path), Discrete(1000))


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be written"):
        corpus.write(tmp_path / "no" / "corpus.npy", [np.array([1])])


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"not an array at all", None])
def test_broken_arrays_are_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "corpus.npy"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RunError, match="start a new run"):
        corpus.read(path)


def test_arrays_of_another_kind_are_refused(tmp_path: Path) -> None:
    for array in (np.zeros((2, 2), np.uint8), np.zeros(3), np.array([{}], dtype=object)):
        np.save(tmp_path / "corpus.npy", array, allow_pickle=True)
        with pytest.raises(RunError):
            corpus.read(tmp_path / "corpus.npy")


def test_the_end_is_held_out() -> None:
    train, held_out = corpus.split(np.arange(100), 0.1)
    assert train.tolist() == list(range(90))
    assert held_out.tolist() == list(range(90, 100))
    assert len(corpus.split(np.arange(100), 0.001)[1]) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=30))
def test_documents_are_shuffled_whole(tmp_path: Path, documents: list[list[int]]) -> None:
    path, end = tmp_path / "corpus.npy", 6
    corpus.write(path, [np.array([*document, end]) for document in documents])
    ends = corpus.places(corpus.read(path), end)
    assert len(ends) == len(documents)
    corpus.rewrite(path, lambda steps: corpus.shuffled(steps, ends, seed=1))
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.npy"]
    flat = "".join(map(str, corpus.read(path).tolist()))
    assert flat.startswith("6")  # the first document, too, follows an end
    assert flat.endswith("6")
    found = [[int(c) for c in part] for part in flat[1:-1].split("6")]
    assert sorted(found) == sorted(documents)


def test_steps_are_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "corpus.npy"
    corpus.write(path, [np.arange(300)])
    corpus.rewrite(path, lambda steps: (steps[i : i + 3] % 7 for i in range(0, 300, 3)))
    assert corpus.read(path).tolist() == (np.arange(300) % 7).tolist()
    assert corpus.read(path).dtype == np.uint8


def test_frames_are_read_as_they_were_written(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    path = tmp_path / "corpus.npy"
    assert corpus.write(path, [frames[:4], frames[4:4], frames[4:]]) == 11
    assert np.array_equal(corpus.read(path), frames)
    corpus.rewrite(path, lambda steps: [steps[:, :2] * 2])
    assert np.array_equal(corpus.read(path), 2 * frames[:, :2])


def test_a_large_array_is_read_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = tmp_path / "corpus.npy", tmp_path / corpus.CHECKED
    corpus.write(path, [np.arange(50)])

    def checked(size: int = 50, where: Path = path) -> tuple[int, bool]:
        """The checksum, and whether the array was read."""
        blocks: list[bytes] = []
        real = zlib.crc32
        with monkeypatch.context() as patch:
            patch.setattr(
                zlib, "crc32", lambda block, *v: (blocks.append(block), real(block, *v))[1]
            )
            return corpus.checked(where, corpus.read(where), Discrete(size)), bool(blocks)

    first, _ = checked()
    assert not kept.exists()  # it is small
    monkeypatch.setattr(corpus, "LARGE", 1)
    assert checked() == (first, True)
    assert checked() == (first, False)
    moved = tmp_path / "moved.npy"
    path.rename(moved)
    assert checked(where=moved) == (first, False)
    moved.rename(path)
    with pytest.raises(RunError, match="has step 49, but the codec has only 49"):
        checked(49)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    second, was_read = checked()
    assert was_read
    assert second != first
    for bad in ("", "[1]", "{}", '["a", 2, 3, 4, 5, 6]', "[" * 100_000, json.dumps([True] * 6)):
        kept.write_text(bad)
        assert checked() == (second, True)
