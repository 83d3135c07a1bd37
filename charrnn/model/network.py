"""The network: input, stacked recurrent layers with norm and dropout, output head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from charrnn.media.steps import Discrete, Step
from charrnn.model.cells.torch_step import Parts
from charrnn.model.dropout import dropout
from charrnn.model.heads import HEADS
from charrnn.model.layers import RecurrentLayer, SequenceNorm
from charrnn.settings import ModelConfig

State = tuple[Parts, ...]  # one entry a layer

Part = TypeVar("Part")  # a tensor, or an array


class Network(nn.Module):
    """Predicts the next step from all steps before it.

    The recurrent state and the generator of the dropout masks are arguments and results, never
    attributes.

    Args:
        config: its sizes and options.
        step: the kind of step; `step.size` is V, or F.
    """

    def __init__(self, config: ModelConfig, step: Step) -> None:
        super().__init__()
        self.config, self.step = config, step
        is_discrete = isinstance(step, Discrete)
        first = width = config.embedding or step.size
        self.embedding = None
        if config.embedding:
            weight = torch.empty(step.size, width)
            # On the meta device, drawing normal numbers would import PyTorch's compiler: 3 s.
            weight = weight if weight.is_meta else weight.normal_()
            self.embedding = nn.Embedding(step.size, width, _weight=weight)
        self.input_norm = None
        if config.input_norm != "none":
            self.input_norm = SequenceNorm(config.input_norm, step.size)
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for index in range(config.layers):
            one_hot = index == 0 and is_discrete and not config.embedding
            self.layers.append(RecurrentLayer(config, width, one_hot=one_hot))
            if config.norm != "none":
                self.norms.append(SequenceNorm(config.norm, config.hidden))
            width = config.hidden + (first if config.skip_input else 0)
        width = config.hidden
        width *= config.layers if config.skip else 1
        self.dense = nn.Linear(width, config.dense) if config.dense else None
        self.head = HEADS[config.head](config.dense or width, step.size)

    def initial_state(self, batch: int) -> State:
        """The state before the first step of `batch` sequences."""
        return tuple(layer.initial_state(batch) for layer in self.layers)  # type: ignore[operator]

    def hidden(
        self, steps: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """The input of the head, (T, B, H), and the new state, for steps, (B, T) or (B, T, F).

        With `skip`, the input of the head is (T, B, L*H).

        Args:
            generator: draws the dropout masks; None: no dropout.
        """
        config, scale = self.config, None
        x = steps.transpose(0, 1)  # (T, B)
        if x.is_floating_point():
            x = self._frames(x, generator)
        elif self.embedding is not None:
            x = self.embedding(x)  # (T, B, E)
            x = dropout(x, config.input_dropout, generator, variational=config.variational)
        elif generator is not None and config.input_dropout:
            scale = self._one_hot_dropout(x, generator)
        last = config.dropout if config.output_dropout is None else config.output_dropout
        after, outputs, first = [], [], x
        for index, layer in enumerate(self.layers):
            if index and config.skip_input:
                x = torch.cat([x, first], -1)
            x, parts = layer(x, state[index], generator, None if index else scale)
            after.append(parts)
            if self.norms:
                x = self.norms[index](x)
            p = last if index == config.layers - 1 else config.dropout
            x = dropout(x, p, generator, variational=config.variational)
            outputs.append(x)
        if config.skip:
            x = torch.cat(outputs, -1)
        if self.dense is not None:
            x = torch.relu(self.dense(x))
        return x, tuple(after)

    def _frames(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Prepare frames, (T, B, F), for the first layer: normalise them, and in training add noise
        and dropout."""
        config = self.config
        if generator is not None and config.input_noise:
            spread = x.std((0, 1), correction=0)
            noise = torch.empty_like(x).normal_(generator=generator)
            x = x + config.input_noise * spread * noise
        if self.input_norm is not None:
            x = self.input_norm(x)
        return dropout(x, config.input_dropout, generator, variational=config.variational)

    def _one_hot_dropout(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Dropout of one-hot vectors, x, (T, B): factors for their only nonzero number,
        (T, B, 1)."""
        p = self.config.input_dropout
        if not self.config.variational:
            ones = torch.ones(x.shape, device=x.device)
            return dropout(ones, p, generator).unsqueeze(-1)
        size = self.head.linear.out_features
        mask = dropout(torch.ones(x.shape[1], size, device=x.device), p, generator)  # (B, V)
        return mask.gather(1, x.t()).t().unsqueeze(-1)

    def forward(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits of the next steps, (B, T, V), or the expected next frames, (B, T, F); and the new
        state."""
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
    ) -> tuple[Tensor, Tensor, State]:
        """The loss of `targets`, (B, T) or (B, T, F), the steps that follow `steps`.

        Args:
            last_only: predict only the last step of the segment (many to one).

        Returns:
            The loss to minimise; the mean nats per step, which is the same for symbols; and the new
            state, detached from the graph.
        """
        x, state = self.hidden(steps, state, generator)
        targets = targets.transpose(0, 1)
        if last_only:
            x, targets = x[-1:], targets[-1:]
        loss, nats = self.head.loss(x, targets)
        return loss, nats.detach(), detached(state)

    @property
    def vocabulary_axes(self) -> dict[str, int]:
        """Names of the tensors that have an axis of size V, and the index of that axis."""
        embeds = self.embedding is not None
        first = {"embedding.weight": 0} if embeds else {"layers.0.kernel.weight_ih_l0": 1}
        return first | {"head.linear.weight": 0, "head.linear.bias": 0}

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def detached(state: State) -> State:
    """The state, detached from its graph, in fp32 (a kernel may return bf16)."""
    return tuple(tuple(part.detach().float() for part in parts) for parts in state)


def flattened(state: Sequence[Sequence[Part]]) -> dict[str, Part]:
    """The state as named tensors or arrays, (B, H) each."""
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
