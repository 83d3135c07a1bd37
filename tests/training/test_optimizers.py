from __future__ import annotations

import pytest
import torch
from torch import nn

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.media.steps import Discrete
from charrnn.model.network import Network
from charrnn.training import optimizers


def config_of(**settings: object) -> TrainingConfig:
    return TrainingConfig(
        **({"lr": 0.1, "eval_every": 1, "weight_decay": 0, "lr_decay": 0.97} | settings)
    )  # type: ignore[arg-type]


def layer_with_gradients(scale: float = 1.0) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    for parameter in layer.parameters():
        parameter.grad = scale * torch.randn(parameter.shape)
    return layer


def test_clipping_by_norm() -> None:
    layer = layer_with_gradients(100.0)
    before = [p.grad.clone() for p in layer.parameters()]
    norm = optimizers.clip(layer, config_of(clip=2.0))
    assert float(norm) == pytest.approx(float(torch.cat([g.flatten() for g in before]).norm()))
    after = torch.cat([p.grad.flatten() for p in layer.parameters()])
    assert float(after.norm()) == pytest.approx(2.0, rel=1e-4)


def test_clipping_by_value() -> None:
    layer = layer_with_gradients(100.0)
    before = torch.cat([p.grad.flatten() for p in layer.parameters()])
    norm = optimizers.clip(layer, config_of(clip=5.0, clip_by="value"))
    after = torch.cat([p.grad.flatten() for p in layer.parameters()])
    assert float(norm) == pytest.approx(float(before.norm()))
    assert torch.equal(after, before.clamp(-5, 5))


def network_with_gradients(value: float) -> Network:
    network = Network(ModelConfig(hidden=4, layers=2, embedding=3, dropout=0), Discrete(5))
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, value)
    return network


def test_muon_makes_the_update_of_each_gate_orthogonal() -> None:
    network = network_with_gradients(0.0)
    matrix = network.layers[1].weights[1]
    matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(0))
    before = matrix.detach().clone()
    optimizers.optimizer_of(network, config_of(optimizer="muon", lr=1.0, weight_decay=0)).step()
    for gate in (matrix.detach() - before).chunk(4):
        values = torch.linalg.svdvals(gate) / (0.2 * 4**0.5)  # as large as AdamW's
        assert values.min() > 0.5
        assert values.max() < 1.5


@pytest.mark.parametrize("clip_by", ["norm", "value"])
def test_no_clipping(clip_by: str) -> None:
    layer = layer_with_gradients(100.0)
    before = [p.grad.clone() for p in layer.parameters()]
    optimizers.clip(layer, config_of(clip=0, clip_by=clip_by))
    assert all(torch.equal(a, p.grad) for a, p in zip(before, layer.parameters(), strict=True))


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_weight_decay_is_for_matrices(name: str) -> None:
    """With no gradient at all, decay shrinks the matrices and leaves the biases."""
    network = network_with_gradients(0.0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizers.optimizer_of(network, config_of(optimizer=name, lr=1e-4, weight_decay=0.5)).step()
    for key, tensor in network.state_dict().items():
        if "bias" in key:
            assert torch.equal(tensor, before[key])
        else:
            assert (tensor.abs() < before[key].abs()).all()


def test_weight_decay_is_not_for_norms_and_peepholes() -> None:
    model = ModelConfig(
        cell="peephole", cell_norm="layer", norm="layer", hidden=4, layers=1, embedding=3, dropout=0
    )
    network = Network(model, Discrete(5))
    optimizer = optimizers.optimizer_of(network, config_of(weight_decay=0.5))
    decayed = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in decayed}
    assert names == {
        "embedding.weight",
        "layers.0.kernel.weight_ih_l0",
        "layers.0.kernel.weight_hh_l0",
        "head.linear.weight",
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        list(network.parameters())
    )


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_state_survives(name: str) -> None:
    network = network_with_gradients(1.0)
    first, second = (optimizers.optimizer_of(network, config_of(optimizer=name)) for _ in range(2))
    first.step()
    tensors = {key: value.clone() for key, value in optimizers.state_tensors(first)}
    optimizers.load_state(second, tensors)
    again = dict(optimizers.state_tensors(second))
    assert tensors.keys() == again.keys()
    assert len(tensors) == sum(len(optimizers.moments(first, p)) for p in network.parameters())
    assert all(torch.equal(tensors[key], again[key]) for key in tensors)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("0.exp_avg"),
        lambda t: t.update({"9.exp_avg": torch.zeros(1)}),
        lambda t: t.update({"x.exp_avg": torch.zeros(1)}),
        lambda t: t.update({"0.exp_avg": torch.zeros(3, 3)}),
        lambda t: t.update({"0.exp_avg": torch.zeros(2, 3, dtype=torch.int32)}),
        lambda t: t.update({"0.more": torch.zeros(2, 3)}),
        lambda t: t.clear(),
    ],
)
def test_broken_states_are_refused(change) -> None:
    layer = layer_with_gradients()
    optimizer = optimizers.optimizer_of(layer, config_of())
    optimizer.step()
    tensors = dict(optimizers.state_tensors(optimizer))
    change(tensors)
    with pytest.raises(ValueError, match="optimizer"):
        optimizers.load_state(optimizer, tensors)
