from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import codec as codecs
from charrnn.codec.sources import corpora
from charrnn.codec.text import CharCodec, CharLearner
from charrnn.errors import CheckpointError


def learnt(*blocks: str) -> tuple[np.ndarray, CharCodec]:
    learner = CharLearner(blocks)
    arrays = list(learner)
    return np.concatenate(arrays) if arrays else np.zeros(0, int), learner.codec


@given(st.lists(st.text()))
def test_round_trip(blocks: list[str]) -> None:
    steps, codec = learnt(*blocks)
    text = "".join(blocks)
    assert codec.decode(steps) == text
    assert codec.encode(text)[0].tolist() == steps.tolist()
    assert codec.step.size == len(set(text))
    decoder = codec.decoder()
    assert "".join(map(decoder.push, steps)) + decoder.flush() == text


@pytest.mark.parametrize("name", sorted(corpora()))
def test_round_trip_of_bundled_corpora(name: str) -> None:
    text = corpora()[name].read_text(encoding="utf-8")
    steps, codec = learnt(text)
    assert codec.decode(steps) == text


@given(st.text(), st.text())
def test_unknown_characters_are_named_and_left_out(known: str, text: str) -> None:
    _, codec = learnt(known)
    steps, unknown = codec.encode(text)
    assert codec.decode(steps) == "".join(c for c in text if c in known)
    assert list(unknown) == list(dict.fromkeys(c for c in text if c not in known))


def test_survives_a_checkpoint() -> None:
    codec = CharCodec("aä\U0001f600\n")
    assert codecs.from_dict(codec.to_dict()).characters == codec.characters


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": "morse"},
        {"name": ["char"]},
        {"name": "char"},
        {"name": "char", "characters": ""},
        {"name": "char", "characters": "aba"},
        {"name": "char", "characters": 3},
        {"name": "char", "characters": "ab", "start": "c"},
    ],
)
def test_broken_codecs_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(CheckpointError):
        codecs.from_dict(values)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a b\n\nc\n", "\n\n"),
        ("a\r\n\r\nb", "\r\n\r\n"),
        ("a\nb c", "\n"),
        ("a\r\nb", "\r\n"),
        ("a b", " "),
        ("ab", "a"),
    ],
)
def test_a_text_begins_where_a_paragraph_could(text: str, start: str) -> None:
    for blocks in ((text,), (text, "zz")):
        codec = learnt(*blocks)[1]
        assert codec.start == start
        assert codecs.from_dict(codec.to_dict()).start == start


def test_counts_unknown_characters() -> None:
    counts: dict[str, int] = {}
    blocks = list(CharCodec("ab").encoded(["abx", "xxz"], counts))
    assert [block.tolist() for block in blocks] == [[0, 1], []]
    assert counts == {"x": 3, "z": 1}
