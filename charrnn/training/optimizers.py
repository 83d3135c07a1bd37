"""Optimizers by name, gradient clipping, and the optimizer's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.settings import TrainingConfig

Groups = list[dict[str, Any]]


def _adamw(groups: Groups, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=_can_fuse(groups))


def _adam(groups: Groups, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=config.lr, fused=_can_fuse(groups))


def _rmsprop(groups: Groups, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(groups, lr=config.lr, alpha=config.rms_alpha)


def _sgd(groups: Groups, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=_can_fuse(groups))


OPTIMIZERS: dict[str, Callable[[Groups, TrainingConfig], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}


def moments(optimizer: torch.optim.Optimizer) -> set[str]:
    """The names of the tensors that an optimizer keeps for each parameter."""
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer"} if optimizer.defaults["momentum"] else set()
    if isinstance(optimizer, torch.optim.RMSprop):
        return {"step", "square_avg"}
    return {"step", "exp_avg", "exp_avg_sq"}


def _can_fuse(groups: Groups) -> bool:
    return all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])


def can_skip(optimizer: torch.optim.Optimizer, device: torch.device) -> bool:
    """Whether the optimizer itself skips an update if `found_inf` is 1.

    The fused kernels do that; on a GPU the program then need not wait for the result each time.
    """
    return device.type == "cuda" and bool(optimizer.defaults.get("fused"))


def skip(optimizer: Any, where: Tensor) -> None:
    """Make the next update change nothing if `where`, (), is true."""
    optimizer.found_inf = where.float()


def optimizer_of(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a run; weight decay applies to weight matrices, not to biases, norms and
    peepholes."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_matrix = parameter.dim() > 1 and name.rpartition(".")[2].startswith("weight")
        (matrices if is_matrix else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[config.optimizer](groups, config)


def clip(network: nn.Module, config: TrainingConfig) -> Tensor:
    """Clip the gradients by their norm (Pascanu, Mikolov and Bengio 2013) or each by its value.

    Returns:
        The norm before clipping, ().
    """
    parameters = list(network.parameters())
    if config.clip_by == "norm":
        return nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if config.clip:
        nn.utils.clip_grad_value_(parameters, config.clip)
    return norm


def state_tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """The optimizer's state as pairs of a name, `INDEX.NAME`, and a tensor."""
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if value is not None:  # SGD without momentum
                yield f"{index}.{key}", value


def load_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `state_tensors`.

    PyTorch does not check the tensors, and with a wrong shape its fused kernels would write outside
    their memory.

    Raises:
        ValueError: a tensor is missing, unknown, or has the wrong shape or type.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(parameters))}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        if index not in map(str, found):
            raise ValueError(f"optimizer.{name} belongs to no parameter")
        shape = () if key == "step" else parameters[int(index)].shape
        if tensor.shape != shape or tensor.dtype != torch.float32:
            raise ValueError(f"optimizer.{name} has the wrong shape or type")
        found[int(index)][key] = tensor
    for number, values in found.items():
        if values.keys() != moments(optimizer):
            raise ValueError(f"optimizer.{number} has {', '.join(values) or 'no'} moments")
    optimizer.load_state_dict(optimizer.state_dict() | {"state": found})
