"""Models from the hub and to it, against a server of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import charrnn
from tests import fake_hub
from tests.conftest import TINY, Command, flags
from tests.fake_hub import COMMIT, TOKEN, Hub

pytestmark = pytest.mark.long  # many processes, since the hub's address is read when it is imported


@pytest.fixture
def hub() -> Iterator[Hub]:
    with fake_hub.running() as running:
        yield running


@pytest.fixture
def reaching(child: Command, hub: Hub, tmp_path: Path) -> Command:
    """The command in a process that knows only our hub."""

    def call(*words: object, **more: str) -> object:
        variables = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return child(*words, **variables | more)

    return call  # type: ignore[return-value]


def test_published_and_fetched(reaching: Command, hub: Hub, run: Path, tmp_path: Path) -> None:
    named = ("--title", "Herons", "--license", "cc0-1.0", "--about", "A tale.")
    outcome = reaching("push", run, "user/herons", *named)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip() == f"{hub.address}/user/herons/commit/{COMMIT}"
    files = hub.files["user/herons"]
    assert {"model.safetensors", "README.md", "config.json", "index.html"} <= files.keys()
    assert files["model.safetensors"] == (run / "best.safetensors").read_bytes()
    card = files["README.md"].decode()
    assert 'license: "cc0-1.0"' in card
    assert "    charrnn sample hf://user/herons\n" in card
    assert "# Herons" in card
    assert "- [index.html](index.html): a page" in card
    assert json.loads(files["config.json"])["codec"] == "char"
    sampled = ("-n", "60", "--seed", "1", "-q")
    expected = reaching("sample", run, *sampled).stdout
    outcome = reaching("sample", "hf://user/herons", *sampled)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == expected
    for revision in ("main", COMMIT):
        assert reaching("sample", f"hf://user/herons@{revision}", *sampled).stdout == expected
    assert reaching("sample", "HF://user/herons", *sampled).stdout == expected
    outcome = reaching("export", "hf://user/herons", "-o", "card.md")
    assert outcome.returncode == 0, outcome.stderr
    assert "# herons" in (tmp_path / "card.md").read_text(encoding="utf-8")
    offline = reaching("sample", "hf://user/herons", *sampled, HF_HUB_OFFLINE="1")
    assert offline.stdout == expected
    small = flags(steps=2, threads=1, precision="fp32", device="cpu")
    (tmp_path / "corpus.txt").write_text("The heron said nothing. " * 60, encoding="utf-8")
    tuned = reaching(
        *("train", "corpus.txt", "-o", "tuned", "-q", "--init-from", "hf://user/herons"), *small
    )
    assert tuned.returncode == 0, tuned.stderr
    assert charrnn.load(tmp_path / "tuned").config.model.hidden == TINY["hidden"]


def test_a_private_model(reaching: Command, hub: Hub, run: Path) -> None:
    assert reaching("push", run, "user/secret", "--private", "-q").returncode == 0
    assert "user/secret" in hub.private
    assert reaching("inspect", "hf://user/secret").returncode == 0
    other = reaching("inspect", "hf://user/secret", HF_TOKEN="", HF_HOME="/nowhere")
    assert other.returncode == 1
    assert "or it is private; log in with: hf auth login" in other.stderr


def test_what_cannot_be_fetched(reaching: Command, hub: Hub, run: Path) -> None:
    hub.files |= {"user/other": {"README.md": b""}, "user/bad": {"model.safetensors": b"\x80\x04"}}
    for address, problem in (
        ("hf://user/missing", "no such repository"),
        ("hf://user/other", "has no model.safetensors"),
        ("hf://user/other@old", "has no such revision"),
        ("hf://user/bad", "not a charrnn model"),
        ("hf://user", "write hf://USER/NAME"),
        ("hf://user/name/more", "write hf://USER/NAME"),
        ("hf:user/name", "write hf://USER/NAME"),
        ("hf://user/name@../more", "write hf://USER/NAME"),
    ):
        outcome = reaching("sample", address)
        assert outcome.returncode in (1, 2), address
        assert problem in outcome.stderr
        assert outcome.stderr.count("\n") == 1, outcome.stderr
    outcome = reaching("sample", "hf://user/gone", HF_HUB_OFFLINE="1")
    assert "is not in the cache" in outcome.stderr
    outcome = reaching("push", run, "user/name", HF_TOKEN="hf_wrong")
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "charrnn: hf://user/name: the hub does not know you; log in with: hf auth login\n"
    )
    assert reaching("push", run, "name").returncode == 2
