"""Fine-tuning: a new run that starts from the weights of a model trained on another corpus, which
may be one of the bundled general models."""

from __future__ import annotations

import bz2
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.checkpoint import Checkpoint, read
from charrnn.config import Given, value
from charrnn.errors import ConfigError
from charrnn.media.codec import Codec, first_of
from charrnn.media.medium import Defaults, Medium, Size
from charrnn.model import device as devices
from charrnn.model.network import Network
from charrnn.run import is_general

SHAPE = (
    "cell",
    "hidden",
    "layers",
    "embedding",
    "norm",
    "cell_norm",
    "skip",
    "skip_input",
    "dense",
)
FINE_TUNING = 1 / 3  # of the learning rate, for weights that are already trained
LISTED = 12  # symbols that the notice names
# A run starts from a general model that knows this share of its corpus and, before any training,
# predicts it with at most these multiples of the nats that bzip2 needs (what repeats itself is
# learnt sooner from nothing) and of the entropy of its symbols (above, it is another kind of text),
# up to a length in steps.  See configs/README.md.
LEAST_KNOWN, MOST_OF_BZIP2, MOST_OF_ENTROPY, MOST_STEPS = 0.9, 1.1, 0.75, 20_000_000
EXCERPTS, EXCERPT = 8, 640  # from all over the corpus, to find that out; their length in steps
LEAD_IN = 64  # steps at the beginning of each that only give context
MOST_COMPRESSED = 1 << 20  # steps; bzip2 does not look back further


@dataclass(frozen=True)
class Transfer:
    """Which symbols of the new corpus are in the vocabulary of the old model."""

    source: Checkpoint
    known: int
    new: tuple[str, ...]
    unused: tuple[str, ...]  # only in the vocabulary of the old model
    general: General | None = None  # why `source` was chosen, if it was not named

    def __str__(self) -> str:
        """A notice for the user."""
        unit, label = self.source.codec.unit, self.source.codec.symbol_label
        if self.general is not None:
            new = f"; {unit}s that are new to it: {_listed(self.new, label)}" if self.new else ""
            return f"{self.general}{new}; --init-from none starts from random weights"
        new = f"; new, and initialised: {_listed(self.new, label)}" if self.new else "; no new ones"
        unused = f"; not in this corpus: {_listed(self.unused, label)}" if self.unused else ""
        path = self.source.path
        name = f"the general model {path.stem}" if is_general(path) else path
        return f"starts from {name}: {self.known} {unit}s keep their weights{new}{unused}"


@dataclass(frozen=True)
class General:
    """A general model, and how well it predicts a corpus before any training on it."""

    source: Checkpoint
    nats_per_step: float
    known: float  # the share of the corpus that is in its vocabulary
    entropy: float  # of the corpus's symbols, in nats

    def __str__(self) -> str:
        """For the user: why it was chosen."""
        return (
            f"starts from the general model {self.source.path.stem}, which predicts this corpus "
            f"with {self.nats_per_step:.2f} nats per {self.source.codec.unit} already, where their "
            f"frequencies alone give {self.entropy:.2f}"
        )


def symbols_of(source: Checkpoint) -> Sequence[str]:
    """The vocabulary of a model.

    Raises:
        ConfigError: it has none.
    """
    if source.codec.symbols is None:
        raise ConfigError(
            f"{source.path}: --init-from needs a vocabulary to match, and {source.codec.unit}s "
            "have none; train on all files together"
        )
    return source.codec.symbols


def inherited(given: Given, source: Checkpoint) -> Given:
    """The settings of a run that starts from the weights of `source`: how it reads its corpus.

    Raises:
        ConfigError: `given` asks for a network or codec that differs from that of `source`.
    """
    symbols_of(source)
    old, codec = asdict(source.config.model), source.codec
    wrong = [
        f"{name} {given['model'][name]} does not fit {source.path}, which has {old[name]}"
        for name in _differences(given, source)
    ]
    chosen, allowed = value(given, "codec"), {"auto", codec.name}
    if chosen not in allowed:
        wrong.append(f"codec {chosen} does not fit {source.path}, which has {codec.name}")
    if wrong:
        raise ConfigError(f"{'; '.join(wrong)}: drop the setting, or --init-from")
    return given | {"data": codec.inherited() | given["data"] | {"codec": codec.name}}


def _differences(given: Given, source: Checkpoint) -> list[str]:
    """The settings of the network that ask for another one than that of `source`."""
    old, asked = asdict(source.config.model), given["model"]
    return [name for name in SHAPE if asked.get(name, old[name]) != old[name]]


def tuning_defaults(
    medium: Medium, source: Checkpoint, corpus_steps: int, *, on_gpu: bool
) -> Defaults:
    """The default settings of a run that starts from the weights of `source`.

    The network is that of `source`.  The medium knows how to train general models further.  Other
    models keep their dropout and the like, and get a fraction of the usual learning rate.
    """
    model, codec = asdict(source.config.model), source.codec.name
    if is_general(source.path):
        defaults = medium.fine_tuning(codec, corpus_steps)
        (size,) = defaults.sizes
        model = {name: model[name] for name in SHAPE}
    else:
        defaults = medium.defaults(codec, corpus_steps, on_gpu=on_gpu)
        size = next(size for size in defaults.sizes if not size.hurried)
        size = replace(size, lr=size.lr * FINE_TUNING)
    names = {field.name for field in fields(Size)}
    size = replace(size, **{name: value for name, value in model.items() if name in names})
    others = {name: value for name, value in model.items() if name not in names}
    return replace(defaults, sizes=(size,), settings={**defaults.settings, "model": others})


def best_general(
    paths: Iterable[Path], given: Given, codec: Codec, steps: NDArray[Any]
) -> General | None:
    """The general model that predicts a corpus best, if a run should start from it.

    Args:
        paths: of the general models.
        given: the user's settings; a model with another network is left out.
        codec: of the corpus.
        steps: of the corpus, (N,).

    Raises:
        CheckpointError: a model is damaged.
    """
    if codec.symbols is None or len(steps) > MOST_STEPS:
        return None
    sources = [
        source
        for source in map(read, paths)
        if type(source.codec) is type(codec) and not _differences(given, source)
    ]
    predictions = [predicted(source, codec, steps) for source in sources]
    suitable = [
        found
        for found in predictions
        if found.known >= LEAST_KNOWN
        and found.nats_per_step <= MOST_OF_ENTROPY * found.entropy
        and found.nats_per_step <= MOST_OF_BZIP2 * bzip2_nats(steps)
    ]
    return min(suitable, key=lambda found: found.nats_per_step, default=None)


def bzip2_nats(steps: NDArray[Any]) -> float:
    """The nats per step that bzip2 needs for the beginning of a corpus, (N,)."""
    beginning = steps[:MOST_COMPRESSED]
    return len(bz2.compress(beginning.tobytes())) * 8 * math.log(2) / len(beginning)


@torch.no_grad()
def predicted(source: Checkpoint, codec: Codec, steps: NDArray[Any]) -> General:
    """How well a model predicts excerpts of a corpus, (N,) steps of `codec`, both with symbols.

    Symbols that the model lacks are left out.  The loss is infinite if it knows next to nothing.
    """
    places = {symbol: place for place, symbol in enumerate(symbols_of(source))}
    table = np.array([places.get(symbol, -1) for symbol in codec.symbols or ()])
    firsts = np.linspace(0, max(0, len(steps) - EXCERPT), EXCERPTS, dtype=np.int64)
    excerpts = [table[steps[first : first + EXCERPT].astype(np.int64)] for first in firsts]
    known = [excerpt[excerpt >= 0] for excerpt in excerpts]
    share = sum(map(len, known)) / sum(map(len, excerpts))
    _, counts = np.unique(np.concatenate(excerpts), return_counts=True)
    portions = counts / counts.sum()
    entropy = -float(np.sum(portions * np.log(portions)))
    length = min(map(len, known))
    if length <= LEAD_IN + 1:
        return General(source, math.inf, share, entropy)
    batch = torch.from_numpy(np.stack([excerpt[:length] for excerpt in known]))  # (B, T)
    network = source.network()
    with devices.one_thread():
        _, state = network(batch[:, :LEAD_IN], network.initial_state(len(batch)))
        _, nats, _ = network.loss(batch[:, LEAD_IN:-1], batch[:, LEAD_IN + 1 :], state)
    return General(source, float(nats), share, entropy)


@torch.no_grad()
def transfer(
    network: Network, codec: Codec, source: Checkpoint, general: General | None = None
) -> Transfer:
    """Copy the weights of `source` into a network of the same shape.

    The weights of each symbol move to its index in the new vocabulary; those of new symbols keep
    their initial values.

    Args:
        network: whose weights are replaced.
        codec: of the corpus.
        source: the model to start from.
        general: the same with the reason, if it was chosen and not named.

    Raises:
        CheckpointError: the source is damaged.
        ConfigError: the source has no vocabulary.
    """
    old_symbols, symbols = symbols_of(source), codec.symbols or ()
    places = {symbol: place for place, symbol in enumerate(old_symbols)}
    pairs = [(i, places[s]) for i, s in enumerate(symbols) if s in places]
    to = torch.tensor([new for new, _ in pairs], dtype=torch.int64)
    origin = torch.tensor([old for _, old in pairs], dtype=torch.int64)
    weights, axes = source.network().state_dict(), network.vocabulary_axes
    for name, tensor in network.state_dict().items():
        if (axis := axes.get(name)) is None:
            tensor.copy_(weights[name])
        else:
            known = weights[name].index_select(axis, origin)
            tensor.index_copy_(axis, to.to(tensor.device), known.to(tensor.device))
    return Transfer(
        source,
        len(pairs),
        tuple(s for s in symbols if s not in places),
        tuple(s for s in old_symbols if s not in set(symbols)),
        general,
    )


def _listed(symbols: tuple[str, ...], label: Callable[[str], str]) -> str:
    return f"{first_of(list(map(label, symbols)), LISTED, ' ')} ({len(symbols)})"
