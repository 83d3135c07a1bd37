"""The network: input, a stack of recurrent layers with norm and dropout, a head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from charrnn.codec.steps import Discrete
from charrnn.config import ModelConfig
from charrnn.model.cells import Parts
from charrnn.model.dropout import dropout
from charrnn.model.heads import Categorical
from charrnn.model.layers import LSTMLayer, SequenceNorm

State = tuple[Parts, ...]  # one entry a layer


class Network(nn.Module):
    """Predicts the next step from all before it.

    The recurrent state and the generator of the dropout masks are arguments and results, never
    attributes.

    Args:
        config: its shape.
        step: the kind of a step; `step.size` is V.
    """

    def __init__(self, config: ModelConfig, step: Discrete) -> None:
        super().__init__()
        self.config = config
        width = config.embedding or step.size
        self.embedding = nn.Embedding(step.size, width) if config.embedding else None
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for index in range(config.layers):
            one_hot = index == 0 and not config.embedding
            self.layers.append(LSTMLayer(width, config.hidden, one_hot=one_hot))
            if config.norm != "none":
                self.norms.append(SequenceNorm(config.norm, config.hidden))
            width = config.hidden
        self.head = Categorical(width, step.size)

    def initial_state(self, batch: int) -> State:
        """The state before the first step of `batch` sequences."""
        return tuple(layer.initial_state(batch) for layer in self.layers)  # type: ignore[operator]

    def hidden(
        self, steps: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """The last layer's outputs, time first, (T, B, H), for steps (B, T), and the new state.

        Args:
            generator: draws the dropout masks; None: no dropout.
        """
        x = steps.t()  # (T, B)
        if self.embedding is not None:
            x = self.embedding(x)  # (T, B, E)
        after = []
        for index, layer in enumerate(self.layers):
            x, parts = layer(x, state[index])
            after.append(parts)
            if self.norms:
                x = self.norms[index](x)
            x = dropout(x, self.config.dropout, generator)
        return x, tuple(after)

    def forward(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits of the next steps, (B, T, V), for steps (B, T), and the new state."""
        x, state = self.hidden(steps, state)
        return self.head(x).transpose(0, 1), state

    def loss(
        self,
        steps: Tensor,
        targets: Tensor,
        state: State,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, State]:
        """Mean nats per step of `targets`, (B, T), and the new state, from which no gradient
        flows back into this segment."""
        x, state = self.hidden(steps, state, generator)
        nats: Tensor = self.head.loss(x, targets.t())
        return nats, detached(state)

    @property
    def parameter_count(self) -> int:
        """Numbers that are learnt."""
        return sum(parameter.numel() for parameter in self.parameters())


def detached(state: State) -> State:
    """The state cut off from the graph that made it, in fp32 whatever the kernel's precision."""
    return tuple(tuple(part.detach().float() for part in parts) for parts in state)


def flattened(state: State) -> dict[str, Tensor]:
    """The state as named tensors, (B, H) each."""
    return {
        f"{layer}.{part}": tensor
        for layer, parts in enumerate(state)
        for part, tensor in enumerate(parts)
    }


def unflattened(tensors: Mapping[str, Tensor], like: State) -> State:
    """The inverse of `flattened`, for a network whose initial state is `like`."""
    return tuple(
        tuple(tensors[f"{layer}.{part}"].to(old) for part, old in enumerate(parts))
        for layer, parts in enumerate(like)
    )
