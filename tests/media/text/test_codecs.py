"""What holds for every codec of text, and what only for one of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.errors import CheckpointError, ConfigError, CorpusError, SamplingError
from charrnn.media import MEDIA, codec_from_dict
from charrnn.media.sources import Sources, corpora
from charrnn.media.text.byte import ByteCodec, ByteLearner
from charrnn.media.text.char import CharCodec, CharLearner
from charrnn.media.text.codec import TextCodec, TextLearner
from charrnn.media.text.reading import MARK, Reading
from charrnn.media.text.settings import TextSettings
from charrnn.media.text.word import GLUE, UNK, WordCodec, WordLearner, spelling_nats, tokens
from tests.conftest import ROOT, TEXT, trained
from tests.media.text.setup import Texts, streamed

PLAIN = Reading()
MANY, ONCE = 2**24, 1
LEARNERS: dict[str, Callable[[list[str], Reading], TextLearner]] = {
    "char": lambda blocks, reading: CharLearner(Texts(blocks), reading, ""),
    "word": lambda blocks, reading: WordLearner(Texts(blocks), reading, MANY, ONCE),
    "byte": lambda blocks, reading: ByteLearner(Texts(map(as_bytes, blocks)), reading),
}
TEXTS = [path for path in corpora().values() if path.suffix == ".txt"]
TEXTS.append(ROOT.parent / "shared" / "data" / "text" / "tinyshakespeare.txt")
WORDY = st.text(st.sampled_from("ab_1é'’ \n\t.,!?-\"\ufdd0ü日\u0301"), max_size=60) | st.text()


def as_bytes(text: str) -> str:
    """As the byte codec's streams have it: a byte as the character of its number, but a MARK."""
    return MARK.join(part.encode().decode("latin-1") for part in text.split(MARK))


def learnt(name: str, *blocks: str, reading: Reading = PLAIN) -> tuple[np.ndarray, TextCodec]:
    learner = LEARNERS[name](list(blocks), reading)
    steps = np.concatenate([np.zeros(0, int), *learner])
    return np.concatenate([np.zeros(0, int), *learner.second_pass(steps)]), learner.codec


@pytest.mark.parametrize("name", LEARNERS)
@given(blocks=st.lists(WORDY))
def test_round_trip(name: str, blocks: list[str]) -> None:
    text = "".join(blocks)
    if name == "byte":
        text = text.replace(MARK, "")
        blocks = [block.replace(MARK, "") for block in blocks]
    steps, codec = learnt(name, *blocks)
    assert codec.decode(steps) == text
    assert codec.decode(codec.encode(text)[0]) == text
    assert codec.encode(text)[1] == ()
    decoder = codec.decoder()
    assert "".join(map(decoder.push, steps)) + decoder.flush() == text
    assert len(steps) == 0 or steps.max() < codec.step.size
    again = codec_from_dict(codec.to_dict(), {}) if codec.symbols else codec
    assert again.decode(steps) == text
    assert list(again.symbols) == list(codec.symbols)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_round_trip_of_whole_texts(name: str, path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path} is not here")
    text = path.read_bytes().decode()
    steps, codec = learnt(name, text[:30_000], text[30_000:])
    assert codec.decode(steps) == text
    assert codec.characters_per_step == pytest.approx(len(text) / len(steps))


@pytest.mark.parametrize("name", LEARNERS)
@given(prime=WORDY, text=WORDY)
def test_a_prime_and_what_follows(name: str, prime: str, text: str) -> None:
    """The decoder of a prime goes on as the text does."""
    prime, text = prime.replace(MARK, ""), text.replace(MARK, "")
    steps, codec = learnt(name, prime + text)
    read, decoder = codec.primed(prime)
    assert len(read) >= 1
    if name == "word":  # a prime may end where the corpus's next word has its implied space
        first = codec.encode(prime)[0]
        if steps[: len(first)].tolist() != first.tolist():
            return
        steps = steps[len(first) :]
    else:
        steps = steps[len(codec.encode(prime)[0]) :]
    if codec.symbols:
        written = "".join(map(decoder.push, steps)) + decoder.flush()
        assert prime + written == prime + text


@given(st.lists(st.text() | st.text(st.characters(max_codepoint=255)), max_size=6))
def test_characters_are_numbered_block_by_block(blocks: list[str]) -> None:
    """Whether a block is ASCII, Latin-1 or anything else."""
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))  # so that steps do not fit into a byte
    for blocks_of_all in (blocks, [*blocks, many, *blocks], [many, *blocks]):
        order: dict[str, int] = {}
        for block in blocks_of_all:
            for character in sorted(set(block) - order.keys()):
                order[character] = len(order)
        steps, codec = learnt("char", *blocks_of_all)
        assert "".join(codec.symbols) == "".join(order)
        assert steps.tolist() == [order[c] for block in blocks_of_all for c in block]


@given(st.text(st.sampled_from("ab\n"), max_size=30), st.integers(1, 7))
def test_lines_are_marked_the_same_in_blocks_of_any_size(text: str, size: int) -> None:
    reading = Reading(documents="line")
    blocks = [text[i : i + size] for i in range(0, len(text), size)]
    lines = [line for line in text.split("\n") if line]
    assert "".join(reading.marked(blocks)) == "".join(line + MARK for line in lines)


@given(st.text(), st.text())
def test_unknown_characters_are_named_and_left_out(known: str, text: str) -> None:
    _, codec = learnt("char", known)
    steps, unknown = codec.encode(text)
    assert codec.decode(steps) == "".join(c for c in text if c in known)
    assert list(unknown) == list(dict.fromkeys(c for c in text if c not in known))


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
        {"name": "char", "characters": "ab", "normalize": "NFX"},
        {"name": "char", "characters": "ab", "documents": "line"},
        {"name": "char", "characters": "ab", "documents": "record", "separator": ""},
        {"name": "char", "characters": "ab", "characters_per_step": 0},
        {"name": "word"},
        {"name": "word", "words": [UNK, GLUE, 3], "spelling": {}, "rare": 0},
        {"name": "word", "words": ["a", "b"], "spelling": {}, "rare": 0},
        {"name": "word", "words": [UNK, "b"], "spelling": {}, "rare": 0},
        {"name": "word", "words": [UNK, GLUE, "a", "a"], "spelling": {}, "rare": 0},
        {"name": "word", "words": [UNK, GLUE, "a"], "spelling": {"a": -1}, "rare": 0},
        {"name": "word", "words": [UNK, GLUE, "a"], "spelling": {}, "rare": 2, "extra": 0},
        {"name": "word", "words": [UNK, GLUE, "a"], "spelling": {}, "rare": 0, "extra": -1},
        {"name": "byte", "documents": 3},
    ],
)
def test_broken_codecs_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(CheckpointError):
        codec_from_dict(values, {})


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a b\n\nc\n", "\n\n"),
        ("a\r\n\r\nb", "\r\n\r\n"),
        ("a\nb c", "\n"),
        ("a\r\nb", "\r\n"),
        ("a b", " "),
    ],
)
def test_a_text_begins_where_a_paragraph_could(name: str, text: str, start: str) -> None:
    for blocks in ((text,), (text, "zz")):
        codec = learnt(name, *blocks)[1]
        assert codec.beginning == start
        assert codec_from_dict(codec.to_dict(), {}).beginning == start


def test_counts_unknown_characters() -> None:
    counts: dict[str, int] = {}
    blocks = list(CharCodec("ab").encoded(["abx", "xxz"], counts))
    assert [block.tolist() for block in blocks] == [[0, 1], []]
    assert counts == {"x": 3, "z": 1}


def test_words_and_marks_take_a_step_each() -> None:
    text = 'Don\'t say 3.14, he said:\n  "No."'
    found = list(tokens(text))
    assert found == [
        *("Don't", "say", "3", ".", GLUE, "14", ",", "he", "said", ":", "\n", " ", " "),
        *('"', "No", ".", '"'),
    ]  # fmt: skip


def word_codec(text: str, size: int = MANY, least: int = ONCE) -> tuple[np.ndarray, WordCodec]:
    learner = WordLearner(Texts([text]), PLAIN, size, least)
    steps = np.concatenate(list(learner))
    return learner.table[steps], learner.codec


def test_rare_words_are_unk() -> None:
    text = "the cat and the dog and the bird "
    steps, codec = word_codec(text, least=2)
    assert codec.symbols == [UNK, GLUE, "the", "and"]
    assert codec.decode(steps) == "the <unk> and the <unk> and the <unk> <unk>"
    assert codec.encode("the fish")[1] == ("fish",)
    assert codec.rare == pytest.approx(4 / 9)  # and the space at the end
    assert word_codec(text, size=3)[1].symbols == [UNK, GLUE, "the"]


def test_letters_that_combine_stay_in_their_word() -> None:
    assert list(tokens("e\u0301tude, हिन्दी")) == ["e\u0301tude", ",", "हिन्दी"]
    assert list(tokens("日本語 test")) == ["日", "本", "語", " ", "test"]


def test_a_text_without_spaces_is_not_held_back() -> None:
    learner = WordLearner(Texts(["a," * 50_000] * 3), PLAIN, MANY, ONCE)
    blocks = list(learner)
    assert len(blocks) == 3
    assert learner.codec.decode(learner.table[np.concatenate(blocks)]) == "a," * 150_000


@given(st.lists(st.text(st.sampled_from("abc"), min_size=1), min_size=1))
def test_spellings_are_a_distribution(words: list[str]) -> None:
    """Of the next character: all that were seen, the end, and a share for all others."""
    _, codec = word_codec(" ".join(words))
    total = sum(codec.spelling.values())
    end = spelling_nats("", codec.spelling, total)
    known = sorted(set(codec.spelling) - {""})
    chances = [math.exp(end - spelling_nats(c, codec.spelling, total)) for c in known]
    new = math.exp(end - spelling_nats("日", codec.spelling, total)) * 0x110000
    assert sum(chances) + math.exp(-end) + new == pytest.approx(1)


def test_unknown_words_pay_for_their_spelling() -> None:
    """Or else a model that knows no word at all would be the best."""
    text = "the cat and the dog and the bird and so on and so forth " * 20 + "xylophone quartz jinx"
    _, codec = word_codec(text, least=2)
    assert codec.total_nats(5.0, {}) == 5.0
    assert codec.total_nats(5.0, {"jinx": 1}) > 5.0 + 4
    assert codec.total_nats(0.0, {"jinx": 3}) == pytest.approx(
        3 * codec.total_nats(0.0, {"jinx": 1})
    )
    assert codec.total_nats(0.0, {"日": 1}) > codec.total_nats(0.0, {"j": 1})
    total = codec.total_nats(0.0, {"xylophone": 1, "quartz": 1, "jinx": 1})
    steps = round(3 / codec.rare)
    assert codec.extra_nats_per_step == pytest.approx(total / steps)
    # However large its vocabulary: no model is better for not knowing a word.
    known = word_codec(text)[1].total_nats(0.0, {"unheard": 1})
    assert codec.total_nats(0.0, {"unheard": 1}) == pytest.approx(known)
    plain = word_codec(text)[1]
    assert plain.extra_nats_per_step == 0
    bits = plain.bits_per_character(1.0)
    assert bits == pytest.approx(1 / math.log(2) / plain.characters_per_step)


def test_a_prime_may_end_with_a_space() -> None:
    text = "once upon a time, once upon a hill. "
    _, codec = word_codec(text)
    for prime in ("once upon", "once upon "):
        read, decoder = codec.primed(prime)
        assert codec.decode(read) == "once upon"
        assert prime + decoder.push(codec.symbols.index("a")) == "once upon a"
    _, decoder = codec.primed("once ")
    assert decoder.push(codec.symbols.index(",")) == ","


def test_half_a_character_is_never_written() -> None:
    codec = ByteCodec()
    data = list("aü日😀".encode())
    decoder = codec.decoder()
    assert [decoder.push(byte) for byte in data] == ["a", "", "ü", "", "", "日", "", "", "", "😀"]
    for cut in range(len(data)):
        assert "\ufffd" not in codec.decode(data[:cut])
    assert codec.decode([0xC3, 0x41, 0xFF]) == "\ufffdA\ufffd"


@given(st.binary(max_size=300))
def test_any_bytes_are_steps(data: bytes) -> None:
    learner = ByteLearner(Texts([data.decode("latin-1")]), PLAIN)
    assert np.concatenate([np.zeros(0, int), *learner]).tolist() == list(data)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@given(text=st.text(st.sampled_from("aü\u0308\u0323\u1100\u1161\u11a8ﬁ e\n"), max_size=30))
def test_normalisation_whatever_the_blocks(form: str, text: str) -> None:
    reading = Reading(normalize=form)
    whole = "".join(streamed(reading, [[text]]))
    assert whole == reading.normalized(text)
    assert "".join(streamed(reading, [list(text)])) == whole
    steps, codec = learnt("char", whole, reading=reading)
    assert codec.encode(text)[0].tolist() == steps.tolist()


LINES = ["Anna\n\nBe", "rt\r\nCé", "cile"]


def test_documents_are_marked() -> None:
    def of(reading: Reading, *files: list[str]) -> list[str]:
        return "".join(chain(streamed(reading, files))).split(MARK)

    assert of(Reading(documents="line"), LINES, ["Dora\n"]) == [
        "Anna",
        "Bert",
        "Cécile",
        "Dora",
        "",
    ]
    assert of(Reading(documents="file"), LINES, [], ["x"]) == ["".join(LINES), "x", ""]
    record = Reading(documents="record", separator="\n\n")
    assert of(record, ["a\nb\n", "\n\n\nc\r\n\r\nd\n"]) == ["a\nb", "c", "d", ""]
    other = Reading(documents="record", separator="%%")
    assert of(other, ["a%%b%", "%c %"]) == ["a", "b", "c %", ""]
    for blocks in (["a\n", "\n", "b\r", "\n\r\n"], list("\n\na\r\n\r\n\nb\n")):
        assert of(record, blocks) == ["a", "b", ""]
    assert of(record, ["long " * 1000] * 3 + ["\n\nend"]) == ["long " * 3000, "end", ""]
    with pytest.raises(CorpusError, match=r"U\+FDD0"):
        of(record, [MARK])
    with pytest.raises(ConfigError, match="--separator"):
        Reading(documents="record")


@given(
    st.text(st.sampled_from("ab\r\n%"), max_size=30), st.sampled_from(["\n", "\n\n", "%", "\n%\n"])
)
def test_documents_whatever_the_blocks(text: str, separator: str) -> None:
    reading = Reading(documents="record", separator=separator)
    assert "".join(streamed(reading, [list(text)])) == "".join(streamed(reading, [[text]]))


def test_a_document_is_not_held_back() -> None:
    stream = streamed(Reading(documents="record", separator="%%"), [["x" * 1000] * 3])
    assert len(next(stream)) > 900


@pytest.mark.parametrize("name", LEARNERS)
def test_documents_end_with_a_step(name: str) -> None:
    reading = Reading(documents="line")
    text = "".join(streamed(reading, [LINES]))
    steps, codec = learnt(name, text, reading=reading)
    assert codec.end is not None
    assert (steps == codec.end).sum() == 3
    assert codec.decode(steps) == "Anna\nBert\nCécile\n"
    for prime in ("", "An"):
        read, _ = codec.primed(prime)
        assert read[0] == codec.end
        assert len(read) == 1 + len(codec.encode(prime)[0])
    assert codec_from_dict(codec.to_dict(), {}).end == codec.end


def test_bytes_of_documents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff%%\xfe")
    settings = TextSettings(documents="record", separator="%%")
    learner = MEDIA["text"].learner("byte", Sources((str(tmp_path / "a"),)), settings, None)
    assert np.concatenate(list(learner)).tolist() == [0, 255, 256, 254, 256]


@pytest.mark.parametrize("wrong", [{"encoding": "cp1252"}, {"normalize": "NFC"}])
def test_bytes_are_read_as_they_are(tmp_path: Path, wrong: dict[str, str]) -> None:
    (tmp_path / "a").write_bytes(b"a")
    sources, settings = Sources((str(tmp_path / "a"),)), TextSettings(**wrong)
    with pytest.raises(ConfigError, match="bytes are read as they are"):
        list(MEDIA["text"].learner("byte", sources, settings, None))


def test_auto_says_why(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"plain")
    (tmp_path / "b").write_bytes(b"\0\1\2")
    text, binary = str(tmp_path / "a"), str(tmp_path / "b")
    choose, utf_16 = MEDIA["text"].choose, TextSettings(encoding="utf-16")
    assert choose(Sources((text,)), TextSettings()) == ("char", "the corpus is text")
    name, reason = choose(Sources((text, binary)), TextSettings())
    assert name == "byte"
    assert "b has NUL bytes" in reason
    assert choose(Sources((binary,)), utf_16)[0] == "char"


def test_what_may_not_be_written() -> None:
    codec = CharCodec("abc" + MARK, reading=Reading(documents="line"))
    assert codec.never(TextSettings()).tolist() == []
    assert codec.never(TextSettings(forbid="b")).tolist() == [1]
    assert codec.never(TextSettings(allow="bx")).tolist() == [0, 2]
    assert codec.never(TextSettings(allow="ab", forbid="b")).tolist() == [1, 2]
    for demand in ({"allow": "x"}, {"forbid": "abc"}, {"unk": True}):
        with pytest.raises(SamplingError):
            codec.never(TextSettings(**demand))


def test_what_words_may_not_be_written() -> None:
    _, codec = word_codec("ab cd ab, b")
    of = codec.symbols.index
    assert codec.never(TextSettings()).tolist() == [of(UNK)]
    assert codec.never(TextSettings(unk=True)).tolist() == []
    assert codec.never(TextSettings(forbid="b")).tolist() == sorted(map(of, (UNK, "ab", "b")))
    assert codec.never(TextSettings(allow="ab ")).tolist() == sorted(map(of, (UNK, "cd", ",")))
    for demand in ({"allow": "ab"}, {"forbid": " "}, {"allow": " x"}):
        with pytest.raises(SamplingError):
            codec.never(TextSettings(**demand))
    with pytest.raises(SamplingError, match="ASCII characters"):
        ByteCodec().never(TextSettings(forbid="ü"))
    assert ByteCodec().never(TextSettings(allow="ab\n")).tolist() == [
        byte for byte in range(256) if chr(byte) not in "ab\n"
    ]


def test_extra_characters(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TEXT, encoding="utf-8")
    flags = {"steps": 3, "eval_every": 3}
    trained(corpus, tmp_path / "plain", **flags)
    trained(corpus, tmp_path / "more", **flags, extra_characters="a€é€\t", documents="line")
    plain, more = (charrnn.load(tmp_path / name) for name in ("plain", "more"))
    assert set(more.codec.symbols) - set(plain.codec.symbols) == {*"€é\t", MARK}
    assert len(set(more.codec.symbols)) == len(more.codec.symbols)
    assert not more.warnings(more.prime("€\t"))


@pytest.mark.parametrize("codec", ["char", "word", "byte"])
def test_notices_about_a_prime(tmp_path: Path, codec: str) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    trained(tmp_path / "corpus.txt", tmp_path / "run", steps=3, eval_every=3, codec=codec)
    (tmp_path / "prime.txt").write_bytes(b"The heron \xff went on")
    model = charrnn.load(tmp_path / "run")
    prime = model.prime(file=str(tmp_path / "prime.txt"))
    assert prime.notices
    assert set(prime.notices) <= set(model.warnings(prime))


BOOK = "X:1\nT:a\nK:C\nC8 |\n\n\nX: 2\nT:b\nK:G\nG8 |\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_tunes_in_abc(size: int) -> None:
    reading = Reading(documents="tune")
    book = "%abc-2.1\n\n" + BOOK
    blocks = [book[start : start + size] for start in range(0, len(book), size)]
    marked = "".join(reading.marked(iter(blocks)))
    assert marked == f"X:1\nT:a\nK:C\nC8 |{MARK}X: 2\nT:b\nK:G\nG8 |{MARK}"
