"""Child processes that need not import PyTorch again: forked from a server that has.

What runs in one must be a function of a module, and one thread is all that it may use.  `Program`
is a `charrnn` for shells, whose processes are such forks.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("charrnn.api", "charrnn.cli.main", "charrnn.training.prepare", "tests.conftest"),
        *("charrnn.media.text.word", "charrnn.sampling.beam", "charrnn.media.sound.judging"),
        *("charrnn.media.sound.learning", "charrnn.media.sound.writing"),
        # Which would be imported when they are needed.
        *("torch._dynamo", "psutil", "filelock", "typer._adapters", "charrnn.training.evaluate"),
    ]
)
TIMEOUT_S = 120.0  # for a child that hangs; nothing is measured by it
# What stands in place of `charrnn`: it gives its command line and its streams away, and waits.
CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(8) or 99))  # 99: it was killed
"""


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


def kill_at(count: int, folder: Path, events: tuple[str, ...] = ("open", "os.")) -> None:
    """Kill this process before it opens, renames or removes a file of a folder for so-manieth time.

    Args:
        count: which time, from 1.
        folder: where the file is.
        events: how the names of the audit events begin that count.
    """
    left, inside = count, str(folder)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal left
        if event.startswith(events) and given and str(given[0]).startswith(inside):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


class Call(NamedTuple):
    """A command to be run in a fork."""

    words: list[str]  # of the command line
    said: Path  # the file for what it says on both streams, and then its exit code on a line
    moved: tuple[Path, Path] | None = None  # a file that has to be elsewhere before


def commands(calls: list[Call], grow_bytes: int, cpu_s: int) -> None:
    """`charrnn` with one command line after the other.

    Args:
        calls: what to run.
        grow_bytes: how much memory each may take, beyond what there was before.
        cpu_s: how many seconds of a processor each may take, rounded up.
    """
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - a fork's is closed
    for words, said, moved in calls:
        if moved is not None:
            os.replace(*moved)
        stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.close(stream)
        seconds = math.ceil(time.process_time()) + cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        status = Path("/proc/self/status").read_text()
        limit = 1024 * int(status.partition("VmData:")[2].split()[0]) + grow_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        code = _run(words)
        sys.stdout.flush()
        print(code, flush=True)


def _run(words: list[str]) -> object:
    """Run a command line; what it exits with."""
    from charrnn.cli.main import main

    sys.argv = ["charrnn", *words]
    try:
        main()
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return "traceback"
    return None


class Program:
    """A folder with a program `charrnn`, whose every process is a fork; to be closed.

    A signal does not reach the fork, which ends when it has done its work or its pipe is closed.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())  # short, as the address of a socket has to be
        address = str(self.folder / "socket")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(address)
        self._socket.listen(16)
        client = self.folder / "charrnn"
        client.write_text(CLIENT.format(python=sys.executable, address=address))
        client.chmod(0o755)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        children = []
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # it is closed
                break
            with connection, suppress(OSError):  # then the client ends with an error
                children.append(forked(_answer, connection))
        for child in children:
            with suppress(TimeoutError):  # it is killed
                ended(child)

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        shutil.rmtree(self.folder)


def _answer(connection: socket.socket) -> None:
    """Be `charrnn` for a client."""
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as request:
        words, folder, environment = json.load(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = _run(words)
    sys.stdout.flush()
    connection.sendall(str(code if isinstance(code, int) else int(code is not None)).encode())
