"""The training loop: truncated backpropagation through time; yields events."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint, Starts
from charrnn.config import Config, Given
from charrnn.data import corpus
from charrnn.data.lanes import ALL, Lanes
from charrnn.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    DivergenceError,
    FinishedError,
    PeerError,
    RunError,
)
from charrnn.files import cannot_write
from charrnn.media.codec import Codec
from charrnn.media.product import Critic, Verdict
from charrnn.model import device as devices
from charrnn.model.network import Network, flattened
from charrnn.run import Run
from charrnn.sampling.generate import sequences
from charrnn.sampling.runtime import Runtime
from charrnn.settings import BUDGET
from charrnn.training import optimizers, probe
from charrnn.training.evaluate import evaluate
from charrnn.training.events import Evaluated, Event, Sampled, Saved, Stepped, Stopped
from charrnn.training.feed import Feed
from charrnn.training.free_runs import FreeRuns
from charrnn.training.group import Group
from charrnn.training.plan import Plan
from charrnn.training.progress import Meter, Progress, finite
from charrnn.training.schedule import Place, learning_rate
from charrnn.training.starts import learn_starts, start_places, start_states
from charrnn.training.state import TrainingState
from charrnn.training.threads import ThreadChooser

SAVE_EVERY_S = 300.0  # if evaluations are farther apart
LOG_EVERY_S = 5.0  # if LOGS_PER_EVALUATION gives a longer interval
LOGS_PER_EVALUATION = 10
VALIDATION_LOSS = "validation loss"  # the name of the score if no critic compares


class Trainer:
    """Trains one run: create it with `new` or `resumed`, then iterate over `events`.

    The caller must hold the run's lock.
    """

    def __init__(
        self,
        run: Run,
        config: Config,
        codec: Codec,
        network: Network,
        encoded: Path,
        device: torch.device | None = None,
    ) -> None:
        steps = corpus.read(encoded)
        self.corpus_crc32 = corpus.checked(encoded, steps, codec.step)
        self.run, self.config, self.codec = run, config, codec
        self.device = device or devices.pick(config.training.device)
        network = network.to(self.device).train()
        self.train_steps, self.val_steps = corpus.split(steps, config.data.val_fraction)
        self.state = TrainingState(
            network,
            optimizers.optimizer_of(network, config.training),
            network.initial_state(config.data.batch_size),
            torch.Generator(self.device).manual_seed(config.training.seed),
            FreeRuns(self.train_steps, codec.conditions, config, self.device),
            Progress(planned_updates=1, threads=1, corpus_crc32=self.corpus_crc32),
        )
        self._threads = ThreadChooser(config, network, self.device)
        self._critic: Critic | None = None  # made at the first evaluation
        self._is_stateful = config.data.bptt == "stateful"
        self._rows = ALL  # the lanes that this process trains on
        self._feed = Feed(self.train_steps, config, self.device)
        self.notices: list[str] = []  # for the user, when the run is resumed
        self._group = Group()
        self._module = self._group.module(network)
        self._has_starts = True  # runs of earlier versions have none, and stay as they are
        self._starts: tuple[int, Starts | None] = (-1, None)  # update, and the states after it

    @classmethod
    def new(cls, run: Run, plan: Plan, codec: Codec, network: Network, encoded: Path) -> Trainer:
        """The trainer of a new run; `encoded` is its encoded corpus.  Nothing is written."""
        trainer = cls(run, plan.config, codec, network, encoded)
        trainer.progress.planned_updates = plan.planned_updates
        trainer.progress.threads = plan.threads
        if not plan.config.training.threads:  # chosen automatically, so it may change later
            trainer.progress.expected_s = plan.seconds_per_update
        return trainer

    @classmethod
    def resumed(cls, run: Run, budget: Given) -> Trainer:
        """Continue a run from its last save.

        Args:
            run: its directory.
            budget: the `epochs`, `steps` or `minutes` that replace the old budget.

        Raises:
            CheckpointError: there is nothing to resume from, or it is damaged.
            DeviceError: this machine does not have the run's device.
            RunError: the corpus is not the one that the run started with, or the disk is full.
            FinishedError: the budget is used up.
        """
        if not run.last.exists():
            raise CheckpointError(f"{run.path}: no {run.last.name} to resume from")
        saved = checkpoint.read(run.last)
        if saved.progress is None:
            raise CheckpointError(f"{run.last}: a model without the state to resume from")
        config = saved.config
        if config.training.device not in (here := devices.available()):
            raise DeviceError(
                f"{run.path}: was started on {config.training.device}, this machine has only "
                f"{', '.join(here)}; start a new run from its weights: --init-from {run.path}"
            )
        if budget["training"]:
            fresh: dict[str, Any] = dict.fromkeys(BUDGET)
            training = dataclasses.replace(config.training, **(fresh | budget["training"]))
            config = dataclasses.replace(config, training=training)
        trainer = cls(run, config, saved.codec, saved.network(), run.corpus)
        trainer._restore(saved)
        progress, segments = trainer.progress, trainer.lanes.segments
        left = progress.over(config.training) is None
        if config.training.minutes is not None and progress.update and not progress.elapsed_s:
            # No file has the time; estimate it.
            progress.elapsed_s = progress.update * trainer._threads.measured_s(progress)
        if budget["training"]:
            left = progress.refit(config.training, segments)
        if not left:
            raise FinishedError(
                f"{run.path}: has finished, after {progress.update} steps, "
                f"{trainer.epochs_done:.4g} epochs and {progress.elapsed_s / 60:.3g} minutes; "
                "to continue, give a larger total: --steps, --epochs or --minutes"
            )
        trainer.refuse_full_disk()
        run.rewind_metrics(progress.update)
        if budget["training"]:
            trainer.save()  # store the new budget before anything can go wrong
        return trainer

    @classmethod
    def following(cls, group: Group) -> Trainer:
        """A trainer in a process that does not lead, for the run that the leader begins.

        Raises:
            RunError: the leader has ended.
            CheckpointError: its run cannot be read here.
        """
        path, config, progress = group.told()
        run = Run(path)
        saved = checkpoint.read(run.last)
        device = group.device(devices.pick(config.training.device))
        trainer = cls(run, config, saved.codec, saved.network(), run.corpus, device)
        trainer._restore(saved)
        trainer.state.progress = progress
        trainer._share(group)
        return trainer

    def lead(self, group: Group) -> None:
        """Train together with the other processes of a group, which are told of this run.

        Raises:
            ConfigError: they cannot share its lanes.
            DeviceError: there are fewer GPUs than processes.
        """
        group.refuse_too_few(self.device)
        batch = self.config.data.batch_size
        if batch % group.size:
            counts = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
            raise ConfigError(
                f"{self.run.path}: {group.size} processes cannot share its batch of {batch}; start "
                f"as many as divide it: {counts}"
            )
        group.told((self.run.path.absolute(), self.config, self.progress))
        self._share(group)

    def _share(self, group: Group) -> None:
        """Train this process's share of the lanes from here on."""
        before = len(self.state.others) + 1
        if self.progress.update and before != group.size:
            self.notices.append(
                f"was trained in {before} process{'es' * (before > 1)} before, in {group.size} "
                "from here on; dropout masks differ from those of a run that was not stopped"
            )
        self.state.share(group, self.config.training.seed)
        if group.is_alone:
            return
        self._group = group
        if not self.config.training.threads:
            self.progress.threads = group.threads
        self._rows = group.rows(self.config.data.batch_size)
        self._feed = Feed(self.train_steps, self.config, self.device, rows=self._rows)
        self._module = group.module(self.state.network)

    def events(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[Event]:
        """Train to the end of the budget, or until `should_stop` returns True between two updates.

        The number of PyTorch threads is restored before each event is yielded.

        Raises:
            DivergenceError: a loss or gradient is not finite.
            DeviceError: out of memory.
            CheckpointError: a save failed; the previous save is unchanged.
            PeerError: another process that trains has ended.
        """
        decided = self._group.decided  # what processes see differently, the leader decides
        events = self._events(lambda: bool(decided(should_stop())), lambda: decided(clock()))
        while True:
            before = torch.get_num_threads()
            torch.set_num_threads(self.progress.threads)
            try:
                event = next(events, None)
            except PeerError as error:
                raise PeerError(
                    f"{self.run.path}: {error}; continue from the last save: "
                    f"charrnn train --resume {self.run.path}"
                ) from None
            finally:
                torch.set_num_threads(before)
            if event is None:
                return
            if self._group.leads:
                yield event

    def _events(
        self, should_stop: Callable[[], bool], clock: Callable[[], float]
    ) -> Iterator[Event]:
        progress, training = self.progress, self.config.training
        saved_at = logged_at = clock()
        started = logged_at - progress.elapsed_s
        meter, interrupted = Meter(progress.elapsed_s), False
        log_every = max(1, training.eval_every // LOGS_PER_EVALUATION)
        while progress.over(training) is None:
            if interrupted := should_stop():
                break
            meter.add(*self._update())
            now = clock()
            progress.elapsed_s = now - started
            evaluating = progress.update % training.eval_every == 0
            evaluating = evaluating or progress.over(training) is not None
            is_late = now - logged_at > LOG_EVERY_S
            if evaluating or is_late or progress.update % log_every == 0:
                stepped, logged_at = self._stepped(meter), now
                yield stepped
                if not evaluating and self._group.leads:
                    self.run.append_metrics(_metrics(stepped))
            if evaluating:
                yield from self._evaluate(stepped, meter.mean_nats)
                now = clock()
                progress.elapsed_s = now - started
                if progress.over(training) is None:
                    progress.decide(training, self.lanes.segments)
            threads_changed = False
            if self._group.is_alone:
                renewed = self.state.free_runs.renewed_at == progress.update - 1
                threads_changed = self._threads.choose(
                    progress, clock, evaluated=evaluating, paused=evaluating or renewed
                )
            if progress.over(training) is not None:
                self._learn_starts()  # before the save: after a kill, resuming does it again
            if evaluating or threads_changed or now - saved_at > SAVE_EVERY_S:
                self._save_checked(meter)
                saved_at = now
                yield Saved(progress.update, self.run.last)
            if evaluating:
                meter.restart(clock() - started)
        if interrupted:
            self._save_checked(meter)
            yield Saved(progress.update, self.run.last)
            self._learn_starts()
        yield Stopped(
            progress.update,
            reason="interrupted" if interrupted else progress.over(training) or "budget",
            epoch=self.epochs_done,
            steps_seen=progress.steps_seen,
            best_nats_per_step=finite(progress.best_nats_per_step),
            best_update=progress.best_update or None,
            best_score=finite(progress.best_score),
            score_name=self._score_name,
            elapsed_s=progress.elapsed_s,
            path=self.run.best if self.run.best.exists() else self.run.last,
        )

    @property
    def progress(self) -> Progress:
        """How far training has got."""
        return self.state.progress

    @property
    def precision(self) -> str:
        """Of the matrix products: that of the run, or fp32 where this processor lacks bf16."""
        return devices.usable_precision(self.config.training.precision, self.device)

    @property
    def lanes(self) -> Lanes:
        """The lanes of the current epoch."""
        return self._feed.lanes(self.progress.epoch)

    @property
    def epochs_done(self) -> float:
        """Passes over the corpus, including the fraction of the current one."""
        return self.progress.epoch + self.progress.segment / self.lanes.segments

    @property
    def rate(self) -> float:
        """The learning rate of the next update."""
        place = Place(self.progress.epoch, self.progress.fraction, self.progress.plateaus)
        return learning_rate(place, self.config.training)

    def _update(self) -> tuple[Tensor, Tensor, int]:
        """One optimizer update.

        Returns:
            Loss in nats per step and gradient norm, (), both on the device, and the number of
            steps read.
        """
        state, progress, lanes = self.state, self.progress, self.lanes
        if progress.segment == 0 or not self._is_stateful:
            state.recurrent = state.network.initial_state(lanes.batch // self._group.size)
        for group in state.optimizer.param_groups:
            group["lr"] = self.rate
        last_only = self.config.data.targets == "last"
        with devices.out_of_memory(
            lanes.batch,
            lanes.length,
            lambda batch: probe.fits(state.network, batch, lanes.length, last_only),
        ):
            if state.free_runs.is_due(progress.update, progress.fraction):
                state.free_runs.renew(state.network, progress.update, self._autocast())
            segment = self._feed.segment(progress.epoch, progress.segment)
            inputs, targets = state.free_runs.mixed(*segment, progress.update, self._rows)
            with self._group.computing():
                with self._autocast():
                    loss, nats, recurrent = self._module(
                        inputs, targets, state.recurrent, state.generator, last_only=last_only
                    )
                state.optimizer.zero_grad(set_to_none=True)
                loss.backward()
            norm = optimizers.clip(state.network, self.config.training)
            self._apply(nats, norm)
        state.recurrent = recurrent
        progress.update += 1
        progress.segment += 1
        seen = inputs.shape[0] * inputs.shape[1] * self._group.size
        progress.steps_seen += seen
        if progress.segment == lanes.segments:
            progress.epoch, progress.segment = progress.epoch + 1, 0
        return nats, norm, seen

    def _apply(self, nats: Tensor, norm: Tensor) -> None:
        """Change the weights, unless the loss or the norm is not finite.

        On a GPU, waiting for these values would be slow.  Its kernels skip the update themselves,
        and the next log line or save reports the error.
        """
        if optimizers.can_skip(self.state.optimizer, self.device):
            checked = nats + norm if self._group.is_alone else norm
            optimizers.skip(self.state.optimizer, ~torch.isfinite(checked))
        else:
            # The norm is that of all processes; their losses may differ.
            own = float(nats) if self._group.is_alone else float(norm)
            self._refuse_divergence(self.progress.update + 1, own, float(norm))
        self.state.optimizer.step()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _refuse_divergence(self, update: int, nats: float, norm: float) -> None:
        if finite(nats) is None or finite(norm) is None:
            raise self._diverged(update, f"loss {nats:g}, gradient norm {norm:g}")

    def _diverged(self, update: int, what: str) -> DivergenceError:
        return DivergenceError(
            f"step {update}: {what} at a learning rate of {self.rate:.2g}; try a lower --lr or "
            f"--clip. {self.run.last} contains the last good state"
        )

    def _stepped(self, meter: Meter) -> Stepped:
        """An event with the means over the updates since the last log line."""
        progress, training = self.progress, self.config.training
        self._check_finite(meter)
        nats, norm, speed = meter.read(progress.elapsed_s)
        return Stepped(
            progress.update,
            epoch=self.epochs_done,
            steps_seen=progress.steps_seen,
            train_nats_per_step=nats,
            lr=self.state.optimizer.param_groups[0]["lr"],
            grad_norm=norm,
            elapsed_s=progress.elapsed_s,
            steps_per_s=speed,
            fraction=progress.fraction,
            left_s=progress.left_s(training),
            planned_updates=progress.planned_updates,
        )

    def _evaluate(self, stepped: Stepped, train_nats: float) -> Iterator[Event]:
        """Evaluate, save the best model, and yield a preview."""
        progress, codec, group = self.progress, self.codec, self._group
        with self._autocast():
            nats = evaluate(self.state.network, self.val_steps, group).nats_per_step
        verdict = self._judge() if group.leads else Verdict()
        score = group.decided(verdict.score(nats))
        improved = progress.evaluated(nats, score, self.config.training.lr_patience)
        if not group.leads:
            return
        preview = self._preview(verdict)
        if improved:
            self._write(self.run.best)
        measured: dict[str, Any] = {
            "val_nats_per_step": nats,
            "val_bits_per_character": codec.bits_per_character(nats),
            "score": score,
        }
        if verdict.figures is not None:
            measured["figures"] = verdict.figures
        sample = {} if verdict.text is None else {"sample": verdict.text}
        self.run.append_metrics(_metrics(stepped) | measured | sample)
        yield Evaluated(
            progress.update,
            epoch=stepped.epoch,
            steps_seen=progress.steps_seen,
            train_nats_per_step=train_nats,
            best_nats_per_step=progress.best_nats_per_step,
            improved=improved,
            elapsed_s=progress.elapsed_s,
            best_score=progress.best_score,
            score_name=self._score_name,
            detail=verdict.detail or codec.loss_detail(nats),
            **measured,
        )
        if verdict.text is not None or preview is not None:
            yield Sampled(progress.update, verdict.text, preview)

    @property
    def _score_name(self) -> str:
        return self._critic.score if self._critic and self._critic.compares else VALIDATION_LOSS

    def _judge(self) -> Verdict:
        """The verdict of the medium's critic on samples of the current model."""
        # The number of BLAS threads decides how sums are rounded, and so may decide the verdict.
        with threadpool_limits(self.progress.threads, user_api="blas"), np.errstate(all="ignore"):
            if self._critic is None:
                self._critic = self.codec.critic(self.train_steps)
            if self._critic is None:
                return Verdict()
            drawn = sequences(
                Runtime(self.config.model, self.state.weights(), self.starts),
                self.codec,
                num=self._critic.num,
                config=self.config.sampling,
                settings=self.config.codec_settings,
            )
            verdict = self._critic.look(drawn, self.config.codec_settings)
            if verdict.learnt is not None:
                self.codec = verdict.learnt
            return verdict

    @property
    def starts(self) -> Starts | None:
        """The states in which samples of the current model begin."""
        if not self._has_starts:
            return None
        update, network = self.progress.update, self.state.network
        if self._starts[0] != update:
            states = start_states(network, self.train_steps, self._start_places, self.config)
            self._starts = (update, states)
        return self._starts[1]

    def _learn_starts(self) -> None:
        if self._group.leads and self.run.best.exists():
            learn_starts(self.run.best, self.train_steps, self.device)

    @cached_property
    def _start_places(self) -> NDArray[np.int64]:
        return start_places(self.codec, self.train_steps)

    def _preview(self, verdict: Verdict) -> Path | None:
        """Save a preview that is not text in the run directory."""
        folder = self.run.previews
        with (
            cannot_write(folder, RunError),
            threadpool_limits(self.progress.threads, user_api="blas"),
        ):
            return verdict.save(folder, f"step-{self.progress.update:06}")

    def _save_checked(self, meter: Meter) -> None:
        """Save, after checking that all updates were finite (on a GPU this is still open)."""
        self._check_finite(meter)
        self.save()

    def _check_finite(self, meter: Meter) -> None:
        """Raise if an update since the last log line was not finite."""
        meter.share(self._group)
        unread = meter.unread
        for update, (nats, norm) in enumerate(unread, self.progress.update + 1 - len(unread)):
            self._refuse_divergence(update, nats, norm)

    def refuse_full_disk(self) -> None:
        """Check the free disk space before training.

        Raises:
            RunError: there is too little.
        """
        codec = sum(array.nbytes for array in self.codec.arrays.values())
        best, last = self.state.bytes_on_disk()
        self.run.refuse_full_disk(best + codec, last + codec)

    def save(self, path: Path | None = None) -> None:
        """Write everything that resuming needs to `last.safetensors` or to another file."""
        clock, tensors = self.config.training.minutes is not None, self.state.tensors(self._group)
        if self._group.leads:
            self._write(path or self.run.last, tensors, self.progress.to_dict(clock=clock))

    def _write(
        self,
        path: Path,
        more: checkpoint.Tensors | None = None,
        progress: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the model; `more` tensors and `progress` make the file resumable."""
        try:
            tensors = self.state.model_tensors()
        except DivergenceError as error:
            raise self._diverged(self.progress.update, str(error)) from None
        if (starts := self.starts) is not None:
            tensors |= {checkpoint.START + name: part for name, part in flattened(starts).items()}
        checkpoint.save(
            path,
            config=self.config,
            codec=self.codec,
            training=self._summary(),
            tensors=tensors | (more or {}),
            progress=progress,
        )

    def _restore(self, saved: Checkpoint) -> None:
        """Load what `save` wrote."""
        assert saved.progress is not None
        self._has_starts = saved.starts_count > 0
        try:
            self.state.restore(saved.tensors(), saved.progress, devices.most_threads())
            progress = self.progress
            if progress.corpus_crc32 != self.corpus_crc32:
                raise RunError(f"{self.run.corpus}: is not the corpus that this run began with")
            if progress.segment >= self.lanes.segments:
                raise ValueError(f"segment {progress.segment} of {self.lanes.segments}")
            progress.elapsed_s = progress.elapsed_s or self.run.elapsed_s(progress.update)
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise CheckpointError(f"{self.run.last}: cannot be resumed from ({error})") from None

    def _summary(self) -> dict[str, Any]:
        """A short summary of the training, for people to read."""
        return {
            "step": self.progress.update,
            "epochs": round(self.epochs_done, 3),
            "steps_seen": self.progress.steps_seen,
            "best_nats_per_step": finite(self.progress.best_nats_per_step),
            "best_step": self.progress.best_update,
            "corpus_steps": len(self.train_steps) + len(self.val_steps),
        }


def _metrics(stepped: Stepped) -> dict[str, Any]:
    """A line of `metrics.jsonl`."""
    names = "epoch steps_seen train_nats_per_step lr grad_norm elapsed_s steps_per_s"
    return {"step": stepped.update} | {name: getattr(stepped, name) for name in names.split()}
