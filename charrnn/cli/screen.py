"""How training is watched: a live display, plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.terminal import amount, duration, note, printable, table
from charrnn.data.corpus import held_out
from charrnn.model.cells import cell_of
from charrnn.training.events import Evaluated, Event, Sampled, Stepped, Stopped

if TYPE_CHECKING:
    from charrnn.config import DataConfig, ModelConfig
    from charrnn.training.loop import Trainer
    from charrnn.training.plan import Plan

PLAIN_EVERY_S = 10.0
SAMPLE_LINES = 8
_BARS = "▁▂▃▄▅▆▇█"


class Screen:
    """Shows nothing; what the others build on."""

    unit = "character"  # what a step is; known once there is a plan

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def planned(self, plan: Plan, path: Path) -> None:
        """Before the first step of a new run."""

    def resumed(self, trainer: Trainer) -> None:
        """Before the first step of a run that goes on."""

    def show(self, event: Event) -> None:
        """An event of the run."""


class Json(Screen):
    """One JSON object a line on stdout."""

    def planned(self, plan: Plan, path: Path) -> None:
        self._write({"run": str(path)} | plan.to_dict())

    def show(self, event: Event) -> None:
        self._write(event.to_dict())

    def _write(self, values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


class Plain(Screen):
    """Lines on stderr: the plan, a line now and then, every evaluation, the end."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()

    def planned(self, plan: Plan, path: Path) -> None:
        self.unit = plan.unit
        note(describe_plan(plan, path))

    def resumed(self, trainer: Trainer) -> None:
        self.unit, progress = trainer.codec.unit, trainer.progress
        note(
            f"going on with {trainer.run.path} at step {progress.step:,} "
            f"of {progress.planned_steps:,} (epoch {trainer.epochs_done:.2f})"
        )

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
    """A moving display on the terminal: progress, losses with a sparkline, the latest sample."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(stderr=True, highlight=False)
        self._live = RichLive(console=self._console, auto_refresh=False, transient=True)
        self._stepped: Stepped | None = None
        self._losses: list[float] = []
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
            self._losses.append(event.val_nats_per_step)
        elif isinstance(event, Sampled):
            self._sample = event.text
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
            f"step {stepped.step:,} of {stepped.planned_steps:,}   epoch {stepped.epoch:.2f}   "
            f"{amount(stepped.steps_per_s)} {self.unit}s/s   lr {stepped.lr:.2g}"
        )
        losses = f"loss  train {stepped.train_nats_per_step:.3f}"
        if self._evaluated is not None:
            losses += (
                f"   validation {self._evaluated.val_nats_per_step:.3f}"
                f"   best {self._evaluated.best_nats_per_step:.3f}   "
                + sparkline(self._losses[-40:], self._console.encoding)
            )
        fixed: dict[str, Any] = {"no_wrap": True, "overflow": "crop"}  # a row is a row
        rows: list[Any] = [bar, Text(numbers, style="dim", **fixed), Text(losses, **fixed)]
        if self._sample:
            room = max(0, self._console.height - len(rows) - 3)
            lines = Text("\n".join(self._sample_lines()[:room]), style="italic", **fixed)
            rows += [Text(""), Padding(lines, (0, 0, 0, 2))]
        return Group(*rows)

    def _sample_lines(self) -> list[str]:
        return printable(self._sample).strip("\n").split("\n")[:SAMPLE_LINES]


def sparkline(values: list[float], encoding: str = "utf-8") -> str:
    """Values as bars of eight heights; nothing where the terminal cannot show them."""
    if not values or "utf" not in encoding.lower():
        return ""
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in values)


def describe_plan(plan: Plan, path: Path) -> str:
    """What was chosen and what is expected, one line a subject."""
    data, model, training = plan.config.data, plan.config.model, plan.config.training
    validated = held_out(plan.corpus_steps, data.val_fraction)
    segments = plan.config.data.batch_size * plan.config.data.seq_length
    epochs = plan.planned_steps * segments / max(1, plan.corpus_steps - validated)
    rows = [
        (
            "corpus",
            f"{plan.corpus_steps:,} {plan.unit}s{_kinds(plan)}"
            f"{f' in {plan.documents:,} documents' if plan.documents else ''}; "
            f"the last {validated:,} for validation",
        ),
        ("codec", plan.codec),
        ("model", f"{_model(model)}: {amount(plan.parameters)} parameters"),
        (
            "training",
            f"batch {data.batch_size}, length {data.seq_length}{_scheme(data)}, "
            f"{training.optimizer} at "
            f"{training.lr:g}, {training.schedule}; about {plan.planned_steps:,} steps, "
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


def _kinds(plan: Plan) -> str:
    """What a step may be."""
    if plan.unit != "frame":
        return f", {plan.vocabulary:,} different"
    data = plan.config.data
    seconds = plan.corpus_steps * data.hop_length / data.sample_rate
    return f" of {plan.vocabulary:,} numbers, {duration(seconds)}"


def _model(model: ModelConfig) -> str:
    """The network, and what of it is out of the ordinary."""
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
    if model.cell_norm != "none":
        parts.append(f"{model.cell_norm} norm in the cell")
    return ", ".join(parts)


def _ends(model: ModelConfig) -> str:
    """What reads a step, and what says the next one."""
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
    """A line about the steps just taken."""
    return (
        f"step {event.step:>7,} of {event.planned_steps:,}  epoch {event.epoch:6.2f}  "
        f"train {event.train_nats_per_step:.4f}  {amount(event.steps_per_s)} {unit}s/s  "
        f"{duration(event.elapsed_s)}"
    )


def describe_evaluation(event: Evaluated, unit: str) -> str:
    """A line about an evaluation."""
    bits = ""
    if event.figures is not None:
        bits = "; free run " + ", ".join(f"{k} {v:.2f}" for k, v in event.figures.items())
    elif unit != "character":
        bits = f", {event.val_bits_per_character:.3f} bits per character"
    return (
        f"step {event.step:>7,}  epoch {event.epoch:6.2f}  "
        f"train {event.train_nats_per_step:.4f}  validation {event.val_nats_per_step:.4f} "
        f"nats per {unit}{bits}{' (best)' if event.improved else ''}  {duration(event.elapsed_s)}"
    )


def describe_end(event: Stopped, unit: str) -> str:
    """How it ended, and what to do next."""
    run = event.path.parent
    if event.reason == "interrupted":
        return f"stopped at step {event.step:,}, {describe_stop(run)}"
    best = event.best_nats_per_step
    loss = "" if best is None else f": best validation {best:.4f} nats per {unit}"
    why = "no better for a while, " if event.reason == "patience" else ""
    return (
        f"{why}done after {event.step:,} steps, {event.epoch:.1f} epochs, "
        f"{duration(event.elapsed_s)}{loss} (step {event.best_step or 0:,})\n"
        f"the model is {event.path}; sample it with: charrnn sample {shlex.quote(str(run))}"
    )


def describe_stop(run: Path) -> str:
    """How to go on with a run that was stopped."""
    return f"saved; {resume_with(run)}"


def resume_with(run: Path) -> str:
    """The command that goes on with a run."""
    return f"go on with: charrnn train --resume {shlex.quote(str(run))}"


class _Both(Screen):
    """Plain lines on stderr beside JSON lines on stdout."""

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
