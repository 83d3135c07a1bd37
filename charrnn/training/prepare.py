"""From a corpus and a few wishes to a trainer that is ready to begin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits

from charrnn import codec as codecs
from charrnn import config
from charrnn.checkpoint import Checkpoint
from charrnn.codec.sources import Sources, find, shown
from charrnn.config import Given, ModelConfig, value
from charrnn.data import corpus
from charrnn.errors import ConfigError, CorpusError
from charrnn.model import device as devices
from charrnn.model import memory
from charrnn.model.network import Network
from charrnn.run import Run, load
from charrnn.training import plan, probe
from charrnn.training.events import Event
from charrnn.training.loop import Trainer
from charrnn.training.transfer import inherited, transfer


@dataclass(frozen=True)
class Prepared:
    """A new run: what it is going to do, and how to begin it."""

    run: Run
    plan: plan.Plan
    codec: codecs.Codec
    network: Network
    _corpus: Path

    def begin(self) -> Trainer:
        """Save the new run before its first step, put it into the place of an earlier one, give
        its trainer.

        All that takes time or room is done before anything is overwritten.

        Raises:
            RunError: there is no room on the disk.
            CheckpointError: it cannot be written.
        """
        trainer = Trainer.new(self.run, self.plan, self.codec, self.network, self._corpus)
        trainer.refuse_full_disk()
        fresh = self.run.path / ".fresh.tmp"
        trainer.save(fresh)
        self.run.clear()  # never is a part of one beside a part of the other
        os.replace(self._corpus, self.run.corpus)
        os.replace(fresh, self.run.last)
        return trainer


@contextmanager
def prepared(
    sources: Sources,
    run: Run,
    given: Given,
    *,
    force: bool = False,
    init_from: Checkpoint | None = None,
) -> Iterator[Prepared]:
    """Encode the corpus, choose what was left open, and measure.

    Nothing of an earlier run is touched before `begin`; if that is never called, nothing is left
    behind.  The run is locked until the end.

    Args:
        sources: the corpus.
        run: where to.
        given: settings.
        force: overwrite a run that is there.
        init_from: a model whose weights to begin with.

    Raises:
        RunError: the directory is in use, or holds a run and `force` is not given.
        CorpusError: the corpus cannot be read, or is too short.
        ConfigError: settings that contradict each other or the model to begin with.
        CheckpointError: the model to begin with is broken.
        DeviceError: the device is not there.
    """
    run.refuse_existing(force)  # before the corpus is read, and again once nobody else can write
    device = devices.pick(value(given, "device"))
    if (threads := value(given, "threads")) > devices.most_threads():
        raise ConfigError(
            f"--threads {threads}: this machine has {devices.processors()} processors; "
            "auto takes as many as are of use"
        )
    devices.keep_freed_memory()
    if init_from is not None:
        init_from.tensors()  # whatever is wrong with them comes before the work
        given = inherited(given, init_from)
    with _removed_if_unused(run), run.locked():
        run.refuse_existing(force, locked=True)
        run.sweep()
        encoded = run.path / ".corpus.npy.partial"
        try:
            found = _encoded(sources, given, encoded)
            yield _planned(run, given, device, found, init_from)
        finally:
            encoded.unlink(missing_ok=True)


class _Encoded(NamedTuple):
    """A corpus as steps on disk."""

    path: Path
    steps: int  # N
    codec: codecs.Codec
    reason: str  # for this codec, if it was left open
    documents: int | None
    val_fraction: float | None = None  # where the codec has a say


def _encoded(sources: Sources, given: Given, path: Path) -> _Encoded:
    """Write the corpus as steps, documents in random order."""
    name, reason = codecs.choose(value(given, "codec"), sources, value(given, "encoding"))
    learner = codecs.learn(name, sources, given)
    # Once its libraries are there: two threads of BLAS wait for each other on a busy machine, and
    # round otherwise than one.
    with threadpool_limits(1, user_api="blas"):
        return _learnt(learner, name, reason, sources, given, path)


def _learnt(
    learner: Any, name: str, reason: str, sources: Sources, given: Given, path: Path
) -> _Encoded:
    """Walk through the corpus."""
    count = corpus.write(path, learner)
    if count < plan.LEAST_STEPS:
        unit = "frame" if name == codecs.AUDIO else codecs.CODECS[name].unit
        raise CorpusError(
            f"{', '.join(map(shown, sources.files))}: {f'{count} {unit}s' if count else 'empty'}; "
            f"{plan.LEAST_STEPS} {unit}s are the least to learn from"
        )
    if learner.settles:
        corpus.rewrite(path, learner.settle)
        count = len(corpus.read(path))
    codec = learner.codec
    if codec.end is None:
        return _Encoded(path, count, codec, reason, None, learner.val_fraction)
    ends, seed = corpus.places(corpus.read(path), codec.end), value(given, "seed")
    corpus.rewrite(path, lambda steps: corpus.shuffled(steps, ends, seed))
    return _Encoded(path, count, codec, reason, len(ends))


@contextmanager
def _removed_if_unused(run: Run) -> Iterator[None]:
    """Remove the directories that were made for a run which then did not begin."""
    made = [path for path in (run.path, *run.path.parents) if not path.exists()]
    try:
        yield
    finally:
        if made and not run.exists:
            run.remove_if_empty(made)


def _planned(
    run: Run,
    given: Given,
    device: torch.device,
    encoded: _Encoded,
    init_from: Checkpoint | None,
) -> Prepared:
    """Choose and measure: the default size, then larger ones while there is time for them."""
    path, count, codec, reason, documents, val_fraction = encoded
    if val_fraction is not None:
        given = given | {"data": given["data"] | {"val_fraction": val_fraction}}
    on_gpu = device.type != "cpu"
    first, *larger = plan.candidates(given, count, codec.name, codec.unit, on_gpu=on_gpu)
    fine_tuning = init_from is not None
    attempt = _measured(given, device, codec, count, first, fine_tuning)
    for size in larger:
        if not plan.has_room(given, attempt.filled, count, attempt.speed, size, codec.unit):
            break
        tried = _measured(given, device, codec, count, size, fine_tuning)
        if not plan.has_room(given, tried.filled, count, tried.speed, size, codec.unit):
            break
        attempt = tried
    filled, notices, network, speed = attempt
    if init_from is not None:
        notices += (str(transfer(network, codec, init_from)),)
    outcome = plan.finish(given, filled, speed, network, codec, count, notices, reason, documents)
    return Prepared(run, outcome, codec, network, path)


class _Attempt(NamedTuple):
    """Settings, the network they make, and what a step of it costs."""

    filled: Given
    notices: tuple[str, ...]
    network: Network
    speed: probe.Speed


def _measured(
    given: Given,
    device: torch.device,
    codec: codecs.Codec,
    count: int,
    size: plan.Size,
    fine_tuning: bool,
) -> _Attempt:
    filled, notices = plan.choose(given, count, size, codec.unit, fine_tuning=fine_tuning)
    filled["data"]["codec"] = codec.name
    filled["training"]["device"] = device.type
    model = ModelConfig(**filled["model"])
    batch, length = filled["data"]["batch_size"], filled["data"]["seq_length"]
    last_only = value(filled, "targets") == "last"
    room = devices.free_memory(device)
    memory.refuse_too_large(model, batch, length, codec.step.size, room, last_only=last_only)
    with devices.out_of_memory(batch, length, lambda _: False):  # the weights alone
        network = initial_network(model, codec, value(filled, "seed")).to(device)
    with devices.out_of_memory(batch, length, lambda b: probe.fits(network, b, length, last_only)):
        speed = probe.fastest(
            network,
            batch,
            length,
            threads=value(filled, "threads"),
            precision=value(filled, "precision"),
            last_only=last_only,
        )
    return _Attempt(filled, notices, network, speed)


def initial_network(model: ModelConfig, codec: codecs.Codec, seed: int) -> Network:
    """An untrained network whose weights are a function of the seed: on one thread, since
    orthogonal matrices are rounded otherwise on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Network(model, codec.step)
    finally:
        torch.set_num_threads(before)


def train(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    preset: str | None = None,
    force: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Iterator[Event]:
    """Train on files and directories of text into the run directory `out`.

    Args:
        files: one path or several; the name of a bundled corpus serves too.
        out: the run directory.
        preset: name of a bundled preset, or a TOML file, under `settings`.
        force: overwrite a run that is there.
        init_from: a model file or run whose weights to begin with.
        settings: any setting of `charrnn.config` by its name, e.g. `hidden=256, minutes=3`.

    Yields:
        `charrnn.training.events`, to the end of the budget.

    Raises:
        CharrnnError: one of its kinds, with a message for the user.
    """
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    asked = config.from_flags(settings)
    source = None if init_from is None else load(init_from)
    if source is not None:
        asked["data"].setdefault("codec", source.codec.name)
    given = config.over_preset(preset, asked)
    sources = find(paths, value(given, "codec"))
    with prepared(sources, Run(Path(out)), given, force=force, init_from=source) as ready:
        yield from ready.begin().events()
