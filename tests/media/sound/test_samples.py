from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from itertools import islice
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

import charrnn
from charrnn import checkpoint
from charrnn.errors import CheckpointError, ConfigError, UsageError
from charrnn.media import codec_from_dict
from charrnn.media.codec import ENDLESS
from charrnn.media.sound.recordings import recording
from charrnn.media.sound.samples import AMPLITUDES, LEVELS, SILENCE, SamplesCodec, levels_of
from charrnn.media.sources import Sources
from tests.conftest import Command, flags, in_two_parts
from tests.sounds import music, recorded

RATE = 8_000
SETTINGS = {
    "codec": "samples",
    "sample_rate": RATE,
    "hidden": 12,
    "layers": 1,
    "embedding": 8,
    "batch_size": 4,
    "seq_length": 32,
    "eval_every": 10,
    "threads": 1,
    "precision": "fp32",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps on three seconds of sound, to be read only."""
    folder = tmp_path_factory.mktemp("samples")
    clip = recorded(folder / "clip.wav", music(3.0))
    list(charrnn.train(clip, folder / "run", **(SETTINGS | {"steps": 20})))
    return folder / "run"


def test_levels_are_those_of_mu_law() -> None:
    sound = np.linspace(-1, 1, 4001, dtype=np.float32)
    levels = levels_of(sound)
    companded = librosa.mu_compress(sound, mu=255, quantize=False)
    edges = np.linspace(-1, 1, LEVELS + 1)[1:-1]
    near = np.abs(companded[:, np.newaxis] - edges).min(1) < 1e-6  # rounding may decide
    np.testing.assert_array_equal(levels[~near], np.digitize(companded, edges)[~near])
    middles = (np.arange(LEVELS) + 0.5) / LEVELS * 2 - 1
    np.testing.assert_allclose(
        AMPLITUDES, librosa.mu_expand(middles, mu=255, quantize=False), rtol=1e-5
    )


def test_each_level_is_its_own_amplitude() -> None:
    np.testing.assert_array_equal(levels_of(AMPLITUDES), np.arange(LEVELS))
    assert len(set(SamplesCodec(RATE).symbols)) == LEVELS
    assert abs(AMPLITUDES[SILENCE]) == np.abs(AMPLITUDES).min() < 1e-4
    np.testing.assert_array_equal(levels_of(np.array([-3, 3], np.float32)), [0, LEVELS - 1])


def test_a_recording_comes_back(tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(2.0, RATE), RATE)
    codec = SamplesCodec(RATE)
    reader = codec.reader(Sources((str(clip),)), None)
    levels = np.concatenate(list(reader))
    wanted = np.concatenate(list(recording(str(clip), RATE).sound()))
    error = codec.decoded(levels, 0) - wanted
    assert 10 * math.log10(float(np.mean(wanted**2) / np.mean(error**2))) > 35
    report = reader.report(levels, len(levels) - 1, 2.0)
    assert ("duration", "2.0 s") in report.rows
    assert report.values["bits_per_step"] == pytest.approx(2 / math.log(2))


def test_what_is_held_out_is_spread(tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(2.0, RATE), RATE)
    list(charrnn.train(clip, tmp_path / "run", **(SETTINGS | {"steps": 1, "val_fraction": 0.1})))
    steps = np.load(tmp_path / "run" / "corpus.npy")
    whole = levels_of(np.concatenate(list(recording(str(clip), RATE).sound())))
    tenths = [len(whole) * number // 10 for number in range(11)]
    held = len(whole) - round(len(whole) * 0.9)
    ends = [whole[end - held // 10 : end] for end in tenths[1:]]
    np.testing.assert_array_equal(steps[-(held // 10) * 10 :], np.concatenate(ends))


def test_what_is_heard_is_the_spectrogram_of_the_sound() -> None:
    codec = SamplesCodec(RATE)
    time = np.arange(RATE) / RATE
    heard = codec.heard(levels_of((0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)))
    assert heard.shape == (RATE // 512, 1025)
    loudest = heard[2:-2].mean(0)
    assert loudest.argmax() == round(1000 / RATE * 2048)
    assert loudest.max() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("rate", [None, True, 7_999, 48_001, "16000", 16_000.0])
def test_a_hostile_rate(rate: object) -> None:
    with pytest.raises(CheckpointError, match="rate"):
        codec_from_dict({"name": "samples", "rate": rate}, {})


def test_a_model_has_its_codec(run: Path) -> None:
    model = charrnn.load(run)
    assert model.codec.to_dict() == {"name": "samples", "rate": RATE}
    again = codec_from_dict(model.codec.to_dict(), {})
    assert again.describe() == "256 levels (mu-law), sample rate 8,000 Hz"
    assert {path.suffix for path in (run / "previews").iterdir()} == {".flac", ".png"}
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["score"] == last["val_nats_per_step"]  # the loss chooses the best model
    assert last["figures"]["flux"] > 0


def test_a_sample_has_its_length_and_depends_on_the_seed(run: Path) -> None:
    model = charrnn.load(run)
    one, same, other = (model.sample(0.25, seed=seed).sound for seed in (1, 1, 2))
    assert len(one) == RATE // 4
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.isin(one, AMPLITUDES).all()


def test_a_sample_without_end(run: Path) -> None:
    model = charrnn.load(run)
    endless = model.sample(math.inf, seed=1)
    assert endless.samples == ENDLESS
    blocks = np.concatenate(list(islice(endless, 2)))
    np.testing.assert_array_equal(blocks, model.sample(len(blocks) / RATE, seed=1).sound)
    with pytest.raises(UsageError, match="beam search needs an end"):
        model.beam(2, math.inf)


def test_a_run_resumes_exactly(tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(2.0))
    list(charrnn.train(clip, tmp_path / "whole", **(SETTINGS | {"steps": 20})))
    in_two_parts(clip, tmp_path / "half", 10, **(SETTINGS | {"steps": 20}))
    one, other = (
        checkpoint.read(tmp_path / name / "last.safetensors").tensors()
        for name in ("whole", "half")
    )
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, other[name], err_msg=name)


def test_fine_tuning_keeps_the_sample_rate(run: Path, tmp_path: Path) -> None:
    clip = recorded(tmp_path / "other.wav", music(2.0, seed=3))
    settings = {"codec": "samples", "steps": 2, "threads": 1, "device": "cpu"}
    list(charrnn.train(clip, tmp_path / "tuned", init_from=run / "best.safetensors", **settings))
    assert charrnn.load(tmp_path / "tuned").codec.to_dict()["rate"] == RATE


def test_a_very_short_recording(run: Path, command: Command, tmp_path: Path) -> None:
    for seconds in (0.05, 0.13, 0.2):
        clip = recorded(tmp_path / "short.wav", music(seconds, RATE), RATE)
        outcome = command("evaluate", run, clip, "--json")
        assert outcome.returncode == 0, outcome.stderr
        assert np.isfinite(list(json.loads(outcome.stdout)["free_run"].values())).all()
        assert "Warning" not in outcome.stderr
        list(charrnn.train(clip, tmp_path / f"{seconds}", **(SETTINGS | {"steps": 2})))
        assert "NaN" not in (tmp_path / f"{seconds}" / "metrics.jsonl").read_text()


def test_models_of_other_rates_cannot_be_mixed(run: Path, tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(1.0))
    list(
        charrnn.train(clip, tmp_path / "other", **(SETTINGS | {"steps": 1, "sample_rate": 16_000}))
    )
    with pytest.raises(UsageError, match=r"last 6.25e-05 s each, not 0.000125; .*one sample rate"):
        charrnn.load(run).mixed({tmp_path / "other": 0.5})


def test_each_step_has_the_traits_of_its_frame(run: Path) -> None:
    codec = SamplesCodec(22_050)
    levels = levels_of(music(1.0, 22_050))
    loudness = codec.traits(levels).numbers[0].values
    per_frame = loudness[:: codec.heard_hop]
    np.testing.assert_array_equal(loudness, np.repeat(per_frame, codec.heard_hop)[: len(loudness)])


def test_settings_of_frames_are_refused(run: Path, tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(2.0))
    for setting in ("n_fft", "hop_length", "components"):
        with pytest.raises(ConfigError, match="has no effect without --codec audio"):
            list(charrnn.train(clip, tmp_path / "run", **(SETTINGS | {setting: 64})))
    with pytest.raises(ConfigError, match="use --head categorical"):
        list(charrnn.train(clip, tmp_path / "run", **(SETTINGS | {"head": "gaussian"})))
    with pytest.raises(UsageError, match="--griffin-lim has no effect"):
        charrnn.load(run).sample(0.1, griffin_lim=8)
    assert len(charrnn.load(run).sample(0.1, top_k=5, temperature=0.7, seed=0).sound) == RATE // 10
    with pytest.raises(UsageError, match="no web pages that generate audio samples"):
        charrnn.load(run).export(tmp_path / "page.html")


def test_the_usual_rate(command: Command, tmp_path: Path) -> None:
    clip = recorded(tmp_path / "clip.wav", music(3.0))
    outcome = command("train", clip, "--codec", "samples", "--dry-run")
    assert outcome.returncode == 0, outcome.stderr
    assert "in 10 stretches for validation" in " ".join(outcome.stderr.split())
    outcome = command("train", clip, "--codec", "samples", "--dry-run", "--json")
    config = json.loads(outcome.stdout.splitlines()[0])["config"]
    assert config["data"]["sample_rate"] == 16_000


def test_training_evaluating_and_looking(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    recorded(folder / "a.wav", music(1.0))
    recorded(folder / "b.flac", music(1.0, seed=1), 44_100)
    outcome = command("train", folder, "-o", "run", *flags(steps=4, **SETTINGS))
    assert outcome.returncode == 0, outcome.stderr
    outcome = command("evaluate", "run", folder / "a.wav", "--json")
    assert outcome.returncode == 0, outcome.stderr
    values = json.loads(outcome.stdout)
    assert values["free_run"]["spread"] > 0
    assert values["steps"] == pytest.approx(RATE, abs=200)
    outcome = command("sample", "run", "-n", 0.5, "-p", folder / "a.wav", "-o", "x.wav", "-q")
    assert outcome.returncode == 0, outcome.stderr
    assert soundfile.info(tmp_path / "x.wav").frames == RATE // 2
    outcome = command("sample", "run", "-n", 0.3, "-o", "y.flac", "--picture", "y.png", "-q")
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "y.png").stat().st_size > 1000
    outcome = command("insight", "run", folder / "a.wav", "-o", "seen.html")
    assert outcome.returncode == 0, outcome.stderr


def test_a_pipe_gets_sound_until_it_closes(run: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "charrnn", "sample", str(run), "--forever", "--seed", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        beginning = process.stdout.read(44 + 2 * RATE)
        process.stdout.close()
        assert process.wait(60) in (0, 141)
        assert "Traceback" not in process.stderr.read().decode()
    sound, rate = soundfile.read(
        io.BytesIO(beginning[44:]), format="RAW", subtype="PCM_16", samplerate=RATE, channels=1
    )
    assert len(sound) == rate == RATE
    np.testing.assert_allclose(sound, charrnn.load(run).sample(1, seed=1).sound, atol=1e-4)
    assert beginning[40:44] == b"\xff\xff\xff\xff"  # the length that means: unknown
    (tmp_path / "stream.wav").write_bytes(beginning)
    again = np.concatenate(
        list(SamplesCodec(RATE).reader(Sources((str(tmp_path / "stream.wav"),)), None))
    )
    assert abs(len(again) - RATE) < 1024


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", 4], "--length: with --forever there is no end to wait for"),
        (["--json"], "--json: with --forever"),
        (["-o", "x.wav"], "--out: with --forever"),
        (["--picture", "x.png"], "--picture: with --forever"),
        (["--num", 2], "--num: with --forever"),
        (["--no-repeat-ngram", 4], "--no-repeat-ngram: no sample can go on for ever"),
    ],
)
def test_what_waits_for_an_end(
    run: Path, command: Command, words: list[object], message: str
) -> None:
    outcome = command("sample", run, "--forever", *words)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert not outcome.stdout


def test_an_infinite_length(run: Path, command: Command) -> None:
    outcome = command("sample", run, "-n", "inf")
    assert outcome.returncode == 2
    assert "--length inf: for a sample without end give --forever" in outcome.stderr
    sample = charrnn.load(run).sample(math.inf, seed=1)
    assert "without end" in repr(sample)
    assert sample.seconds is None
    assert sample.describe() == "without end"
