"""What the tests share: a small text, a small trained run, and the command as a child process."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import charrnn
from charrnn.cli import failures
from charrnn.cli.main import main
from charrnn.model.network import Network
from charrnn.sampling.runtime import Runtime
from charrnn.training.events import Event, Saved
from tests.export import browser

hypothesis.settings.register_profile("charrnn", deadline=None)  # the clock judges nothing
hypothesis.settings.load_profile("charrnn")
ROOT = Path(__file__).resolve().parent.parent
# A shell that starts the tests in the background, or nohup, has these ignored, which the commands
# under test would inherit.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# As small as it gets, with every choice made: nothing is measured, so runs are the same each time.
TINY = {
    "hidden": 12,
    "layers": 2,
    "embedding": 6,
    "dropout": 0.2,
    "batch_size": 4,
    "seq_length": 8,
    "threads": 1,
    "precision": "fp32",
    "device": "cpu",
}
TEXT = 'The miller said, "Ah."\nThe grüne heron said – nothing, and the river went on.\n' * 12

Command = Callable[..., subprocess.CompletedProcess[str]]


def flags(**settings: object) -> list[str]:
    """Settings as command-line flags."""
    pairs = [(f"--{k.replace('_', '-')}", str(v)) for k, v in settings.items()]
    return [word for pair in pairs for word in pair]


def trained(corpus: Path, out: Path, **settings: object) -> list[Event]:
    """Train as small as it gets and give all events."""
    return list(charrnn.train(corpus, out, **(TINY | settings)))


def in_two_parts(corpus: Path, out: Path, at: int, **settings: Any) -> None:
    """Train, interrupted when the update `at` is saved, and resume."""
    events = charrnn.train(corpus, out, **settings)
    for event in events:
        if event.update == at and isinstance(event, Saved):
            events.close()
            break
    list(charrnn.resume(out))


def runtime_of(network: Network) -> Runtime:
    """The same network for the sampler."""
    weights = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return Runtime(network.config, weights)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser."""
    with browser() as opened:
        yield opened


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps, to be read only."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    trained(folder / "corpus.txt", folder / "run", steps=40, eval_every=10, lr=0.02)
    return folder / "run"


@pytest.fixture
def environment() -> dict[str, str]:
    """An environment without settings of the developer's."""
    names = {k: v for k, v in os.environ.items() if not k.startswith("CHARRNN_")}
    return names | {"COLUMNS": "100"}


@pytest.fixture
def child(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Run `charrnn` in a child process, in the directory of the test."""

    def call(
        *words: object, stdin: bytes | str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        outcome = subprocess.run(
            [sys.executable, "-m", "charrnn", *map(str, words)],
            input=_bytes(stdin),
            capture_output=True,
            cwd=tmp_path,
            env=environment | env,
            timeout=120,
            check=False,
        )
        return subprocess.CompletedProcess(
            outcome.args, outcome.returncode, outcome.stdout.decode(), outcome.stderr.decode()
        )

    return call


@pytest.fixture
def command(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The same within this process, which saves the seconds of importing PyTorch."""

    def call(
        *words: object, stdin: bytes | str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        arguments = ["charrnn", *map(str, words)]
        streams = [io.TextIOWrapper(io.BytesIO(data)) for data in (_bytes(stdin), b"", b"")]
        handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, *failures.END_SIGNALS)}
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(os, "environ", environment | env)
            patch.setattr(sys, "argv", arguments)
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(bool(end.code))
            except Exception:
                traceback.print_exc(file=streams[2])
                code = 1
        for number, handler in handlers.items():
            signal.signal(number, handler)
        texts = []
        for stream in streams[1:]:
            stream.flush()
            texts.append(stream.buffer.getvalue().decode(errors="replace"))  # type: ignore[attr-defined]
        outcome = subprocess.CompletedProcess(arguments, code, *texts)
        outcome.raw = streams[1].buffer.getvalue()  # type: ignore[attr-defined]
        return outcome

    return call


def _bytes(text: bytes | str | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""
