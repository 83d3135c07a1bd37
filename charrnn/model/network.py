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
from charrnn.model.layers import RecurrentLayer, SequenceNorm

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
            self.layers.append(RecurrentLayer(config, width, one_hot=one_hot))
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
        config, scale = self.config, None
        x = steps.t()  # (T, B)
        if self.embedding is not None:
            x = self.embedding(x)  # (T, B, E)
            x = dropout(x, config.input_dropout, generator, variational=config.variational)
        elif generator is not None and config.input_dropout:
            scale = self._one_hot_dropout(x, generator)
        last = config.dropout if config.output_dropout is None else config.output_dropout
        after = []
        for index, layer in enumerate(self.layers):
            x, parts = layer(x, state[index], generator, None if index else scale)
            after.append(parts)
            if self.norms:
                x = self.norms[index](x)
            p = last if index == config.layers - 1 else config.dropout
            x = dropout(x, p, generator, variational=config.variational)
        return x, tuple(after)

    def _one_hot_dropout(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Of a one-hot vector only the one can be dropped: factors, (T, B, 1), for x, (T, B)."""
        p = self.config.input_dropout
        if not self.config.variational:
            ones = torch.ones(x.shape, device=x.device)
            return dropout(ones, p, generator).unsqueeze(-1)
        size = self.head.linear.out_features
        mask = dropout(torch.ones(x.shape[1], size, device=x.device), p, generator)  # (B, V)
        return mask.gather(1, x.t()).t().unsqueeze(-1)

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
        *,
        last_only: bool = False,
    ) -> tuple[Tensor, State]:
        """Mean nats per step of `targets`, (B, T), and the new state, from which no gradient
        flows back into this segment.

        Args:
            last_only: only the last step of the segment is predicted (many to one).
        """
        x, state = self.hidden(steps, state, generator)
        targets = targets.t()
        if last_only:
            x, targets = x[-1:], targets[-1:]
        nats: Tensor = self.head.loss(x, targets)
        return nats, detached(state)

    @property
    def vocabulary_axes(self) -> dict[str, int]:
        """The tensors with an axis of V, and which it is."""
        embeds = self.embedding is not None
        first = {"embedding.weight": 0} if embeds else {"layers.0.kernel.weight_ih_l0": 1}
        return first | {"head.linear.weight": 0, "head.linear.bias": 0}

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
