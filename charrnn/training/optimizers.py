"""Optimizers by name, gradient clipping, and the optimizer's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import TrainingConfig

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
    """The names of what an optimizer keeps for each parameter."""
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer"} if optimizer.defaults["momentum"] else set()
    if isinstance(optimizer, torch.optim.RMSprop):
        return {"step", "square_avg"}
    return {"step", "exp_avg", "exp_avg_sq"}


def _can_fuse(groups: Groups) -> bool:
    return all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])


def can_skip(optimizer: torch.optim.Optimizer, device: torch.device) -> bool:
    """Whether it leaves out a step by itself where `found_inf` is 1: the fused kernels can, and
    on a GPU that saves waiting for it at each step."""
    return device.type == "cuda" and bool(optimizer.defaults.get("fused"))


def skip(optimizer: Any, where: Tensor) -> None:
    """Have the next step change nothing if `where`, (), is true."""
    optimizer.found_inf = where.float()


def optimizer_of(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a run; weight decay is for matrices of weights, not for
    biases, norms and peepholes."""
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
    """Clip the gradients by norm (Pascanu, Mikolov and Bengio 2013) or each by its value.

    Returns:
        Their norm before clipping.
    """
    parameters = list(network.parameters())
    if config.clip_by == "norm":
        return nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if config.clip:
        nn.utils.clip_grad_value_(parameters, config.clip)
    return norm


def state_tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """The optimizer's state: `INDEX.NAME` and tensor, one for each parameter and moment."""
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if value is not None:  # SGD without momentum
                yield f"{index}.{key}", value


def load_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `state_tensors`.

    PyTorch checks none of it, and its fused kernels write wherever a wrong shape leads them.

    Raises:
        ValueError: a tensor that is missing, too many, or of the wrong shape or type.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(parameters))}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        if index not in map(str, found):
            raise ValueError(f"optimizer.{name} belongs to no parameter")
        wanted = () if key == "step" else parameters[int(index)].shape
        if tensor.shape != wanted or tensor.dtype != torch.float32:
            raise ValueError(f"optimizer.{name} has the wrong shape or type")
        found[int(index)][key] = tensor
    for number, values in found.items():
        if values.keys() != moments(optimizer):
            raise ValueError(f"optimizer.{number} has {', '.join(values) or 'no'} moments")
    optimizer.load_state_dict(optimizer.state_dict() | {"state": found})
