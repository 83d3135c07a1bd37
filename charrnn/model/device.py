"""Where the network runs: the devices of this machine and the choice among them."""

from __future__ import annotations

import os

import torch

from charrnn.errors import DeviceError


def available() -> list[str]:
    """The devices of this machine, the fastest first."""
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    return found


def pick(name: str) -> torch.device:
    """The device of this name; "auto" is the fastest one.

    Raises:
        DeviceError: it is not there.
    """
    found = available()
    if name == "auto":
        name = found[0]
    if name not in found:
        raise DeviceError(f"no {name} device here; available: {', '.join(found)} (--device)")
    return torch.device(name)


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
