"""A model as plain NumPy arrays, for people who want to do something else with it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import START, Checkpoint


def arrays(checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    """Everything in a model, for `np.savez`.

    Returns:
        The tensors of the network by the names of `model.shapes`; `start.L.P`, part P of the state
        of layer L in which samples may begin, (S, H); `codec.NAME`, the arrays of the codec; and
        `charrnn`, a JSON object as text: the codec, the config and the summary of training.

    Raises:
        CheckpointError: the file is damaged.
    """
    weights, starts = checkpoint.weights_and_starts()
    found = dict(weights)
    for layer, parts in enumerate(starts or ()):
        found |= {f"{START}{layer}.{part}": array for part, array in enumerate(parts)}
    found |= {f"codec.{name}": array for name, array in checkpoint.codec.arrays.items()}
    return found | {"charrnn": np.array(json.dumps(about(checkpoint)))}


def about(checkpoint: Checkpoint) -> dict[str, Any]:
    """What must be known besides the tensors: the codec, the config and the summary of training."""
    codec, config = checkpoint.codec.to_dict(), checkpoint.config.to_dict()
    return {"codec": codec, "config": config, "training": checkpoint.training}
