"""Names and shapes of a network's tensors, computed from its config without PyTorch."""

from __future__ import annotations

from charrnn.model.cells import cell_of
from charrnn.settings import ModelConfig

COUNTER = "num_batches_tracked"  # of a batch norm; the only integer tensor

Shapes = dict[str, tuple[int, ...]]


def shapes(config: ModelConfig, size: int) -> Shapes:
    """Names, as in `Network.state_dict`, and shapes of all tensors of a network.

    Args:
        config: the sizes and options of the network.
        size: V, or F.
    """
    cell, hidden = cell_of(config.cell), config.hidden
    gates = cell.gates * hidden
    first = width = config.embedding or size
    found: Shapes = {"embedding.weight": (size, width)} if config.embedding else {}
    if config.input_norm == "batch":
        found |= _norm("input_norm", size, batch=True)
    further = cell.parameter_shapes(hidden, layer_norm=config.cell_norm == "layer")
    for index in range(config.layers):
        layer, kernel = f"layers.{index}", f"layers.{index}.kernel"
        found |= {
            f"{kernel}.weight_ih_l0": (gates, width),
            f"{kernel}.weight_hh_l0": (gates, hidden),
            f"{kernel}.bias_ih_l0": (gates,),
            f"{kernel}.bias_hh_l0": (gates,),
        }
        found |= {f"{layer}.{name}": shape for name, shape in further.items()}
        if config.norm != "none":
            found |= _norm(f"norms.{index}", hidden, batch=config.norm == "batch")
        width = hidden + (first if config.skip_input else 0)
    width = hidden
    width *= config.layers if config.skip else 1
    if config.dense:
        found |= {"dense.weight": (config.dense, width), "dense.bias": (config.dense,)}
        width = config.dense
    found |= {"head.linear.weight": (size, width), "head.linear.bias": (size,)}
    return found | ({"head.variance": (size,)} if config.head == "gaussian" else {})


def is_learnt(name: str) -> bool:
    """Whether a tensor holds parameters, and not running statistics."""
    return not name.endswith((COUNTER, "running_mean", "running_var", "head.variance"))


def _norm(name: str, width: int, *, batch: bool) -> Shapes:
    """The tensors of a norm for vectors of this width."""
    norm = f"{name}.norm"
    found: Shapes = {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    if batch:
        found |= {f"{norm}.running_mean": (width,), f"{norm}.running_var": (width,)}
        found[f"{norm}.{COUNTER}"] = ()
    return found
