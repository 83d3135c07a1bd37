from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from charrnn.model.device import keep_freed_memory
{call}
for _ in range(6):  # it takes a few until the heap has the shape of a step
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MiB in 16384 pages: more than the C library keeps by itself
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone gives memory back")
def test_memory_that_was_freed_is_there_for_the_next_step() -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", FAULTS.format(call="keep_freed_memory()")],
        capture_output=True,
        check=True,
    )
    assert int(outcome.stdout) < 1000
