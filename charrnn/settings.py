"""Every setting that all media share, declared once: its type, default, limits and documentation.

A medium declares its own in its folder, in the same way (`charrnn/media/*/settings.py`);
`charrnn.config` checks them all.  A field without a default is chosen from the corpus and the
machine when it is not given (`charrnn.training.plan`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

# The recurrent cells by name, each in a file of its own: `charrnn.model.cells`.
CELLS: dict[str, str] = {
    "lstm": "charrnn.model.cells.lstm",
    "gru": "charrnn.model.cells.gru",
    "rnn": "charrnn.model.cells.rnn",
    "peephole": "charrnn.model.cells.peephole",
}


def setting(
    doc: str,
    group: str,
    *,
    default: Any = dataclasses.MISSING,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    kind: str = "",
    section: str = "",
    when_reading: bool = False,
    escapes: bool = False,
    random: bool = False,
) -> Any:
    """Declare one setting.

    Args:
        doc: its documentation, one or two sentences.
        group: the heading under which `--help` lists it.
        default: its default; without one it is chosen when it is not given.
        least: inclusive lower limit.
        above: exclusive lower limit.
        most: inclusive upper limit.
        below: exclusive upper limit.
        choices: the values allowed.
        needs: another setting and the values of it without which this one has no effect.
        kind: the kind of step without which it has no effect, "discrete" or "continuous".
        section: of a medium's setting, the section of a configuration it belongs to, "data" or
            "sampling"; empty for an option of one call, which no model stores.
        when_reading: of a medium's setting, whether it also says how to read files for an existing
            model.
        escapes: whether a backslash and n, t or r typed on the command line stand for a newline,
            a tab or a carriage return.
        random: whether it has an effect only on samples that are drawn at random, so that a beam
            search refuses it.
    """
    limits = {"least": least, "above": above, "most": most, "below": below}
    metadata = {"doc": doc, "group": group, "choices": choices, "needs": needs, **limits}
    metadata |= {"kind": kind, "section": section}
    metadata |= {"when_reading": when_reading, "escapes": escapes, "random": random}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoSettings:
    """What a medium declares that has no settings of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrimeOptions:
    """The option of media whose primes are files, for them to inherit."""

    include_prime: bool = setting(
        "Begin the output with what --prime gives.", "Sound and notes", default=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the corpus is cut into steps and batches."""

    codec: str = setting(
        "What one step is: a character, word or byte of text, an event of a tune (notes), or a "
        "spectrogram frame (audio) or a single sample (samples) of sound. auto looks at the files.",
        "Corpus",
        default="auto",
    )
    seq_length: int = setting(
        "Sequence length T: steps of a truncated-BPTT segment.", "Corpus", least=1, most=65536
    )
    batch_size: int = setting("Batch size B.", "Corpus", least=1, most=65536)
    bptt: str = setting(
        "Truncated backpropagation through time: stateful carries the hidden state from one "
        "segment to the next; stateless starts each from zero, in random order.",
        "Corpus",
        default="stateful",
        choices=("stateful", "stateless"),
    )
    targets: str = setting(
        "Which steps of a segment are predicted: all (many to many) or the last (many to one).",
        "Corpus",
        default="all",
        choices=("all", "last"),
    )
    val_fraction: float = setting(
        "Fraction of the corpus that is held out for validation; the plan says where it is from.",
        "Corpus",
        above=0,
        most=0.5,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network."""

    cell: str = setting(
        "Recurrent cell; peephole is an LSTM whose gates see the cell state.",
        "Model",
        default="lstm",
    )
    hidden: int = setting("Hidden units H of each layer.", "Model", least=1, most=32768)
    layers: int = setting("Number of recurrent layers L.", "Model", least=1, most=64)
    embedding: int = setting(
        "Size of the input embedding; 0: one-hot input.", "Model", least=0, most=32768
    )
    head: str = setting(
        "Output head: categorical (softmax) for symbols; gaussian, or mse (squared error, "
        "deterministic), for vectors such as spectrogram frames.",
        "Model",
        default="categorical",
        choices=("categorical", "gaussian", "mse"),
    )
    skip: bool = setting(
        "The output layer (or the dense layer before it) reads the outputs of all layers, joined.",
        "Model",
        default=False,
    )
    skip_input: bool = setting(
        "All layers read the input of the network, not only the first (symbols need an embedding).",
        "Model",
        default=False,
    )
    dense: int = setting(
        "Size of a dense layer (ReLU) before the output layer; 0: none.",
        "Model",
        default=0,
        least=0,
        most=32768,
    )
    input_norm: str = setting(
        "Normalisation of input vectors before the first layer.",
        "Model",
        default="none",
        choices=("none", "batch"),
        kind="continuous",
    )
    input_noise: float = setting(
        "Gaussian noise added to input vectors in training, in standard deviations of the input.",
        "Regularisation",
        default=0.0,
        least=0,
        most=10,
        kind="continuous",
    )
    dropout: float = setting(
        "Dropout between the layers and after the last.", "Regularisation", least=0, most=0.99
    )
    input_dropout: float = setting(
        "Dropout on the input.", "Regularisation", default=0.0, least=0, most=0.99
    )
    output_dropout: float | None = setting(
        "Dropout after the last layer; by default the same as --dropout.",
        "Regularisation",
        default=None,
        least=0,
        most=0.99,
    )
    recurrent_dropout: float = setting(
        "Dropout of the hidden state between steps, one mask for each segment.",
        "Regularisation",
        default=0.0,
        least=0,
        most=0.99,
    )
    weight_drop: float = setting(
        "Dropout of the recurrent weights, one mask for each segment.",
        "Regularisation",
        default=0.0,
        least=0,
        most=0.99,
    )
    variational: bool = setting(
        "Use one mask of input, layer and output dropout for all steps of a segment.",
        "Regularisation",
        default=False,
    )
    norm: str = setting(
        "Normalisation of each layer's output.",
        "Model",
        default="none",
        choices=("none", "batch", "layer"),
    )
    cell_norm: str = setting(
        "Layer normalisation inside the cell.",
        "Model",
        default="none",
        choices=("none", "layer"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation, its budget, and where it runs."""

    epochs: float | None = setting(
        "Stop after this many passes over the corpus.", "Budget", default=None, above=0, most=1e9
    )
    steps: int | None = setting(
        "Stop after this many optimizer updates.", "Budget", default=None, least=1, most=10**12
    )
    minutes: float | None = setting(
        "Stop after this many minutes of training.", "Budget", default=None, above=0, most=1e6
    )
    patience: int = setting(
        "Early stopping: stop after this many evaluations without improvement; 0: never.",
        "Budget",
        default=8,
        least=0,
        most=10**9,
    )
    eval_every: int = setting(
        "Optimizer updates between evaluations.", "Budget", least=1, most=10**12
    )
    optimizer: str = setting(
        "Optimizer; muon is Muon for the matrices of the recurrent layers, gate by gate, and AdamW "
        "for everything else.",
        "Optimization",
        default="adamw",
        choices=("adamw", "adam", "rmsprop", "sgd", "muon"),
    )
    lr: float = setting("Peak learning rate.", "Optimization", above=0, most=100)
    weight_decay: float = setting(
        "Weight decay of the weight matrices. (default: 0.01 with adamw and muon, else 0)",
        "Optimization",
        least=0,
        most=10,
    )
    schedule: str = setting(
        "Learning-rate schedule: cosine (down to 2%), linear (down to 0), constant, exponential "
        "(times --lr-decay after some epochs), or plateau (times --lr-decay when validation stops "
        "improving).",
        "Optimization",
        default="cosine",
        choices=("cosine", "linear", "constant", "exponential", "plateau"),
    )
    warmup: float = setting(
        "Fraction of the budget over which the learning rate rises from 0.",
        "Optimization",
        default=0.02,
        least=0,
        below=1,
    )
    lr_decay: float = setting(
        "Decay factor of the exponential (0.97) or plateau (0.5) schedule.",
        "Optimization",
        above=0,
        most=1,
        needs=("schedule", "exponential", "plateau"),
    )
    lr_decay_after: int = setting(
        "Epochs before the first decay of the exponential schedule.",
        "Optimization",
        default=10,
        least=0,
        most=10**6,
        needs=("schedule", "exponential"),
    )
    lr_decay_every: int = setting(
        "Epochs between decays of the exponential schedule.",
        "Optimization",
        default=1,
        least=1,
        most=10**6,
        needs=("schedule", "exponential"),
    )
    free_runs: float = setting(
        "Fraction of each batch that is samples of the model itself, from which it learns to find "
        "its way back to the corpus; from 30% of the budget on.",
        "Regularisation",
        default=0.0,
        least=0,
        most=0.9,
        kind="continuous",
    )
    lr_patience: int = setting(
        "Evaluations without improvement before the plateau schedule decays.",
        "Optimization",
        default=2,
        least=1,
        most=10**6,
        needs=("schedule", "plateau"),
    )
    rms_alpha: float = setting(
        "Decay of RMSprop's running mean of squared gradients.",
        "Optimization",
        default=0.99,
        least=0,
        below=1,
        needs=("optimizer", "rmsprop"),
    )
    momentum: float = setting(
        "Momentum of SGD.",
        "Optimization",
        default=0.9,
        least=0,
        below=1,
        needs=("optimizer", "sgd"),
    )
    clip: float = setting(
        "Gradient clipping threshold; 0: no clipping.",
        "Optimization",
        default=1.0,
        least=0,
        most=1e9,
    )
    clip_by: str = setting(
        "Clip the norm of all gradients together, or each element's value.",
        "Optimization",
        default="norm",
        choices=("norm", "value"),
    )
    seed: int = setting("Random seed.", "Machine", default=0, least=0, most=2**63 - 1)
    device: str = setting(
        "Device to train on.", "Machine", default="auto", choices=("auto", "cpu", "cuda", "mps")
    )
    precision: str = setting(
        "Precision of matrix products; auto measures which is faster.",
        "Machine",
        default="auto",
        choices=("auto", "fp32", "bf16"),
    )
    threads: int = setting(
        "CPU threads; auto (0) measures, and measures again when training slows down.",
        "Machine",
        default=0,
        least=0,
        most=1024,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How to sample from a model unless told otherwise."""

    temperature: tuple[float, ...] = setting(
        "Sampling temperature: lower is safer, higher is wilder, 0 always takes the most likely "
        "step. Several, as in 1,0.5,0.2, alternate step by step.",
        "Sampling",
        default=(0.8,),
        least=0,
        most=1e6,
        random=True,
    )
    top_k: int = setting(
        "Sample only from the K most likely steps; 0: from all.",
        "Sampling",
        default=0,
        least=0,
        most=2**31,
        kind="discrete",
        random=True,
    )
    top_p: float = setting(
        "Nucleus sampling: sample only from the most likely steps that together have this "
        "probability.",
        "Sampling",
        default=1.0,
        above=0,
        most=1,
        kind="discrete",
        random=True,
    )
    min_p: float = setting(
        "Sample only from steps that are at least this fraction as likely as the most likely one.",
        "Sampling",
        default=0.0,
        least=0,
        most=1,
        kind="discrete",
        random=True,
    )
    typical_p: float = setting(
        "Locally typical sampling: sample only from the steps of most typical surprise that "
        "together have this probability.",
        "Sampling",
        default=1.0,
        above=0,
        most=1,
        kind="discrete",
        random=True,
    )
    min_length: int = setting(
        "Do not end a document before this number of characters (words, bytes).",
        "Constraints",
        default=0,
        least=0,
        most=2**31,
        kind="discrete",
    )
    repetition_penalty: float = setting(
        "Penalise recently sampled steps by this factor; 1: no penalty.",
        "Constraints",
        default=1.0,
        least=1,
        most=1e6,
        kind="discrete",
    )
    repetition_window: int = setting(
        "How many recent steps the repetition penalty looks at.",
        "Constraints",
        default=64,
        least=1,
        most=2**31,
        kind="discrete",
    )
    no_repeat_ngram: int = setting(
        "Never sample the same sequence of N steps twice; 0: allow it.",
        "Constraints",
        default=0,
        least=0,
        most=2**31,
        kind="discrete",
    )


SECTIONS: dict[str, Any] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "sampling": SamplingConfig,
}
BUDGET = ("epochs", "steps", "minutes")
