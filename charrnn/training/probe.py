"""Measures the time of updates, to choose threads and precision, before and during training."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from charrnn.media.steps import Discrete
from charrnn.model import device as devices
from charrnn.model.device import is_out_of_memory
from charrnn.model.network import Network
from charrnn.processes import processors

ROUNDS = 3  # how often each candidate is timed; they take turns
MAX_S = 20.0  # start no new round after this time
HOPELESS = 3.0  # a candidate that takes this many times as long as the best is not timed again
MARGIN = 0.95  # another precision or thread count must save at least 5%


@dataclass(frozen=True)
class Speed:
    """Threads and precision to train with, and the time of an update."""

    threads: int
    precision: str
    seconds: float  # of one update


def fastest(
    network: Network,
    batch: int,
    length: int,
    *,
    threads: int = 0,
    precision: str = "auto",
    last_only: bool = False,
) -> Speed:
    """Time updates on a temporary copy, and choose the fastest threads and precision.

    Args:
        network: on its device; it is not changed.
        batch: B.
        length: T.
        threads: 0: choose between one thread and one per processor.
        precision: "auto": choose between fp32 and bf16.
        last_only: as in `Network.loss`.
    """
    device = next(network.parameters()).device
    on_cpu = device.type == "cpu"
    counts = [threads] if threads else sorted({1, processors() if on_cpu else 1})
    precisions = _precisions(device) if precision == "auto" else [precision]
    candidates = [(count, kind) for kind in precisions for count in counts]
    scratch, block = _scratch(network), _block(network, batch, length)
    times: dict[tuple[int, str], list[float]] = {candidate: [] for candidate in candidates}
    before, began = torch.get_num_threads(), time.monotonic()
    try:
        for number in range(ROUNDS + 1):  # the first round is for warming up
            quickest = min((min(seen) for seen in times.values() if seen), default=float("inf"))
            for candidate, seen in times.items():
                if number < 2 or min(seen) < HOPELESS * quickest:
                    seen.append(_timed_step(scratch, block, *candidate, last_only))
            if time.monotonic() - began > MAX_S:
                break
    finally:
        torch.set_num_threads(before)
    # The median, not the best: threads that wait for each other are slow most of the time.
    cost = {candidate: median(seen[1:] or seen) for candidate, seen in times.items()}
    choice = _cheapest(candidates, cost)
    return Speed(*choice, cost[choice])


def fits(network: Network, batch: int, length: int, last_only: bool = False) -> bool:
    """Whether there is enough memory for an update with this batch size."""
    try:
        block = _block(network, batch, length)
        _timed_step(_scratch(network), block, torch.get_num_threads(), "fp32", last_only)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        return False
    return True


def _scratch(network: Network) -> Network:
    """A copy to train and discard."""
    scratch = copy.deepcopy(network).train()
    for module in scratch.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # cuDNN needs contiguous memory, which a copy is not
    return scratch


def _block(network: Network, batch: int, length: int) -> torch.Tensor:
    """Random steps to measure with, (B, T + 1) or (B, T + 1, F)."""
    generator, step = torch.Generator().manual_seed(0), network.step
    shape = (batch, length + 1)
    if isinstance(step, Discrete):
        block = torch.randint(step.size, shape, generator=generator)
    else:
        block = torch.randn(*shape, step.size, generator=generator)
    return block.to(next(network.parameters()).device)


def _precisions(device: torch.device) -> Sequence[str]:
    """The precisions worth measuring."""
    if device.type == "mps" or not devices.can_bf16(device):
        return ["fp32"]
    return ["bf16"] if device.type == "cuda" else ["fp32", "bf16"]


def _cheapest(
    candidates: Sequence[tuple[int, str]], cost: dict[tuple[int, str], float]
) -> tuple[int, str]:
    """The fastest candidate; an earlier one (fewer threads, fp32) unless it is clearly slower."""
    choice = candidates[0]
    for candidate in candidates[1:]:
        if cost[candidate] < MARGIN * cost[choice]:
            choice = candidate
    return choice


def _timed_step(
    network: Network, block: torch.Tensor, threads: int, precision: str, last_only: bool
) -> float:
    """Seconds of one forward and backward pass."""
    torch.set_num_threads(threads)
    device = block.device
    generator = torch.Generator(device).manual_seed(0)
    state = network.initial_state(len(block))
    _synchronise(device)
    started = time.monotonic()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        inputs, targets = block[:, :-1], block[:, 1:]
        loss, *_ = network.loss(inputs, targets, state, generator, last_only=last_only)
    loss.backward()
    _synchronise(device)
    seconds = time.monotonic() - started
    network.zero_grad(set_to_none=True)
    return seconds


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
