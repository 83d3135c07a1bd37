from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn import processes
from charrnn.errors import DeviceError
from charrnn.media.text.char import CharCodec
from charrnn.model import device as devices
from charrnn.model import memory
from charrnn.model.device import keep_freed_memory, out_of_memory
from charrnn.processes import processors
from charrnn.settings import ModelConfig
from charrnn.training import probe
from charrnn.training.prepare import initial_network

LIBC: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
LARGE = 1 << 27  # bytes: glibc maps every piece above 32 MiB by itself, until it is told not to


class Memory(ctypes.Structure):
    """What mallinfo2(3) tells; `hblks` counts the pieces that are mapped by themselves."""

    _fields_ = (
        ("before", ctypes.c_size_t * 3),
        ("hblks", ctypes.c_size_t),
        ("behind", ctypes.c_size_t * 6),
    )


@pytest.mark.skipif(not hasattr(LIBC, "mallinfo2"), reason="only glibc gives large pieces back")
def test_large_pieces_are_not_given_back_to_the_system() -> None:
    LIBC.mallinfo2.restype = Memory
    LIBC.malloc.restype, LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    LIBC.free.argtypes = [ctypes.c_void_p]

    keep_freed_memory()

    mapped = LIBC.mallinfo2().hblks
    piece = LIBC.malloc(LARGE)
    try:
        assert piece
        assert LIBC.mallinfo2().hblks == mapped
    finally:
        LIBC.free(piece)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("could not create a memory object"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_names_a_batch_that_was_tried(error: Exception) -> None:
    tried: list[int] = []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= 8

    with (
        pytest.raises(DeviceError, match="batch 64 and length 9; --batch-size 8 fits"),
        out_of_memory(64, 9, fits),
    ):
        raise error
    assert tried == [32, 16, 8]
    with pytest.raises(DeviceError, match="smaller --hidden"), out_of_memory(4, 9, lambda _: False):
        raise error


def test_other_errors_are_not_about_memory() -> None:
    with pytest.raises(RuntimeError, match="shape"), out_of_memory(4, 9, lambda _: True):
        raise RuntimeError("shape mismatch")


def test_the_trial_is_a_step_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig(cell="lstm", hidden=8, layers=1, embedding=4, dropout=0.0, norm="none")
    network = initial_network(model, CharCodec("abc"), 0)
    assert probe.fits(network, 4, 8)
    plain = type(network).loss

    def loss(self: Any, inputs: torch.Tensor, *rest: Any, **options: Any) -> Any:
        if len(inputs) > 2:
            raise RuntimeError("can't allocate memory")
        return plain(self, inputs, *rest, **options)

    monkeypatch.setattr(type(network), "loss", loss)
    assert [probe.fits(network, batch, 8) for batch in (4, 3, 2, 1)] == [False, False, True, True]


def test_what_cannot_fit_is_refused_before_it_is_asked_for() -> None:
    model = ModelConfig(cell="lstm", hidden=512, layers=2, embedding=64, dropout=0.0, norm="none")
    free = 1 << 30
    memory.refuse_too_large(model, 16, 64, 80, free)
    with pytest.raises(DeviceError, match=r"--batch-size \d+ should fit") as error:
        memory.refuse_too_large(model, 4_096, 512, 80, free)
    named = int(str(error.value).partition("--batch-size ")[2].split()[0])
    assert 0 < named < 4_096
    assert (
        memory.peak_bytes(model, named, 512, 80)
        <= free
        < memory.peak_bytes(model, named + 1, 512, 80)
    )
    with pytest.raises(DeviceError, match="no batch fits: give a smaller --hidden"):
        memory.refuse_too_large(model, 4_096, 512, 80, 1 << 20)


def test_the_limits_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(processes, "MEMBERS", tmp_path / "members")
    whole, count = devices.free_memory(cpu), processors()
    monkeypatch.setattr(processes, "CGROUPS", tmp_path)
    (tmp_path / "members").write_text("0::/job/step\n")
    files = {
        "memory.max": "100000000\n",
        "memory.current": "70000000\n",
        "memory.stat": "anon 30000000\ninactive_file 20000000\nactive_file 1\n",
        "cpu.max": "50000 100000\n",
    }
    for name, text in files.items():
        (tmp_path / "job").mkdir(exist_ok=True)
        (tmp_path / "job" / name).write_text(text)
    assert devices.free_memory(cpu) == 50_000_000
    assert processors() == 1
    for name in ("memory.max", "cpu.max"):
        (tmp_path / "job" / name).write_text("max 100000\n")
    assert devices.free_memory(cpu) > whole / 2
    assert processors() == count
    (tmp_path / "members").write_text("5:cpu,cpuacct:/\n4:memory:/job\n0::/\n")  # version 1
    old = tmp_path / "memory" / "job"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("9000000\n")
    (old / "memory.usage_in_bytes").write_text("8000000\n")
    (old / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 6000000\n")
    (tmp_path / "cpu,cpuacct").mkdir()
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_period_us").write_text("100000\n")
    assert devices.free_memory(cpu) == 7_000_000
    assert processors() == 1
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("-1\n")
    assert processors() == count


@pytest.mark.parametrize("rank", [None, "", "x", "1"])
def test_only_torchrun_starts_several(rank: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "" if rank is None else "2")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert processes.rank_and_size() == (0, 1)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert processes.rank_and_size() == ((1, 2) if rank == "1" else (0, 1))


def test_what_is_joined_takes_memory() -> None:
    """Activations only: the weights that read it are in both differences."""
    sizes = {"hidden": 8, "layers": 3, "embedding": 2048, "dropout": 0.0}
    activations = []
    for skip_input in (False, True):
        model = ModelConfig(**sizes, skip_input=skip_input)
        empty = memory.peak_bytes(model, 0, 10, 50)
        activations.append(memory.peak_bytes(model, 4, 10, 50) - empty)
    assert activations[1] - activations[0] == 4 * 4 * 10 * 2 * (8 + 2048)
