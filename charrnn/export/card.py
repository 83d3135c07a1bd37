"""A page in Markdown about a model, to share with it: what it is, its figures, a sample."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.checkpoint import Checkpoint
from charrnn.hub import name_in_cache
from charrnn.layering import without_idle
from charrnn.media import medium_of
from charrnn.media.steps import Discrete
from charrnn.model.cells import cell_of
from charrnn.run import run_of


def card(
    checkpoint: Checkpoint,
    *,
    title: str = "",
    about: str = "",
    sample: str = "",
    seed: int = 0,
    licence: str = "",
    address: str = "",
    digest: str = "",
    files: Mapping[str, str] | None = None,
) -> str:
    """The page.

    Args:
        checkpoint: the model.
        title: its name; empty: that of its run or file.
        about: what it was trained on, its licence, or whatever else should be said; may be empty.
        sample: text that it wrote; may be empty.
        seed: of the sample.
        licence: its short name on the Hugging Face Hub; empty: none is stated.
        address: what `charrnn sample` finds it by; empty: its file.
        digest: of the contents of the model file beside it; empty: those of this one.
        files: names of files beside it, and what they are.
    """
    config, codec = checkpoint.config, checkpoint.codec
    label = cell_of(config.model.cell).label
    name, medium = title or name_of(checkpoint), medium_of(codec.name).name
    lines = [
        "---",
        "library_name: charrnn",
        f"tags: [charrnn, {label.lower().replace(' ', '-')}, {medium}]",
        *([f"license: {json.dumps(licence)}"] if licence else []),
        "---",
        f"# {_plain(one_line(name))}",
        "",
        f"A recurrent network ({label}) that learnt {medium} and generates more like it, made with "
        "charrnn.",
    ]
    if about:
        lines += ["", about]
    lines += ["", "| | |", "| --- | --- |"]
    lines += [f"| {key} | {_plain(one_line(value))} |" for key, value in _figures(checkpoint)]
    lines += [f"| digest of its contents | {digest or checkpoint.sha256} |"]
    target = address or shlex.quote(checkpoint.path.name)
    lines += ["", "## Use", "", f"    charrnn sample {target}"]
    if files:
        lines += ["", *(f"- [{name}]({name}): {what}" for name, what in files.items())]
    if sample:
        lines += ["", f"## A sample (seed {seed})", "", *_block(sample)]
    lines += ["", "## Settings", ""]
    for section, values in without_idle(config.to_dict(), codec.name).items():
        shown = ", ".join(
            f"{key} {_shown(value)}" for key, value in values.items() if value not in (None, "")
        )
        lines.append(f"- {section}: {shown}")
    lines += [
        "",
        "## Limits",
        "",
        "The model is small. It invents what it makes, and it may repeat passages of what it has "
        "learnt; `charrnn insight` shows how much.",
    ]
    return "\n".join(lines) + "\n"


def name_of(checkpoint: Checkpoint) -> str:
    """The name of the run, or of the repository on the hub, that a model belongs to, or of its
    file."""
    path = Path(os.path.abspath(checkpoint.path))  # a link keeps its name
    if name := name_in_cache(path):
        return name
    return path.stem if run_of(checkpoint) is None else path.parent.name


def _figures(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """The rows of the table."""
    config, codec, training = checkpoint.config, checkpoint.codec, checkpoint.training
    model = config.model
    count = f"{checkpoint.parameter_count:,} parameters"
    size = f"{cell_of(model.cell).label} {model.layers}x{model.hidden}, {count}"
    kind = "symbols" if isinstance(codec.step, Discrete) else "numbers per step"
    rows = [
        ("network", f"{size}, {checkpoint.weights_as}"),
        ("codec", f"{codec.name}, {codec.step.size} {kind}"),
    ]
    if (steps := training.get("corpus_steps")) is not None:
        held = f"{config.data.val_fraction:.1%} held out"
        rows.append(("corpus", f"{steps:,} {codec.unit}s, {held}"))
    if (updates := training.get("step")) is not None:
        epochs = training.get("epochs")
        passes = "" if epochs is None else f", {epochs:.1f} epochs"
        rows.append(("training", f"{updates:,} updates{passes}{_time(checkpoint)}"))
    if (nats := training.get("best_nats_per_step")) is not None:
        bits = codec.bits_per_character(nats)
        more = "" if bits is None else f" ({bits:.3f} bits per character)"
        rows.append(("held-out loss", f"{nats:.4f} nats per {codec.unit}{more}"))
    return rows


def _time(checkpoint: Checkpoint) -> str:
    """How long training took, according to the metrics of the run; may be empty."""
    run = run_of(checkpoint)
    seconds = 0.0 if run is None else run.elapsed_s(checkpoint.training["step"])
    return f", {seconds / 60:.1f} minutes" if seconds else ""


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(f"{each:g}" for each in value)
    if not isinstance(value, str):
        return str(value)
    return _plain(" ".join(value.split()) if value.strip() else repr(value))


def _block(text: str) -> list[str]:
    """Text as it is: in Markdown, an indented block."""
    return [f"    {line}".rstrip() for line in text.splitlines()]


def one_line(text: str) -> str:
    """A text without line ends."""
    return " ".join(text.split())


def _plain(text: str) -> str:
    """A text in which Markdown finds nothing to do: with a backslash before its marks."""
    return re.sub(r"[\\`*_\[\]<>#|~&$]", r"\\\g<0>", text)
