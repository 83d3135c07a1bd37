"""Which errors mean that another process has ended, and which do not."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from charrnn.errors import DeviceError, PeerError
from charrnn.training.group import Group, _told
from tests.forks import ended, forked

NCCL = "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:268, "
TCP = "/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/"
OF_PEERS = [
    RuntimeError(
        f"[{TCP}pair.cc:553] Connection closed by peer [127.0.0.1]:56031. This is typically caused "
        "by a remote worker crashing."
    ),
    RuntimeError(f"[{TCP}pair.cc:537] Read error [127.0.0.1]:386: Connection reset by peer."),
    RuntimeError(f"[{TCP}unbound_buffer.cc:78] Timed out waiting 4000ms for recv operation"),
    RuntimeError(r"[C:\pytorch\third_party\gloo\gloo\transport\uv\pair.cc:9] Connection closed"),
    RuntimeError(f"Gloo connectFullMesh failed with [{TCP}pair.cc:144] Connection refused"),
    dist.DistStoreError("Timed out after 5 seconds waiting for clients. 1/2 clients joined."),
    dist.DistNetworkError("failed to recv, got 0 bytes"),
    dist.DistBackendError(
        f"{NCCL}remote process exited or there was a network error, NCCL version 2.28.8\n"
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting"
    ),
]
OTHERS = [
    RuntimeError("peer.txt: connect failed (Connection timed out)"),
    RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0"),
    RuntimeError("open file failed, file path: /home/gloo/transport/nccl.npy"),
    RuntimeError("CUDA error: peer access is not supported between these two devices"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB (nccl)"),
    dist.DistBackendError(
        f"{NCCL}invalid usage\nncclInvalidUsage: This usually reflects invalid usage of NCCL "
        "library.\nLast error:\nDuplicate GPU detected : rank 0 and rank 1 both on CUDA device 10"
    ),
    dist.DistBackendError(f"{NCCL}unhandled cuda error\nncclUnhandledCudaError: out of memory"),
]


@pytest.mark.parametrize("error", OF_PEERS, ids=str)
def test_another_process_has_ended(error: Exception) -> None:
    with pytest.raises(PeerError, match="has ended, or cannot be reached"), _told():
        raise error


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, _told():
        raise error
    assert caught.value is error


def test_gpus_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    group, gpu = Group(0, 4), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=r"2 processes train here, .* there is only 1"):
        group.refuse_too_few(gpu)
    group.refuse_too_few(torch.device("cpu"))
    Group().refuse_too_few(gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    group.refuse_too_few(gpu)


def joined(rank: int, port: int, said: Path) -> None:
    """One of two processes, of which the second ends while the first waits for it."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    group = Group.joined()
    group.told()
    if rank:
        os._exit(0)
    try:
        while True:
            group.whole(torch.zeros(1000))
    except BaseException as error:
        said.write_text(type(error).__name__)
        os._exit(0)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_process_that_ends(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    said = tmp_path / "said.txt"
    children = [forked(joined, rank, port, said) for rank in range(2)]
    assert [ended(child) for child in children] == [0, 0]
    assert said.read_text() == "PeerError"
