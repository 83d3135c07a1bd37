"""Prepares a run: encodes the corpus, completes the settings and builds the trainer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from charrnn.checkpoint import Checkpoint
from charrnn.config import Given, merge, value
from charrnn.data.encode import Encoded, encode
from charrnn.encoded import Folder
from charrnn.errors import ConfigError, DeviceError
from charrnn.media import medium_of
from charrnn.media.codec import Codec
from charrnn.media.medium import Defaults, Size
from charrnn.media.sources import Sources
from charrnn.model import device as devices
from charrnn.model import memory
from charrnn.model.network import Network
from charrnn.processes import processors, size_here
from charrnn.run import Run
from charrnn.settings import ModelConfig
from charrnn.training import plan, probe
from charrnn.training.group import Group
from charrnn.training.loop import Trainer
from charrnn.training.transfer import (
    General,
    best_general,
    inherited,
    transfer,
    tuning_defaults,
)


@dataclass(frozen=True)
class Prepared:
    """A new run that is ready to start: its plan, codec and network."""

    run: Run
    plan: plan.Plan
    codec: Codec
    network: Network
    _corpus: Path
    _folder: Folder | None  # that the corpus is from, if it was encoded already
    _group: Group

    def begin(self) -> Trainer:
        """Save the new run before its first update, replacing an earlier run, and return its
        trainer.

        Everything that takes time or disk space happens before anything is overwritten.  If this
        process is killed, the earlier run is as it was, or the next call of `prepared` removes what
        is left (`Run.was_beginning`).

        Raises:
            RunError: there is not enough disk space.
            CorpusError: the encoded corpus has changed.
            CheckpointError: the run cannot be written.
        """
        trainer = Trainer.new(self.run, self.plan, self.codec, self.network, self._corpus)
        if self._folder is not None:
            self._folder.refuse_other(trainer.corpus_crc32)
        trainer.refuse_full_disk()
        trainer.save(self.run.first)
        self.run.clear()  # so that files of two runs are never mixed
        os.replace(self._corpus, self.run.corpus)
        os.replace(self.run.first, self.run.last)
        trainer.lead(self._group)
        return trainer


@contextmanager
def prepared(
    sources: Sources,
    codec: str,
    reason: str,
    run: Run,
    given: Given,
    *,
    folder: Folder | None = None,
    workers: int | None = 1,
    force: bool = False,
    init_from: Checkpoint | None = None,
    general_models: Iterable[Path] = (),
) -> Iterator[Prepared]:
    """Encode the corpus, choose the settings that were not given, and measure the speed.

    An earlier run is not changed before `begin`; if `begin` is never called, no files are left
    behind.  The run is locked inside the `with` block.

    Args:
        sources: the corpus.
        codec: name of the codec.
        reason: why this codec was chosen, for the plan.
        run: the run directory.
        given: partial settings.
        folder: the encoded corpus, which takes the place of the files.
        workers: as in `encode`.
        force: overwrite an existing run.
        init_from: a model whose weights to start from.
        general_models: files of models to start from instead, if one predicts the corpus well and
            has the network that is asked for.

    Raises:
        RunError: the directory is in use, or contains a run and `force` is not given.
        CorpusError: the corpus cannot be read, or is too short.
        ConfigError: settings contradict each other or `init_from`.
        CheckpointError: `init_from` is damaged.
        DeviceError: this machine does not have the device.
    """
    group = Group.joined()
    run.refuse_existing(force)  # before reading the corpus, and again below, under the lock
    device = devices.pick(value(given, "device"))
    group.refuse_too_few(device)
    if (threads := value(given, "threads")) > devices.most_threads():
        raise ConfigError(
            f"--threads {threads}: this machine has {processors()} processors; "
            "auto chooses the best number"
        )
    if value(given, "precision") == "bf16" and not devices.can_bf16(device):
        raise DeviceError(f"--precision bf16: this {device.type} lacks bf16; use fp32 or auto")
    if init_from is not None:
        init_from.tensors()  # early, to report damage first
        given = inherited(given, init_from)
    given = merge(given, {"data": {"codec": codec}})
    with run.removed_if_unused(), run.locked():
        run.refuse_existing(force, locked=True)
        run.sweep()
        encoded = run.path / ".corpus.npy.partial"
        try:
            if folder is None:
                corpus = encode(sources, codec, reason, given, encoded, workers=workers)
            else:
                corpus = folder.link(encoded)
            general = None if init_from else _general(general_models, given, corpus)
            yield _planned(run, given, device, corpus, folder, init_from, general, group)
        finally:
            encoded.unlink(missing_ok=True)


def _general(paths: Iterable[Path], given: Given, corpus: Encoded) -> General | None:
    """The general model to start from, if any."""
    steps = np.load(corpus.path, mmap_mode="r", allow_pickle=False)
    return best_general(paths, given, corpus.codec, steps)


def _planned(
    run: Run,
    given: Given,
    device: torch.device,
    corpus: Encoded,
    folder: Folder | None,
    init_from: Checkpoint | None,
    general: General | None,
    group: Group,
) -> Prepared:
    """Choose and measure the default size, then larger ones as long as there is time for them."""
    if corpus.val_fraction is not None:
        given = merge(given, {"data": {"val_fraction": corpus.val_fraction}})
    codec, count = corpus.codec, corpus.steps
    on_gpu = device.type != "cpu"
    medium, source = medium_of(codec.name), general.source if general else init_from
    if source is None:
        defaults = medium.defaults(codec.name, count, on_gpu=on_gpu)
    else:
        defaults = tuning_defaults(medium, source, count, on_gpu=on_gpu)
    first, *larger = plan.candidates(given, defaults)
    attempt = _measured(given, device, corpus, defaults, first, group)
    for size in larger:
        if not plan.has_room(given, attempt.filled, count, attempt.speed, size, defaults):
            break
        tried = _measured(given, device, corpus, defaults, size, group)
        if not plan.has_room(given, tried.filled, count, tried.speed, size, defaults):
            break
        attempt = tried
    notices, network = attempt.notices, attempt.network
    if source is not None:
        notices += (str(transfer(network, codec, source, general)),)
    outcome = plan.make_plan(
        given, attempt.filled, attempt.speed, network.parameter_count, corpus, defaults, notices
    )
    return Prepared(run, outcome, codec, network, corpus.path, folder, group)


class _Attempt(NamedTuple):
    """Settings for one size, the network, and the measured cost of an update."""

    filled: Given
    notices: tuple[str, ...]
    network: Network
    speed: probe.Speed


def _measured(
    given: Given,
    device: torch.device,
    corpus: Encoded,
    defaults: Defaults,
    size: Size,
    group: Group,
) -> _Attempt:
    codec = corpus.codec
    kind = type(codec.step)
    filled, notices = plan.choose(given, corpus.steps, defaults, size, kind)
    filled["training"]["device"] = device.type
    model = ModelConfig(**filled["model"])
    batch, length = filled["data"]["batch_size"], filled["data"]["seq_length"]
    if batch % group.size:
        fitting = batch // group.size * group.size
        if not fitting or given["data"].get("batch_size") == batch:
            several = f"a multiple of the {group.size} processes"
            remedy = f"try {fitting}" if fitting else "start fewer"
            raise ConfigError(f"--batch-size {batch}: must be {several}; {remedy}")
        filled["data"]["batch_size"] = batch = fitting
    batch //= group.size  # the lanes of each
    last_only = value(filled, "targets") == "last"
    room = devices.free_memory(device)
    room //= size_here() if device.type == "cpu" else 1
    memory.refuse_too_large(model, batch, length, codec.step.size, room, last_only=last_only)
    with devices.out_of_memory(batch, length, lambda _: False):  # the weights alone
        network = initial_network(model, codec, value(filled, "seed")).to(device)
    with devices.out_of_memory(batch, length, lambda b: probe.fits(network, b, length, last_only)):
        speed = probe.fastest(
            network,
            batch,
            length,
            threads=value(filled, "threads") or (0 if group.is_alone else group.threads),
            precision=value(filled, "precision"),
            last_only=last_only,
        )
    return _Attempt(filled, notices, network, speed)


def initial_network(model: ModelConfig, codec: Codec, seed: int) -> Network:
    """An untrained network whose weights depend only on the seed.

    It is created on one thread: with two, rounding in orthogonal matrices would differ.
    """
    with devices.one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(model, codec.step)
