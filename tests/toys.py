"""Two media as another package would add them, and the command line with both.

`python -m tests.toys train ...` is `charrnn train ...` with these media registered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CheckpointError, ConfigError, CorpusError, SamplingError
from charrnn.media import register
from charrnn.media.codec import Codec, Prime
from charrnn.media.medium import Learner, Medium
from charrnn.media.product import Drawn, Sample
from charrnn.media.report import Reader
from charrnn.media.sources import Sources, opened, source_label
from charrnn.media.steps import Continuous, Discrete
from charrnn.settings import setting

Steps = NDArray[Any]


# --- Columns of numbers, drawn as vectors and written as CSV ------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnsSettings:
    delimiter: str = setting("Between two columns.", "Columns", default=",", section="data")
    digits: int = setting(
        "Digits written after the point.", "Columns", default=3, least=0, most=9, section="sampling"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnsOptions:
    row_numbers: bool = setting("Begin each row with its number.", "Columns", default=False)


def rows_of(name: str, delimiter: str) -> Steps:
    rows = []
    with opened(name) as stream:
        for number, line in enumerate(stream.read().decode("utf-8", "replace").splitlines(), 1):
            try:
                rows.append([float(field) for field in line.split(delimiter)])
            except ValueError:
                raise CorpusError(
                    f"{source_label(name)}, line {number}: {line!r:.40} is not numbers"
                ) from None
    if len({len(row) for row in rows}) > 1:
        raise CorpusError(f"{source_label(name)}: its lines differ in their number of columns")
    return np.array(rows, np.float32)


class ColumnsSample(Sample):
    """Rows of text, with a row for each step."""

    def __init__(self, codec: ColumnsCodec, drawn: Iterator[Drawn], length: int, *how: Any) -> None:
        super().__init__()
        self._codec, self._drawn = codec, islice(drawn, length)
        self._settings, self._options = how

    def pieces(self) -> Iterator[str]:
        for step, _ in self._drawn:
            self.steps += 1
            numbers = step * self._codec.arrays["scale"] + self._codec.arrays["mean"]
            fields = [f"{number:.{self._settings.digits}f}" for number in numbers]
            fields = [str(self.steps)] * self._options.row_numbers + fields
            yield self._settings.delimiter.join(fields) + "\n"

    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        for line in self:
            stream.write(line.encode())


class ColumnsReader(Reader):
    codec: ColumnsCodec

    def __init__(self, codec: ColumnsCodec, sources: Sources, delimiter: str) -> None:
        super().__init__(codec)
        self._sources, self._delimiter = sources, delimiter

    def __iter__(self) -> Iterator[Steps]:
        for name in self._sources.files:
            rows = rows_of(name, self._delimiter)
            if rows.shape[1:] != (self.codec.step.size,):
                raise CorpusError(f"{name}: this model has {self.codec.step.size} columns")
            yield (rows - self.codec.arrays["mean"]) / self.codec.arrays["scale"]


class ColumnsCodec(Codec):
    name = "columns"
    unit = "row"
    suffixes = (".csv",)

    def __init__(self, arrays: Mapping[str, Steps]) -> None:
        self.arrays = arrays
        self.step = Continuous(len(arrays["mean"]))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    def reader(self, sources: Sources, settings: Any) -> Reader:
        return ColumnsReader(self, sources, settings.delimiter)

    def sample(
        self,
        drawn: Iterator[Drawn],
        prime: Prime,
        length: float | None,
        settings: Any,
        options: Any,
    ) -> ColumnsSample:
        return ColumnsSample(self, drawn, self.steps_in(length), settings, options)


class ColumnsLearner(Learner):
    has_second_pass: ClassVar[bool] = True

    def __init__(self, sources: Sources, delimiter: str) -> None:
        self._sources, self._delimiter = sources, delimiter
        self._codec: ColumnsCodec | None = None

    def __iter__(self) -> Iterator[Steps]:
        for name in self._sources.files:
            yield rows_of(name, self._delimiter)

    def second_pass(self, steps: Steps) -> Iterator[Steps]:
        mean, scale = steps.mean(0), np.maximum(steps.std(0), 1e-6)
        self._codec = ColumnsCodec({"mean": mean, "scale": scale})
        yield (steps - mean) / scale

    @property
    def codec(self) -> ColumnsCodec:
        assert self._codec is not None
        return self._codec


class Columns(Medium):
    name = "columns"
    files = "tables of numbers"
    kind: ClassVar = Continuous
    codecs = ("columns",)
    settings = ColumnsSettings
    options = ColumnsOptions

    def recognises(self, name: str, head: bytes, codec: str = "auto") -> bool:
        first = head.partition(b"\n")[0]
        return b"," in first and not first.translate(None, b"0123456789.,-+e \r")

    def learner(
        self, codec: str, sources: Sources, settings: Any, val_fraction: float | None
    ) -> Learner:
        if not settings.delimiter:
            raise ConfigError("--delimiter must not be empty")
        return ColumnsLearner(sources, settings.delimiter)

    def from_dict(self, values: Mapping[str, Any], arrays: Mapping[str, Steps]) -> Codec:
        if arrays.keys() != {"mean", "scale"} or arrays["mean"].shape != arrays["scale"].shape:
            raise CheckpointError("the columns codec needs a mean and a scale")
        return ColumnsCodec(arrays)


# --- Files of half bytes, which begin with a magic number ---------------------------------------

MAGIC = b"NIB1"


class NibblesSample(Sample):
    def __init__(self, drawn: Iterator[Drawn], length: int) -> None:
        super().__init__()
        self._drawn = islice(drawn, length - length % 2)

    def pieces(self) -> Iterator[bytes]:
        yield MAGIC
        for high, nats in self._drawn:
            low = next(self._drawn)
            self.steps += 2
            self.nats += nats + low.nats
            yield bytes([16 * high + low.step])

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"nats_per_step": self.nats_per_step}

    def write(self, stream: BinaryIO, path: Path | None = None) -> None:
        for piece in self:
            stream.write(piece)


def nibbles_of(sources: Sources) -> Iterator[Steps]:
    for name in sources.files:
        with opened(name) as stream:
            data = stream.read()
        if not data.startswith(MAGIC):
            raise CorpusError(f"{source_label(name)}: does not begin with {MAGIC.decode()}")
        pairs = np.frombuffer(data, np.uint8)[len(MAGIC) :, np.newaxis]
        yield np.hstack([pairs >> 4, pairs & 15]).reshape(-1)


class NibblesReader(Reader):
    def __init__(self, codec: Codec, sources: Sources) -> None:
        super().__init__(codec)
        self._sources = sources

    def __iter__(self) -> Iterator[Steps]:
        return nibbles_of(self._sources)


class NibblesCodec(Codec):
    name = "nibbles"
    unit = "half byte"
    suffixes = (".nib",)
    step = Discrete(16)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    def reader(self, sources: Sources, settings: Any) -> Reader:
        return NibblesReader(self, sources)

    def steps_in(self, length: float | None) -> int:
        steps = super().steps_in(length)
        if steps % 2:
            raise SamplingError(
                f"--length {steps}: two half bytes make a byte; give an even number"
            )
        return steps

    def sample(
        self,
        drawn: Iterator[Drawn],
        prime: Prime,
        length: float | None,
        settings: Any,
        options: Any,
    ) -> NibblesSample:
        return NibblesSample(drawn, self.steps_in(length))


class NibblesLearner(Learner):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[Steps]:
        return nibbles_of(self._sources)

    @property
    def codec(self) -> NibblesCodec:
        return NibblesCodec()


class Nibbles(Medium):
    name = "nibbles"
    codecs = ("nibbles",)

    def recognises(self, name: str, head: bytes, codec: str = "auto") -> bool:
        return head.startswith(MAGIC)

    def learner(
        self, codec: str, sources: Sources, settings: Any, val_fraction: float | None
    ) -> Learner:
        return NibblesLearner(sources)

    def from_dict(self, values: Mapping[str, Any], arrays: Mapping[str, Steps]) -> Codec:
        return NibblesCodec()


if __name__ == "__main__":
    from charrnn.cli.main import main

    register(Columns())
    register(Nibbles())
    main()
