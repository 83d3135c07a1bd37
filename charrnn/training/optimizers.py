"""Optimizers by name, gradient clipping, and the optimizer's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.model.layers import RecurrentLayer
from charrnn.settings import TrainingConfig

ADAMW_BETAS = (0.9, 0.99)


def _adamw(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        _groups(network, config), lr=config.lr, betas=ADAMW_BETAS, fused=_can_fuse(network)
    )


def _adam(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(_groups(network, config), lr=config.lr, fused=_can_fuse(network))


def _rmsprop(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(_groups(network, config), lr=config.lr, alpha=config.rms_alpha)


def _sgd(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    fused = _can_fuse(network)
    return torch.optim.SGD(
        _groups(network, config), lr=config.lr, momentum=config.momentum, fused=fused
    )


class MuonAdamW(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for the matrices of the recurrent layers, AdamW for the rest.

    Muon makes the update of a matrix orthogonal, here that of each gate.  It is scaled to be as
    large as one of AdamW (Liu et al. 2025), so both have the same learning rate.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        groups, fused = _groups(network, config), _can_fuse(network)
        super().__init__(groups, lr=config.lr, betas=ADAMW_BETAS, fused=fused)
        layers = [layer for layer in network.modules() if isinstance(layer, RecurrentLayer)]
        # Views of each gate's rows, so that the updates of Muon change the matrices.
        self._blocks = {
            matrix: matrix.detach().chunk(layer.cell.gates)
            for layer in layers
            for matrix in layer.weights[layer.one_hot : 2]  # a one-hot input has embeddings
        }
        self._muon = torch.optim.Muon(
            [block for parts in self._blocks.values() for block in parts],
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def has_matrix(self, parameter: Tensor) -> bool:
        """Whether Muon trains this parameter."""
        return parameter in self._blocks

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update."""
        gradients = {matrix: matrix.grad for matrix in self._blocks if matrix.grad is not None}
        for matrix, gradient in gradients.items():
            state = self.state[matrix]
            if not state:  # AdamW expects a number of steps in every state
                state |= {"step": torch.zeros(()), "momentum_buffer": torch.zeros_like(matrix)}
            state["step"] += 1
            blocks = self._blocks[matrix]
            parts = gradient.chunk(len(blocks)), state["momentum_buffer"].chunk(len(blocks))
            for block, part, buffer in zip(blocks, *parts, strict=True):
                block.grad = part
                self._muon.state[block]["momentum_buffer"] = buffer
            matrix.grad = None  # AdamW leaves it alone
        for group in self._muon.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        self._muon.step()
        super().step()
        for matrix, gradient in gradients.items():
            matrix.grad = gradient


OPTIMIZERS: dict[str, Callable[[nn.Module, TrainingConfig], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
    "muon": MuonAdamW,
}


def moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> set[str]:
    """The names of the tensors that an optimizer keeps for a parameter."""
    if isinstance(optimizer, MuonAdamW) and optimizer.has_matrix(parameter):
        return {"step", "momentum_buffer"}
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer"} if optimizer.defaults["momentum"] else set()
    if isinstance(optimizer, torch.optim.RMSprop):
        return {"step", "square_avg"}
    return {"step", "exp_avg", "exp_avg_sq"}


def _can_fuse(network: nn.Module) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in network.parameters())


def can_skip(optimizer: torch.optim.Optimizer, device: torch.device) -> bool:
    """Whether the optimizer itself skips an update if `found_inf` is 1.

    The fused kernels do that; on a GPU the program then need not wait for the result each time.
    """
    is_fused = bool(optimizer.defaults.get("fused"))
    return device.type == "cuda" and is_fused and not isinstance(optimizer, MuonAdamW)


def skip(optimizer: Any, where: Tensor) -> None:
    """Make the next update change nothing if `where`, (), is true."""
    optimizer.found_inf = where.float()


def optimizer_of(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a run."""
    return OPTIMIZERS[config.optimizer](network, config)


def _groups(network: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """The parameters; weight decay applies to weight matrices, not to biases, norms and
    peepholes."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_matrix = parameter.dim() > 1 and name.rpartition(".")[2].startswith("weight")
        (matrices if is_matrix else others).append(parameter)
    return [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


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
        if values.keys() != moments(optimizer, parameters[number]):
            raise ValueError(f"optimizer.{number} has {', '.join(values) or 'no'} moments")
    optimizer.load_state_dict(optimizer.state_dict() | {"state": found})
