"""The check for a GPU, `tests/gpu.py`, in small on the processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("gpu.py")


@pytest.mark.long
def test_it_runs_to_its_end(tmp_path: Path, environment: dict[str, str]) -> None:
    outcome = subprocess.run(
        [sys.executable, str(SCRIPT), "--cpu", "--out", str(tmp_path)],
        env=environment | {"CHARRNN_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["left_out"] == []
    assert {"sound", "notes", "fine-tuning", "divergence", "quality"} <= found["checks"].keys()
    assert all(row["steps/s"] > 0 for row in found["speed"])
    assert found["quality"]["curve"]
    assert "0 checks failed" in outcome.stdout
    table = (tmp_path / "gpu.md").read_text()
    assert all(f"| {name} |" in table for name in found["checks"])
