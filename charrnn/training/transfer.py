"""Fine-tuning: a new run that begins with the weights of a model of another corpus."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from charrnn import codec as codecs
from charrnn.checkpoint import Checkpoint
from charrnn.codec import Codec
from charrnn.config import Given, value
from charrnn.errors import ConfigError
from charrnn.model.network import Network

SHAPE = ("cell", "hidden", "layers", "embedding", "norm", "cell_norm")
_SHOWN = 12  # symbols that are named in a report


@dataclass(frozen=True)
class Transfer:
    """Which symbols of the new corpus the old model knew."""

    source: Checkpoint
    known: int
    new: tuple[str, ...]
    left: tuple[str, ...]  # known to the old model only

    def __str__(self) -> str:
        """A line for the user."""
        unit = self.source.codec.unit
        new = f"; new, and initialised: {_listed(self.new)}" if self.new else "; none is new"
        left = f"; not in this corpus: {_listed(self.left)}" if self.left else ""
        return f"begins with {self.source.path}: {self.known} {unit}s keep their weights{new}{left}"


def inherited(given: Given, source: Checkpoint) -> Given:
    """The settings of a run that begins with the weights of `source`.

    Raises:
        ConfigError: settings that ask for another network or codec than it has.
    """
    old, codec = asdict(source.config.model), source.codec
    if codec.medium == "sound":
        raise ConfigError(
            f"{source.path}: is a model of sound, and --init-from begins with models of text; "
            "train on all recordings together"
        )
    wrong = [
        f"{name} {given['model'][name]} does not fit {source.path}, which has {old[name]}"
        for name in SHAPE
        if given["model"].get(name, old[name]) != old[name]
    ]
    asked = value(given, "codec")
    if asked not in ("auto", codec.name):
        wrong.append(f"codec {asked} does not fit {source.path}, which has {codec.name}")
    if wrong:
        raise ConfigError(f"{'; '.join(wrong)}: drop the setting, or --init-from")
    data = {"normalize": codec.reading.normalize} | given["data"]
    if "documents" not in given["data"] and codec.reading.has_documents:
        data |= {"documents": codec.reading.documents}
        data |= {"separator": codec.reading.separator} if codec.reading.separator else {}
    return given | {"model": old | given["model"], "data": data | {"codec": codec.name}}


@torch.no_grad()
def transfer(network: Network, codec: Codec, source: Checkpoint) -> Transfer:
    """Copy the weights of `source` into a network of the same shape; those of a symbol follow it
    to its new place, those of a new symbol stay as they are.

    Raises:
        CheckpointError: the source is damaged.
    """
    assert codec.medium == source.codec.medium == "text"
    places = {symbol: place for place, symbol in enumerate(source.codec.symbols)}
    pairs = [(i, places[s]) for i, s in enumerate(codec.symbols) if s in places]
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
        tuple(s for s in codec.symbols if s not in places),
        tuple(s for s in source.codec.symbols if s not in set(codec.symbols)),
    )


def _listed(symbols: tuple[str, ...]) -> str:
    more = f" and {len(symbols) - _SHOWN} more" if len(symbols) > _SHOWN else ""
    return f"{' '.join(map(codecs.shown, symbols[:_SHOWN]))}{more} ({len(symbols)})"
