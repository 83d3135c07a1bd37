"""How much memory training takes: an estimate, and the refusal of what cannot fit."""

from __future__ import annotations

import math

from charrnn.config import ModelConfig
from charrnn.model.cells import cell_of
from charrnn.model.device import too_large
from charrnn.model.shapes import shapes

BASE_BYTES = 320 << 20  # Python, PyTorch and its buffers, before the first tensor of the network
PARAMETER_BYTES = 40  # weight, gradient, moments; copies for measuring, for samples and in bf16
CERTAIN_SHARE = 0.35  # of the estimate; in measurements, at least 0.4 of it was needed


def peak_bytes(
    model: ModelConfig, batch: int, length: int, size: int, *, last_only: bool = False
) -> int:
    """Estimated peak of memory: parameters with optimizer state, and what backpropagation keeps.

    Args:
        model: the network's shape.
        batch: B.
        length: T.
        size: V, or F.
        last_only: as in `Network.loss`.
    """
    cell = cell_of(model.cell)
    parameters = sum(map(math.prod, shapes(model, size).values()))
    is_looped = model.cell_norm != "none" or model.recurrent_dropout > 0
    kept = cell.kept_in_loop if is_looped or cell.kept_fused is None else cell.kept_fused
    units = length * model.layers * kept * model.hidden + (1 if last_only else length) * 4 * size
    return BASE_BYTES + PARAMETER_BYTES * parameters + 4 * batch * units


def refuse_too_large(
    model: ModelConfig,
    batch: int,
    length: int,
    size: int,
    free_bytes: int,
    *,
    last_only: bool = False,
) -> None:
    """Raise if memory cannot be enough, before any is allocated: operating systems promise more
    than they have, and then kill the process.

    Raises:
        DeviceError: names a batch that is expected to fit.
    """
    if CERTAIN_SHARE * peak_bytes(model, batch, length, size, last_only=last_only) <= free_bytes:
        return
    without_batch = peak_bytes(model, 0, length, size)
    per_lane = peak_bytes(model, 1, length, size, last_only=last_only) - without_batch
    fitting = max(0, min(batch - 1, (free_bytes - without_batch) // per_lane))
    raise too_large(batch, length, fitting, tried=False)
