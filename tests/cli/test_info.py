from __future__ import annotations

import json

import charrnn
from tests.conftest import Command


def test_tells_versions_and_devices(command: Command) -> None:
    values = json.loads(command("info", "--json").stdout)
    assert values["charrnn"] == charrnn.__version__
    assert "cpu" in values["devices"]
    assert values["packages"]["torch"] != "missing"
    assert {"tales", "maerchen"} <= set(values["corpora"])
    assert "char-rnn" in values["presets"]
    assert values["models"] == ["english", "german"]
    shown = command("info").stdout
    assert values["python"] in shown


def test_version(command: Command) -> None:
    assert command("--version").stdout == f"charrnn {charrnn.__version__}\n"
