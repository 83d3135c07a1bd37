from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.media.sound import recordings
from charrnn.media.sound.recordings import LEVEL, recording
from tests.sounds import RATE, music, recorded


def read(path: Path, rate: int = RATE) -> np.ndarray:
    return np.concatenate(list(recording(str(path), rate).sound()))


def level(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_kinds_of_file(tmp_path: Path, kind: str) -> None:
    sound = music(2.0)
    found = read(recorded(tmp_path / f"a.{kind}", sound))
    assert len(found) == pytest.approx(len(sound), abs=3000)  # an mp3 has silence at its ends
    assert level(found) == pytest.approx(LEVEL, rel=0.02)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (192_000, 8)])
def test_rates_and_channels(tmp_path: Path, rate: int, channels: int) -> None:
    time = np.arange(rate) / rate
    sound = np.stack([np.sin(2 * np.pi * 500 * time)] * channels, 1)
    found = read(recorded(tmp_path / "a.wav", sound, rate))
    expected = LEVEL * 2**0.5 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    assert abs(len(found) - RATE) <= 1
    middle = slice(RATE // 4, 3 * RATE // 4)
    assert level(found[middle]) == pytest.approx(level(expected[middle]), rel=0.01)


def test_silence_at_both_ends_is_left_out(tmp_path: Path) -> None:
    sound = music(1.0)
    silence = np.zeros(RATE, np.float32)
    found = read(recorded(tmp_path / "a.wav", np.concatenate([silence, sound, silence])))
    assert len(sound) <= len(found) <= len(sound) + 4 * recordings.CHUNK  # the filter dies away


def test_blocks_are_one_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded(tmp_path / "a.wav", music(1.0), 44_100)
    whole = read(path)
    monkeypatch.setattr(recordings, "READ_SAMPLES", 2 * recordings.CHUNK)
    np.testing.assert_allclose(read(path), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros(0), "has no samples"),
        (np.zeros(5000), "silent from end to end"),
        (np.array([0.1, np.nan, 0.1]), r"at 0\.000 s is not a finite number"),
        (np.array([0.1] * 30_000 + [np.inf]), r"at 1\.361 s is not a finite number"),
    ],
    ids=["empty", "silent", "nan", "infinity"],
)
def test_sound_that_cannot_be_learnt_from(tmp_path: Path, sound: np.ndarray, message: str) -> None:
    path = recorded(tmp_path / "a.wav", sound, subtype="FLOAT")
    with pytest.raises(CorpusError, match=message) as error:
        recording(str(path), RATE)
    assert str(path) in str(error.value)


def broken(data: bytes, kind: str) -> bytes:
    if kind == "cut":
        return data[: len(data) // 2]
    if kind == "header":
        return data[:20]
    if kind == "rate 0":
        return data[:24] + bytes(4) + data[28:]
    if kind == "rate 2^31":
        return data[:24] + (2**31).to_bytes(4, "little") + data[28:]
    return b"\0\0\0\x20ftypM4A " + data[12:]


@pytest.mark.parametrize("kind", ["cut", "header", "rate 0", "rate 2^31", "m4a"])
def test_broken_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = recorded(tmp_path / "a.wav", music(1.0))
    path.write_bytes(broken(path.read_bytes(), kind))
    with pytest.raises(CorpusError) as error:
        recording(str(path), RATE)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    if kind == "m4a":
        assert f"ffmpeg -i {path} converted.wav" in str(error.value)


def low_energy(sound: np.ndarray, hertz: float = 30.0) -> float:
    """The fraction of the energy of a sound that lies below a frequency."""
    power = np.square(np.abs(np.fft.rfft(sound)))
    below = np.fft.rfftfreq(len(sound), 1 / RATE) < hertz
    return float(power[below].sum() / power.sum())


@pytest.mark.parametrize("hertz", [0.0, 8.0])
def test_what_cannot_be_heard_is_removed(tmp_path: Path, hertz: float) -> None:
    """An offset, or rumble, ten times as loud as the music."""
    sound = music(2.0)
    low = 3 * level(sound) * np.cos(2 * np.pi * hertz * np.arange(len(sound)) / RATE)
    mixed = recorded(tmp_path / "a.wav", 0.1 * (sound + low))
    assert low_energy(0.1 * (sound + low)) > 0.8
    found = read(mixed)
    assert low_energy(found) < 0.02
    alone = read(recorded(tmp_path / "b.wav", 0.1 * sound))
    assert level(found - alone[: len(found)]) < 0.1 * LEVEL  # nor does it count for the level


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two sounds."""
    count = min(len(one), len(other))
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


def test_channels_that_cancel_each_other(tmp_path: Path) -> None:
    sound = music(1.0)
    hiss = 0.002 * np.random.default_rng(0).normal(size=len(sound))
    for factor in (1.0, 0.8):
        path = recorded(tmp_path / "a.wav", np.stack([factor * sound + hiss, hiss - sound], 1))
        found = recording(str(path), RATE)
        assert "only the loudest, number" in found.notices[0]
        heard = np.concatenate(list(found.sound()))
        assert abs(likeness(heard, read(recorded(tmp_path / "b.wav", sound)))) > 0.99


@pytest.mark.parametrize("kind", ["in phase", "unrelated", "one silent"])
def test_channels_that_do_not_cancel_are_mixed(tmp_path: Path, kind: str) -> None:
    sound = music(1.0)
    other = {"in phase": sound, "unrelated": music(1.0, seed=5), "one silent": 0 * sound}[kind]
    found = recording(str(recorded(tmp_path / "a.wav", np.stack([sound, other], 1))), RATE)
    assert not found.notices
    assert found.weights == (0.5, 0.5)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_surround_sound_is_mixed_in_the_standard_way(tmp_path: Path, kind: str) -> None:
    """Music in the centre, and a louder hum in the low-frequency channel."""
    sound = 0.3 * music(1.0)
    hum = 0.6 * np.sin(2 * np.pi * 60 * np.arange(len(sound)) / RATE)
    quiet = np.zeros_like(sound)
    channels = [quiet, quiet, sound, hum, quiet, quiet]
    if kind == "ogg":
        channels = [quiet, sound, quiet, quiet, quiet, hum]
    heard = read(recorded(tmp_path / f"a.{kind}", np.stack(channels, 1).astype(np.float32)))
    assert likeness(heard, read(recorded(tmp_path / "b.wav", sound))) > 0.98


@pytest.mark.parametrize("piped", [False, True])
def test_a_recorder_that_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piped: bool) -> None:
    """The header says size 0, and the sound is there."""
    path = recorded(tmp_path / "a.wav", music(1.0))
    whole = read(path)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = bytes(4)
    path.write_bytes(data)
    if piped:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bytes(data))))
    found = recording("-" if piped else str(path), RATE)
    assert "its header says size 0" in found.notices[0]
    np.testing.assert_allclose(np.concatenate(list(found.sound())), whole, atol=1e-6)


def test_text_under_the_name_of_a_recording(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("The miller said nothing.\n" * 20)
    with pytest.raises(CorpusError, match="it looks like text, which is learnt without"):
        recording(str(tmp_path / "a.wav"), RATE)
