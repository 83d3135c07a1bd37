"""Model files that are broken or hostile: each ends in one line, soon, with little memory.

Every file is opened by a command with a second of a processor and little memory to take.  Whoever
makes such a file can make its digest match, so these do, but for those whose bits are flipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from charrnn import checkpoint
from charrnn.config import all_settings
from tests.conftest import TEXT, trained
from tests.forks import Call, commands, ended, forked
from tests.sounds import music, recorded
from tests.test_checkpoint import header_of

GROW_BYTES = 240_000_000  # with Python, NumPy and what is imported by then: 300 MB
CPU_S = 1  # and what is left of the one before
CONTROLS = dict.fromkeys((*range(32), *range(127, 160)))
Header = dict[str, Any]
Tensors = dict[str, np.ndarray]
NUMBERS = ("x", [], {}, True, -(10**9), 10**400, float("inf"), float("nan"), [[[1]]])
VALUES: dict[str, tuple[Any, ...]] = {
    "int": (*NUMBERS, 1.5),
    "float": NUMBERS,
    "bool": (7, "x", None, []),
    "str": (7, [], {}, None, "\ud800", "x" * 10**6),
    "tuple[float, ...]": ("x", {}, [], [[]], -1, float("nan"), [0.5] * 2_000),
}


class Model:
    """A good file, of which broken ones are made."""

    def __init__(self, path: Path) -> None:
        self.path, self.header = path, header_of(path)
        self.tensors = load_file(path)

    def written(
        self, path: Path, header: Header | str | None = None, tensors: Tensors | None = None
    ) -> Path:
        """A file of this header and these tensors, with a digest that matches."""
        header = self.header if header is None else header
        text = header if isinstance(header, str) else json.dumps(header)
        tensors = self.tensors if tensors is None else tensors
        digest = checkpoint.digest(text, tensors)
        save_file(tensors, path, metadata={"charrnn": f"{digest}\n{text}"})
        return path

    def changed(self, path: Path, *place: str, value: Any) -> Path:
        """A file with another value at a place of its header; a tuple takes it away."""
        header = json.loads(json.dumps(self.header))
        inside = header
        for name in place[:-1]:
            inside = inside[name]
        if value == ():
            del inside[place[-1]]
        else:
            inside[place[-1]] = value
        return self.written(path, header)

    def tampered(self, path: Path, change: Callable[[Tensors], object]) -> Path:
        """A file with other tensors."""
        tensors = {name: array.copy() for name, array in self.tensors.items()}
        change(tensors)
        return self.written(path, tensors=tensors)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Good files, of text to share and to resume from, of words and of sound."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    clip = recorded(folder / "clip.wav", music(1.0, 8_000), 8_000)
    settings = {"steps": 4, "eval_every": 2}
    sound = {"codec": "audio", "n_fft": 256, "hop_length": 128, "components": 8, "embedding": 0}
    trained(folder / "corpus.txt", folder / "char", **settings, norm="batch", skip=False)
    words = {"codec": "word", "batch_size": 2, "seq_length": 4}
    trained(folder / "corpus.txt", folder / "word", **settings, **words)
    trained(clip, folder / "sound", **settings, **sound, sample_rate=8_000)
    files = {name: folder / name / "best.safetensors" for name in ("char", "word", "sound")}
    files["int8"] = folder / "int8.safetensors"
    checkpoint.compact(files["int8"], checkpoint.read(files["char"]), "int8")
    files["last"] = folder / "char" / "last.safetensors"
    return {name: Model(path) for name, path in files.items()}


class Trial:
    """Opens files by one command after the other, and judges the answers."""

    def __init__(self, folder: Path, models: dict[str, Model]) -> None:
        self.folder = folder
        self.calls: list[tuple[str, str, Call]] = []  # what is wrong, the file's name, the command
        (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
        corpus, out = str(folder / "corpus.txt"), str(folder / "out")
        self.commands: cycle[Callable[[str], list[str]]] = cycle(
            [
                lambda file: ["sample", file, "-n", "5", "-q"],
                lambda file: ["inspect", file],
                lambda file: ["evaluate", file, corpus],
                lambda file: ["train", corpus, "--init-from", file, "-o", out, "-q"],
            ]
        )
        self.run = folder / "run"
        shutil.copytree(models["last"].path.parent, self.run)

    @property
    def bad(self) -> Path:
        """A place for the next file."""
        return self.folder / f"bad-{len(self.calls)}"

    def opened(self, what: str, path: Path) -> None:
        """Open a file by the next command."""
        self._add(what, str(path), next(self.commands)(str(path)))

    def resumed(self, what: str, path: Path) -> None:
        """Go on with a run that has this file as its last state."""
        last = self.run / "last.safetensors"
        words = ["train", "--resume", str(self.run), "--steps", "6", "-q"]
        self._add(what, str(last), words, (path, last))

    def _add(self, what: str, name: str, words: list[str], moved: Any = None) -> None:
        said = self.folder / f"said-{len(self.calls)}"
        self.calls.append((what, name, Call(words, said, moved)))

    def expect(self, count: int) -> None:
        """All of so many files at least are refused as they should be."""
        assert len(self.calls) >= count
        calls = [call for *_, call in self.calls]
        halves = calls[: len(calls) // 2], calls[len(calls) // 2 :]
        if any(call.moved for call in calls):  # into one place
            halves = calls, []
        children = [forked(commands, half, GROW_BYTES, CPU_S) for half in halves]
        codes = [ended(child) for child in children]
        faults = [fault for given in self.calls if (fault := self._fault(*given))]
        assert not faults, "\n".join([f"{len(faults)} of {len(calls)}", *faults])
        assert codes == [0, 0]

    def _fault(self, what: str, name: str, call: Call) -> str:
        said = call.said.read_text(encoding="utf-8") if call.said.exists() else "(never run)"
        line, _, code = said.removesuffix("\n").rpartition("\n")
        is_clear = line.startswith("charrnn: ") and name in line and len(line) < 2_100
        if code == "1" and is_clear and line.translate(CONTROLS) == line:
            return ""
        return f"{what}, {call.words[0]}: {said[:500]!r}"


@pytest.fixture
def trial(tmp_path: Path, models: dict[str, Model]) -> Trial:
    return Trial(tmp_path, models)


def test_settings_that_cannot_be(trial: Trial, models: dict[str, Model]) -> None:
    """Each setting in turn: three values out of those that are wrong for its type, and none."""
    good, chance = models["char"], random.Random(0)
    for name, setting in all_settings().items():
        place = ("config", setting.section, name)
        hint = setting.hint.__name__ if type(setting.hint) is type else str(setting.hint)
        hint = hint.removesuffix(" | None")
        values = list(VALUES[hint])
        if setting.choices:
            values.append("nonsense")
        if setting.default is dataclasses.MISSING or name == "codec":
            values.append(())
        for value in chance.sample(values, 3):
            if hint in ("float", "tuple[float, ...]") and value is True:
                continue
            path = good.changed(trial.bad, *place, value=value)
            trial.opened(f"{place} {value!r:.40}", path)
    trial.expect(180)


def test_headers_that_cannot_be(trial: Trial, models: dict[str, Model]) -> None:
    """Each entry of the codec and of what is said of the training, and the parts themselves."""
    wrong = (7.5, [], {}, "\x1b[31m\r\nsha256 (matches)", -1, 10**400, float("nan"), [[]] * 70_000)
    for name in ("char", "word", "sound"):
        good = models[name]
        for entry in good.header["codec"]:
            if good.header["codec"][entry] is False:
                continue
            fits = {"characters_per_step": (7.5,), "extra": (7.5,), "separator": wrong[3:4]}
            for value in wrong[:: 1 if name == "char" else 3]:
                if value not in fits.get(entry, ()):
                    path = good.changed(trial.bad, "codec", entry, value=value)
                    trial.opened(f"{name} codec.{entry} {value!r:.40}", path)
    good = models["char"]
    for value in (*wrong[1:4], *wrong[5:], True, "x", None):
        for place in (("format",), ("config",), ("codec",), ("training", "step")):
            if (place, value) != (("training", "step"), None) and value != {}:
                path = good.changed(trial.bad, *place, value=value)
                trial.opened(f"{place} {value!r:.40}", path)
    for version in (0, 2, 3, 10**9, 1.5, "1"):
        trial.opened(f"format {version}", good.changed(trial.bad, "format", value=version))
    for place in ("format", "config", "codec", "training", "progress"):
        trial.opened(f"no {place}", good.changed(trial.bad, place, value=()))
    texts = {
        "nothing": "",
        "no JSON": "{",
        "deep": "[" * 100_000,
        "wide": "[" + "0," * 5_000_000 + "0]",
        "lists": "[" + "[]," * 3_000_000 + "0]",
        "a list": "[]",
        "a number": "9" * 5_000,
    }
    for what, text in texts.items():
        trial.opened(what, good.written(trial.bad, text))
    trial.expect(100)


def test_progress_that_cannot_be(trial: Trial, models: dict[str, Model]) -> None:
    good = models["last"]
    for entry in good.header["progress"]:
        for value in ("x", -1, 10**400, float("nan"), [], ()):
            is_fine = entry == "best_nats_per_step" and value == -1
            defaults = entry not in ("planned_steps", "threads", "corpus_crc32")
            if not is_fine and not (value == () and defaults):
                path = good.changed(trial.bad, "progress", entry, value=value)
                trial.resumed(f"progress.{entry} {value!r:.40}", path)
    for value in (7, [], {}, {"step": 1}, {"nonsense": 1}):
        trial.resumed(f"progress {value}", good.changed(trial.bad, "progress", value=value))
    trial.expect(80)


def test_contradictions(trial: Trial, models: dict[str, Model]) -> None:
    """Settings, each in its range, of another model than the tensors and the codec are of."""
    wrong: dict[str, list[tuple[str, str, Any]]] = {
        "char": [
            *(("model", "hidden", n) for n in (1, 13, 32768)),
            *(("model", "layers", n) for n in (1, 3, 64)),
            *(("model", "embedding", n) for n in (0, 7, 32768)),
            *(("model", "cell", cell) for cell in ("gru", "rnn", "peephole")),
            *(("model", "norm", norm) for norm in ("none", "layer")),
            ("model", "cell_norm", "layer"),
            ("model", "dense", 5),
            ("model", "skip", True),
            ("model", "skip_input", True),
            *(("model", "head", head) for head in ("mse", "gaussian")),
            ("model", "input_norm", "batch"),
            ("model", "input_noise", 0.3),
            ("training", "free_runs", 0.25),
            *(("data", "codec", codec) for codec in ("word", "byte", "audio")),
            ("data", "documents", "line"),
            ("data", "normalize", "NFC"),
            ("sampling", "allow", "\u2603"),
            ("sampling", "unk", True),
        ],
        "word": [("data", "codec", "char"), ("sampling", "forbid", " ")],
        "sound": [
            ("data", "codec", "char"),
            ("data", "n_fft", 512),
            ("data", "hop_length", 64),
            ("data", "sample_rate", 16_000),
            ("data", "bptt", "stateful"),
            ("model", "head", "categorical"),
            ("model", "head", "mse"),
            ("model", "embedding", 4),
            ("model", "input_norm", "batch"),
            ("model", "dense", 5),
        ],
    }
    for name, places in wrong.items():
        for section, setting, value in places:
            path = models[name].changed(trial.bad, "config", section, setting, value=value)
            trial.opened(f"{name} {section}.{setting} {value}", path)
    for size in (4_000, 65536):
        path = models["last"].changed(trial.bad, "config", "data", "batch_size", value=size)
        trial.resumed(f"batch {size}", path)
    vocabularies: dict[str, list[tuple[str, Any]]] = {
        "char": [
            ("characters", value)
            for value in ("", "a", "aa", "abc" * 9, "\ud800" * 24, "".join(map(chr, range(50_000))))
        ],
        "word": [
            ("words", value)
            for value in (
                [],
                ["<unk>"],
                ["<unk>", "", "a", "a"],
                ["<unk>", "", *map(str, range(1_000_000))],
                ["<unk>", "", "x" * 10**6],
                [7] * 30,
            )
        ],
        "sound": [
            ("n_fft", 8192),
            ("hop", 16),
            ("rate", 48_000),
            ("features", 4),
            ("linear", True),
        ],
    }
    for name, values in vocabularies.items():
        for entry, value in values:
            path = models[name].changed(trial.bad, "codec", entry, value=value)
            trial.opened(f"{name} {entry} {value!r:.40}", path)
    trial.expect(55)


def _set(name: str, value: Any) -> Callable[[Tensors], object]:
    return lambda tensors: tensors[name].__setitem__(..., value)


def _replace(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: np.ascontiguousarray(change(tensors[name]))})


def test_tensors_that_cannot_be(trial: Trial, models: dict[str, Model]) -> None:
    """Missing, too many, of another shape or type, and numbers that nothing can be computed of."""
    head, variance = "model.head.linear.weight", "model.norms.0.norm.running_var"
    changes: dict[str, Callable[[Tensors], object]] = {
        "another shape": _replace(head, lambda a: a.T),
        "one row less": _replace(head, lambda a: a[1:]),
        "half precision": _replace(head, lambda a: a.astype(np.float16)),
        "double precision": _replace(head, lambda a: a.astype(np.float64)),
        "no rows": _replace(head, lambda a: a[:0]),
        "a NaN": _set(head, np.nan),
        "infinity": _set(head, -np.inf),
        "huge": _set(head, 3.4e38),
        "a negative variance": _set(variance, -1.0),
        "a start that is a NaN": _set("start.0.0", np.nan),
        "starts that are huge": _set("start.0.1", 3e38),
        "starts that are infinite": _set("start.1.1", np.inf),
        "starts of another shape": _replace("start.0.1", lambda a: a[:, 1:]),
        "fewer starts": _replace("start.1.0", lambda a: a[1:]),
        "starts in half precision": _replace("start.0.0", lambda a: a.astype(np.float16)),
        "no start of a layer": lambda t: t.pop("start.1.0"),
        "a start too many": lambda t: t.update({"start.2.0": t["start.0.0"]}),
        "too many starts": lambda t: t.update(
            {name: np.resize(a, (100_000, a.shape[1])) for name, a in t.items() if "start." in name}
        ),
        "a stray model tensor": lambda t: t.update({"model.stray": np.zeros(2, np.float32)}),
        "a stray tensor": lambda t: t.update({"\x1b[31m../x": np.zeros(2, np.float32)}),
        "a codec's": lambda t: t.update({"codec.mean": np.zeros(2, np.float32)}),
        "a state": lambda t: t.update({"state.0.0": np.zeros((4, 12), np.float32)}),
        "nothing": lambda t: t.clear(),
        "many": lambda t: t.update({f"model.{n}": np.zeros(1, np.float32) for n in range(9_000)}),
    }
    for what, change in changes.items():
        for _ in range(2):  # by two of the commands
            trial.opened(what, models["char"].tampered(trial.bad, change))
    for name in models["char"].tensors:
        path = models["char"].tampered(trial.bad, lambda t, name=name: t.pop(name))
        trial.opened(f"without {name}", path)
    scale, most = "scale.head.linear.weight", np.finfo(np.float32).max
    compacts: dict[str, Callable[[Tensors], object]] = {
        "no scale": lambda t: t.pop(scale),
        "a scale of another shape": _replace(scale, lambda a: a[1:]),
        "a scale in half precision": _replace(scale, lambda a: a.astype(np.float16)),
        "a scale that is NaN": _set(scale, np.nan),
        "a scale that is huge": _set(scale, most),
        "a stray scale": lambda t: t.update({"scale.stray": t[scale]}),
        "a scale of a bias": lambda t: t.update({"scale.head.linear.bias": t[scale]}),
        "a matrix in fp32": _replace(head, lambda a: a.astype(np.float32)),
        "a bias in int8": _replace("model.head.linear.bias", lambda a: a.astype(np.int8)),
        "an int8 matrix of another shape": _replace(head, lambda a: a[:, 1:]),
    }
    for what, change in compacts.items():
        trial.opened(what, models["int8"].tampered(trial.bad, change))
    for name in models["sound"].tensors:
        if name.startswith("codec.") or name.endswith("variance"):
            for value in (np.nan, -1e30):
                path = models["sound"].tampered(trial.bad, _set(name, value))
                trial.opened(f"{name} {value}", path)
            path = models["sound"].tampered(trial.bad, _replace(name, lambda a: a[..., None]))
            trial.opened(f"{name} with an axis too many", path)
    states: dict[str, Callable[[Tensors], object]] = {
        "no moment": lambda t: t.pop("optimizer.0.exp_avg"),
        "a moment of another shape": _replace("optimizer.0.exp_avg", lambda a: a[1:]),
        "a moment that is NaN": _set("optimizer.0.exp_avg", np.nan),
        "a negative square": _set("optimizer.0.exp_avg_sq", -1.0),
        "a negative step": _set("optimizer.0.step", -1.0),
        "another parameter's": lambda t: t.update({"optimizer.99.step": t["optimizer.0.step"]}),
        "another spelling": lambda t: t.update({"optimizer.00.step": t["optimizer.0.step"]}),
        "no state": lambda t: t.pop("state.0.0"),
        "a state of another shape": _replace("state.0.0", lambda a: a[1:]),
        "a state that is NaN": _set("state.0.0", np.nan),
        "no generator": lambda t: t.pop("generator"),
        "a short generator": _replace("generator", lambda a: a[:3]),
        "a generator of nonsense": _set("generator", 255),
        "weights that are NaN": _set(head, np.nan),
    }
    for what, change in states.items():
        trial.resumed(what, models["last"].tampered(trial.bad, change))
    trial.expect(80)


def test_cut_files(trial: Trial, models: dict[str, Model]) -> None:
    data = models["char"].path.read_bytes()
    for percent in range(100):
        path = trial.bad
        path.write_bytes(data[: len(data) * percent // 100])
        trial.opened(f"cut at {percent}%", path)
    trial.expect(100)


def test_flipped_bits(trial: Trial, models: dict[str, Model]) -> None:
    """One bit, anywhere; half of them in the header, which is the smaller part."""
    chance = random.Random()
    for name, count in (("char", 60), ("sound", 30), ("int8", 20)):
        data = models[name].path.read_bytes()
        ends = 8 + int.from_bytes(data[:8], "little")
        for number in range(count):
            place = chance.randrange(ends if number % 2 else len(data))
            bit = chance.randrange(8)
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            path = trial.bad
            path.write_bytes(broken)
            trial.opened(f"{name} byte {place} of {len(data)}, bit {bit}", path)
    trial.expect(110)


def _raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


class Payload:
    """What a pickle would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_other_files(trial: Trial, tmp_path: Path) -> None:
    """What is no model at all, or lies about its own size; nothing of it is run."""
    marker = tmp_path / "was run"
    harm = pickle.dumps({"config": Payload(marker)})
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    contents: dict[str, bytes] = {
        "empty": b"",
        "a byte": b"\0",
        "text": b"once upon a time " * 999,
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "pickle": harm,
        "header of 10^12": (10**12).to_bytes(8, "little") + b"{}",
        "header of 2^64": b"\xff" * 8 + b"{}",
        "no header": _raw(b""),
        "header that is no JSON": _raw(b"{" * 50),
        "deep": _raw(b'{"a":' * 50_000),
        "header in UTF-16": _raw('{"a": 1}'.encode("utf-16")),
        "tensor of 10^12": _raw({"a": one | {"shape": [10**12]}}, bytes(4)),
        "offsets of 10^12": _raw({"a": one | {"data_offsets": [0, 10**12]}}, bytes(4)),
        "negative offsets": _raw({"a": one | {"data_offsets": [-4, 0]}}, bytes(4)),
        "swapped offsets": _raw({"a": one | {"data_offsets": [4, 0]}}, bytes(4)),
        "overlapping tensors": _raw({"a": one, "b": one}, bytes(4)),
        "a gap": _raw({"a": one | {"data_offsets": [4, 8]}}, bytes(8)),
        "more than it says": _raw({"a": one}, bytes(5)),
        "a type of nobody": _raw({"a": one | {"dtype": "X9"}}, bytes(4)),
        "a negative shape": _raw({"a": one | {"shape": [-1]}}, bytes(4)),
        "foreign": _raw({"a": one}, bytes(4)),
        "metadata of numbers": _raw({"__metadata__": {"charrnn": 7}, "a": one}, bytes(4)),
        "no digest": _raw({"__metadata__": {"charrnn": "{}"}, "a": one}, bytes(4)),
    }
    for kind in ("F8_E4M3", "BF16", "I8", "BOOL"):
        contents[kind] = _raw(
            {"__metadata__": {"charrnn": "\n{}"}, "a": one | {"dtype": kind}}, bytes(4)
        )
    for what, data in contents.items():
        path = trial.bad
        path.write_bytes(data)
        for _ in range(2):
            trial.opened(what, path)
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", harm)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    names = [tmp_path / n for n in ("model.pt", "folder", "pipe", "loop", "none", "x" * 250)]
    for path in (*names, Path("/dev/zero"), Path("/dev/null")):
        for _ in range(4):
            trial.opened(str(path), path)
    assert not marker.exists()
    trial.expect(80)
