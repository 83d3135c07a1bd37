"""Notes on the command line: train, sample, evaluate, inspect."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from PIL import Image

import charrnn
from charrnn.media.notes.midi import on_grid, read_scores, to_midi
from charrnn.media.notes.synth import RATE
from charrnn.media.notes.tune import Part, Tune
from tests.conftest import Command, flags, in_two_parts
from tests.tunes import dance, folder_of_tunes, tune_of

SMALL = {
    "hidden": 24,
    "layers": 1,
    "batch_size": 8,
    "seq_length": 32,
    "threads": 1,
    "precision": "fp32",
    "device": "cpu",
}


@pytest.fixture(scope="session")
def notes_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 steps on twelve tunes, to be read only."""
    folder = tmp_path_factory.mktemp("notes")
    tunes = folder_of_tunes(folder / "tunes")
    settings = SMALL | {"steps": 60, "eval_every": 30, "transpose": 1}
    list(charrnn.train(tunes, folder / "run", **settings))
    return folder / "run"


def read(path: Path) -> Tune:
    (score,) = read_scores(path.read_bytes())
    return on_grid(score)


def test_how_much_comes_back(command: Command, notes_run: Path, tmp_path: Path) -> None:
    model = charrnn.load(notes_run)
    assert model.codec.repeats > 0  # a small model forgets that half of each tune comes back
    counts = []
    for repeats in (-10, 10):
        words = ["sample", notes_run, "--seed", 1, "--num", 4, "-o", f"{repeats}", "-q"]
        (tmp_path / f"{repeats}").mkdir()
        outcome = command(*words, "--repeats", repeats)
        assert outcome.returncode == 0, outcome.stderr
        tunes = [read(path) for path in sorted((tmp_path / f"{repeats}").iterdir())]
        counts.append(sum(map(same_bars, tunes)))
    assert counts[0] < counts[1]
    outcome = command("sample", notes_run, "--repeats", 11)
    assert outcome.returncode == 1
    assert outcome.stderr == "charrnn: --repeats must be at most 10, not 11.0\n"


def same_bars(tune: Tune) -> int:
    """How many bars with notes equal an earlier one."""
    bars = [
        str((tune.notes[(tune.notes[:, 0] // 48) == bar] - [48 * bar, 0, 0, 0, 0]).tolist())
        for bar in range(len(tune.bars))
    ]
    filled = [bar for bar in bars if bar != "[]"]
    return len(filled) - len(set(filled))


def test_what_was_learnt_about_form_is_resumed(tmp_path: Path) -> None:
    tunes = folder_of_tunes(tmp_path / "tunes", 8)
    settings = SMALL | {"steps": 20, "eval_every": 5}
    list(charrnn.train(tunes, tmp_path / "whole", **settings))
    in_two_parts(tunes, tmp_path / "half", 10, **settings)
    for name in ("best", "last"):
        one, other = (
            charrnn.load(tmp_path / run / f"{name}.safetensors").codec.repeats
            for run in ("whole", "half")
        )
        assert one == other > 0


def test_a_folder_is_learnt(command: Command, tmp_path: Path) -> None:
    folder_of_tunes(tmp_path / "tunes", 6)
    (tmp_path / "tunes" / "readme.txt").write_text("words")
    words = ["train", "tunes", "-o", "run", *flags(**SMALL, steps=4, eval_every=2)]
    outcome = command(*words)
    assert outcome.returncode == 0, outcome.stderr
    for said in ("codec     notes", "in 1 whole tunes", "skipped 1 file", "nats per event", "form"):
        assert said in outcome.stderr
    previews = {path.suffix for path in (tmp_path / "run" / "previews").iterdir()}
    assert previews == {".mid", ".wav", ".png"}
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(line["figures"]) == {"melody", "rhythm", "chords", "scale", "form", "new"}
    assert line["score"] >= line["val_nats_per_step"]


def test_the_bundled_tunes(command: Command) -> None:
    outcome = command("train", "tunes", "--dry-run", *flags(**SMALL, steps=1))
    assert outcome.returncode == 0, outcome.stderr
    assert "in 4 whole tunes" in outcome.stderr


@pytest.mark.parametrize("ending", [".mid", ".wav", ".flac", ".ogg", ".abc"])
def test_every_format(command: Command, notes_run: Path, tmp_path: Path, ending: str) -> None:
    words = ["sample", notes_run, "-n", 6, "--seed", 1, "-o", f"tune{ending}"]
    outcome = command(*words)
    assert outcome.returncode == 0, outcome.stderr
    path = tmp_path / f"tune{ending}"
    if ending == ".mid":
        assert len(read(path).bars) <= 6
        assert mido.MidiFile(path).type == 1
    elif ending == ".abc":
        assert path.read_text().startswith("X:1\nT:tune\nM:4/4\n")
    else:
        sound, rate = soundfile.read(path)
        assert rate == RATE
        assert np.abs(sound).max() > 0.01
    before = path.read_bytes()
    command(*words)
    assert path.read_bytes() == before or ending == ".ogg"


def test_a_pipe_gets_wav(notes_run: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    words = [sys.executable, "-m", "charrnn", "sample", str(notes_run), "-n", "2", "-q"]
    piped = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=True)
    sound, rate = soundfile.read(io.BytesIO(piped.stdout))
    assert rate == RATE
    assert len(sound) > 0


def test_several_go_into_a_directory(command: Command, notes_run: Path, tmp_path: Path) -> None:
    words = ["sample", notes_run, "--num", 3, "--seed", 7, "-n", 4, "-o", "new", "--json"]
    outcome = command(*words)
    assert outcome.returncode == 0, outcome.stderr
    names = [f"run-7-{number}.mid" for number in (1, 2, 3)]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    for line in map(json.loads, outcome.stdout.splitlines()):
        assert line["bars"] <= 4
        assert line["notes"] == len(read(tmp_path / line["path"]).notes)
        assert line["nats"] > 0


def test_a_prime(command: Command, notes_run: Path, tmp_path: Path) -> None:
    (tmp_path / "first.mid").write_bytes(to_midi(dance(3)))
    words = ["sample", notes_run, "--prime", "first.mid", "-n", 2, "--seed", 1]
    assert command(*words, "--include-prime", "-o", "with.mid").returncode == 0
    assert command(*words, "-o", "without.mid").returncode == 0
    whole, rest, own = read(tmp_path / "with.mid"), read(tmp_path / "without.mid"), dance(3)
    assert np.array_equal(whole.notes[: len(own.notes), :3], own.notes[:, :3])
    later = whole.notes[whole.notes[:, 0] >= 8 * 48]
    assert (later[:, 0] - 8 * 48).tolist() == rest.notes[:, 0].tolist()
    outcome = command("sample", notes_run, "--include-prime", "-o", "x.mid")
    assert "--include-prime has no effect" in outcome.stderr


def test_a_whole_tune_as_prime(notes_run: Path, tmp_path: Path) -> None:
    """The model would often end the tune where its corpus does."""
    (tmp_path / "first.mid").write_bytes(to_midi(dance(3)))
    model = charrnn.load(notes_run)
    prime = model.prime(file=str(tmp_path / "first.mid"))
    samples = [*model.samples(num=30, prime=prime, seed=1), *model.beam(2, 4, prime=prime)]
    assert all(sample.tune.bars for sample in samples)


def test_a_picture(command: Command, notes_run: Path, tmp_path: Path) -> None:
    words = ["sample", notes_run, "-n", 4, "--seed", 1, "-o", "a.mid", "--picture", "a.png"]
    assert command(*words).returncode == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] == 1200


def test_an_evaluation(command: Command, notes_run: Path, tmp_path: Path) -> None:
    folder_of_tunes(tmp_path / "others", 3)
    outcome = command("evaluate", notes_run, "others", "--json", "--picture", "judged.png")
    assert outcome.returncode == 0, outcome.stderr
    values = json.loads(outcome.stdout)
    assert values["tunes"] == 3
    assert values["nats_per_tune"] == pytest.approx(values["nats_per_step"] * values["steps"] / 3)
    assert set(values["free_run"]) >= {"melody", "form"}
    assert (tmp_path / "judged.png").exists()
    outcome = command("evaluate", notes_run, "others", "--by", "file")
    assert outcome.returncode == 0, outcome.stderr


def test_an_inspection(command: Command, notes_run: Path) -> None:
    outcome = command("inspect", notes_run)
    assert "events (bar 1" in outcome.stdout
    assert "12 to the quarter" in outcome.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", "1.5"], "must be a whole number of bars"),
        (["-n", "1e9"], "at most 10,000 bars"),
        (["-o", "a.txt"], ".mid, .wav, .flac, .ogg, .abc"),
        (["--stop", "x"], "--stop is for text"),
        (["-p", "no.mid", "-o", "a.mid"], "no.mid"),
        (["--num", "2", "-o", "-"], "a stream holds one sample"),
    ],
)
def test_what_cannot_be_made(
    command: Command, notes_run: Path, words: list[str], message: str
) -> None:
    outcome = command("sample", notes_run, "--seed", 1, *words)
    assert outcome.returncode in (1, 2)
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_the_api(notes_run: Path, tmp_path: Path) -> None:
    model = charrnn.load(notes_run)
    sample = model.sample(4, seed=1)
    bars = list(sample)
    assert len(sample.tune.bars) <= 4
    assert sum(map(len, bars)) >= len(sample.tune.notes)
    sample.save(tmp_path / "a.mid")
    assert len(read(tmp_path / "a.mid").notes) == len(sample.tune.notes)
    (beam,) = model.beam(3, 2)
    assert len(beam.tune.bars) <= 2


BOOK = "".join(
    f"X:{n}\nT:tune {n}\nM:4/4\nL:1/8\nK:C\n|: C2DE F2GA | {'BAGF' * 2} :|\n\n\n" for n in range(30)
)


def test_a_book_in_abc_is_learnt_as_text(command: Command, tmp_path: Path) -> None:
    (tmp_path / "book.abc").write_text(BOOK)
    small = {**SMALL, "hidden": 48, "lr": 0.02, "steps": 200, "eval_every": 100}
    outcome = command("train", "book.abc", "-o", "run", *flags(**small))
    assert outcome.returncode == 0, outcome.stderr
    assert "in 30 documents" in outcome.stderr
    sample = ["sample", "run", "--seed", 3, "-t", 0.1]
    text = command(*sample).stdout
    assert text.startswith("X:")
    assert "K:C" in text
    for ending in (".mid", ".wav"):
        outcome = command(*sample, "-o", f"tune{ending}")
        assert outcome.returncode == 0, outcome.stderr
    assert len(read(tmp_path / "tune.mid").notes) > 0
    assert command(*sample, "-o", "tune.abc").returncode == 0
    line = json.loads(command(*sample, "--json").stdout)
    assert "trouble" in line
    plain = command("train", "book.abc", "--documents", "none", "--dry-run", *flags(**small))
    assert "documents" not in plain.stderr.split("model")[0]


def test_tunes_that_do_not_add_up_are_marked(command: Command, tmp_path: Path) -> None:
    (tmp_path / "book.abc").write_text(BOOK.replace("F2GA", "F2GA | B4 | C8"))
    small = {**SMALL, "steps": 200, "eval_every": 100, "hidden": 48, "lr": 0.02}
    assert command("train", "book.abc", "-o", "run", *flags(**small)).returncode == 0
    outcome = command("sample", "run", "--seed", 1, "-t", 0.1)
    assert "does not add up; try another" in outcome.stderr
    outcome = command("sample", "run", "--seed", 1, "-t", 0.1, "--strict")
    assert outcome.returncode == 1
    assert "only 0 of 1 samples were without a fault in 20 tries" in outcome.stderr
    assert "does not add up" in outcome.stderr


def test_strict_draws_again(command: Command, tmp_path: Path) -> None:
    wrong = BOOK.replace("X:", "X:9").replace("F2GA", "F2GA | B4 | C8")
    (tmp_path / "book.abc").write_text(BOOK + wrong)
    small = {**SMALL, "steps": 300, "eval_every": 100, "hidden": 48, "lr": 0.02}
    assert command("train", "book.abc", "-o", "run", *flags(**small)).returncode == 0
    words = ["sample", "run", "--seed", 1, "--num", 8, "--json"]
    some = [json.loads(line) for line in command(*words).stdout.splitlines()]
    strict = [json.loads(line) for line in command(*words, "--strict").stdout.splitlines()]
    assert len(some) == len(strict) == 8
    assert any(line["trouble"] for line in some)
    assert not any(line["trouble"] for line in strict)


def test_strict_is_for_tunes(command: Command, run: Path) -> None:
    outcome = command("sample", run, "--strict")
    assert outcome.returncode == 2
    assert "--strict is for models of tunes in ABC notation" in outcome.stderr


def test_a_prime_that_the_model_does_not_know(
    command: Command, notes_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "high.mid").write_bytes(to_midi(tune_of([(0, 12, 120), (12, 12, 121)])))
    drums = tune_of([(0, 12, 60)])
    drums.parts = [Part(0, 0, is_drum=True)]
    (tmp_path / "drums.mid").write_bytes(to_midi(drums))
    for name in ("high.mid", "drums.mid"):
        outcome = command("sample", notes_run, "-p", name, "-o", "x.mid")
        assert outcome.returncode == 1
        assert f"{name}: has no notes that this model knows" in outcome.stderr
    (tmp_path / "cut.mid").write_bytes(to_midi(dance(3))[:-60])
    outcome = command("sample", notes_run, "-p", "cut.mid", "-n", 1, "-o", "x.mid")
    assert "read as far as it is sound" in outcome.stderr


def test_nothing_to_learn_or_to_draw(command: Command, notes_run: Path, tmp_path: Path) -> None:
    (tmp_path / "silent.mid").write_bytes(to_midi(tune_of([])))
    outcome = command("train", "silent.mid")
    assert "silent.mid: has no notes" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    (tmp_path / "words.txt").write_text("MThd is the header of MIDI files. " * 99)
    assert "char" in command("train", "words.txt", "--dry-run", *flags(**SMALL, steps=1)).stderr
    (tmp_path / "bom.abc").write_bytes(b"\xef\xbb\xbf" + BOOK.encode())
    words = ["--codec", "notes", "--dry-run", *flags(**SMALL, steps=1)]
    outcome = command("train", "bom.abc", *words)
    assert "in 3 whole tunes" in outcome.stderr
    (tmp_path / "none.abc").write_text("no tune\n" * 9)
    assert "has no tune in ABC notation" in command("train", "none.abc").stderr
    assert "has no tune" in command("train", "none.abc", *words).stderr


def test_drums_alone_have_only_a_rhythm(command: Command, tmp_path: Path) -> None:
    (tmp_path / "drums").mkdir()
    for seed in range(6):
        tune = dance(seed)
        tune.parts = [Part(0, 0, is_drum=True)] * 2
        tune.notes[:, 4] = 0
        (tmp_path / "drums" / f"{seed}.mid").write_bytes(to_midi(tune))
    outcome = command("train", "drums", "-o", "run", *flags(**SMALL, steps=4, eval_every=2))
    assert outcome.returncode == 0, outcome.stderr
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(line["figures"]) == {"rhythm"}
    outcome = command("sample", "run", "-n", 2, "-o", "x.abc")
    assert "this is one of drums" in outcome.stderr
