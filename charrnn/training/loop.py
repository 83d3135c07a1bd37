"""The training loop: stateful truncated backpropagation, told as a stream of events."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from charrnn import checkpoint
from charrnn.checkpoint import LARGEST, MODEL, Tensors
from charrnn.codec import Codec
from charrnn.config import BUDGET, Config, Given
from charrnn.data import corpus
from charrnn.data.lanes import Lanes
from charrnn.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    DivergenceError,
    RunError,
    SamplingError,
)
from charrnn.model import device as devices
from charrnn.model.network import Network, State, flattened, unflattened
from charrnn.run import Run
from charrnn.sampling.generate import samples
from charrnn.sampling.runtime import Runtime
from charrnn.training import optimizers, probe
from charrnn.training.evaluate import evaluate
from charrnn.training.events import Evaluated, Event, Sampled, Saved, Stepped, Stopped
from charrnn.training.feed import Feed
from charrnn.training.freerun import FreeRun, FreeRuns
from charrnn.training.plan import Plan
from charrnn.training.probe import SLOW, Pace
from charrnn.training.progress import Meter, Progress, finite
from charrnn.training.schedule import Place, learning_rate

PREVIEW = 320  # steps of a sample after an evaluation
PREVIEWS = 8  # documents in it
SAVE_EVERY_S = 300.0  # between evaluations that are far apart
LOG_EVERY_S = 5.0  # between log lines that are far apart
LOGS_PER_EVALUATION = 10


class Trainer:
    """One run in training; make it with `new` or `resumed`, then walk through `events`.

    The caller holds the run's lock.
    """

    def __init__(
        self, run: Run, config: Config, codec: Codec, network: Network, encoded: Path
    ) -> None:
        steps = corpus.read(encoded)
        corpus_crc32 = corpus.checked(encoded, steps, codec.step)
        self.run, self.config, self.codec = run, config, codec
        self.device = devices.pick(config.training.device)
        self.network = network.to(self.device).train()
        self.optimizer = optimizers.optimizer_of(self.network, config.training)
        self.generator = torch.Generator(self.device).manual_seed(config.training.seed)
        self.train_steps, self.val_steps = corpus.split(steps, config.data.val_fraction)
        self.state: State = self.network.initial_state(config.data.batch_size)
        self.progress = Progress(planned_steps=1, threads=1, corpus_crc32=corpus_crc32)
        self._pace = Pace()
        self._free_runs: FreeRuns | None = None  # made at the first evaluation of sound
        self._is_stateful = config.data.bptt == "stateful"
        self._feed = Feed(self.train_steps, config, self.device)

    @classmethod
    def new(cls, run: Run, plan: Plan, codec: Codec, network: Network, encoded: Path) -> Trainer:
        """A run whose corpus is encoded already; nothing is written."""
        trainer = cls(run, plan.config, codec, network, encoded)
        trainer.progress.planned_steps = plan.planned_steps
        trainer.progress.threads = plan.threads
        if not plan.config.training.threads:  # or else nobody asks
            trainer.progress.expected_s = plan.seconds_per_step
        return trainer

    @classmethod
    def resumed(cls, run: Run, budget: Given) -> Trainer:
        """Go on with a run where it was saved.

        Args:
            run: its directory.
            budget: the `epochs`, `steps` or `minutes` that are to replace the old budget.

        Raises:
            CheckpointError: there is nothing to go on from, or it is broken.
            RunError: the corpus is not the one that the run began with, or the disk is full.
            ConfigError: the budget is used up.
        """
        if not run.last.exists():
            raise CheckpointError(f"{run.path}: no {run.last.name} to go on from")
        saved = checkpoint.read(run.last)
        if saved.progress is None:
            raise CheckpointError(f"{run.last}: a model without the state to resume from")
        config = saved.config
        if config.training.device not in (here := devices.available()):
            raise DeviceError(
                f"{run.path}: was begun on {config.training.device}, here is {', '.join(here)}; "
                f"begin a new run with its weights: --init-from {run.path}"
            )
        if budget["training"]:
            fresh: dict[str, Any] = dict.fromkeys(BUDGET)
            training = dataclasses.replace(config.training, **(fresh | budget["training"]))
            config = dataclasses.replace(config, training=training)
        trainer = cls(run, config, saved.codec, saved.network(), run.corpus)
        trainer._restore(saved.tensors(), saved.progress)
        progress, segments = trainer.progress, trainer.lanes.segments
        left = progress.over(config.training) is None
        if config.training.minutes is not None and progress.step and not progress.elapsed_s:
            progress.elapsed_s = progress.step * trainer._measured_s()  # which nobody has written
        if budget["training"]:
            left = progress.refit(config.training, segments)
        if not left:
            raise ConfigError(
                f"{run.path}: has finished, after {progress.step} steps, "
                f"{trainer.epochs_done:.4g} epochs and {progress.elapsed_s / 60:.3g} minutes; "
                "to go on, give more in all: --steps, --epochs or --minutes"
            )
        trainer.refuse_full_disk()
        run.rewind_metrics(progress.step)
        if budget["training"]:
            trainer.save()  # the new budget stands, whatever happens next
        return trainer

    def events(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[Event]:
        """Train to the end of the budget, or until `should_stop` says so between two steps.

        Raises:
            DivergenceError: a loss or gradient that is not finite.
            DeviceError: out of memory.
            CheckpointError: a save failed; the one before it stands.
        """
        progress, training = self.progress, self.config.training
        devices.keep_freed_memory()
        torch.set_num_threads(progress.threads)
        started = clock() - progress.elapsed_s
        meter, interrupted = Meter(progress.elapsed_s), False
        saved_at = logged_at = clock()
        log_every = max(1, training.eval_every // LOGS_PER_EVALUATION)
        while progress.over(training) is None:
            if interrupted := should_stop():
                break
            meter.add(*self._step())
            progress.elapsed_s = clock() - started
            evaluating = progress.step % training.eval_every == 0
            evaluating = evaluating or progress.over(training) is not None
            is_late = clock() - logged_at > LOG_EVERY_S
            if evaluating or is_late or progress.step % log_every == 0:
                stepped, logged_at = self._stepped(meter), clock()
                yield stepped
                if not evaluating:
                    self.run.append_metrics(_metrics(stepped))
            if evaluating:
                yield from self._evaluate(stepped, meter.mean_nats)
                progress.elapsed_s = clock() - started
                if progress.over(training) is None:
                    progress.decide(training, self.lanes.segments)
            chosen_anew = self._choose_threads(clock, evaluating)
            if evaluating or chosen_anew or clock() - saved_at > SAVE_EVERY_S:
                self._save_checked(meter)
                saved_at = clock()
                yield Saved(progress.step, self.run.last)
            if evaluating:
                meter.restart(clock() - started)
        if interrupted:
            self._save_checked(meter)
            yield Saved(progress.step, self.run.last)
        yield Stopped(
            progress.step,
            reason="interrupted" if interrupted else progress.over(training) or "budget",
            epoch=self.epochs_done,
            steps_seen=progress.steps_seen,
            best_nats_per_step=finite(progress.best_nats_per_step),
            best_step=progress.best_step or None,
            elapsed_s=progress.elapsed_s,
            path=self.run.best if self.run.best.exists() else self.run.last,
        )

    @property
    def lanes(self) -> Lanes:
        """The corpus as the present epoch cuts it."""
        return self._feed.lanes(self.progress.epoch)

    @property
    def epochs_done(self) -> float:
        """Passes over the corpus, with the share of the present one."""
        return self.progress.epoch + self.progress.segment / self.lanes.segments

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        place = Place(self.progress.epoch, self.progress.fraction, self.progress.plateaus)
        return learning_rate(place, self.config.training)

    def _step(self) -> tuple[Tensor, Tensor, int]:
        """One optimizer step: its loss and gradient norm, on the device, and what it has read."""
        progress, training, lanes = self.progress, self.config.training, self.lanes
        if progress.segment == 0 or not self._is_stateful:
            self.state = self.network.initial_state(lanes.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        last_only = self.config.data.targets == "last"
        with devices.out_of_memory(
            lanes.batch,
            lanes.length,
            lambda batch: probe.fits(self.network, batch, lanes.length, last_only),
        ):
            inputs, targets = self._feed.segment(progress.epoch, progress.segment)
            with self._autocast():
                loss, nats, state = self.network.loss(
                    inputs, targets, self.state, self.generator, last_only=last_only
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = optimizers.clip(self.network, training)
            self._update(nats, norm)
        self.state = state
        progress.step += 1
        progress.segment += 1
        seen = inputs.shape[0] * inputs.shape[1]
        progress.steps_seen += seen
        if progress.segment == lanes.segments:
            progress.epoch, progress.segment = progress.epoch + 1, 0
        return nats, norm, seen

    def _update(self, nats: Tensor, norm: Tensor) -> None:
        """Take the optimizer's step, unless the loss or the norm is not finite.

        On a GPU nobody waits to know: there its kernels leave the weights as they are, and the
        next log line, or save, tells.
        """
        if optimizers.can_skip(self.optimizer, self.device):
            optimizers.skip(self.optimizer, ~torch.isfinite(nats + norm))
        else:
            self._refuse_divergence(self.progress.step + 1, float(nats), float(norm))
        self.optimizer.step()

    def _autocast(self) -> torch.autocast:
        bf16 = self.config.training.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def _refuse_divergence(self, step: int, nats: float, norm: float) -> None:
        if finite(nats) is None or finite(norm) is None:
            raise DivergenceError(
                f"step {step}: loss {nats:g}, gradient norm {norm:g} at a "
                f"learning rate of {self.rate:.2g}; try a lower --lr or --clip. "
                f"{self.run.last} holds the last good state"
            )

    def _stepped(self, meter: Meter) -> Stepped:
        """What the steps since the last log line have come to."""
        progress, training = self.progress, self.config.training
        self._look(meter)
        nats, norm, speed = meter.read(progress.elapsed_s)
        return Stepped(
            progress.step,
            epoch=self.epochs_done,
            steps_seen=progress.steps_seen,
            train_nats_per_step=nats,
            lr=self.optimizer.param_groups[0]["lr"],
            grad_norm=norm,
            elapsed_s=progress.elapsed_s,
            steps_per_s=speed,
            fraction=progress.fraction,
            left_s=progress.left_s(training),
            planned_steps=progress.planned_steps,
        )

    def _choose_threads(self, clock: Callable[[], float], evaluated: bool) -> bool:
        """Look at the threads again where training has become slow, or might become faster.

        Two threads wait for each other when another program wants a processor: a step then
        takes ten times as long as on one.

        Returns:
            Whether their number has changed; it has to be saved before the next step.
        """
        if self.device.type != "cpu" or self.config.training.threads:
            return False
        data, progress, pace, now = self.config.data, self.progress, self._pace, clock()
        fewer = progress.threads < devices.processors()
        seconds = pace.seconds_per_step(progress.step, now, skip=evaluated)
        is_slow = seconds is not None and seconds > SLOW * progress.expected_s
        if not is_slow and not (evaluated and fewer and now >= pace.climb_at):
            return False
        speed = probe.fastest(
            self.network,
            data.batch_size,
            data.seq_length,
            precision=self.config.training.precision,
            last_only=data.targets == "last",
        )
        changed = speed.threads != progress.threads
        pace.chosen(clock(), climbing=fewer)
        progress.threads = speed.threads
        progress.expected_s = max(speed.seconds, 0.0 if changed else seconds or 0.0)
        torch.set_num_threads(progress.threads)
        return changed

    def _measured_s(self) -> float:
        """Seconds of an optimizer step, tried on a copy."""
        data, training = self.config.data, self.config.training
        return probe.fastest(
            self.network,
            data.batch_size,
            data.seq_length,
            threads=self.progress.threads,
            precision=training.precision,
            last_only=data.targets == "last",
        ).seconds

    def _evaluate(self, stepped: Stepped, train_nats: float) -> Iterator[Event]:
        """Evaluate, keep the best model, and draw a preview."""
        progress = self.progress
        with self._autocast():
            nats = evaluate(self.network, self.val_steps).nats_per_step
        free = None
        if self.codec.medium == "sound":
            with threadpool_limits(progress.threads, user_api="blas"):
                free = self._free_run()
                preview = self._write(free)
        score = nats if free is None else free.distance
        improved = progress.evaluated(nats, score, self.config.training.lr_patience)
        if improved:
            checkpoint.save(
                self.run.best,
                config=self.config,
                codec=self.codec,
                training=self._summary(),
                tensors=self._model_tensors(),
            )
        measured: dict[str, Any] = {"val_nats_per_step": nats, "val_bits_per_character": None}
        if self.codec.medium == "text":
            measured["val_bits_per_character"] = self.codec.bits_per_character(nats)
        else:
            measured["figures"] = free and free.figures.to_dict()
        self.run.append_metrics(_metrics(stepped) | measured)
        yield Evaluated(
            progress.step,
            epoch=stepped.epoch,
            steps_seen=progress.steps_seen,
            train_nats_per_step=train_nats,
            best_nats_per_step=progress.best_nats_per_step,
            improved=improved,
            elapsed_s=progress.elapsed_s,
            **measured,
        )
        yield Sampled(progress.step, self._preview() if free is None else preview)

    def _runtime(self) -> Runtime:
        weights = {name: _array(tensor) for name, tensor in self.network.state_dict().items()}
        return Runtime(self.config.model, weights)

    def _free_run(self) -> FreeRun:
        """A few seconds of sound, and how they compare with the recording."""
        assert self.codec.medium == "sound"
        if self._free_runs is None:
            self._free_runs = FreeRuns(self.codec, self.train_steps)
        return self._free_runs.run(self._runtime(), self.config.sampling)

    def _write(self, free: FreeRun) -> str:
        """Leave the sound of a free run, and its picture, in the run directory."""
        folder = self.run.previews
        folder.mkdir(exist_ok=True)
        path = folder / f"step-{self.progress.step:06}.flac"
        try:
            free.write(path)
        except OSError as error:
            raise RunError(f"{path}: cannot be written ({error.strerror})") from None
        return str(path)

    def _preview(self) -> str:
        """A sample; of documents, several."""
        assert self.codec.medium == "text"
        between = self.codec.reading.between
        texts: list[str] = []
        written = 0
        with (
            suppress(SamplingError),
            np.errstate(all="ignore"),
        ):  # a rule against loops has ruled out everything: no harm done
            streams = samples(
                self._runtime(),
                self.codec,
                length=PREVIEW,
                num=PREVIEWS if between else 1,
                config=self.config.sampling,
                scored=False,
            )
            for stream in streams:
                texts.append("")
                for piece in stream:
                    texts[-1] += piece
                if (written := written + stream.steps) >= PREVIEW:
                    break
        return between.join(texts)

    def _save_checked(self, meter: Meter) -> None:
        """Save, unless a step was not finite, which on a GPU nobody has looked at yet."""
        self._look(meter)
        self.save()

    def _look(self, meter: Meter) -> None:
        """Raise if a step since the last log line was not finite."""
        unread = meter.unread
        for step, (nats, norm) in enumerate(unread, self.progress.step + 1 - len(unread)):
            self._refuse_divergence(step, nats, norm)

    def refuse_full_disk(self) -> None:
        """Look at the room on the disk before time is spent.

        Raises:
            RunError: there is too little.
        """
        model = sum(tensor.nbytes for tensor in self.network.state_dict().values())
        model += sum(array.nbytes for array in self.codec.arrays.values())
        moments = len(optimizers.moments(self.optimizer) - {"step"}) * model
        state = sum(tensor.nbytes for tensor in flattened(self.state).values())
        self.run.refuse_full_disk(model, model + moments + state)

    def save(self, path: Path | None = None) -> None:
        """Write `last.safetensors`, or another file: the model and everything that resuming
        needs."""
        tensors = self._model_tensors()
        for name, tensor in optimizers.state_tensors(self.optimizer):
            tensors[f"optimizer.{name}"] = _array(tensor)
        for name, tensor in flattened(self.state).items():
            tensors[f"state.{name}"] = _array(tensor)
        tensors["generator"] = _array(self.generator.get_state())
        checkpoint.save(
            path or self.run.last,
            config=self.config,
            codec=self.codec,
            training=self._summary(),
            tensors=tensors,
            progress=self.progress.to_dict(clock=self.config.training.minutes is not None),
        )

    def _restore(self, tensors: Tensors, progress: dict[str, Any]) -> None:
        """Take up what `save` has written."""
        groups: dict[str, dict[str, Tensor]] = {"optimizer": {}, "state": {}}
        for name, array in tensors.items():
            group, _, rest = name.partition(".")
            if group in groups:
                groups[group][rest] = torch.from_numpy(array)
        checksum = self.progress.corpus_crc32
        try:
            self.progress = Progress.from_dict(progress)
            self.progress.threads = min(self.progress.threads, devices.most_threads())
            if self.progress.corpus_crc32 != checksum:
                raise RunError(f"{self.run.corpus}: is not the corpus that this run began with")
            if self.progress.segment >= self.lanes.segments:
                raise ValueError(f"segment {self.progress.segment} of {self.lanes.segments}")
            if self.progress.step or groups["optimizer"]:
                optimizers.load_state(self.optimizer, groups["optimizer"])
            _compare(groups["state"], flattened(self.state))
            self.state = unflattened(groups["state"], self.state)
            generator = {"generator": torch.from_numpy(tensors["generator"])}
            _compare(generator, {"generator": self.generator.get_state()})
            self.generator.set_state(generator["generator"])
            self.progress.elapsed_s = self.progress.elapsed_s or self.run.elapsed_s(
                self.progress.step
            )
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise CheckpointError(f"{self.run.last}: cannot be resumed from ({error})") from None

    def _model_tensors(self) -> Tensors:
        """The network as it is saved.

        Raises:
            DivergenceError: it has a number with which it could not be opened again.
        """
        tensors = {MODEL + name: _array(t) for name, t in self.network.state_dict().items()}
        for name, array in tensors.items():
            if not np.abs(array).max() < LARGEST:  # nor if it is NaN
                raise DivergenceError(
                    f"step {self.progress.step}: {name} has grown to {np.abs(array).max():g} at a "
                    f"learning rate of {self.rate:.2g}; try a lower --lr or --clip. "
                    f"{self.run.last} holds the last good state"
                )
        return tensors

    def _summary(self) -> dict[str, Any]:
        """For people: what this model has been through."""
        return {
            "step": self.progress.step,
            "epochs": round(self.epochs_done, 3),
            "steps_seen": self.progress.steps_seen,
            "best_nats_per_step": finite(self.progress.best_nats_per_step),
            "best_step": self.progress.best_step,
            "corpus_steps": len(self.train_steps) + len(self.val_steps),
        }


def _compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless names, shapes and types agree."""
    for name in found.keys() | wanted.keys():
        pair = [(t.shape, t.dtype) for t in (found.get(name), wanted.get(name)) if t is not None]
        if len(pair) < 2 or pair[0] != pair[1]:
            raise ValueError(f"{name} is not as the configuration asks for")


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return array


def _metrics(stepped: Stepped) -> dict[str, Any]:
    """A line of `metrics.jsonl`."""
    names = "step epoch steps_seen train_nats_per_step lr grad_norm elapsed_s steps_per_s"
    return {name: getattr(stepped, name) for name in names.split()}
