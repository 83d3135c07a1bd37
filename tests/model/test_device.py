from __future__ import annotations

import sys

import pytest

from charrnn.model.device import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone gives memory back")
def test_memory_that_was_freed_is_there_for_the_next_step() -> None:
    import resource

    import torch

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    keep_freed_memory()
    torch.ones(1 << 24)  # 64 MiB: more than the C library would keep by itself
    before = faults()
    torch.ones(1 << 24)
    assert faults() - before < 1000  # of 16384 pages
