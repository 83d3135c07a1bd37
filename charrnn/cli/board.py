"""Writes a run's metrics and samples as event files for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from charrnn.errors import RunError
from charrnn.files import cannot_write
from charrnn.training.events import Evaluated, Event, Sampled, Stepped, Stopped


class Board:
    """Event files.

    Args:
        folder: where they are.
        update: the first that will be written; what an earlier process wrote from there on does not
            count.
    """

    def __init__(self, folder: Path, update: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with cannot_write(folder, RunError):
            self._writer = SummaryWriter(str(folder), purge_step=update)

    def show(self, event: Event) -> None:
        """Write an event."""
        writer, update = self._writer, event.update
        if isinstance(event, Stepped):
            writer.add_scalar("loss/training", event.train_nats_per_step, update)
            writer.add_scalar("learning rate", event.lr, update)
            writer.add_scalar("gradient norm", event.grad_norm, update)
            writer.add_scalar("steps per second", event.steps_per_s, update)
        elif isinstance(event, Evaluated):
            writer.add_scalar("loss/validation", event.val_nats_per_step, update)
            for name, value in (event.figures or {}).items():
                writer.add_scalar(f"free run/{name}", value, update)
        elif isinstance(event, Sampled) and event.text is not None:
            # TensorBoard shows Markdown: an indented block is shown as it is.
            block = "".join(f"    {line}\n" for line in event.text.splitlines())
            writer.add_text("sample", block, update)
        if isinstance(event, Stopped):
            writer.close()
        else:
            writer.flush()
