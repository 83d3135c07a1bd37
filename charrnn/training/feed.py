"""Puts the segments of each epoch on the device."""

from __future__ import annotations

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

    Args:
        steps: (N,) or (N, F), may be memory-mapped.
        config: of the run.
        device: where the segments go.
        rows: the lanes that are read.
        resident: whether to keep the whole corpus on the device, so that it never waits for a
            segment; by default on a GPU, if the corpus is small enough.
    """

    def __init__(
        self,
        steps: Steps,
        config: Config,
        device: torch.device,
        *,
        rows: slice = ALL,
        resident: bool | None = None,
    ) -> None:
        self._steps, self._config, self._device, self._rows = steps, config, device, rows
        self._lanes: tuple[int, Lanes] | None = None  # epoch, and its lanes
        if resident is None:
            resident = device.type != "cpu" and steps.size <= RESIDENT
        self._resident: Tensor | None = None
        if resident:
            kind = steps.dtype if steps.dtype.kind == "f" or steps.itemsize == 1 else np.int32
            with suppress(torch.OutOfMemoryError):
                self._resident = torch.from_numpy(np.array(steps, kind)).to(device)

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
            inputs, targets = (torch.from_numpy(part) for part in lanes.segment(index, self._rows))
            return inputs.to(self._device), targets.to(self._device)
        starts, width = lanes.places(index)
        rows = torch.from_numpy(starts[self._rows]).to(self._device, non_blocking=True).unsqueeze(1)
        columns = torch.arange(width + 1, device=self._device)
        block = self._resident[(rows + columns) % len(self._resident)]  # (B, T + 1)
        block = block if block.is_floating_point() else block.long()
        return block[:, :-1], block[:, 1:]
