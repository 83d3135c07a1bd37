"""Fine-tuning: a new run that starts from the weights of a model trained on another corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

from charrnn.checkpoint import Checkpoint
from charrnn.config import Given, value
from charrnn.errors import ConfigError
from charrnn.media.codec import Codec, first_of
from charrnn.model.network import Network

SHAPE = ("cell", "hidden", "layers", "embedding", "norm", "cell_norm", "skip", "dense")
LISTED = 12  # symbols that the notice names


@dataclass(frozen=True)
class Transfer:
    """Which symbols of the new corpus are in the vocabulary of the old model."""

    source: Checkpoint
    known: int
    new: tuple[str, ...]
    unused: tuple[str, ...]  # only in the vocabulary of the old model

    def __str__(self) -> str:
        """A notice for the user."""
        unit, label = self.source.codec.unit, self.source.codec.symbol_label
        new = f"; new, and initialised: {_listed(self.new, label)}" if self.new else "; no new ones"
        unused = f"; not in this corpus: {_listed(self.unused, label)}" if self.unused else ""
        return (
            f"starts from {self.source.path}: {self.known} {unit}s keep their weights{new}{unused}"
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
    """The settings of a run that starts from the weights of `source`.

    Raises:
        ConfigError: `given` asks for a network or codec that differs from that of `source`.
    """
    symbols_of(source)
    old, codec = asdict(source.config.model), source.codec
    wrong = [
        f"{name} {given['model'][name]} does not fit {source.path}, which has {old[name]}"
        for name in SHAPE
        if given["model"].get(name, old[name]) != old[name]
    ]
    chosen, allowed = value(given, "codec"), {"auto", codec.name}
    if chosen not in allowed:
        wrong.append(f"codec {chosen} does not fit {source.path}, which has {codec.name}")
    if wrong:
        raise ConfigError(f"{'; '.join(wrong)}: drop the setting, or --init-from")
    data = codec.inherited() | given["data"] | {"codec": codec.name}
    return given | {"model": old | given["model"], "data": data}


@torch.no_grad()
def transfer(network: Network, codec: Codec, source: Checkpoint) -> Transfer:
    """Copy the weights of `source` into a network of the same shape.

    The weights of each symbol move to its index in the new vocabulary; those of new symbols keep
    their initial values.

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
    )


def _listed(symbols: tuple[str, ...], label: Callable[[str], str]) -> str:
    return f"{first_of(list(map(label, symbols)), LISTED, ' ')} ({len(symbols)})"
