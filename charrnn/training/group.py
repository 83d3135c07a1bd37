"""The processes that train one model together, started by torchrun (or `--processes`): each has its
share of the lanes, and PyTorch's DistributedDataParallel averages their gradients.

The first process, of rank 0, leads: it reads the corpus, writes the run, and decides what depends
on clocks and signals; the others follow.  They need the same files, so over several machines the
run directory must be on a disk that all of them share.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from charrnn.errors import DeviceError, PeerError
from charrnn.model.heads import Gaussian
from charrnn.model.layers import BatchNorm
from charrnn.model.network import Network, State
from charrnn.processes import processors, rank_and_size, size_here

ENDED = "another process of this run has ended, or cannot be reached"
# In errors of Gloo, e.g. "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection
# closed by peer [127.0.0.1]:56031."
GLOO = re.compile(r"\[[^][]*[/\\]gloo[/\\](transport|rendezvous)[/\\][^][]*:\d+\]")
# In errors of NCCL that are not about another process.
OWN_FAULTS = ("ncclInvalidUsage", "ncclInvalidArgument", "ncclUnhandledCudaError")
_modules: WeakSet[nn.Module] = WeakSet()  # those that hold the group
TIMEOUT = timedelta(hours=1)  # for what the leader does alone, such as reading the corpus


class Group:
    """The processes, as one of them sees them; by default it is alone.

    Args:
        rank: its number, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def joined(cls) -> Group:
        """The group that torchrun has started, by the environment; waits for all of it."""
        rank, size = rank_and_size()
        if size == 1:
            return cls()
        import torch.distributed as dist

        if not dist.is_initialized():
            # DistributedDataParallel imports it, too; after the group is made, the defaults of its
            # functions would hold the group for ever.
            import torch.distributed.nn

            with _told():
                backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
                dist.init_process_group(backend, timeout=TIMEOUT)
            atexit.register(_leave)
        return cls(rank, size)

    @property
    def is_alone(self) -> bool:
        """Whether there is only one process."""
        return self.size == 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """How many threads each process may have on this machine."""
        return max(1, processors() // size_here())

    def refuse_too_few(self, device: torch.device) -> None:
        """Raise if processes on this machine would have to share a GPU.

        Raises:
            DeviceError: there are fewer GPUs than processes.
        """
        if self.is_alone or device.type != "cuda":
            return
        if size_here() > (count := torch.cuda.device_count()):
            raise DeviceError(
                f"{size_here()} processes train here, each on a GPU of its own, but there "
                f"{'is' if count == 1 else 'are'} only {count}; start fewer, or give --device cpu"
            )

    def device(self, device: torch.device) -> torch.device:
        """The device of this process: each has a GPU of its own."""
        if self.is_alone or device.type != "cuda":
            return device
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(own)
        return own

    def rows(self, batch: int) -> slice:
        """The lanes of this process, of `batch`, which must be a multiple of `size`."""
        assert batch % self.size == 0
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def told(self, value: Any = None) -> Any:
        """What the leader tells all: its `value`."""
        if self.is_alone:
            return value
        import torch.distributed as dist

        told = [value]
        with _told():
            dist.broadcast_object_list(told, 0)
        return told[0]

    def decided(self, value: float) -> float:
        """The leader's value of a number that differs between processes, such as the time."""
        if self.is_alone:
            return value
        import torch.distributed as dist

        shared = torch.tensor(value, dtype=torch.float64)
        with _told():
            dist.broadcast(shared, 0)
        return float(shared)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of tensors of the same shape over all processes; has no gradient."""
        return values if self.is_alone else _sum(values) / self.size

    def mean_with_gradient(self, values: Tensor) -> Tensor:
        """The same with a gradient, for statistics that the network computes."""
        total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return total / self.size

    def whole(self, tensor: Tensor) -> Tensor:
        """The rows of all processes, one after the other, of tensors with as many rows."""
        if self.is_alone:
            return tensor
        import torch.distributed as dist

        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with _told():
            dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def whole_state(self, state: State) -> State:
        """The recurrent state of all lanes, from that of each process."""
        return tuple(tuple(map(self.whole, parts)) for parts in state)

    def own_state(self, state: State) -> State:
        """The inverse of `whole_state`."""
        if self.is_alone:
            return state
        return tuple(tuple(part[self.rows(len(part))].clone() for part in p) for p in state)

    def module(self, network: Network) -> nn.Module:
        """A module that computes `Network.loss`, and whose gradients are means over all lanes."""
        module = _Loss(network)
        if self.is_alone:
            return module
        for part in network.modules():  # statistics that they compute are those of all lanes
            if isinstance(part, BatchNorm | Gaussian):
                part.processes = self
        device = next(network.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        with _told():
            parallel = nn.parallel.DistributedDataParallel(
                module, device_ids=ids, gradient_as_bucket_view=True
            )
        _modules.add(parallel)
        return parallel

    @contextmanager
    def computing(self) -> Iterator[None]:
        """A forward or backward pass, in which the processes exchange gradients.

        Raises:
            PeerError: another process has ended.
        """
        if self.is_alone:
            yield
            return
        with _told():
            yield


class _Loss(nn.Module):
    """`Network.loss` as a module, which DistributedDataParallel needs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, State]:
        return self.network.loss(*args, **kwargs)


class _Sum(torch.autograd.Function):
    """The sum of tensors over all processes; each loss depends on the tensors of all, so gradients
    are summed, too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _sum(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient)


def _sum(values: Tensor) -> Tensor:
    import torch.distributed as dist

    total = values.detach().clone(memory_format=torch.contiguous_format)
    with _told():
        dist.all_reduce(total)
    return total


def _leave() -> None:
    """End the threads of the group; Python, while it ends, aborts the process if one of them still
    lets go of a tensor."""
    import torch.distributed as dist

    for module in list(_modules):
        for holder in ("logger", "reducer", "process_group"):
            setattr(module, holder, None)
    dist.destroy_process_group()


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the connection become an error for the user.

    Raises:
        PeerError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_of_connection(error):
            raise
        raise PeerError(ENDED) from None


def _is_of_connection(error: RuntimeError) -> bool:
    """Whether an error comes from the connection to another process.

    PyTorch's store raises DistStoreError and DistNetworkError, NCCL DistBackendErrors that name
    what happened, and Gloo plain RuntimeErrors that begin with the file of Gloo that noticed.
    """
    import torch.distributed as dist

    if isinstance(error, dist.DistBackendError):
        return not any(own in str(error) for own in OWN_FAULTS)
    return isinstance(error, dist.DistError) or GLOO.search(str(error)) is not None
