"""The states from which a sample begins: those that the network has at beginnings in its corpus.

Stateful training begins nearly every text in a state left by another text, and hardly ever in the
zero state.  A sample that began in the zero state would be one that the network never saw begin.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.checkpoint import Starts
from charrnn.config import Config
from charrnn.data.corpus import Steps, occurrences
from charrnn.media.codec import Codec
from charrnn.media.steps import Discrete
from charrnn.model.network import Network
from charrnn.training.state import to_array

STATES = 32  # S
CONTEXT = 256  # steps that are read before each; the network forgets what lies farther back


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
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    try:
        state = network.initial_state(len(block))
        inputs = torch.from_numpy(block.astype(np.int64)).to(device)
        _, after = network.hidden(inputs, state)
        return tuple(tuple(to_array(part) for part in parts) for parts in after)
    finally:
        network.train(was_training)
