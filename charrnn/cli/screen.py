"""Shows training on the terminal: a live display, plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.terminal import amount, duration, note, printable, sparkline, table
from charrnn.data.corpus import held_out
from charrnn.media.steps import Discrete
from charrnn.model.cells import cell_of
from charrnn.training.events import Evaluated, Event, Sampled, Stepped, Stopped

if TYPE_CHECKING:
    from charrnn.settings import DataConfig, ModelConfig
    from charrnn.training.loop import Trainer
    from charrnn.training.plan import Plan

PLAIN_EVERY_S = 10.0
SAMPLE_LINES = 8


class Screen:
    """The base class; shows nothing."""

    unit = "step"  # what a step is called; known once there is a plan

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def planned(self, plan: Plan, path: Path) -> None:
        """Show the plan, before the first update of a new run."""

    def resumed(self, trainer: Trainer) -> None:
        """Show the progress so far, before the first update of a resumed run."""

    def show(self, event: Event) -> None:
        """Show an event of the run."""


class Json(Screen):
    """JSON lines on stdout: one object for each event."""

    def planned(self, plan: Plan, path: Path) -> None:
        self._write({"run": str(path)} | plan.to_dict())

    def show(self, event: Event) -> None:
        self._write(event.to_dict())

    def _write(self, values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


class Plain(Screen):
    """Lines on stderr: the plan, progress every ten seconds, each evaluation, the end."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()

    def planned(self, plan: Plan, path: Path) -> None:
        self.unit = plan.unit
        note(describe_plan(plan, path))

    def resumed(self, trainer: Trainer) -> None:
        self.unit, progress = trainer.codec.unit, trainer.progress
        note(
            f"resuming {trainer.run.path} at step {progress.update:,} "
            f"of {progress.planned_updates:,} (epoch {trainer.epochs_done:.2f})"
        )
        if trainer.precision != trainer.config.training.precision:
            note(f"notice: this processor lacks bf16; continuing in {trainer.precision}")
        for text in trainer.notices:
            note(f"notice: {text}")

    def show(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Stepped) and now - self._shown_at > PLAIN_EVERY_S:
            note(describe_step(event, self.unit))
            self._shown_at = now
        elif isinstance(event, Evaluated):
            note(describe_evaluation(event, self.unit))
            self._shown_at = now
        elif isinstance(event, Stopped):
            note(describe_end(event, self.unit))


class Live(Plain):
    """A live display on the terminal: progress, losses with a sparkline, the latest sample."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(stderr=True, highlight=False)
        self._live = RichLive(console=self._console, auto_refresh=False, transient=True)
        self._stepped: Stepped | None = None
        self._scores: list[float] = []
        self._evaluated: Evaluated | None = None
        self._sample = ""
        self._ended: Stopped | None = None

    def __enter__(self) -> Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        if self._sample:
            note("\n".join("  " + line for line in self._sample_lines()) + "\n")
        if self._ended:
            note(describe_end(self._ended, self.unit))

    def show(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self._stepped = event
        elif isinstance(event, Evaluated):
            self._evaluated = event
            self._scores.append(event.score)
        elif isinstance(event, Sampled):
            self._sample = event.text or f"preview: {event.path}"
        elif isinstance(event, Stopped):
            self._ended = event
        if self._stepped is not None:
            self._live.update(self._render(self._stepped), refresh=True)

    def _render(self, stepped: Stepped) -> Any:
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=1.0, completed=stepped.fraction, width=24),
            f"{stepped.fraction:4.0%}",
            f"{duration(max(0, stepped.left_s))} left" if stepped.elapsed_s > 2 else "",
        )
        numbers = (
            f"step {stepped.update:,} of {stepped.planned_updates:,}   epoch {stepped.epoch:.2f}   "
            f"{amount(stepped.steps_per_s)} {self.unit}s/s   lr {stepped.lr:.2g}"
        )
        scores = ""
        losses = f"loss  train {stepped.train_nats_per_step:.3f}"
        if self._evaluated is not None:
            evaluated = self._evaluated
            curve = sparkline(self._scores[-40:], self._console.encoding)
            losses += f"   validation {evaluated.val_nats_per_step:.3f}"
            if evaluated.figures is None:
                losses += f"   best {evaluated.best_score:.3f}   {curve}"
            if evaluated.figures is not None:
                scores = f"{evaluated.score_name} {evaluated.score:.3f}"
                scores += f"   best {evaluated.best_score:.3f}   {curve}"
        fixed: dict[str, Any] = {"no_wrap": True, "overflow": "crop"}  # never wrap a row
        rows: list[Any] = [bar, Text(numbers, style="dim", **fixed), Text(losses, **fixed)]
        if scores:
            rows.append(Text(scores, **fixed))
        if self._sample:
            room = max(0, self._console.height - len(rows) - 3)
            lines = Text("\n".join(self._sample_lines()[:room]), style="italic", **fixed)
            rows += [Text(""), Padding(lines, (0, 0, 0, 2))]
        return Group(*rows)

    def _sample_lines(self) -> list[str]:
        return printable(self._sample).strip("\n").split("\n")[:SAMPLE_LINES]


def describe_plan(plan: Plan, path: Path) -> str:
    """The chosen settings and the expected time and memory, as a table."""
    data, model, training = plan.config.data, plan.config.model, plan.config.training
    held = held_out(plan.corpus_steps, data.val_fraction)
    batch_steps = plan.config.data.batch_size * plan.config.data.seq_length
    epochs = plan.planned_updates * batch_steps / max(1, plan.corpus_steps - held)
    free_runs = f", free runs {training.free_runs:g}" if training.free_runs else ""
    rows = [
        (
            "corpus",
            f"{plan.corpus_steps:,} {plan.unit}s{_kinds(plan)}"
            f"{f' in {plan.documents:,} documents' if plan.documents else ''}; "
            f"{_held_out(plan, held)} for validation",
        ),
        ("codec", plan.codec),
        ("model", f"{_model(model)}: {amount(plan.parameters)} parameters"),
        (
            "training",
            f"batch {data.batch_size}, length {data.seq_length}{_scheme(data)}"
            f"{free_runs}, {training.optimizer} at "
            f"{training.lr:g}, {training.schedule}; about {plan.planned_updates:,} steps, "
            f"{epochs:.1f} epochs",
        ),
        (
            "machine",
            f"{training.device}, {plan.threads} thread{'s' * (plan.threads > 1)}, "
            f"{training.precision}: {amount(plan.steps_per_s)} {plan.unit}s/s",
        ),
        (
            "expected",
            f"{duration(plan.seconds)}, {plan.memory_bytes / 1e9:.1f} GB of memory; "
            "Ctrl-C saves and stops",
        ),
        ("run", str(path)),
    ]
    return table(rows + [("notice", text) for text in plan.notices])


def _held_out(plan: Plan, held: int) -> str:
    return f"{held:,} {plan.held_out}" if plan.held_out else f"the last {held:,}"


def _kinds(plan: Plan) -> str:
    """The number of symbols, or of numbers in a vector; and the duration of the corpus, if any."""
    size, seconds = plan.step.size, plan.corpus_s
    kinds = f", {size:,} different" if isinstance(plan.step, Discrete) else f" of {size:,} numbers"
    return kinds + (f", {duration(seconds)}" if seconds is not None else "")


def _model(model: ModelConfig) -> str:
    """The network, with the options that differ from the default."""
    parts = [
        f"{cell_of(model.cell).label} {model.layers}x{model.hidden}",
        _ends(model),
        f"dropout {model.dropout:g}{' (variational)' if model.variational else ''}",
    ]
    for name in ("input_dropout", "output_dropout", "recurrent_dropout", "weight_drop"):
        if given := getattr(model, name):
            parts.append(f"{name.replace('_', ' ')} {given:g}")
    if model.norm != "none":
        parts.append(f"{model.norm} norm")
    if skips := ["from the input"] * model.skip_input + ["to the head"] * model.skip:
        parts.append(f"skip connections {' and '.join(skips)}")
    if model.cell_norm != "none":
        parts.append(f"{model.cell_norm} norm in the cell")
    return ", ".join(parts)


def _ends(model: ModelConfig) -> str:
    """Input and output of the network."""
    if model.head == "categorical":
        return f"embedding {model.embedding}" if model.embedding else "one-hot"
    noise = f", input noise {model.input_noise:g}" if model.input_noise else ""
    norm = f", {model.input_norm} norm of the input" if model.input_norm != "none" else ""
    dense = f"dense {model.dense}, " if model.dense else ""
    return f"{dense}{model.head} head{noise}{norm}"


def _scheme(data: DataConfig) -> str:
    stateless = ", stateless" if data.bptt == "stateless" else ""
    return stateless + (", the last step predicted" if data.targets == "last" else "")


def describe_step(event: Stepped, unit: str) -> str:
    """A line about the latest updates."""
    return (
        f"step {event.update:>7,} of {event.planned_updates:,}  epoch {event.epoch:6.2f}  "
        f"train {event.train_nats_per_step:.4f}  {amount(event.steps_per_s)} {unit}s/s  "
        f"{duration(event.elapsed_s)}"
    )


def describe_evaluation(event: Evaluated, unit: str) -> str:
    """A line about an evaluation."""
    detail = f"; {event.detail}" if event.detail else ""
    if event.figures is not None:
        detail += f"; {event.score_name} {event.score:.3f}"
    best = " (best)" if event.improved else ""
    return (
        f"step {event.update:>7,}  epoch {event.epoch:6.2f}  "
        f"train {event.train_nats_per_step:.4f}  validation {event.val_nats_per_step:.4f} "
        f"nats per {unit}{detail}{best}  {duration(event.elapsed_s)}"
    )


def describe_end(event: Stopped, unit: str) -> str:
    """How training ended, and what to do next."""
    run = event.path.parent
    if event.reason == "interrupted":
        return f"stopped at step {event.update:,}; saved, resume with: {resume_hint(run)}"
    best, score = event.best_nats_per_step, event.best_score
    found = ""
    if best is not None and score is not None:
        loss = f"{best:.4f} nats per {unit}"
        found = f": best {event.score_name} {loss if score == best else f'{score:.3f}'}"
        found += f" (step {event.best_update or 0:,})"
    why = "early stopping: validation did not improve; " if event.reason == "patience" else ""
    return (
        f"{why}done after {event.update:,} steps, {event.epoch:.1f} epochs, "
        f"{duration(event.elapsed_s)}{found}\n"
        f"the model is {event.path}; sample from it with: charrnn sample {shlex.quote(str(run))}"
    )


def resume_hint(run: Path) -> str:
    """The command that resumes a run."""
    return f"charrnn train --resume {shlex.quote(str(run))}"


class _Both(Screen):
    """Plain lines on stderr and JSON lines on stdout."""

    def __init__(self) -> None:
        self._screens: tuple[Screen, ...] = (Plain(), Json())

    def planned(self, plan: Plan, path: Path) -> None:
        self._each(lambda screen: screen.planned(plan, path))

    def resumed(self, trainer: Trainer) -> None:
        self._each(lambda screen: screen.resumed(trainer))

    def show(self, event: Event) -> None:
        self._each(lambda screen: screen.show(event))

    def _each(self, do: Callable[[Screen], None]) -> None:
        for screen in self._screens:
            do(screen)


def screen_for(json_lines: bool, quiet: bool) -> Screen:
    """The display that fits the flags and the terminal."""
    if json_lines:
        return Json() if quiet else _Both()
    if quiet:
        return Screen()
    from rich.console import Console

    console = Console(stderr=True)
    return Live() if console.is_terminal and not console.is_dumb_terminal else Plain()
