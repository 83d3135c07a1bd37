"""The states in which samples begin, so that texts begin as those of the corpus do.

Stateful training begins nearly every text in a state left by another text, and hardly ever in the
zero state.  So samples begin in states that the network has before beginnings in its corpus.
Those of the best model are trained further when training ends, with all weights fixed: beginnings
are rare in a corpus, and too few updates met one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn import checkpoint
from charrnn.checkpoint import Starts
from charrnn.config import Config
from charrnn.data.corpus import Steps, occurrences
from charrnn.media.codec import Codec
from charrnn.media.steps import Discrete
from charrnn.model import device as devices
from charrnn.model.network import Network, State, flattened
from charrnn.training.state import to_array

STATES = 32  # S
CONTEXT = 256  # steps that are read before each; the network forgets what lies farther back
BEGINNING = 3  # steps that the states are trained to predict
UPDATES = 250  # at most; no more than the model itself had
LR = 0.1  # falls to zero


def start_places(codec: Codec, steps: Steps) -> NDArray[np.int64]:
    """Where the steps that precede a beginning (`Codec.start`) occur in a corpus, (n,)."""
    if not isinstance(codec.step, Discrete):
        return np.zeros(0, np.int64)
    return occurrences(steps, codec.start(np.random.default_rng(0)))


@torch.no_grad()
def start_states(
    network: Network, steps: Steps, places: NDArray[np.int64], config: Config
) -> Starts | None:
    """The states just before beginnings of the corpus, (S, H) each; None: there are none.

    Args:
        network: its training or evaluation mode is restored afterwards.
        steps: the training part, (N,).
        places: the result of `start_places`.
        config: of the run.
    """
    if not len(places) or not places[-1]:
        return None
    # Stateless training knows no state that is farther from zero than one segment.
    most = CONTEXT if config.data.bptt == "stateful" else min(CONTEXT, config.data.seq_length)
    length = min(most, int(places[-1]))
    places = places[places >= length]
    chosen = places[np.linspace(0, len(places) - 1, min(STATES, len(places))).astype(int)]
    block = np.stack([steps[place - length : place] for place in chosen.tolist()])
    was_training = network.training
    network.eval()
    try:
        state = network.initial_state(len(block))
        _, after = network.hidden(_tensor(block, network), state)
        return _arrays(after)
    finally:
        network.train(was_training)


def learn_starts(path: Path, steps: Steps, device: torch.device) -> None:
    """Train the start states of a finished model, and write them into its file.

    The first one learns from all beginnings.  So do the others, unless the beginnings are so few
    that each can have a state of its own: then one that is like no other is sampled as often as it
    occurs.  The result depends only on the weights, so an interrupted run ends as any other.

    Args:
        path: the model file; it stays as it is if it has no start states.
        steps: the training part of its corpus, (N,).
        device: to compute on.

    Raises:
        CheckpointError: the file cannot be read or written; it is unchanged.
    """
    saved = checkpoint.read(path)
    if not saved.starts_count:
        return
    tensors, network = saved.tensors(), saved.network().to(device).requires_grad_(False)
    places = start_places(saved.codec, steps)
    begun = start_states(network, steps, places, saved.config)
    read = len(saved.codec.start(np.random.default_rng(0)))
    places = places[places + read + BEGINNING <= len(steps)]
    if begun is None or not len(places):
        return
    rows = steps[places[:, None] + np.arange(read + BEGINNING)]
    count = min(STATES, len(rows) + 1)
    state = tuple(
        tuple(
            torch.from_numpy(np.resize(part, (count, part.shape[1]))).to(device).requires_grad_()
            for part in layer
        )
        for layer in begun
    )
    parts = [part for layer in state for part in layer]
    optimizer, random = torch.optim.Adam(parts), np.random.default_rng(0)
    updates = min(UPDATES, saved.training["step"])
    for update in range(updates):
        drawn = random.integers(len(rows), size=count)
        if count < STATES:
            drawn[1:] = np.arange(len(rows))
        loss = _nats(network, _tensor(rows[drawn], network), state, read)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = LR * (1 - update / updates)
        optimizer.step()
    tensors |= {checkpoint.START + k: part for k, part in flattened(_arrays(state)).items()}
    checkpoint.save(
        path,
        config=saved.config,
        codec=saved.codec,
        training=saved.training,
        tensors=tensors,
    )


def _nats(network: Network, rows: Tensor, state: State, read: int) -> Tensor:
    """The nats of the steps of `rows`, (S, T), after the first `read`, each in its own state."""
    with devices.gradients_in_evaluation():
        x, _ = network.hidden(rows[:, :-1], state)
    targets = rows[:, read:].t()
    nats: Tensor = network.head.loss(x[read - 1 :], targets)[0]
    return nats * targets.numel()


def _tensor(steps: Steps, network: Network) -> Tensor:
    device = next(network.parameters()).device
    return torch.from_numpy(steps.astype(np.int64)).to(device)


def _arrays(state: State) -> Starts:
    return tuple(tuple(to_array(part.detach()) for part in layer) for layer in state)
