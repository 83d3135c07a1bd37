"""Chooses the number of threads again during training, if it is slow or might become faster."""

from __future__ import annotations

from collections.abc import Callable

import torch

from charrnn.config import Config
from charrnn.model import device as devices
from charrnn.model.network import Network
from charrnn.processes import processors
from charrnn.training import probe
from charrnn.training.progress import Progress

SLOW = 1.6  # choose threads again if updates take this many times as long as expected
LOOK_EVERY_S = 1.0
CLIMB_AFTER_S = 30.0  # until more threads are tried; doubles after each try


class ThreadChooser:
    """Watches the time per update, and measures again which number of threads is best.

    When another program uses a processor, threads wait for each other: an update then takes ten
    times as long on two threads as on one.

    Args:
        config: of the run.
        network: on its device.
        device: of the network.
    """

    def __init__(self, config: Config, network: Network, device: torch.device) -> None:
        self._config, self._network, self._device = config, network, device
        self._pace = Pace()

    def choose(
        self, progress: Progress, clock: Callable[[], float], *, evaluated: bool, paused: bool
    ) -> bool:
        """Measure and choose the number of threads, if training is slow or a new try is due.

        Args:
            progress: whose number of threads to change.
            clock: in seconds.
            evaluated: whether there was an evaluation after the last update.
            paused: whether training paused since the update before, for this or for anything else.

        Returns:
            Whether the number has changed; if so, save it before the next update.  `Trainer.events`
            sets PyTorch's at each event.
        """
        if self._device.type != "cpu" or self._config.training.threads:
            return False
        pace, now = self._pace, clock()
        fewer = progress.threads < processors()
        seconds = pace.seconds_per_update(progress.update, now, skip=paused)
        is_slow = seconds is not None and seconds > SLOW * progress.expected_s
        if not is_slow and not (evaluated and fewer and now >= pace.climb_at):
            return False
        speed = self._fastest(0)
        changed = speed.threads != progress.threads
        pace.chosen(clock(), climbing=fewer)
        progress.threads = speed.threads
        progress.expected_s = max(speed.seconds, 0.0 if changed else seconds or 0.0)
        return changed

    def measured_s(self, progress: Progress) -> float:
        """Seconds per update with the current number of threads, measured on a copy."""
        return self._fastest(progress.threads).seconds

    def _fastest(self, threads: int) -> probe.Speed:
        training, data = self._config.training, self._config.data
        return probe.fastest(
            self._network,
            data.batch_size,
            data.seq_length,
            threads=threads,
            precision=devices.usable_precision(training.precision, self._device),
            last_only=data.targets == "last",
        )


class Pace:
    """Measures the time per update, and decides when to try more threads; not saved."""

    def __init__(self) -> None:
        self.climb_at = 0.0
        self._wait_s = CLIMB_AFTER_S
        self._since: tuple[int, float] | None = None

    def seconds_per_update(self, update: int, now: float, *, skip: bool) -> float | None:
        """The mean since the last reading, at most once a second; otherwise None.

        `skip`: training paused (an evaluation); start a new measurement.
        """
        if self._since is None or skip:
            self._since = (update, now)
            return None
        taken, passed = update - self._since[0], now - self._since[1]
        if passed < LOOK_EVERY_S:
            return None
        self._since = (update, now)
        return passed / taken

    def chosen(self, now: float, *, climbing: bool) -> None:
        """Call this after choosing threads; `climbing`: whether more threads were tried."""
        if climbing or self.climb_at == 0.0:
            self.climb_at, self._wait_s = now + self._wait_s, 2 * self._wait_s
        self._since = None
