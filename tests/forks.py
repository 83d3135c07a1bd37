"""Child processes that need not import PyTorch again: forked from a server that has.

What runs in one must be a function of a module, and one thread is all that it may use.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("charrnn.training.prepare", "charrnn.cli.sound", "tests.conftest"),
        *("torch._dynamo", "psutil", "filelock"),  # which would be imported when they are needed
    ]
)
TIMEOUT_S = 120.0  # for a child that hangs; nothing is measured by it


def forked(target: Callable[..., None], *given: Any) -> BaseProcess:
    """Start a function in a process of its own."""
    child = CONTEXT.Process(target=target, args=given)
    child.start()
    return child


def ended(child: BaseProcess) -> int:
    """Wait for it: its exit code, or minus the signal that ended it."""
    child.join(TIMEOUT_S)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise TimeoutError(f"a child has not ended after {TIMEOUT_S:g} s")
    code = child.exitcode
    child.close()
    return code


def command(words: list[str], said: Path, grow_bytes: int = 0, cpu_s: int = 0) -> None:
    """`charrnn` with these words; what it says on both streams goes into a file.

    Args:
        words: of the command line.
        said: the file.
        grow_bytes: how much memory the process may take, beyond what a fork begins with.
        cpu_s: how many seconds of a processor.
    """
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in ((nothing, 0), (stream, 1), (stream, 2)):
        os.dup2(number, descriptor)
    if cpu_s:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    if grow_bytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + grow_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    from charrnn.cli.main import main

    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - a fork's are closed
    sys.argv = ["charrnn", *words]
    main()
