from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.data.corpus import held_out
from charrnn.errors import CheckpointError, ConfigError
from charrnn.media import codec_from_dict
from charrnn.media.sound.bands import FLOOR, mel_bank
from charrnn.media.sound.envelope import Envelope
from charrnn.media.sound.learning import SpectrogramLearner
from charrnn.media.sound.spectrogram import (
    BANDS,
    SpectrogramCodec,
    SpectrogramReader,
    raw_frames,
)
from charrnn.media.sound.stft import Stft
from charrnn.media.sources import Sources
from charrnn.media.steps import Continuous
from tests.sounds import RATE, convergence, music, recorded

SMALL, MIDDLE = Stft(512, 128), Stft(1024, 512)  # frames without an envelope, and with one


def learnt(
    *paths: Path, stft: Stft = SMALL, components: int = 24, val_fraction: float = 0.1
) -> tuple[np.ndarray, np.ndarray, SpectrogramCodec]:
    """Raw frames, features, and the codec."""
    sources = Sources(tuple(map(str, paths)))
    learner = SpectrogramLearner(sources, RATE, stft, components, val_fraction)
    raw = np.concatenate(list(learner))
    return raw, np.concatenate(list(learner.second_pass(raw))), learner.codec


def without_envelope(codec: SpectrogramCodec) -> SpectrogramCodec:
    """Such a codec as earlier versions had."""
    width = codec.stft.bins + BANDS
    arrays = {name: array[..., :width] for name, array in codec.arrays.items()}
    arrays["scale"] = codec.arrays["scale"]
    arrays["starts"] = codec.arrays["starts"][..., : codec.components]
    return SpectrogramCodec(codec.rate, codec.stft, arrays)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return recorded(tmp_path / "clip.wav", music(4.0))


def test_raw_frames_do_not_depend_on_blocks() -> None:
    sound, stft = music(1.0), MIDDLE
    bank, envelope = mel_bank(RATE, stft, 5), Envelope.for_frames(RATE, stft, 5)
    assert envelope is not None
    whole = np.concatenate(list(raw_frames([sound], stft, bank, envelope)))
    parts = np.concatenate(list(raw_frames(np.array_split(sound, 37), stft, bank, envelope)))
    np.testing.assert_array_equal(parts[:, : stft.bins], whole[:, : stft.bins])
    np.testing.assert_allclose(parts, whole, atol=1e-5)  # sums over the bins of a band
    magnitudes = np.abs(stft.forward(sound)) / stft.full_scale
    bins, levels, short = np.split(whole, [stft.bins, stft.bins + 5], 1)
    # The first short frame is centred on the first sample.
    around = np.pad(sound, (envelope.stft.hop, stft.hop))[: len(whole) * stft.hop + 256]
    np.testing.assert_allclose(short, envelope.of(around), atol=1e-4)
    np.testing.assert_allclose(bins, np.log(magnitudes + FLOOR), atol=1e-4)
    power = np.exp(2 * levels) - FLOOR**2
    np.testing.assert_allclose(power.sum(1), np.square(magnitudes).sum(1), rtol=1e-3, atol=1e-6)


def test_features_are_uncorrelated_and_most_of_the_sound(clip: Path) -> None:
    raw, features, codec = learnt(clip)
    kept = features[: len(features) - round(0.1 * len(features))]
    correlation = np.corrcoef(kept[:, :8].T)
    assert np.abs(correlation - np.eye(8)).max() < 0.05
    assert np.all(np.diff(kept.std(0)[:12]) < 0)
    wanted = codec.loudness(raw)
    assert convergence(wanted, codec.magnitudes(features)) < -15


def test_all_components_leave_nothing_out(clip: Path) -> None:
    raw, features, codec = learnt(clip, components=SMALL.bins + BANDS)
    assert convergence(codec.loudness(raw), codec.magnitudes(features)) < -60
    assert codec.arrays["remainder"].max() < 0.01


def test_what_the_features_leave_out_comes_back_as_noise(tmp_path: Path) -> None:
    hiss = 0.1 * np.random.default_rng(1).standard_normal(4 * RATE).astype(np.float32)
    raw, features, codec = learnt(recorded(tmp_path / "hiss.wav", hiss), components=4)
    noise = codec.noise(np.random.default_rng(0))
    halves = [codec.magnitudes(part, noise) for part in np.array_split(features, 2)]
    wanted, noisy = np.log(codec.loudness(raw) + 1e-3), np.log(np.concatenate(halves) + 1e-3)
    smooth = np.log(codec.magnitudes(features) + 1e-3)
    assert smooth.std(0).mean() < 0.6 * wanted.std(0).mean()
    assert noisy.std(0).mean() == pytest.approx(wanted.std(0).mean(), rel=0.15)
    # Like those of a sound, its magnitudes change smoothly from frame to frame.
    changes = [np.abs(np.diff(x[:, 5:-5], axis=0)).mean() for x in (wanted, noisy)]
    assert changes[1] == pytest.approx(changes[0], rel=0.15)


def test_every_band_has_its_level(clip: Path) -> None:
    raw, features, codec = learnt(clip, stft=MIDDLE, components=60)
    noisy = codec.magnitudes(features, codec.noise(np.random.default_rng(0)))
    power = np.square(noisy / MIDDLE.full_scale) @ codec.bank + FLOOR**2
    _, levels, short = np.split(raw, [MIDDLE.bins, MIDDLE.bins + BANDS], 1)
    assert np.abs(np.log(power) / 2 - levels).mean() < 0.05
    assert np.abs(codec.envelope_of(features) - short).mean() < 0.1


def test_magnitudes_as_they_are(clip: Path) -> None:
    raw, features, codec = learnt(clip, components=0)
    assert codec.is_linear
    assert codec.step.size == SMALL.bins
    np.testing.assert_array_equal(features, raw)
    np.testing.assert_array_equal(codec.magnitudes(features), raw)


def test_recordings_are_not_joined(tmp_path: Path) -> None:
    paths = [recorded(tmp_path / f"{i}.wav", music(2.0, seed=i)) for i in range(3)]
    _, features, codec = learnt(*paths)
    loudness = codec.magnitudes(features).max(1)
    quiet = loudness < 0.04 * np.median(loudness)
    starts = np.flatnonzero(np.diff(quiet.astype(int)) == 1)
    assert len(starts) == 5  # between three parts to learn from and three held out
    assert quiet.sum() == pytest.approx(5 * 0.25 * RATE / SMALL.hop, rel=0.2)


@pytest.mark.parametrize(("count", "seconds"), [(2, 2.0), (12, 0.1), (1, 0.05)])
def test_what_is_validated_on_is_what_was_held_out(
    tmp_path: Path, count: int, seconds: float
) -> None:
    paths = [recorded(tmp_path / f"{i:02}.wav", music(seconds, seed=i)) for i in range(count)]
    learner = SpectrogramLearner(Sources(tuple(map(str, paths))), RATE, SMALL, 8, 0.1)
    raw = np.concatenate(list(learner))
    features = np.concatenate(list(learner.second_pass(raw)))
    held = held_out(len(features), learner.val_fraction)
    frames = learner.codec.features(raw)
    ends = np.cumsum([len(raw) // count] * count)
    learner.seed = 0
    expected = learner._parts()[1][-1][2] - 1  # of the last held-out part
    assert count != 12 or learner.held_out == "in 1 whole recordings"
    features = features[:, : frames.shape[1]]  # without the position
    np.testing.assert_allclose(features[-1], frames[expected], atol=1e-4)
    if count == 2:
        first = ends[0] - round(0.1 * ends[0])
        gap = (len(features) - len(raw)) // 3  # before each of the parts but the first
        np.testing.assert_allclose(features[-held + gap], frames[first], atol=1e-4)
    loudness = learner.codec.magnitudes(features).max(1)
    assert np.mean(loudness[-held:] > 0.02 * np.median(loudness)) > 0.4


def test_held_out_frames_are_not_learnt_from(tmp_path: Path) -> None:
    first, second = music(3.0, seed=1), music(3.0, seed=2)
    cut = round(0.5 * len(first))
    a = recorded(tmp_path / "a.wav", np.concatenate([first[:cut], first[cut:]]))
    b = recorded(tmp_path / "b.wav", np.concatenate([first[:cut], second[cut:]]))
    _, _, one = learnt(a, val_fraction=0.5)
    _, _, other = learnt(b, val_fraction=0.5)
    np.testing.assert_allclose(one.arrays["mean"], other.arrays["mean"], atol=0.2)


def test_encoding_again_gives_the_same_features(clip: Path) -> None:
    _, features, codec = learnt(clip)
    reader = SpectrogramReader(codec, Sources((str(clip),)))
    again = np.concatenate(list(reader))
    np.testing.assert_allclose(again[:, :24], features[:, :24], atol=1e-4)
    assert -60 < reader.codec_db < -10


def test_frames_know_their_position(tmp_path: Path) -> None:
    """The training part, gaps included, is a circle; what is held out goes on."""
    paths = [recorded(tmp_path / f"{i}.wav", music(2.0, seed=i)) for i in range(3)]
    _, features, codec = learnt(*paths)
    assert codec.step == Continuous(26, conditions=2)
    turns = np.unwrap(np.arctan2(features[:, 25], features[:, 24])) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.arange(len(features)) / codec.period, atol=1e-4)
    held = (len(features) - codec.period) / codec.steps_per_s
    assert held == pytest.approx(0.1 * 3 * 2 + 3 * 0.25, abs=0.05)  # with a gap before each part
    known = np.array(list(islice(codec.conditions(features[:50]), 40)))
    np.testing.assert_allclose(known, features[50:90, 24:], atol=1e-4)
    for start in codec.arrays["starts"]:  # as in the corpus
        distances = np.abs(features - start[0]).sum(1)
        place = int(distances.argmin())
        np.testing.assert_allclose(start, features[place : place + len(start)], atol=1e-4)
    # Where it is unknown, it is that of an excerpt that is similar.
    begin = round(codec._place(codec.arrays["starts"][3][0]))
    (placed,) = codec.placed([features[begin - 9 : begin + 40, :24]])
    np.testing.assert_allclose(placed, features[begin - 9 : begin + 40], atol=1e-3)
    (placed,) = codec.placed([features[begin : begin + 7, :24]])  # shorter than an excerpt
    np.testing.assert_allclose(placed, features[begin : begin + 7], atol=1e-3)


def test_codecs_of_earlier_versions_have_no_position(clip: Path) -> None:
    raw, _, codec = learnt(clip)
    arrays = codec.arrays | {"starts": codec.arrays["starts"][..., :24]}
    before = SpectrogramCodec(codec.rate, codec.stft, arrays, codec.envelope)
    assert "period" not in before.to_dict()
    assert before.step == Continuous(24)
    (placed,) = before.placed([before.features(raw)])
    np.testing.assert_array_equal(placed, codec.features(raw))
    assert [len(known) for known in islice(before.conditions(placed), 3)] == [0, 0, 0]


def test_an_onset_is_not_spread_over_a_frame(tmp_path: Path) -> None:
    """Clicks stand out of the frame before them, which the frames of the spectrogram blur."""
    clicks = 0.001 * np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    places = range(RATE // 4, 3 * RATE, RATE // 4)
    for place in places:
        clicks[place : place + 64] += 0.5 * np.random.default_rng(place).standard_normal(64)
    stft = Stft()
    _, features, codec = learnt(recorded(tmp_path / "clicks.wav", clicks), stft=stft)
    ratios = []
    for own in (without_envelope(codec), codec):
        sound = own.decoded(features, 32)
        before = np.mean([np.square(sound[p - 900 : p - 400]).mean() for p in places])
        ratios.append(np.mean([np.square(sound[p : p + 500]).mean() for p in places]) / before)
    assert ratios[1] > 5 * ratios[0]


@pytest.mark.parametrize("stft", [SMALL, MIDDLE, Stft(1494, 249), Stft(498, 83)])
def test_the_length_is_a_hop_for_each_frame(clip: Path, stft: Stft) -> None:
    _, features, codec = learnt(clip, stft=stft)
    assert len(codec.decoded(features, 2)) == len(features) * stft.hop
    again = codec_from_dict(codec.to_dict(), codec.arrays)
    assert isinstance(again, SpectrogramCodec)
    assert (again.envelope is None) == (codec.envelope is None)


def test_a_checkpoint_keeps_the_codec(clip: Path) -> None:
    for components in (24, 0):
        _, features, codec = learnt(clip, components=components)
        again = codec_from_dict(codec.to_dict(), codec.arrays)
        assert isinstance(again, SpectrogramCodec)
        assert again.heard_noise == codec.heard_noise == (0.75,)
        np.testing.assert_array_equal(again.magnitudes(features), codec.magnitudes(features))


def test_a_checkpoint_of_an_earlier_version_keeps_all_the_noise(clip: Path) -> None:
    codec = without_envelope(learnt(clip)[2])
    values = {k: v for k, v in codec.to_dict().items() if k not in ("envelope", "heard_noise")}
    again = codec_from_dict(values, codec.arrays)
    assert again.heard_noise == (1,)
    assert again.to_dict() == codec.to_dict()


def test_the_noise_that_is_heard_follows_the_recording(clip: Path) -> None:
    """The network's noise: in bands where samples change too much, less of it, and elsewhere
    more, within limits."""
    _, _, codec = learnt(clip, stft=MIDDLE, components=200)
    noise = np.random.default_rng(0).normal(size=codec.step.size).astype(np.float32)
    noise[codec.components :] = 0  # of the position there is none
    np.testing.assert_allclose(codec.kept_noise(noise), 0.75 * noise)
    same = codec.matched(np.ones(40))
    assert same is not None
    assert same.heard_noise == (0.75,) * 10
    np.testing.assert_allclose(same.kept_noise(noise), 0.75 * noise, atol=1e-3)
    changed = codec.matched(np.repeat([2.0, 0.8], 20))
    assert changed is not None
    assert changed.heard_noise[:4] == pytest.approx([0.75 * 2**-1.5] * 4, 1e-3)
    assert changed.heard_noise[-4:] == pytest.approx([0.75 * 0.8**-1.5] * 4, 1e-3)
    assert changed.encodes_like(codec)
    assert not changed.encodes_like(learnt(clip, stft=MIDDLE, components=20)[2])
    for _ in range(9):
        changed = changed.matched(np.repeat([2.0, 0.8], 20))
        assert changed is not None
    assert changed.heard_noise == (0.25,) * 5 + (1.5,) * 5
    again = codec_from_dict(json.loads(json.dumps(changed.to_dict())), changed.arrays)
    np.testing.assert_array_equal(again.kept_noise(noise), changed.kept_noise(noise))
    # In the bins, too, as far as the components can tell them apart.
    synthesis = codec.arrays["basis"] * codec.arrays["scale"][:, np.newaxis]
    synthesis /= codec.arrays["weight"]
    all_, kept = (
        np.abs(x[: codec.components] @ synthesis) for x in (noise, changed.kept_noise(noise))
    )
    low, high = (np.median(kept[part] / all_[part]) for part in (slice(60), slice(300, 500)))
    assert low < 0.6
    assert high > 1.1
    assert learnt(clip, components=0)[2].matched(np.ones(40)) is None
    assert without_envelope(codec).heard_noise == (1,)


Values, Arrays = dict[str, Any], dict[str, np.ndarray]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values, arrays: values.update(rate=0),
        lambda values, arrays: values.update(rate="22050"),
        lambda values, arrays: values.update(hop=500),
        lambda values, arrays: values.update(n_fft=10**12),
        lambda values, arrays: values.update(features=25),
        lambda values, arrays: values.update(linear=True),
        lambda values, arrays: values.update(heard_noise=1.51),
        lambda values, arrays: values.update(heard_noise=[0.5, 0.5]),
        lambda values, arrays: values.update(heard_noise=[0.5] * 9 + [-0.1]),
        lambda values, arrays: values.update(heard_noise=[0.5] * 9 + ["1"]),
        lambda values, arrays: values.update(heard_noise=[]),
        lambda values, arrays: values.update(heard_noise="1"),
        lambda values, arrays: values.update(heard_noise=float("nan")),
        lambda values, arrays: values.update(period=-1),
        lambda values, arrays: values.update(period=1e3),
        lambda values, arrays: values.update(period=1 << 41),
        lambda values, arrays: values.update(period=0),
        lambda values, arrays: values.update(features=2),
        lambda values, arrays: values.update(envelope=1),
        lambda values, arrays: values.update(envelope=False),
        lambda values, arrays: values.update(bands=0),
        lambda values, arrays: values.pop("envelope"),
        lambda values, arrays: values.pop("period"),
        lambda values, arrays: arrays.pop("mean"),
        lambda values, arrays: arrays.pop("starts"),
        lambda values, arrays: arrays.update(more=np.zeros(3, np.float32)),
        lambda values, arrays: arrays.update(scale=0 * arrays["scale"]),
        lambda values, arrays: arrays.update(basis=arrays["basis"] * np.nan),
        lambda values, arrays: arrays.update(mean=arrays["mean"].astype(np.float64)),
    ],
)
def test_a_broken_codec_is_refused(clip: Path, spoil: Callable[[Values, Arrays], Any]) -> None:
    _, _, codec = learnt(clip, stft=MIDDLE)
    values, arrays = codec.to_dict(), dict(codec.arrays)
    spoil(values, arrays)
    with pytest.raises(CheckpointError, match="audio codec"):
        codec_from_dict(values, arrays)


def test_more_components_than_bins(clip: Path) -> None:
    with pytest.raises(ConfigError, match="at most 289"):
        learnt(clip, components=290)


def test_as_many_components_as_the_widest_frames_have_numbers() -> None:
    stft = Stft(8192, 4096)
    envelope = Envelope.for_frames(RATE, stft, BANDS)
    assert envelope is not None
    width = stft.bins + BANDS + envelope.width
    arrays = {name: np.ones(width, np.float32) for name in ("mean", "remainder", "weight", "scale")}
    arrays |= {"basis": np.zeros((width, width), np.float32)}
    arrays |= {"starts": np.zeros((1, 1, width), np.float32)}
    codec = SpectrogramCodec(RATE, stft, arrays, envelope)
    assert codec_from_dict(codec.to_dict(), arrays).step.size == width
