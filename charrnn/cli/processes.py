"""Several processes that train together: starts them with torchrun's launcher, and is the part of
`charrnn train` in those that follow."""

from __future__ import annotations

import logging
import secrets
import signal
import sys

import typer

from charrnn.cli.failures import ignore_signals, print_error
from charrnn.errors import PeerError


def launch(count: int) -> None:
    """Run this command in `count` processes, and end with the exit code of the first.

    What torchrun would say when one of them fails is left out: they say it themselves.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)
    config = LaunchConfig(
        run_id=secrets.token_hex(8),
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "charrnn", *sys.argv[1:])
    except SignalException as stopped:
        raise typer.Exit(128 + stopped.sigval) from None
    except ChildFailedError as error:
        failure = error.failures.get(0)
        code = 1 if failure is None else failure.exitcode
        if code < 0 and code != -signal.SIGTERM:  # by which the launcher ends it
            name = signal.Signals(-code).name
            print_error(f"the first process was ended by {name}; is there enough memory?")
        raise typer.Exit(max(1, code)) from None


def follow() -> None:
    """Train in a process that does not lead; what the leader says, it need not say again."""
    from charrnn import api

    ignore_signals()  # the leader decides, and ends all
    try:
        api.train([]).run()
    except PeerError:
        raise typer.Exit(1) from None
