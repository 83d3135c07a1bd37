"""How far back a network remembers: its loss with less context, and gradients through time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.insight.trace import Steps, Trace, fresh_nats
from charrnn.model import device as devices
from charrnn.model.network import Network
from charrnn.sampling.runtime import Runtime

CONTEXT = 256  # steps of context that are compared, at most
OFFSETS = 4  # each context length is measured at this many places per CONTEXT steps
BETTER = 0.01  # nats: context that is worth less counts as not used; for each number of a vector
WINDOWS = 32  # in which the gradient is measured
LAGS = 200
POINTS = 24  # of a curve


@dataclass(frozen=True)
class Memory:
    """The loss against the length of context.

    Attributes:
        context: numbers of steps, (P,), from 1 up.
        nats: the loss with so much context, (P,).
        error: the standard error of each, (P,), of its difference from the loss with all of it.
        full: the loss with all of it.
        used: beyond this many steps, context is worth less than `least` nats a step.
        least: BETTER, for vectors times the size of one.
        rest: what context beyond `used` steps is worth where that is as far as was measured and it
            still is more than `least`; otherwise 0.
    """

    context: NDArray[np.int64]
    nats: NDArray[np.float64]
    error: NDArray[np.float64]
    full: float
    used: int
    least: float
    rest: float = 0.0


def memory(runtime: Runtime, trace: Trace) -> Memory:
    """Compare the loss of the same steps with all context and with little.

    The sequence is read once more in stretches that begin in the zero state: the step at index k
    of a stretch is predicted from k steps.  The loss with k steps is that with all of them plus the
    mean of the differences at index k, so that it does not matter which steps stand there.

    Args:
        runtime: the network.
        trace: of the sequence.
    """
    count = len(trace.steps)
    size = min(CONTEXT, max(1, count // 4))
    begins = np.arange(0, count - size, max(1, size // OFFSETS))
    fresh = fresh_nats(runtime, trace.steps, begins, size)
    places = begins[:, np.newaxis] + np.arange(1, size + 1)
    # The beginning of the sequence has no more context than a stretch.
    rows = begins >= min(size, count // 2)
    differences = (fresh - trace.nats[places])[rows]
    full = float(trace.nats[places[rows]].mean())
    edges = np.unique(np.geomspace(1, size + 1, POINTS + 1).astype(int))
    found = [differences[:, low - 1 : high - 1] for low, high in itertools.pairwise(edges)]
    means = np.array([each.mean() for each in found])
    errors = np.array([each.mean(1).std() / len(each) ** 0.5 for each in found])
    context = np.array(
        [round((low * (high - 1)) ** 0.5) for low, high in itertools.pairwise(edges)]
    )
    least = BETTER * (1 if trace.steps.ndim == 1 else trace.steps.shape[1])
    above = np.flatnonzero(means > least)
    used = 0 if not len(above) else int(context[min(above[-1] + 1, len(context) - 1)])
    rest = float(means[-1]) if means[-1] > least else 0.0
    return Memory(context, full + means, errors, full, used, least, rest)


@dataclass(frozen=True)
class Gradients:
    """How strongly a loss depends on earlier inputs.

    Attributes:
        lags: 0 is the step read last before the prediction, (P,).
        norms: the mean, over windows, of the norm of the loss's gradient with respect to the input
            vector at that lag, (P,).
        within: 90% of the sum of all norms lies within this many steps.
    """

    lags: NDArray[np.int64]
    norms: NDArray[np.float64]
    within: int


def gradients(network: Network, steps: Steps) -> Gradients:
    """The gradient's norm against the lag, on windows spread over the steps, (N,) or (N, F)."""
    lags = min(LAGS, len(steps) // 2)
    ends = np.linspace(lags, len(steps) - 1, min(WINDOWS, len(steps) - lags)).astype(int)
    windows = np.stack([steps[end - lags : end] for end in ends])
    slopes = _input_gradients(network, windows, steps[ends])[1]
    norms = slopes.double().norm(dim=-1).mean(0).flip(0).numpy()
    within = int(np.searchsorted(np.cumsum(norms), 0.9 * norms.sum())) + 1
    return Gradients(np.arange(lags), norms, within if norms.any() else 0)


def saliency(network: Network, steps: Steps) -> NDArray[np.float64]:
    """How strongly the loss of the last step depends on each step before it, (N - 1,): the norm of
    the gradient with respect to its input vector (Simonyan, Vedaldi and Zisserman 2014).

    Args:
        network: in evaluation mode.
        steps: (N,) or (N, F), N at least 2.
    """
    _, slopes = _input_gradients(network, steps[np.newaxis, :-1], steps[-1:])
    return np.asarray(slopes[0].double().norm(dim=-1).numpy())


def _input_gradients(
    network: Network, windows: Steps, targets: Steps
) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses of the steps that follow some windows, and their gradients with respect to the
    vectors that the first layer reads.

    Args:
        network: in evaluation mode.
        windows: (B, T) or (B, T, F).
        targets: (B,) or (B, F).

    Returns:
        (B,) and (B, T, I).
    """
    vectors = input_vectors(network, windows).requires_grad_()
    following = torch.from_numpy(np.array(targets))
    following = following if following.is_floating_point() else following.long()
    with devices.one_thread(), devices.gradients_in_evaluation():
        x, _ = network.hidden(vectors, network.initial_state(len(windows)))
        nats = network.head.step_nats(x[-1], following)
        (slopes,) = torch.autograd.grad(nats.sum(), vectors)
    return nats.detach(), slopes


def input_vectors(network: Network, windows: Steps) -> torch.Tensor:
    """The vectors of steps that the network can read in their place, (B, T, I): embedded or one-hot
    symbols, or frames."""
    steps = torch.from_numpy(np.array(windows))
    if steps.is_floating_point():
        return steps
    if network.embedding is not None:
        vectors: torch.Tensor = network.embedding(steps.long()).detach()
        return vectors
    return torch.nn.functional.one_hot(steps.long(), network.step.size).float()
