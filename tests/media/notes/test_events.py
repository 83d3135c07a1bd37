"""Tunes as events and back, and the grammar of events."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CheckpointError
from charrnn.media.notes import events
from charrnn.media.notes.codec import NotesCodec
from charrnn.media.notes.events import Constants, Decoder, Event, parsed
from charrnn.media.notes.midi import on_grid, read_scores, to_midi
from charrnn.media.notes.settings import NotesSettings
from charrnn.media.notes.tune import IN_SECONDS, Bar, Losses, Metre, Part, Tune, one_at_a_time
from tests.tunes import dance, tune_of


def texts(tune: Tune, constants: Constants | None = None) -> list[str]:
    return list(map(str, events.encode(tune, constants or Constants.of([tune]))))


def decoded(tune: Tune) -> Tune:
    constants = Constants.of([tune])
    decoder = Decoder(constants)
    for event in events.encode(tune, constants):
        decoder.push(parsed(str(event)))
    return decoder.tune()


def named(tune: Tune) -> list[tuple[object, ...]]:
    """The notes, with their parts by name."""
    return sorted((*row[:3], tune.parts[row[4]]) for row in tune.notes.tolist())


def codec_of(*tunes: Tune) -> NotesCodec:
    constants = Constants.of(tunes)
    return NotesCodec.of([list(events.encode(tune, constants)) for tune in tunes], constants)


def test_a_bar() -> None:
    tune = tune_of([(0, 12, 64), (0, 12, 60), (12, 6, 62)], bars=1)
    expected = [
        "bar 4/4",
        "at 0",
        "length 12",
        "note 64",
        "note 60",
        "at 12",
        "length 6",
        "note 62",
    ]
    assert texts(tune) == expected


def test_bars_that_repeat_are_one_event() -> None:
    tune = dance(1)
    found = texts(tune)
    assert found[-4:] == ["back 4"] * 4
    assert named(decoded(tune)) == named(tune)


def test_only_what_varies_has_events() -> None:
    tune = dance(3)
    kinds = {text.split()[0] for text in texts(tune)}
    assert "velocity" not in kinds
    assert "tempo" not in kinds
    tune.notes[::2, 3] = 30
    tune.tempos = [(0, 120.0), (96, 60.0)]
    kinds = {text.split()[0] for text in texts(tune)}
    assert kinds >= {"velocity", "tempo", "part"}


@pytest.mark.parametrize(
    "text",
    [
        *("end", "tempo 31", "bar 6/8", "bar 1s", "back 64", "at 0", "part 0"),
        *("part 24.2", "part drums", "velocity 15", "length 768", "note 127", "drum 36"),
    ],
)
def test_events_as_text(text: str) -> None:
    assert str(parsed(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "note", "note 128", "note -1", "note 1.5", "bar 0/4", "bar 4/3", "back 0", "at -1"),
        *("x 1", "part 128", "part drums.x", "tempo 32", "velocity 16", "length 0", "note 007"),
        "end 1",
    ],
)
def test_what_is_no_event(text: str) -> None:
    with pytest.raises(ValueError, match=r"no |out of range|invalid literal"):
        parsed(text)


rows = st.lists(
    st.tuples(
        *(st.integers(0, 48 * 6 - 1), st.integers(1, 100), st.integers(30, 90)),
        *(st.integers(1, 127), st.integers(0, 2)),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_every_tune_survives(found: list[tuple[int, ...]]) -> None:
    tune = tune_of(found, bars=6, parts=3)
    tune.notes = one_at_a_time(tune.notes, Losses())
    assert named(decoded(tune)) == named(tune)
    codec = codec_of(tune)
    rules = codec.rules()
    for step in codec.encode(tune).tolist():
        assert rules.allowed()[step]
        rules.add(step)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_grammar_allows_is_a_valid_file(seed: int) -> None:
    drums = dataclasses.replace(dance(5), parts=[Part(0, 0, is_drum=True), Part(3)])
    varied = dance(6)
    varied.notes[::3, 3] = 20
    varied.tempos = [(0, 90.0), (96, 150.0)]
    codec = codec_of(dance(1), dance(2), drums, varied)
    random, rules, steps = np.random.default_rng(seed), codec.rules(), []
    for _ in range(400):
        allowed = rules.allowed()
        assert allowed.any()
        steps.append(int(random.choice(np.flatnonzero(allowed))))
        rules.add(steps[-1])
    for tune in codec.decode(steps):
        (score,) = read_scores(to_midi(tune))
        played = one_at_a_time(tune.notes, Losses())
        assert len(on_grid(score).notes) == len(played)


def test_a_copy_of_the_rules_is_independent() -> None:
    codec = codec_of(dance(1))
    rules = codec.rules()
    steps = codec.encode(dance(1)).tolist()
    for step in steps[:10]:
        rules.add(step)
    before = rules.allowed()
    other = rules.copy()
    for step in steps[10:30]:
        other.add(step)
    assert np.array_equal(rules.allowed(), before)


def test_no_more_parts_than_channels() -> None:
    many = [(k, 1, 60, 80, k) for k in range(40)]
    codec = codec_of(tune_of(many, parts=40))
    rules = codec.rules()
    for step in codec.encode(tune_of(many[:15], bars=1, parts=40)).tolist()[:-1]:
        rules.add(step)
    at = codec.symbols.index("at 30")
    rules.add(at)
    allowed = [codec.symbols[step] for step in np.flatnonzero(rules.allowed())]
    assert sum(text.startswith("part") for text in allowed) == 14


def test_what_a_codec_lacks_is_replaced_or_left_out() -> None:
    codec = codec_of(tune_of([(0, 12, 60), (12, 12, 62), (24, 24, 64)], bars=1))
    other = tune_of([(0, 11, 60), (13, 12, 62), (24, 24, 65)], bars=1)
    other.bars = [bar._replace(metre=Metre(2, 2)) for bar in other.bars]
    (tune,) = codec.decode(codec.encode(fitted := codec.fitted(other)).tolist()[:-1])
    assert tune.notes[:, :3].tolist() == [[0, 12, 60], [12, 12, 62]]
    assert fitted.losses.left_out == 1
    assert other.losses.left_out == 0


def test_parts_in_any_order_fit_the_grammar() -> None:
    tune = tune_of([(0, 12, 60, 80, 0), (0, 12, 72, 80, 1), (12, 6, 62, 80, 0)], bars=1, parts=2)
    tune.parts = [Part(40), Part(0)]
    (score,) = read_scores(to_midi(tune))
    codec = codec_of(read := on_grid(score))
    rules = codec.rules()
    for step in codec.encode(read).tolist():
        assert rules.allowed()[step]
        rules.add(step)


def test_tunes_keep_their_metre_where_those_of_the_corpus_do() -> None:
    waltz = tune_of([(0, 12, 60)], bars=1)
    waltz.bars = [Bar(0, 36, Metre(3, 4))]
    codec = codec_of(waltz, dance(1))
    assert codec.constants.has_one_metre
    rules = codec.rules()
    for step in codec.encode(waltz).tolist()[:-1]:
        rules.add(step)
    bars = [text for text, may in zip(codec.symbols, rules.allowed(), strict=True) if may]
    assert [text for text in bars if text.startswith("bar")] == ["bar 3/4"]
    both = tune_of([(0, 12, 60), (36, 12, 60)], bars=1)
    both.bars = [Bar(0, 36, Metre(3, 4)), Bar(36, 48, Metre(4, 4))]
    assert not codec_of(both).constants.has_one_metre


def test_a_bar_of_another_metre_is_no_repeat() -> None:
    tune = tune_of([(0, 12, 60), (36, 12, 60)], bars=1)
    tune.bars = [Bar(0, 36, Metre(3, 4)), Bar(36, 36, Metre(6, 8))]
    assert texts(tune).count("bar 6/8") == 1


def test_performances_have_bars_of_a_second() -> None:
    tune = tune_of([(0, 50, 60), (130, 20, 62)], bars=1)
    bars = [
        bar._replace(begin=100 * k, length=100, metre=IN_SECONDS)
        for k, bar in enumerate(tune.bars * 2)
    ]
    tune = dataclasses.replace(tune, bars=bars, tempos=[(0, 60.0)], per_quarter=100)
    codec = codec_of(tune)
    assert codec.in_seconds
    (again,) = codec.decode(codec.encode(tune).tolist())
    assert again.per_quarter == 100
    assert again.notes.tolist() == tune.notes.tolist()
    assert again.seconds([130]).tolist() == [1.3]


def test_a_stored_codec() -> None:
    codec = codec_of(dance(1), dance(2))
    again = NotesCodec.from_dict(codec.to_dict())
    assert again.symbols == codec.symbols
    assert again.constants == codec.constants
    assert NotesCodec.from_dict(codec.with_repeats(1.5).to_dict()).repeats == 1.5
    older = {name: value for name, value in codec.to_dict().items() if name != "repeats"}
    assert NotesCodec.from_dict(older).repeats == 0


def test_no_more_bars_in_a_row_come_back_than_in_the_corpus() -> None:
    codec = codec_of(dance(1), dance(2))
    assert codec.most_backs == 4  # the second half of each tune equals the first
    tune = codec.encode(dance(1)).tolist()
    backs = [step for step, event in enumerate(codec.events) if event.kind == events.BACK]
    rules = codec.rules()
    for step in tune[:-1]:
        assert rules.allowed()[step]
        rules.add(step)
    allowed = rules.allowed()
    assert not allowed[backs].any()
    assert allowed[codec.end]
    rules.add(tune[0])  # a new bar
    for step in tune[1 : tune.index(tune[0], 1)]:
        rules.add(step)
    assert rules.allowed()[backs].any()
    older = {name: value for name, value in codec.to_dict().items() if name != "most_backs"}
    assert NotesCodec.from_dict(older).most_backs is None
    assert (
        codec.with_repeats(1.0).most_backs == NotesCodec.from_dict(codec.to_dict()).most_backs == 4
    )


def test_favouring_what_cannot_come_back() -> None:
    new_bars = codec_of(tune_of([(12 * k, 12, 30 + 7 * k % 60) for k in range(32)], bars=8))
    warned = [
        codec.warnings(codec.prime(), NotesSettings(repeats=repeats), None)
        for codec in (new_bars, codec_of(dance(1)))
        for repeats in (2.0, 0.0, None)
    ]
    assert [len(each) for each in warned] == [1, 0, 0, 0, 0, 0]
    assert "--repeats has no effect" in warned[0][0]


def test_bars_that_come_back_can_be_favoured() -> None:
    codec = codec_of(dance(1))
    kinds = np.array([event.kind for event in codec.events])
    logits = np.random.default_rng(0).normal(size=len(kinds))
    logits[-1] = -np.inf
    assert codec.rules().favoured(logits) is logits
    assert codec.with_repeats(1.0).rules(NotesSettings(repeats=0.0)).favoured(logits) is logits

    def chance(logits: np.ndarray, *of: str) -> float:
        return float(np.exp(logits)[np.isin(kinds, of)].sum() / np.exp(logits).sum())

    before = chance(logits, events.BACK) / chance(logits, events.BAR)
    for rules in (
        codec.with_repeats(2.0).rules(),
        codec.with_repeats(2.0).rules(NotesSettings()),
        codec.with_repeats(1.0).rules(NotesSettings(repeats=2.0)).copy(),
    ):
        found = rules.favoured(logits)
        odds = chance(found, events.BACK) / chance(found, events.BAR)
        assert odds == pytest.approx(before * np.exp(2))
        for of in ([events.BACK, events.BAR], [events.END], [events.NOTE]):
            assert chance(found, *of) == pytest.approx(chance(logits, *of))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("events", 3), ("events", []), ("events", ["end"]), ("events", ["end", "note 60"])),
        *(("events", ["bar 4/4", "end"]), ("events", ["end", "bar 4/4", "bar 4/4"])),
        *(("events", ["end", "bar 4/4", 7]), ("events", ["end", "bar 4/4", "nonsense"])),
        *(("part", None), ("part", 3), ("part", "note 60"), ("velocity", 0), ("velocity", "x")),
        *(("tempo", 0.0), ("tempo", float("nan")), ("tempo", "fast"), ("one_metre", 1)),
        *(("most_backs", 0), ("most_backs", 2.0), ("most_backs", True)),
        *(("repeats", 11.0), ("repeats", float("nan")), ("repeats", "2"), ("repeats", True)),
    ],
)
def test_a_hostile_codec(key: str, value: object) -> None:
    values = codec_of(tune_of([(0, 12, 60)])).to_dict()
    with pytest.raises(CheckpointError, match="the notes codec is broken"):
        NotesCodec.from_dict(values | {key: value})


def test_events_have_an_order() -> None:
    assert str(Event(events.PART_KIND, Part(3, 1))) == "part 3.1"
    symbols = codec_of(dance(1)).symbols
    assert symbols[0] == "end"
    assert list(symbols).index("note 60") < list(symbols).index("note 64")
