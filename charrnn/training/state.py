"""The state of training: network, optimizer, recurrent state, random generator and progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.checkpoint import MAX_WEIGHT, MODEL, Tensors
from charrnn.errors import DivergenceError
from charrnn.model.network import Network, State, flattened, unflattened
from charrnn.training import optimizers
from charrnn.training.free_runs import FreeRuns
from charrnn.training.group import Group
from charrnn.training.progress import Progress

GENERATOR, FREE_RUNS = "generator", "free_runs"


@dataclass
class TrainingState:
    """Everything that changes during training and is stored in `last.safetensors`."""

    network: Network
    optimizer: torch.optim.Optimizer
    recurrent: State  # of the lanes
    generator: torch.Generator  # of the dropout masks
    free_runs: FreeRuns
    progress: Progress
    # The states of the generators of other processes, from a file, until they are shared out.
    others: list[Tensor] = field(default_factory=list)

    def tensors(self, group: Group) -> Tensors:
        """All tensors except the network's own.

        Args:
            group: the processes that train; all of them must call this.
        """
        tensors = {
            f"optimizer.{k}": to_array(t) for k, t in optimizers.state_tensors(self.optimizer)
        }
        recurrent = flattened(group.whole_state(self.recurrent))
        tensors |= {f"state.{k}": to_array(t) for k, t in recurrent.items()}
        tensors |= {f"{FREE_RUNS}.{k}": to_array(t) for k, t in self.free_runs.tensors().items()}
        own, *others = group.whole(self.generator.get_state().unsqueeze(0))
        tensors[GENERATOR] = to_array(own)
        for rank, other in enumerate(others or self.others, 1):
            tensors[f"{GENERATOR}.{rank}"] = to_array(other)
        return tensors

    def share(self, group: Group, seed: int) -> None:
        """Keep the recurrent state of this process's lanes; its dropout masks are its own.

        Args:
            group: the processes that train.
            seed: of the run.
        """
        self.recurrent = group.own_state(self.recurrent)
        if not group.leads and group.rank <= len(self.others):
            self.generator.set_state(self.others[group.rank - 1])
        elif not group.leads:
            self.generator.manual_seed(seed + group.rank)
        self.others = []

    def model_tensors(self) -> Tensors:
        """The network's tensors by their names in a checkpoint.

        Raises:
            DivergenceError: a weight is so large, or NaN, that `checkpoint.read` would refuse it.
        """
        tensors = {MODEL + name: array for name, array in self.weights().items()}
        for name, array in tensors.items():
            if not np.abs(array).max() < MAX_WEIGHT:  # also true for NaN
                raise DivergenceError(f"{name} has grown to {np.abs(array).max():g}")
        return tensors

    def weights(self) -> Tensors:
        """The network's tensors by their own names."""
        return {name: to_array(tensor) for name, tensor in self.network.state_dict().items()}

    def restore(self, tensors: Tensors, progress: Mapping[str, Any], most_threads: int) -> None:
        """Load everything in a checkpoint except the network.

        Args:
            tensors: of the file.
            progress: of the file.
            most_threads: the maximum number of threads on this machine.

        Raises:
            KeyError, TypeError, ValueError, OverflowError, RuntimeError: the values do not fit.
        """
        groups: dict[str, dict[str, Tensor]] = {"optimizer": {}, "state": {}, FREE_RUNS: {}}
        for name, array in tensors.items():
            group, _, rest = name.partition(".")
            if group in groups:
                groups[group][rest] = torch.from_numpy(array)
        self.progress = Progress.from_dict(dict(progress))
        self.progress.threads = min(self.progress.threads, most_threads)
        if self.progress.update or groups["optimizer"]:
            optimizers.load_state(self.optimizer, groups["optimizer"])
        _compare(groups["state"], flattened(self.recurrent))
        self.recurrent = unflattened(groups["state"], self.recurrent)
        self.free_runs.restore(groups[FREE_RUNS])
        own = self.generator.get_state()
        generator = torch.from_numpy(tensors[GENERATOR])
        _compare({GENERATOR: generator}, {GENERATOR: own})
        self.generator.set_state(generator)
        self.others = []
        while (name := f"{GENERATOR}.{len(self.others) + 1}") in tensors:
            self.others.append(torch.from_numpy(tensors[name]))
            _compare({name: self.others[-1]}, {name: own})

    def bytes_on_disk(self) -> tuple[int, int]:
        """Sizes of the tensors of `best.safetensors` and of `last.safetensors`."""
        model = sum(tensor.nbytes for tensor in self.network.state_dict().values())
        moments = sum(
            len(optimizers.moments(self.optimizer, parameter) - {"step"}) * parameter.nbytes
            for parameter in self.network.parameters()
        )
        recurrent = sum(tensor.nbytes for tensor in flattened(self.recurrent).values())
        return model, model + moments + recurrent + self.free_runs.nbytes


def _compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless names, shapes and types are equal."""
    for name in found.keys() | expected.keys():
        pair = [(t.shape, t.dtype) for t in (found.get(name), expected.get(name)) if t is not None]
        if len(pair) < 2 or pair[0] != pair[1]:
            raise ValueError(f"{name} does not fit the configuration")


def to_array(tensor: Tensor) -> NDArray[Any]:
    """A tensor as an array on the CPU."""
    array: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return array
