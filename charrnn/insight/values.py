"""Everything that was found as plain values, for `--json` and for the page."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.data.stretches import Copies
from charrnn.insight.learning import Learning
from charrnn.insight.report import (
    HELD_OUT,
    SAMPLED,
    Insight,
    Text,
    costly_parts,
    kind_losses,
    name_of,
)
from charrnn.insight.verdict import duration_of, verdict

PARTS = "hc"  # names of the parts of a state
ON_PAGE = 2_000  # steps of a text that the page shows
DRAWN = 600  # steps of a picture
MOST = 4_000  # steps of a text that a curve over time shows


def values(insight: Insight) -> dict[str, Any]:
    """Values that JSON can hold; what was not asked for, or does not apply, is missing."""
    shown = insight.shown
    found: dict[str, Any] = {
        "path": str(insight.checkpoint.path),
        "unit": insight.checkpoint.codec.unit,
        "texts": [_about(each) for each in insight.texts],
        "studied": insight.studied.name,
        "notices": insight.notes,
    }
    if insight.learnt is not None:
        found["texts"].append(_about(insight.learnt))
    if "verdict" in shown:
        found["verdict"] = [vars(finding) for finding in verdict(insight)]
    if "losses" in shown:
        found["surprise"] = _surprise(insight)
    if "cells" in shown or "gates" in shown:
        found["cells"] = _cells(insight)
    if "memory" in shown:
        found["memory"] = _memory(insight)
    if insight.saliency is not None:
        found["saliency"] = insight.saliency.tolist()
    if "map" in shown:
        found["map"] = _map(insight)
    if insight.copies is not None:
        found["copies"] = _copies(insight)
    if "learning" in shown and insight.learning is not None:
        found["learning"] = _learning(insight.learning)
    return found


def _learning(learning: Learning) -> dict[str, Any]:
    charts: dict[str, dict[str, Any]] = {}
    for curve in learning.curves:
        about = {"name": curve.chart, "y_label": curve.unit, "log": curve.is_log, "series": []}
        own = {"name": curve.name, "x": list(curve.updates), "y": list(curve.values)}
        charts.setdefault(curve.chart, about)["series"].append(own)
    samples = [vars(sample) for sample in learning.samples]
    return {"curves": list(charts.values()), "samples": samples}


def by_step(insight: Insight) -> dict[str, Any]:
    """What belongs to each step of the texts, and of the chosen unit, if these were asked for."""
    found: dict[str, Any] = {}
    if "surprise" in insight.shown:
        found["by_step"] = [
            {
                "name": text.name,
                "steps": text.trace.steps.tolist(),
                "nats": text.trace.nats.tolist(),
                "likely": text.trace.likely.tolist(),
                "likely_nats": text.trace.likely_nats.tolist(),
            }
            for text in insight.texts
        ]
    if insight.cell is not None:
        layer, unit = insight.cell
        trace = insight.text.trace
        found["cell"] = {
            "layer": layer + 1,
            "unit": unit,
            "states": {
                PARTS[part]: trace.states[:, layer, part, unit].tolist()
                for part in range(trace.states.shape[2])
            },
            "gates": {name: values.tolist() for name, values in trace.cell_gates.items()},
        }
    return found


def for_page(insight: Insight) -> dict[str, Any]:
    """The values, and the texts themselves, for the page."""
    checkpoint, codec = insight.checkpoint, insight.checkpoint.codec
    report = values(insight)
    data: dict[str, Any] = {
        "title": name_of(checkpoint),
        "note": "This page contains the model, and parts of its corpus.",
        "unit": codec.unit,
        "report": report,
    }
    if codec.symbols is not None:
        symbols = list(codec.symbols)
        data["codec"] = {
            "name": codec.name,
            "symbols": ["" if step == codec.end else text for step, text in enumerate(symbols)],
            "labels": [codec.symbol_label(symbol) for symbol in symbols],
            "end": codec.end,
            "start": codec.start(np.random.default_rng(0)).tolist(),
            "can_type": codec.primes_are_text,
        }
        data["passages"] = [
            {
                "name": text.name,
                "steps": text.trace.steps[:ON_PAGE].tolist(),
                "caption": f"{text.trace.nats_per_step:.4f} nats per {codec.unit}",
            }
            for text in insight.texts
        ]
    if codec.has_pictures:
        data["pictures"] = _pictures(insight)
    return data


def _pictures(insight: Insight) -> list[dict[str, Any]]:
    """What was read as a picture, e.g. a spectrogram."""
    found = []
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        for text in insight.texts:
            path = Path(folder) / "picture.png"
            insight.checkpoint.codec.draw(path, [(text.name, text.trace.steps[:DRAWN])])
            png = base64.b64encode(path.read_bytes()).decode()
            found.append({"title": text.name, "png": png, "alt": f"a picture of the {text.name}"})
    return found


def _about(text: Text) -> dict[str, Any]:
    return {
        "name": text.name,
        "steps": text.trace.predicted,
        "nats_per_step": text.trace.nats_per_step,
        "error": text.trace.error,
    }


def _surprise(insight: Insight) -> dict[str, Any]:
    text, learnt = insight.text, insight.learnt
    groups = []
    for index, kinds in enumerate(text.traits.kinds):
        rows = kind_losses(text, kinds)
        known = {}
        if learnt is not None and index < len(learnt.traits.kinds):
            own = kind_losses(learnt, learnt.traits.kinds[index])
            known = {row.kind: row.nats for row in own if row.share}
        groups.append(
            {
                "name": kinds.name,
                "rows": [
                    {
                        "kind": row.kind,
                        "share": row.share,
                        "held_out": row.nats,
                        "learnt": known.get(row.kind),
                        "part": row.part,
                    }
                    for row in rows
                    if row.share
                ],
            }
        )
    found: dict[str, Any] = {
        "nats_per_step": text.trace.nats_per_step,
        "groups": groups,
        "costly": [
            {"name": parts.name, "rows": [vars(part) for part in costly_parts(text, parts)]}
            for parts in text.traits.parts
        ],
    }
    time = text.traits.time
    if time is not None:
        found["over_time"] = {
            "x_label": text.traits.time_unit,
            "y_label": f"nats per {insight.checkpoint.codec.unit}",
            "x": time[text.trace.read : MOST].tolist(),
            "y": text.trace.nats[text.trace.read : MOST].tolist(),
        }
    return found


def _cells(insight: Insight) -> dict[str, Any]:
    found: dict[str, Any] = {"found": [], "sought": [], "nothing": ""}
    if (cells := insight.cells) is not None:
        found |= {
            "found": [
                {
                    "layer": cell.layer + 1,
                    "unit": cell.unit,
                    "part": PARTS[cell.part],
                    "follows": cell.follows,
                    "score": cell.score,
                    "table": cell.table,
                    "beyond": cell.beyond,
                }
                for cell in cells.found
            ],
            "sought": list(cells.sought),
            "shuffled": cells.shuffled,
        }
        if not cells.found:
            found["nothing"] = "No unit follows what was looked for."
    halves = insight.memories[0].half_lives if insight.memories else []
    found["half_lives"] = [
        {"layer": layer, "median": median, "longest": longest}
        for layer, (median, longest) in enumerate(halves, 1)
    ]
    return found


def _memory(insight: Insight) -> dict[str, Any]:
    unit = insight.checkpoint.codec.unit
    found: dict[str, Any] = {"x_label": f"{unit}s of context", "curves": [], "gradients": []}
    for each in insight.memories:
        if each.memory is not None:
            found["curves"].append(
                {
                    "name": each.name,
                    "x": each.memory.context.tolist(),
                    "y": each.memory.nats.tolist(),
                    "error": each.memory.error.tolist(),
                    "full": each.memory.full,
                    "used": each.memory.used,
                    "rest": each.memory.rest,
                    "used_as": duration_of(insight, each.memory.used).strip(" ()"),
                }
            )
        if each.gradients is not None:
            found["gradients"].append(
                {
                    "name": each.name,
                    "x": each.gradients.lags.tolist(),
                    "y": each.gradients.norms.tolist(),
                    "within": each.gradients.within,
                }
            )
    return found


def _map(insight: Insight) -> dict[str, Any]:
    codec, found = insight.checkpoint.codec, dict[str, Any]()
    if insight.units is not None:
        hidden = insight.checkpoint.config.model.hidden
        follows = {}
        if insight.cells is not None:
            follows = {(c.layer, c.unit): c.follows for c in reversed(insight.cells.found)}
        found["units"] = [
            {
                "layer": index // hidden + 1,
                "unit": index % hidden,
                "x": x,
                "y": y,
                "label": follows.get((index // hidden, index % hidden), ""),
            }
            for index, (x, y) in enumerate(insight.units.points.tolist())
        ]
        found["units_explained"] = insight.units.explained
    if insight.symbols is not None and codec.symbols is not None:
        chosen, points = insight.symbols
        kinds = codec.traits(chosen).kinds
        names = (
            [kinds[0].labels[k] if k >= 0 else "" for k in kinds[0].of.tolist()] if kinds else None
        )
        found["symbols"] = [
            {
                "label": codec.symbol_label(codec.symbols[step]),
                "x": x,
                "y": y,
                "kind": names[index] if names else "",
            }
            for index, (step, (x, y)) in enumerate(
                zip(chosen.tolist(), points.points.tolist(), strict=True)
            )
        ]
        found["symbols_explained"] = points.explained
    return found


@dataclass(frozen=True)
class Copied:
    """The longest stretch of a text that stands in the corpus.

    Attributes:
        longest: its length in steps.
        text: what it says.
        place: where it stands.
    """

    longest: int
    text: str
    place: str


def copied(insight: Insight, name: str, own: Copies) -> Copied:
    """The longest copy in the text of this name."""
    codec = insight.checkpoint.codec
    [steps] = [text.trace.steps for text in insight.texts if text.name == name]
    place = f"{codec.unit} {own.place + 1:,} of the encoded corpus"
    return Copied(own.length, codec.shown(steps[own.begin : own.begin + own.length]), place)


def _copies(insight: Insight) -> dict[str, Any]:
    assert insight.copies is not None
    sample, held = insight.copies
    return {
        "sample": vars(copied(insight, SAMPLED, sample)),
        "held_out": vars(copied(insight, HELD_OUT, held)),
        "histogram": [
            {
                "length": length,
                "sample": sample.shares.get(length, 0.0),
                "held_out": held.shares.get(length, 0.0),
            }
            for length in sorted(sample.shares.keys() | held.shares.keys())
        ],
    }
