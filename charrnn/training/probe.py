"""Measuring a few training steps before the first: threads, precision, time and memory."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from charrnn.model.device import processors
from charrnn.model.network import Network

ROUNDS = 3  # every candidate is timed so often, in turns, and its best time counts
PATIENCE_S = 20.0  # no new round after so long
MARGIN = 0.95  # another precision or thread count must save at least 5%


@dataclass(frozen=True)
class Speed:
    """A way to run training, and what a step costs."""

    threads: int
    precision: str
    seconds: float  # of one optimizer step


def fastest(
    network: Network,
    batch: int,
    length: int,
    *,
    threads: int = 0,
    precision: str = "auto",
    rounds: int = ROUNDS,
) -> Speed:
    """Time training steps on a scratch copy and choose what was left open.

    Args:
        network: on its device; it is not changed.
        batch: B.
        length: T.
        threads: 0: one or as many as there are processors.
        precision: "auto": fp32 or bf16.
        rounds: how often each way is timed, after one round to warm up.
    """
    device = next(network.parameters()).device
    on_cpu = device.type == "cpu"
    counts = [threads] if threads else sorted({1, processors() if on_cpu else 1})
    precisions = _precisions(device) if precision == "auto" else [precision]
    candidates = [(count, kind) for kind in precisions for count in counts]
    scratch = copy.deepcopy(network).train()
    size = scratch.head.linear.out_features
    generator = torch.Generator().manual_seed(0)
    block = torch.randint(size, (batch, length + 1), generator=generator).to(device)
    best = dict.fromkeys(candidates, float("inf"))
    before, began = torch.get_num_threads(), time.monotonic()
    try:
        for _ in range(rounds + 1):  # the first round also pays for warming up
            for candidate in candidates:
                seconds = _timed_step(scratch, block, *candidate)
                best[candidate] = min(best[candidate], seconds)
            if time.monotonic() - began > PATIENCE_S:
                break
    finally:
        torch.set_num_threads(before)
    choice = _cheapest(candidates, best)
    return Speed(*choice, best[choice])


def _precisions(device: torch.device) -> Sequence[str]:
    if device.type == "mps":
        return ["fp32"]
    if device.type == "cuda":
        return ["bf16" if torch.cuda.is_bf16_supported() else "fp32"]
    return ["fp32", "bf16"]


def _cheapest(
    candidates: Sequence[tuple[int, str]], cost: dict[tuple[int, str], float]
) -> tuple[int, str]:
    """The cheapest candidate; an earlier one (fewer threads, fp32) unless it costs clearly more."""
    choice = candidates[0]
    for candidate in candidates[1:]:
        if cost[candidate] < MARGIN * cost[choice]:
            choice = candidate
    return choice


def _timed_step(network: Network, block: torch.Tensor, threads: int, precision: str) -> float:
    """Seconds of one forward and backward pass."""
    torch.set_num_threads(threads)
    device = block.device
    generator = torch.Generator(device).manual_seed(0)
    state = network.initial_state(len(block))
    _synchronise(device)
    started = time.monotonic()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        nats, _ = network.loss(block[:, :-1], block[:, 1:], state, generator)
    nats.backward()
    _synchronise(device)
    seconds = time.monotonic() - started
    network.zero_grad(set_to_none=True)
    return seconds


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
