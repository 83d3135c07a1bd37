"""The tensors of a network by name and shape: what a config promises, known without PyTorch."""

from __future__ import annotations

from charrnn.config import ModelConfig

GATES = {"lstm": 4, "gru": 3, "rnn": 1, "peephole": 4}
PARTS = {"lstm": 2, "gru": 1, "rnn": 1, "peephole": 2}  # of the state
COUNTER = "num_batches_tracked"  # of a batch norm: the only tensor of integers

Shapes = dict[str, tuple[int, ...]]


def shapes(config: ModelConfig, size: int) -> Shapes:
    """Every tensor of the network over `size` symbols, V, as `Network.state_dict` names it."""
    hidden, gates = config.hidden, GATES[config.cell] * config.hidden
    width = config.embedding or size
    found: Shapes = {"embedding.weight": (size, width)} if config.embedding else {}
    for index in range(config.layers):
        layer, kernel = f"layers.{index}", f"layers.{index}.kernel"
        found |= {
            f"{kernel}.weight_ih_l0": (gates, width),
            f"{kernel}.weight_hh_l0": (gates, hidden),
            f"{kernel}.bias_ih_l0": (gates,),
            f"{kernel}.bias_hh_l0": (gates,),
        }
        if config.cell == "peephole":
            found[f"{layer}.peephole"] = (3, hidden)
        if config.cell_norm == "layer":
            found[f"{layer}.gains"] = (2, GATES[config.cell], hidden)
            if PARTS[config.cell] == 2:
                found[f"{layer}.cell_gain"] = (2, hidden)
        if config.norm != "none":
            norm = f"norms.{index}.norm"
            found |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
            if config.norm == "batch":
                found |= {f"{norm}.running_mean": (hidden,), f"{norm}.running_var": (hidden,)}
                found[f"{norm}.{COUNTER}"] = ()
        width = hidden
    return found | {"head.linear.weight": (size, hidden), "head.linear.bias": (size,)}
