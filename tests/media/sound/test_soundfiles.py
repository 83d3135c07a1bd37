from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from charrnn.errors import SamplingError
from charrnn.media.sound.soundfiles import SoundFile, WaveStream
from tests.sounds import RATE, music


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_sound_is_written(tmp_path: Path, name: str) -> None:
    sound = music(1.0)
    with open(tmp_path / name, "wb+") as stream:
        file = SoundFile(stream, tmp_path / name, RATE, 24)
        for part in np.array_split(2 * sound, 5):
            file.write(part)
        file.close()
    found, rate = soundfile.read(tmp_path / name, dtype="float32")
    assert rate == RATE
    assert len(found) == len(sound)
    if name != "a.ogg":
        np.testing.assert_allclose(found, np.clip(2 * sound, -1, 1), atol=1e-6)


def test_a_name_without_a_known_ending(tmp_path: Path) -> None:
    with pytest.raises(SamplingError, match=r"\.wav, \.flac, \.ogg"):
        SoundFile(io.BytesIO(), tmp_path / "a.mid", RATE)


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("length", [0, 1, 1001])
def test_a_stream_of_wav_is_whole(bits: int, length: int) -> None:
    sound, buffer = music(1.0)[:length], io.BytesIO()
    stream = WaveStream(buffer, RATE, length, bits)
    for part in np.array_split(sound, 3):
        stream.write(part)
    stream.close()
    data = buffer.getvalue()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    found, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(found, sound, atol=2.0 ** (1 - bits))
