"""Measuring training steps, before the first and now and then: threads, precision, time."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from charrnn.codec.steps import Discrete
from charrnn.model.device import is_out_of_memory, processors
from charrnn.model.network import Network

ROUNDS = 3  # every candidate is timed so often, in turns
PATIENCE_S = 20.0  # no new round after so long
HOPELESS = 3.0  # times the best so far: not timed again
SLOW = 1.6  # times as long as when the threads were chosen: time to choose again
LOOK_EVERY_S = 1.0
CLIMB_AFTER_S = 30.0  # back to more threads; twice as long after each try
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
    last_only: bool = False,
) -> Speed:
    """Time training steps on a scratch copy and choose what was left open.

    Args:
        network: on its device; it is not changed.
        batch: B.
        length: T.
        threads: 0: one or as many as there are processors.
        precision: "auto": fp32 or bf16.
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
        for number in range(ROUNDS + 1):  # the first round also pays for warming up
            quickest = min((min(seen) for seen in times.values() if seen), default=float("inf"))
            for candidate, seen in times.items():
                if number < 2 or min(seen) < HOPELESS * quickest:
                    seen.append(_timed_step(scratch, block, *candidate, last_only))
            if time.monotonic() - began > PATIENCE_S:
                break
    finally:
        torch.set_num_threads(before)
    # The median, not the best: threads that wait for each other are slow most of the time.
    cost = {candidate: median(seen[1:] or seen) for candidate, seen in times.items()}
    choice = _cheapest(candidates, cost)
    return Speed(*choice, cost[choice])


def fits(network: Network, batch: int, length: int, last_only: bool = False) -> bool:
    """Whether there is memory for a training step with this batch."""
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
    """A copy to train that nobody misses."""
    scratch = copy.deepcopy(network).train()
    for module in scratch.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # cuDNN wants one piece of memory, a copy is many
    return scratch


def _block(network: Network, batch: int, length: int) -> torch.Tensor:
    """Steps, or frames, to try it on, (B, T + 1)."""
    generator, step = torch.Generator().manual_seed(0), network.step
    shape = (batch, length + 1)
    if isinstance(step, Discrete):
        block = torch.randint(step.size, shape, generator=generator)
    else:
        block = torch.randn(*shape, step.size, generator=generator)
    return block.to(next(network.parameters()).device)


def _precisions(device: torch.device) -> Sequence[str]:
    if device.type == "mps":
        return ["fp32"]
    if device.type == "cuda":
        return ["bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"]
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


class Pace:
    """What a step takes by the clock, and when to try more threads; no part of what is saved."""

    def __init__(self) -> None:
        self.climb_at = 0.0
        self._wait_s = CLIMB_AFTER_S
        self._since: tuple[int, float] | None = None

    def seconds_per_step(self, step: int, now: float, *, skip: bool) -> float | None:
        """The mean since the last reading, once a second; `skip`: begin anew after a pause."""
        if self._since is None or skip:
            self._since = (step, now)
            return None
        taken, passed = step - self._since[0], now - self._since[1]
        if passed < LOOK_EVERY_S:
            return None
        self._since = (step, now)
        return passed / taken

    def chosen(self, now: float, *, climbing: bool) -> None:
        """Threads were chosen; `climbing`: to see whether more would be faster."""
        if climbing or self.climb_at == 0.0:
            self.climb_at, self._wait_s = now + self._wait_s, 2 * self._wait_s
        self._since = None
