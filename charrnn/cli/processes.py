"""Several processes that train together: starts them with torchrun's launcher, and is the part of
`charrnn train` in those that follow."""

from __future__ import annotations

import logging
import secrets
import signal
import sys

import typer

from charrnn.cli.failures import END_SIGNALS
from charrnn.errors import PeerError


def launch(count: int) -> None:
    """Run this command in `count` processes, and end with the exit code of the first.

    What torchrun would say when one of them fails is left out: they say it themselves.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
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
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        raise typer.Exit(abs(codes.get(0, 1))) from None


def follow() -> None:
    """Train in a process that does not lead; what the leader says, it need not say again."""
    from charrnn import api

    for number in (signal.SIGINT, *END_SIGNALS):  # the leader decides, and ends all
        signal.signal(number, signal.SIG_IGN)
    try:
        api.train([]).run()
    except PeerError:
        raise typer.Exit(1) from None
