"""Estimates the memory that training takes, and raises if it cannot fit."""

from __future__ import annotations

import math

from charrnn.model.cells import cell_of
from charrnn.model.device import too_large
from charrnn.model.shapes import shapes
from charrnn.settings import ModelConfig

BASE_BYTES = 320 << 20  # Python, PyTorch and its buffers, before the first tensor of the network
PARAMETER_BYTES = 40  # weight, gradient, moments, and copies for measuring, sampling and bf16
CERTAIN_FRACTION = 0.35  # of the estimate is needed for certain; measured: at least 0.4


def peak_bytes(
    model: ModelConfig, batch: int, length: int, size: int, *, last_only: bool = False
) -> int:
    """Estimated peak memory: parameters, optimizer state and stored activations.

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
    kept += model.skip  # the outputs of all layers, joined
    units = length * model.layers * kept * model.hidden
    if model.skip_input:  # what each later layer reads, joined
        units += length * (model.layers - 1) * (model.hidden + (model.embedding or size))
    units += (1 if last_only else length) * 4 * size
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
    """Raise if there cannot be enough memory, before allocating any.

    Otherwise the operating system may grant more memory than it has, and kill the process later.

    Raises:
        DeviceError: names a batch size that should fit.
    """
    if CERTAIN_FRACTION * peak_bytes(model, batch, length, size, last_only=last_only) <= free_bytes:
        return
    without_batch = peak_bytes(model, 0, length, size)
    per_lane = peak_bytes(model, 1, length, size, last_only=last_only) - without_batch
    fitting = max(0, min(batch - 1, (free_bytes - without_batch) // per_lane))
    raise too_large(batch, length, fitting, tried=False)
