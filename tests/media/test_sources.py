from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.media import MEDIA, sources
from charrnn.media.sources import Sources
from charrnn.media.text import encoding
from charrnn.media.text.encoding import Decoded


def joined(files: Iterable[tuple[str, Iterable[str]]]) -> str:
    return "".join(chain.from_iterable(blocks for _, blocks in files))


def find(paths: Iterable[Path | str], codec: str = "auto") -> Sources:
    return sources.find(paths, MEDIA.values(), codec)


def text_of(*paths: Path, encoding: str = "utf-8") -> str:
    return joined(Decoded(find(paths), encoding))


def test_files_are_joined_as_cat_would(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"eins\r\n")
    (tmp_path / "b").write_bytes("zwö".encode())
    assert text_of(tmp_path / "b", tmp_path / "a") == "zwöeins\r\n"


def test_directories_give_their_text_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/c.md", ".hidden", ".git/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name + "|")
    (tmp_path / "a" / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "run").mkdir()
    for name in ("last.safetensors", "metrics.jsonl"):
        (tmp_path / "run" / name).write_text("a run is no corpus")
    found = find([tmp_path])
    assert joined(Decoded(found)) == "a/c.md|a/z.txt|b.txt|"
    assert found.skipped == (str(tmp_path / "a" / "photo.txt"),)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=" or ".join(medium.files for medium in MEDIA.values())):
        find([tmp_path])


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfhallo")
    (tmp_path / "b").write_bytes("wörld".encode("utf-16"))
    assert text_of(tmp_path / "a") == "hallo"
    assert text_of(tmp_path / "b", encoding="utf-16") == "wörld"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.integers(1, 7))
def test_any_block_size_gives_the_same_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    (tmp_path / "a").write_bytes(text.encode())
    with monkeypatch.context() as patch:
        patch.setattr(encoding, "READ_BYTES", block)
        assert text_of(tmp_path / "a") == text.removeprefix("\ufeff")


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"gr\xfcn", 2),
        (b"\xef\xbb\xbfab\xff", 5),
        ("ü".encode() + b"\xc3", 2),
        (b"\xc3(", 0),
        (b"ab\xe2\x82 ", 2),
        (b"\xe2\x82", 0),
    ],
)
def test_wrong_bytes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, data: bytes, offset: int
) -> None:
    monkeypatch.setattr(encoding, "READ_BYTES", block)
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        text_of(tmp_path / "a.txt")
    message = str(caught.value)
    assert f"a.txt: byte 0x{data[offset]:02x} at offset {offset} " in message
    assert "--encoding" in message
    assert text_of(tmp_path / "a.txt", encoding="latin-1") == data.decode("latin-1")


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_mark_is_dropped_if_the_encoding_names_its_byte_order(tmp_path: Path, order: str) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffab".encode(order))
    assert text_of(tmp_path / "a.txt", encoding=order) == "ab"


def test_nothing_is_dropped_where_there_is_no_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("- an item", encoding="latin-1")
    for name in ("latin-1", "utf-8", "auto"):
        assert text_of(path, encoding=name) == "- an item"


def test_unknown_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    for name in ("utf-9", "hex", "zip", "a\0b"):
        with pytest.raises(ConfigError, match="unknown encoding"):
            text_of(tmp_path / "a", encoding=name)


def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("aus dem Rohr ü".encode())))
    found = find(["-"])
    assert found.name == "stdin"
    assert joined(Decoded(found)) == "aus dem Rohr ü"
    with pytest.raises(CorpusError, match="twice"):
        find(["-", "-"])


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file or directory; the bundled corpora are"):
        find([tmp_path / "nothing"])
    (tmp_path / "gone").write_text("x")
    found = find([tmp_path / "gone"])
    (tmp_path / "gone").unlink()
    with pytest.raises(CorpusError, match="gone: cannot be read"):
        joined(Decoded(found))


def test_utf_16_is_recognised_by_its_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("wörld", encoding="utf-16")
    assert text_of(tmp_path / "a", encoding="auto") == "wörld"
    with pytest.raises(CorpusError, match="--encoding auto"):
        text_of(tmp_path / "a")


def test_bundled_corpora_by_name() -> None:
    assert len(joined(Decoded(find(["tales"])))) >= 80_000
    german = joined(Decoded(find(["maerchen"])))
    assert len(german.encode()) >= 30_000
    assert set("äöüÄÖÜß„“") <= set(german)
