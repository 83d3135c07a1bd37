"""Puts the segments of each epoch on the device."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from charrnn.config import Config
from charrnn.data.corpus import Steps
from charrnn.data.lanes import ALL, Lanes, epoch_lanes

RESIDENT = 1 << 28  # a corpus of at most this many numbers (1 GiB) is kept on a GPU


class Feed:
    """Yields segments of the training part, which is cut at other places in each epoch.

    A corpus that does not fit on the device is read one segment ahead by another thread, while the
    device computes.

    Args:
        steps: (N,) or (N, F), may be memory-mapped.
        config: of the run.
        device: where the segments go.
        rows: the lanes that are read.
        resident: whether to keep the whole corpus on the device, so that it never waits for a
            segment; by default on a GPU, if the corpus is small enough.
        ahead: whether to read ahead otherwise; by default on a GPU.
    """

    def __init__(
        self,
        steps: Steps,
        config: Config,
        device: torch.device,
        *,
        rows: slice = ALL,
        resident: bool | None = None,
        ahead: bool | None = None,
    ) -> None:
        self._steps, self._config, self._device, self._rows = steps, config, device, rows
        self._pins = device.type == "cuda"  # from pinned memory, it copies in the background
        self._lanes: tuple[int, Lanes] | None = None  # epoch, and its lanes
        if resident is None:
            resident = device.type != "cpu" and steps.size <= RESIDENT
        self._resident: Tensor | None = None
        if resident:
            kind = steps.dtype if steps.dtype.kind == "f" or steps.itemsize == 1 else np.int32
            with suppress(torch.OutOfMemoryError):
                self._resident = torch.from_numpy(np.array(steps, kind)).to(device)
        ahead = device.type != "cpu" if ahead is None else ahead
        self._reader = ThreadPoolExecutor(1) if ahead and self._resident is None else None
        self._ready: tuple[tuple[int, int], Future[Tensor]] | None = None  # with epoch and index

    def lanes(self, epoch: int) -> Lanes:
        """The lanes of an epoch."""
        if self._lanes is None or self._lanes[0] != epoch:
            data = self._config.data
            lanes = epoch_lanes(
                self._steps,
                data.batch_size,
                data.seq_length,
                seed=self._config.training.seed,
                epoch=epoch,
                stateful=data.bptt == "stateful",
                circular=self._config.training.free_runs > 0,  # what follows the end is learnt
            )
            self._lanes = (epoch, lanes)
        return self._lanes[1]

    def segment(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets (the next steps) of one segment, both (B, T) or (B, T, F)."""
        lanes = self.lanes(epoch)
        if self._resident is None:
            block = self._read_ahead(epoch, index).to(self._device, non_blocking=self._pins)
        else:
            starts, width = lanes.places(index)
            rows = torch.from_numpy(starts[self._rows]).to(self._device, non_blocking=self._pins)
            columns = torch.arange(width + 1, device=self._device)
            block = self._resident[(rows.unsqueeze(1) + columns) % len(self._resident)]
            block = block if block.is_floating_point() else block.long()
        return block[:, :-1], block[:, 1:]  # of (B, T + 1) or (B, T + 1, F)

    def _read_ahead(self, epoch: int, index: int) -> Tensor:
        """A segment, whose successor in this epoch is then read in the background."""
        lanes, ready = self.lanes(epoch), self._ready
        self._ready = None
        if ready is not None and ready[0] == (epoch, index):
            block = ready[1].result()
        else:
            block = self._read(lanes, index)
        if self._reader is not None and index + 1 < lanes.segments:
            self._ready = (epoch, index + 1), self._reader.submit(self._read, lanes, index + 1)
        return block

    def _read(self, lanes: Lanes, index: int) -> Tensor:
        block = torch.from_numpy(lanes.block(index, self._rows))
        return block.pin_memory() if self._pins else block
