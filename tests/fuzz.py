"""Coverage-guided fuzzing of what reads strangers' files; pytest does not run it.

    pip install atheris
    python tests/fuzz.py file|header|config|corpus [--seconds 600]

file: bytes as a model file.  header: bytes as the header of one whose digest matches and whose
tensors are those of a tiny model.  config: bytes as a preset.  corpus: bytes as a run's corpus.  An
error of ours is what should come of them; anything else stops the fuzzer, which leaves the bytes in
`crash-*`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["charrnn", "json", "tomllib"]):
    from charrnn import checkpoint, presets
    from charrnn.data import corpus
    from charrnn.errors import CharrnnError, CheckpointError, ConfigError, RunError
    from charrnn.media.steps import Discrete
    from charrnn.media.text.codec import TextCodec
    from charrnn.training.progress import Progress

from safetensors.numpy import save_file

from tests.conftest import TEXT, trained

SCRATCH = Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())


def seeds_and_target(kind: str, scratch: Path) -> tuple[list[bytes], Callable[[bytes], None]]:
    """What to begin with, and what is done with each input."""
    (scratch / "corpus.txt").write_text(TEXT, encoding="utf-8")
    path = scratch / "input"
    runs = []
    for codec in ("char", "word", "byte"):
        trained(
            scratch / "corpus.txt",
            scratch / codec,
            codec=codec,
            steps=2,
            batch_size=2,
            seq_length=4,
        )
        runs.append(scratch / codec)

    def as_file(data: bytes) -> None:
        path.write_bytes(data)
        opened(path)

    model = checkpoint.read(runs[0] / "last.safetensors")
    tensors = model.tensors()

    def as_header(data: bytes) -> None:
        header = data.decode("utf-8", errors="ignore").replace("\0", "")
        digest = checkpoint.digest(header, tensors)
        save_file(tensors, path, metadata={"charrnn": f"{digest}\n{header}"})
        opened(path)

    def as_config(data: bytes) -> None:
        path.write_bytes(data)
        try:
            presets.load_preset(str(path))
        except ConfigError as error:
            one_line(error)

    def as_corpus(data: bytes) -> None:
        path.write_bytes(data)
        try:
            corpus.checked(path, corpus.read(path), Discrete(24))
        except RunError as error:
            one_line(error)

    files = [file for run in runs for file in run.glob("*.safetensors")]
    if kind == "file":
        return [file.read_bytes() for file in files], as_file
    if kind == "header":
        return [checkpoint.read(file)._header.encode() for file in files], as_header
    if kind == "config":
        return [preset.read_bytes() for preset in presets.presets().values()], as_config
    return [(run / "corpus.npy").read_bytes() for run in runs], as_corpus


def opened(path: Path) -> None:
    """Read all that a model file says, as the commands do."""
    try:
        found = checkpoint.read(path)
        found.tensors()
    except CheckpointError as error:
        one_line(error)
        return
    json.dumps(found.config.to_dict() | found.codec.to_dict())
    if isinstance(found.codec, TextCodec):
        steps, _ = found.codec.encode("The heron said: ü\n")
        found.codec.decode(steps)
    if found.progress is not None:
        with suppress(TypeError, ValueError):  # which the trainer turns into errors of ours
            Progress.from_dict(found.progress)


def one_line(error: CharrnnError) -> None:
    """An error names what is wrong."""
    assert str(error), "an error without a message"


def main() -> None:
    """Fuzz one of the readers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["file", "header", "config", "corpus"])
    parser.add_argument("--seconds", type=int, default=600)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        scratch = Path(folder)
        seeds, target = seeds_and_target(arguments.kind, scratch)
        (scratch / "seeds").mkdir()
        longest = 0
        for number, seed in enumerate(seeds):
            (scratch / "seeds" / str(number)).write_bytes(seed)
            longest = max(longest, 2 * len(seed))
        options = [f"-max_total_time={arguments.seconds}", f"-max_len={longest}", "-timeout=10"]
        options += ["-rss_limit_mb=2048", "-print_final_stats=1", str(scratch / "seeds")]
        os.environ["OMP_NUM_THREADS"] = "1"
        atheris.Setup([sys.argv[0], *options], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
