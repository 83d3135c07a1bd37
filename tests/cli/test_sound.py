from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import charrnn
from charrnn import checkpoint
from charrnn.media.sound import analysis
from tests.conftest import Command, flags, in_two_parts
from tests.sounds import RATE, music, recorded

SMALL = {
    "hidden": 12,
    "layers": 1,
    "n_fft": 512,
    "hop_length": 128,
    "components": 16,
    "batch_size": 4,
    "seq_length": 16,
    "threads": 1,
    "precision": "fp32",
    "device": "cpu",
}
AUDIO = SMALL | {"codec": "audio"}
STEP_S = 128 / RATE


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps on four seconds of sound, to be read only."""
    folder = tmp_path_factory.mktemp("sound")
    clip = recorded(folder / "clip.ogg", music(4.0))
    list(charrnn.train(clip, folder / "run", **(AUDIO | {"steps": 20, "eval_every": 10})))
    return folder / "run"


def heard(path: Path | io.BytesIO) -> np.ndarray:
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return sound


@pytest.mark.long
def test_the_same_bytes_whatever_blas_may_do(child: Command, tmp_path: Path) -> None:
    """NumPy and SciPy have each a BLAS of their own, and two threads round otherwise than one."""
    recorded(tmp_path / "clip.wav", music(4.0))
    settings = AUDIO | {"n_fft": 2048, "hop_length": 512, "components": 48, "steps": 2}
    for threads in "12":
        words = ["train", "clip.wav", "-o", threads, "-q", *flags(**settings, eval_every=2)]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        outcome = child(*words, **dict.fromkeys(names, threads))
        assert outcome.returncode == 0, outcome.stderr
    for name in ("corpus.npy", "best.safetensors", "last.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_training_on_a_folder_of_recordings(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    recorded(folder / "a.wav", music(2.0))
    recorded(folder / "b.flac", music(2.0, seed=1), 44_100)
    (folder / "notes.txt").write_text("recorded on a Tuesday")
    outcome = command("train", folder, "-o", "run", *flags(steps=4, **AUDIO))
    assert outcome.returncode == 0, outcome.stderr
    assert "skipped 1 file of another kind: " in outcome.stderr
    assert "free run flux" in outcome.stderr
    run = tmp_path / "run"
    previews = sorted(path.name for path in (run / "previews").iterdir())
    assert previews == ["step-000004.flac", "step-000004.png"]
    assert len(heard(run / "previews" / previews[0])) > RATE
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["figures"]["spread"] > 0
    assert np.isfinite(last["val_nats_per_step"])


def test_auto_finds_sound(command: Command, tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.mp3", music(3.0))
    outcome = command("train", clip, "--dry-run")
    assert outcome.returncode == 0, outcome.stderr
    assert "audio (the corpus is sound)" in outcome.stderr
    assert "gaussian head, input noise 0.3" in outcome.stderr


def test_a_flag_of_sound_means_sound(command: Command, tmp_path: Path, corpus: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(3.0))
    outcome = command("train", clip, "--components", 16, "--dry-run")
    assert "frames of 18 numbers" in outcome.stderr
    outcome = command("train", corpus, "--components", 16, "--dry-run")
    assert outcome.returncode == 1
    assert outcome.stderr == "charrnn: --components is for sound; this corpus is text\n"
    outcome = command("train", corpus, "--components", 16, "--codec", "audio", "--dry-run")
    assert outcome.returncode == 1
    assert "cannot be read as sound" in outcome.stderr
    outcome = command("train", corpus, "--codec", "char", "--components", 16, "--dry-run")
    assert "--components is for sound, --codec char is not; drop one" in outcome.stderr


def test_a_run_of_sound_resumes_exactly(tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(3.0))
    settings = AUDIO | {"eval_every": 5}
    list(charrnn.train(clip, tmp_path / "whole", **(settings | {"steps": 10})))
    in_two_parts(clip, tmp_path / "half", 5, **(settings | {"steps": 10}))
    one, other = (
        checkpoint.read(tmp_path / name / "last.safetensors").tensors()
        for name in ("whole", "half")
    )
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_sound_of_the_length_that_was_asked_for(
    command: Command, sound_run: Path, tmp_path: Path, name: str
) -> None:
    words = ["sample", sound_run, "-n", 1.5, "--seed", 3, "-o", name]
    outcome = command(*words)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == ""
    sound = heard(tmp_path / name)
    assert len(sound) == round(1.5 * RATE)
    assert np.abs(sound).max() > 0.01
    again = tmp_path / "again.wav"
    assert command(*words[:-1], again).returncode == 0
    if name != "a.ogg":
        np.testing.assert_allclose(heard(again), sound, atol=4e-5)  # one rounds, the other cuts


def test_a_pipe_gets_a_whole_stream(sound_run: Path, environment: dict[str, str]) -> None:
    words = ["sample", sound_run, "-n", "1", "--seed", "3", "-q", "--bits", "24"]
    outcome = subprocess.run(
        [sys.executable, "-m", "charrnn", *map(str, words)],
        capture_output=True,
        env=environment,
        check=True,
    )
    assert outcome.stderr == b""
    assert int.from_bytes(outcome.stdout[4:8], "little") == len(outcome.stdout) - 8
    assert len(heard(io.BytesIO(outcome.stdout))) == RATE


def test_a_prime_is_gone_on_after(command: Command, sound_run: Path, tmp_path: Path) -> None:
    prime = recorded(tmp_path / "prime.wav", music(1.0, 44_100, seed=5), 44_100)
    for extra in ([], ["--include-prime"]):
        words = ["sample", sound_run, "-n", 1, "--seed", 3, "-p", prime, *extra]
        assert command(*words, "-o", f"{len(extra)}.wav").returncode == 0
    without, whole = heard(tmp_path / "0.wav"), heard(tmp_path / "1.wav")
    assert len(whole) - len(without) == pytest.approx(RATE, rel=0.1)


def test_several_samples_and_a_picture(command: Command, sound_run: Path, tmp_path: Path) -> None:
    words = ["sample", sound_run, "-n", 1, "--seed", 3, "--num", 2, "-o", "a.wav", "--json"]
    outcome = command(*words, "--picture", "a.png")
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [line["path"] for line in lines] == ["a-1.wav", "a-2.wav"]
    assert [line["index"] for line in lines] == [0, 1]
    assert all(line["seconds"] == pytest.approx(1, abs=STEP_S) for line in lines)
    one, two = (heard(tmp_path / f"a-{number}.wav") for number in (1, 2))
    assert not np.array_equal(one, two)
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"), float)
    assert picture.shape[0] > picture.shape[1] / 4
    assert picture.std() > 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top-k", "3"], "--top-k is for text, sound with --codec samples, notes"),
        (["--stop", "x", "--unk"], "--unk is for text; --stop is for text"),
        (["-o", "a.mid"], ".wav, .flac, .ogg"),
        (["--bits", "8", "-o", "a.wav"], "--bits must be 16 or 24"),
        (["--num", "2", "-o", "-"], "a stream holds one sample"),
        (["--json", "-o", "-"], "give -o FILE"),
        (["-n", "1e9", "-o", "a.wav"], "--length"),
        (["-p", "no.wav", "-o", "a.wav"], "no.wav"),
        (["-o", "no/a.wav"], "cannot be written"),
        (["--include-prime", "-o", "a.wav"], "--include-prime has no effect"),
        (["--bits", "24", "-o", "a.ogg"], "--bits has no effect"),
        (["--picture", "a.jpg", "-o", "a.wav"], "end the name in .png"),
    ],
)
def test_what_cannot_be_made(
    command: Command, sound_run: Path, words: list[str], message: str
) -> None:
    outcome = command("sample", sound_run, "--seed", 1, *words)
    assert outcome.returncode in (1, 2)
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_sampling_imports_no_more_than_it_needs(sound_run: Path, tmp_path: Path) -> None:
    words = ["charrnn", "sample", str(sound_run), "-n", "0.1", "-q", "-o", str(tmp_path / "x.wav")]
    code = f"import sys; sys.argv = {words}\nfrom charrnn.cli.main import main\n"
    code += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    unneeded = ("torch", "scipy.signal", "scipy.cluster", "scipy.stats", "librosa", "rich", "PIL")
    code += f"print([m for m in {unneeded} if m in sys.modules], file=sys.stderr)"
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert outcome.stderr.strip() == "[]"


def test_beam_search_is_not_for_sound(command: Command, sound_run: Path) -> None:
    outcome = command("sample", sound_run, "--beam", 2, "-o", "a.wav")
    assert outcome.returncode == 2
    assert outcome.stderr == "charrnn: --beam: there is no beam search over frames; drop it\n"
    assert outcome.stdout == ""


def test_flags_of_sound_are_not_for_text(command: Command, run: Path) -> None:
    outcome = command("sample", run, "--picture", "a.png")
    assert outcome.returncode == 2
    assert "--picture: there are no pictures of characters; drop it" in outcome.stderr
    outcome = command("sample", run, "--bits", 24)
    assert outcome.returncode == 2
    assert "this is a model of text; --bits is for sound" in outcome.stderr
    outcome = command("sample", run, "-n", 1.5)
    assert "--length 1.5: must be a whole number of characters" in outcome.stderr


def test_a_recording_is_judged(command: Command, sound_run: Path, tmp_path: Path) -> None:
    clip = recorded(tmp_path / "other.flac", music(2.0, seed=9))
    values = json.loads(command("evaluate", sound_run, clip, "--json").stdout)
    assert values["codec_db"] < -3
    assert np.isfinite(values["nats_per_step"])
    ratios = {"flux", "onsets", "spread", "variety", "lasting"}
    assert set(values["free_run"]) == ratios | {"frames_told_apart", "copied"}
    outcome = command("evaluate", sound_run, clip, "--picture", "a.png")
    assert "codec loss" in outcome.stdout
    assert "too short to compare a sample with: 2.0 s, where 10 are needed" in outcome.stderr
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L"), float).std() > 20


@pytest.mark.long
def test_a_sample_is_told_from_a_recording(
    command: Command, sound_run: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    clip = recorded(tmp_path / "other.flac", music(12.0, seed=9))
    outcome = command("evaluate", sound_run, clip, "--json")
    values = json.loads(outcome.stdout)
    told = values["told_apart"]
    assert told["codec"].keys() == told["sample"].keys() == {"0.2 s", "1 s"}
    assert all(0 <= area <= 1 for areas in told.values() for area in areas.values())
    assert told["sample"]["0.2 s"] >= told["codec"]["0.2 s"] - 0.1
    assert values["tempo"].keys() == values["beat"].keys() == {"recording", "sample"}
    assert 0 < values["chroma"] <= 1
    assert values["tones"]["codec"] > 0.3
    piped = subprocess.run(  # which can be read only once
        [sys.executable, "-m", "charrnn", "evaluate", str(sound_run), "-", "--json"],
        input=clip.read_bytes(),
        capture_output=True,
        env=environment,
        check=True,
    )
    assert json.loads(piped.stdout)["told_apart"] == told


def test_without_librosa(sound_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "NEEDED", ("no_such_library",))
    clip = recorded(tmp_path / "other.flac", music(2.0, seed=9))
    model = charrnn.load(sound_run)
    report = model.evaluate(clip)
    assert "told_apart" not in report.values
    assert analysis.MISSING in report.notes
    assert analysis.MISSING in model.codec.notices(None)


def test_each_recording_and_each_prime(command: Command, sound_run: Path, tmp_path: Path) -> None:
    (tmp_path / "band").mkdir()
    for seed in (1, 2):
        recorded(tmp_path / "band" / f"{seed}.wav", music(0.5, seed=seed))
    (tmp_path / "band" / "3.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    outcome = command("evaluate", sound_run, "band", "--by", "file", "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert "left out band/3.wav" in outcome.stderr
    found = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [each["file"] for each in found] == ["band/1.wav", "band/2.wav"]
    alone = json.loads(command("evaluate", sound_run, "band/2.wav", "--json").stdout)
    for key in ("nats_per_step", "steps", "codec_db"):
        assert found[1][key] == pytest.approx(alone[key], rel=1e-4)
    (tmp_path / "primes.txt").write_text("band/1.wav\nband/nothing.wav\n")
    words = ("sample", sound_run, "-n", 0.2, "--include-prime", "-o", "on.flac", "--json")
    outcome = command(*words, "--primes", "primes.txt")
    assert outcome.returncode == 1
    assert "primes.txt, line 2: band/nothing.wav: no such file" in outcome.stderr
    (line,) = outcome.stdout.splitlines()
    assert json.loads(line)["path"] == "on-1.flac"
    assert len(heard(tmp_path / "on-1.flac")) > 0.6 * RATE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "line"], "has no lines; use --by file"),
        (["--by", "file", "--top", "3"], "frames have no list of probabilities"),
    ],
)
def test_parts_of_recordings(
    command: Command, sound_run: Path, words: list[str], message: str
) -> None:
    outcome = command("evaluate", sound_run, "dance", *words)
    assert message in outcome.stderr
    assert outcome.returncode == 2


def test_a_picture_is_not_for_text(command: Command, run: Path, corpus: Path) -> None:
    outcome = command("evaluate", run, corpus, "--picture", "a.png")
    assert "--picture: there are no pictures of characters; drop it" in outcome.stderr


def test_what_is_in_a_model_of_sound(command: Command, sound_run: Path) -> None:
    outcome = command("inspect", sound_run)
    kind = "audio, 16 PCA components of the log magnitude, and the position; sample rate 22,050 Hz"
    assert kind in outcome.stdout
    values = json.loads(command("inspect", sound_run, "--json").stdout)
    assert values["codec"]["hop"] == 128


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--head", "categorical"], "--head categorical is for symbols; this corpus has vectors"),
        (["--embedding", "8"], "--embedding is for symbols; this corpus has vectors"),
        (["--documents", "file"], "--documents"),
        (["--hop-length", "500"], "--hop-length"),
    ],
)
def test_settings_that_are_not_for_sound(
    command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    clip = recorded(tmp_path / "clip.wav", music(2.0))
    outcome = command("train", clip, "--codec", "audio", *words, "-o", "run")
    assert outcome.returncode == 1
    assert message in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_a_head_of_sound_is_not_for_text(command: Command, corpus: Path) -> None:
    outcome = command("train", corpus, "--head", "mse", "-o", "run")
    assert "--head mse is for vectors; this corpus has symbols" in outcome.stderr


def test_the_course_s_preset(command: Command, tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(3.0))
    outcome = command("train", clip, "-c", "magnet", "--steps", 3, "-o", "run", "--threads", 1)
    assert outcome.returncode == 0, outcome.stderr
    assert "dense 1025, mse head, batch norm of the input" in outcome.stderr
    words = ["sample", "run", "-n", 0.5, "-o", "a.wav"]
    assert command(*words).returncode == 0
    assert command(*words, CHARRNN_TEMPERATURE="0.5").returncode == 0  # meant for other models
    refused = command(*words, "-t", 0.5)
    assert refused.returncode == 2
    assert "--temperature has no effect: this model is deterministic" in refused.stderr
    assert "nats_per_step" not in command("evaluate", "run", clip, "--json").stdout


def test_frames_cannot_be_mixed(command: Command, sound_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.wav"
    outcome = command("sample", sound_run, "-n", 1, "-o", out, "--mix", f"{sound_run}:0.5")
    assert "frames have no vocabulary, so they cannot be mixed" in outcome.stderr
    assert not out.exists()
