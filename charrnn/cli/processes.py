"""Several processes that train together: starts them with torchrun's launcher, and is the part of
`charrnn train` in those that follow."""

from __future__ import annotations

import logging
import secrets
import signal
import sys

import typer

from charrnn.cli.failures import END_SIGNALS, ignore_signals, print_error
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
        leader = error.failures.get(0)
        if leader is not None and leader.exitcode in (1, 2):  # it has said why
            raise typer.Exit(leader.exitcode) from None
        rank, first = error.get_first_failure()
        if first.exitcode < 0:
            name = signal.strsignal(-first.exitcode)
            print_error(f"process {rank} was ended ({name}); is there enough memory?")
        raise typer.Exit(1) from None


def follow() -> None:
    """Train in a process that does not lead; what the leader says, it need not say again."""
    from charrnn import api

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in END_SIGNALS:  # while it waits for the leader, nothing is lost
        signal.signal(number, signal.SIG_DFL)
    run = api.train([])
    try:
        _ = run.trainer
    except PeerError:  # the leader has ended, with an error of its own or because all is done
        return
    ignore_signals()  # the leader decides, and ends all
    try:
        run.run()
    except PeerError:
        raise typer.Exit(1) from None
