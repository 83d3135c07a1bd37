"""Writes a model in other formats."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn import checkpoint as checkpoints
from charrnn import hub
from charrnn.errors import SamplingError, UsageError
from charrnn.files import replaced
from charrnn.run import run_of

if TYPE_CHECKING:
    from charrnn.api.model import Model

# The endings of files, and what they hold.
FORMATS = {
    ".html": "a web page that generates, offline",
    ".onnx": "the network for ONNX runtimes",
    ".npz": "all arrays, for NumPy",
    ".safetensors": "a model file of this program, smaller with --weights",
    ".md": "a page about the model",
}
WEIGHTS = ("fp32", "fp16", "int8")
SAMPLE_STEPS, SAMPLE_DOCUMENTS = 600, 10  # of the sample on a page about the model


def export(
    model: Model,
    path: Path,
    *,
    weights: str | None = None,
    title: str = "",
    about: str = "",
    seed: int | None = None,
) -> None:
    """Write a model in the format of the file's ending, atomically.

    Args:
        model: the model.
        path: the file to write.
        weights: how matrices are stored, one of WEIGHTS: of a web page int8 or fp32; of a model
            file any; None: int8 for a page, and as they are for a model file.
        title: of a page.
        about: what the model was trained on, and its licence: for a page.
        seed: of the sample on a page about the model; None: 0.

    Raises:
        UsageError: there is no such format, the format does not have this, or a package is missing.
        CheckpointError: the model is damaged.
        SamplingError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"{path}: the ending says the format; there is {known}")
    if weights is not None and weights not in WEIGHTS:
        raise UsageError(f"--weights {weights}: there is {', '.join(WEIGHTS)}")
    if weights is not None and suffix not in (".html", ".safetensors"):
        raise UsageError(f"--weights has no effect on {suffix}: its weights are fp32")
    if weights == "fp16" and suffix == ".html":
        raise UsageError("--weights fp16: a page has int8 or fp32")
    if (title or about) and suffix not in (".html", ".md"):
        raise UsageError(f"--title and --about are for pages, not for {suffix}")
    if seed is not None and (suffix != ".md" or model.codec.suffixes):
        raise UsageError("--seed has no effect: it is of the sample of text in a .md")
    source, title = model.checkpoint, title.strip()
    run = run_of(source)
    own = [source.path] if run is None else [run.best, run.last]
    if os.path.realpath(path) in map(os.path.realpath, own):
        raise UsageError(f"{path}: is the model itself, which would be lost; choose another --out")
    if suffix == ".safetensors":
        _write_model(model, path, weights)
        return
    if suffix == ".npz":
        import numpy as np

        from charrnn.export.arrays import arrays

        found = arrays(source)
        with replaced(path, SamplingError) as stream:
            np.savez(stream, **found)  # type: ignore[arg-type]
        return
    if suffix == ".onnx":
        from charrnn.export.onnx import onnx_model

        data = onnx_model(source).SerializeToString()
    elif suffix == ".md":
        data = _card(model, title, about, seed or 0).encode(errors="replace")
    else:
        from charrnn.export.page import page

        data = page(source, title=title, about=about, weights=weights or "int8").encode()
    with replaced(path, SamplingError) as stream:
        stream.write(data)


def push(
    model: Model,
    name: str,
    *,
    private: bool,
    title: str,
    about: str,
    licence: str,
    seed: int,
) -> str:
    """As `Model.push`."""
    hub.refuse_name(name)
    with tempfile.TemporaryDirectory(prefix="charrnn-") as scratch:
        folder = Path(scratch)
        _write_model(model, folder / hub.MODEL_FILE, None)
        config = {"codec": model.codec.name, **model.config.to_dict()}
        (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        files = {"index.html": "a page that generates in any browser"}
        export(model, folder / "index.html", title=title, about=about)
        if suffixes := model.codec.suffixes:
            sample = f"sample{suffixes[0]}"
            files[sample] = f"a sample, seed {seed}"
            model.sample(seed=seed).save(folder / sample)
        digest = checkpoints.read(folder / hub.MODEL_FILE).sha256
        address = f"{hub.SCHEME}//{name}"
        text = _card(model, title, about, seed, licence, address, digest, files)
        (folder / "README.md").write_text(text, encoding="utf-8", errors="replace")
        return hub.published(folder, name, private=private, message=f"charrnn push {name}")


def _write_model(model: Model, path: Path, weights: str | None) -> None:
    """Write a model file, without the state of training."""
    source = model.checkpoint
    if path.exists() and not path.is_file():
        raise SamplingError(f"{path}: is there already, and is not a file")
    path = Path(os.path.realpath(path))  # a link stays a link
    if weights in (None, source.weights_as) and source.progress is None:
        model.save(path)
        return
    checkpoints.compact(path, source, weights or source.weights_as)


def _card(
    model: Model,
    title: str,
    about: str,
    seed: int,
    licence: str = "",
    address: str = "",
    digest: str = "",
    files: Mapping[str, str] | None = None,
) -> str:
    """The page about a model, with a sample if it writes text."""
    from charrnn.export.card import card

    sample = ""
    if not model.codec.suffixes:
        num = 1 if model.codec.end is None else SAMPLE_DOCUMENTS
        found = model.samples(SAMPLE_STEPS // num, num=num, seed=seed)
        sample = model.codec.separator.join(each.text for each in found)
    return card(
        model.checkpoint,
        title=title,
        about=about,
        sample=sample,
        seed=seed,
        licence=licence,
        address=address,
        digest=digest,
        files=files or {},
    )
