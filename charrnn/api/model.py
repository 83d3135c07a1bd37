"""A trained model: sample from it, evaluate it, compute the loss of a text."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn import config, layering, media
from charrnn.checkpoint import Checkpoint, read
from charrnn.errors import CheckpointError, CorpusError, SamplingError, UsageError
from charrnn.files import cannot_write, replacing
from charrnn.media.codec import Prime
from charrnn.media.report import BY, Passage, Report, losses
from charrnn.media.sources import STDIN, Sources, find, is_pipe
from charrnn.media.steps import Discrete
from charrnn.run import corpus_of, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.data.stretches import Following
    from charrnn.insight.report import Insight
    from charrnn.model.network import Network
    from charrnn.training.evaluate import Scored

AnyPath = str | os.PathLike[str]
MAX_WIDTH, MAX_PENALTY = 4096, 100  # of a beam search
MAX_TOP = 1000  # most likely next steps


class Model:
    """A trained model.

    Attributes:
        checkpoint: the contents of its file.
        path: the file.
        config: the settings of its run.
        codec: converts between files and steps.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.path, self.config, self.codec = checkpoint.path, checkpoint.config, checkpoint.codec
        self._runtime: Any = None
        self._following: tuple[Any, Following] | None = None  # of the last call, and what it asked

    def __repr__(self) -> str:
        from charrnn.model.cells import cell_of

        shape, codec = self.config.model, self.codec
        label = cell_of(shape.cell).label
        nats = self.checkpoint.training.get("best_nats_per_step")
        loss = "" if nats is None else f", {nats:.4f} nats per {codec.unit}"
        return (
            f"<Model {label} {shape.layers}x{shape.hidden}, "
            f"{codec.name} codec ({codec.step.size}){loss}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or an unpickled one, opens the file again."""
        return _opened, (str(self.path),)

    @property
    def runtime(self) -> Any:
        """The network in NumPy, which computes one step at a time.

        Raises:
            CheckpointError: the file is damaged.
            SamplingError: a weight is not finite.
        """
        if self._runtime is None:
            from charrnn.sampling.runtime import Runtime

            self._runtime = Runtime.of(self.checkpoint)
        return self._runtime

    def prime(self, value: str = "", file: str | None = None) -> Prime:
        """Encode what samples should continue.

        Args:
            value: the text itself; for other media, the name of a file.
            file: a file with the prime; "-" is standard input.

        Raises:
            CharrnnError: it cannot be read.
        """
        return self.codec.prime(value, file, self.config.codec_settings)

    def primes(self, file: AnyPath) -> Iterator[tuple[int, Prime]]:
        """Encode a prime for each line of a file: the text itself; for other media, the name of a
        file.

        Args:
            file: "-" is standard input, whose lines are encoded as they arrive.

        Returns:
            The number of the line, from 1, and the prime; empty lines are left out.

        Raises:
            CharrnnError: the file, or what a line names, cannot be read.
        """
        name = os.fspath(file)
        if not name:
            raise UsageError("--primes: an empty name; is a shell variable unset?")
        path = Path(name)
        if name != STDIN and path.exists() and not path.is_file() and not is_pipe(name):
            raise UsageError(f"--primes {name}: is not a file")
        return self.codec.primes(name, self.config.codec_settings)

    def sample(self, length: float | None = None, **arguments: Any) -> Any:
        """One sample; see `samples`."""
        return next(self.samples(length, **arguments))

    def samples(
        self,
        length: float | None = None,
        *,
        num: int = 1,
        prime: AnyPath | Prime = "",
        seed: int | None = None,
        first: int = 0,
        scored: bool = True,
        tune: bool = False,
        no_copy: int = 0,
        corpus: AnyPath | Iterable[AnyPath] | None = None,
        **settings: Any,
    ) -> Iterator[Any]:
        """Samples; each one is generated while you iterate over it.

        A text sample yields pieces of text and has `.text`; a sound sample yields blocks of audio
        and has `.sound` (an array) and `.rate`; a sample of notes yields those of each bar and has
        `.tune`.  All have `.save(path)`.

        Args:
            length: the maximum number of steps; for sound, seconds; for notes, bars; None: a
                default; infinity: without end.
            num: the number of samples.
            prime: the text to continue; for other media, the name of a file; or a result of
                `Model.prime`.
            seed: the same seed gives the same samples; None: a random one, which each sample has
                as `.seed`.
            first: the index of the first sample; the random numbers of a sample depend on the seed
                and its index.
            scored: whether to compute `nats_per_step`; without it sampling is faster.
            tune: measure which number of BLAS threads is fastest, and set it for the process.
            no_copy: never this many steps in a row that stand in the corpus; 0: they may.
            corpus: the files of that corpus, which are read once; None: that of the model's run.
            settings: any setting of `charrnn sample --help` by name, e.g. `temperature=0.7`.

        Raises:
            CharrnnError: a setting is out of range or has no effect on this model.
        """
        from charrnn.sampling import generate

        changed, options = self._sampling(settings)
        if changed.model.head == "mse" and "temperature" in settings:
            raise UsageError("--temperature has no effect: this model is deterministic (mse head)")
        _refuse_outside("num", num, 1, None)
        _refuse_outside("seed", seed or 0, 0, None)
        _refuse_outside("first", first, 0, None)
        self.codec.steps_in(length)
        return generate.samples(
            self.runtime,
            self.codec,
            config=changed.sampling,
            settings=changed.codec_settings,
            options=options,
            length=length,
            num=num,
            prime=prime if isinstance(prime, Prime) else self.prime(os.fspath(prime)),
            seed=secrets.randbelow(2**31) if seed is None else seed,
            first=first,
            scored=scored,
            tune=tune,
            corpus=self._not_copied(no_copy, corpus),
        )

    def beam(
        self,
        width: int,
        length: float | None = None,
        *,
        num: int = 1,
        length_penalty: float = 1.0,
        prime: AnyPath | Prime = "",
        tune: bool = False,
        no_copy: int = 0,
        corpus: AnyPath | Iterable[AnyPath] | None = None,
        **settings: Any,
    ) -> list[Any]:
        """The most likely samples found by beam search, best first.

        Args:
            width: number of hypotheses kept at each step.
            length: the maximum number of steps.
            num: how many samples to return, at most `width`.
            length_penalty: rank by log p / steps ** length_penalty; 0 favours short samples.
            prime: as in `samples`.
            tune: as in `samples`.
            no_copy: as in `samples`.
            corpus: as in `samples`.
            settings: as in `samples`, without those of random sampling, e.g. `temperature`.

        Raises:
            CharrnnError: as in `samples`.
        """
        from charrnn.sampling.beam import product, search

        self.refuse_without_beam()
        _refuse_outside("width", width, 1, MAX_WIDTH)
        _refuse_outside("num", num, 1, width)
        _refuse_outside("length_penalty", length_penalty, 0, MAX_PENALTY)
        changed, options = self._sampling(settings)
        if idle := [name for name in settings if name in config.random_settings()]:
            raise UsageError(f"a beam search draws nothing at random; drop {', '.join(idle)}")
        prime = prime if isinstance(prime, Prime) else self.prime(os.fspath(prime))
        hypotheses = search(
            self.runtime,
            self.codec,
            prime=prime,
            length=length,
            width=width,
            config=changed.sampling,
            settings=changed.codec_settings,
            options=options,
            length_penalty=length_penalty,
            tune=tune,
            corpus=self._not_copied(no_copy, corpus),
        )
        own = changed.codec_settings
        best = [product(self.codec, each, prime, length, own, options) for each in hypotheses[:num]]
        for index, sample in enumerate(best):
            sample.index = index
        return best

    def corpus(self, files: AnyPath | Iterable[AnyPath] | None = None) -> NDArray[Any]:
        """The steps of a corpus, (N,) or (N, F).

        Args:
            files: one path or several; None: what the model's run was trained and evaluated on.

        Raises:
            UsageError: the model file is not in the directory of its run.
            CharrnnError: the corpus cannot be read.
        """
        return corpus_of(self.checkpoint) if files is None else self._encoded(files)[0]

    def _encoded(self, files: AnyPath | Iterable[AnyPath]) -> tuple[NDArray[Any], list[str]]:
        """The steps of files, (N,) or (N, F), and what the user should know about them.

        Raises:
            CorpusError: there is nothing in them that the model knows.
        """
        import numpy as np

        paths = [files] if isinstance(files, str | os.PathLike) else list(files)
        sources = self._sources(paths)
        reader = self.codec.reader(sources, self._reading({}))
        blocks = [block for block in reader if len(block)]
        if not blocks:
            raise CorpusError(f"{sources}: 0 {self.codec.unit}s that the model knows")
        steps: NDArray[Any] = np.concatenate(blocks)
        return steps, sources.notices + reader.report(steps, len(steps), None).notes

    def _not_copied(
        self, length: int, files: AnyPath | Iterable[AnyPath] | None
    ) -> Following | None:
        """What bans stretches of this many steps that stand in the corpus; None: nothing does.

        Raises:
            UsageError: there is no corpus, or steps are vectors, which never repeat exactly.
        """
        from charrnn.data.stretches import Following

        if not length:
            if files is not None:
                raise UsageError("--corpus has no effect without --no-copy")
            return None
        _refuse_outside("no_copy", length, 2, None)
        if not isinstance(self.codec.step, Discrete):
            raise UsageError(f"--no-copy: no two {self.codec.unit}s are equal; drop it")
        paths = files if files is None or isinstance(files, str | os.PathLike) else tuple(files)
        if self._following is None or self._following[0] != (length, paths):
            self._following = (length, paths), Following(self.corpus(paths), length - 1)
        return self._following[1]

    def mixed(self, others: Mapping[Any, float]) -> Model:
        """This model, mixed with others of the same vocabulary: a model whose samples are drawn
        from the mean of their probabilities.  It can only be sampled.

        Args:
            others: models, runs or model files, with their weights; this model gets the rest.

        Raises:
            CheckpointError: a file is no model, or is damaged.
            UsageError: the weights leave nothing for this model, a vocabulary is another one, or a
                model is given twice.
        """
        return _Mixed(self, others)

    def refuse_without_beam(self) -> None:
        """Raise if there is no beam search for this model.

        Raises:
            UsageError: its steps are vectors.
        """
        if not isinstance(self.codec.step, Discrete):
            raise UsageError(f"--beam: there is no beam search over {self.codec.unit}s; drop it")

    def refuse_without_pictures(self) -> None:
        """Raise if this model's steps cannot be drawn.

        Raises:
            UsageError: there are no pictures of them.
        """
        if not self.codec.has_pictures:
            raise UsageError(f"--picture: there are no pictures of {self.codec.unit}s; drop it")

    def warnings(self, prime: Prime, **settings: Any) -> list[str]:
        """What this model cannot read in a prime, or can never write; settings without effect.

        Args:
            prime: from `Model.prime`.
            settings: as in `samples`.
        """
        config, options = self._sampling(settings)
        return self.codec.warnings(prime, config.codec_settings, options)

    def _sampling(self, settings: dict[str, Any]) -> tuple[config.Config, Any]:
        """The config with these sampling settings, and the medium's options."""
        medium, options = media.medium_of(self.codec.name), config.all_options()
        known = {n for n, s in config.all_settings().items() if s.section == "sampling"}
        if unknown := [name for name in settings if name not in known | options.keys()]:
            raise UsageError(f"not a setting of sampling: {', '.join(unknown)}")
        settings = layering.for_model(settings, settings, self.codec.name)
        given = config.from_flags({n: v for n, v in settings.items() if n not in options})
        own = {name: value for name, value in settings.items() if name in options}
        return self.config.changed(given), config.options_from_flags(own, medium)

    def evaluate(
        self,
        files: AnyPath | Iterable[AnyPath] | None = None,
        *,
        text: str | None = None,
        device: str = "auto",
        picture: AnyPath | None = None,
        dynamic: bool = False,
        **settings: Any,
    ) -> Report:
        """Compute the loss of files, or of a text; for sound and notes, also compare samples with
        the files.

        Args:
            files: one path or several.
            text: a text to evaluate instead of files.
            device: where to run.
            picture: a PNG file to write, which shows what was compared.
            dynamic: adapt a copy of the model to the files while it reads them (dynamic
                evaluation, Krause et al. 2018).  It is slow: one sequence, with gradients.
            settings: how to read the files, e.g. `encoding="cp1252"`.

        Raises:
            CharrnnError: the files cannot be read, or are too short.
        """
        if picture is not None:
            self.refuse_without_pictures()
        if dynamic and self.config.model.head == "mse":
            raise UsageError("--dynamic has no effect: this model has no loss to show (mse head)")
        if (files is None) == (text is None):
            raise UsageError("evaluate needs either files or a text")
        if text is not None:
            self.codec.encode_text("")  # refuses a model that is not one of text
        paths = [files] if isinstance(files, str | os.PathLike) else list(files or ())
        read = self._reading(settings)
        with tempfile.TemporaryDirectory(prefix="charrnn-") as scratch:
            if text is not None:
                given_text = Path(scratch) / "text.txt"
                try:
                    given_text.write_text(text, encoding="utf-8", newline="")
                except UnicodeEncodeError:
                    raise SamplingError("the text is not Unicode: it has half a pair") from None
                paths = [given_text]
            sources = self._sources(paths)
            network = self._network(device)  # early, to report damage first
            path = Path(scratch) / "corpus.npy"
            report = _report(self, sources, read, network, path, picture, dynamic)
        report.notes[:0] = sources.notices
        return report

    def evaluate_each(
        self,
        files: AnyPath | Iterable[AnyPath],
        by: str = "line",
        *,
        top: int = 0,
        device: str = "auto",
        **settings: Any,
    ) -> Iterator[Report]:
        """Compute the loss of each line, document or file by itself, in their order.

        Each is predicted from its first step on, as a sample without a prime begins; the first
        frame of a recording is only read.  The notes are those of the last report.

        Args:
            files: one path or several.
            by: "line", "file" or "document" (with the step that ends it).
            top: for the `next` of a report: this number of steps that are most likely after it.
            device: where to run.
            settings: as in `evaluate`.

        Raises:
            CharrnnError: as in `evaluate`, or there are no such parts.
        """
        if by not in BY:
            raise UsageError(f"by must be one of {', '.join(BY)}, not {by!r:.40}")
        _refuse_outside("top", top, 0, MAX_TOP)
        if top and not isinstance(self.codec.step, Discrete):
            raise UsageError(f"--top: {self.codec.unit}s have no list of probabilities; drop it")
        paths = [files] if isinstance(files, str | os.PathLike) else list(files)
        sources, read = self._sources(paths), self._reading(settings)
        notices = sources.notices
        passages = self.codec.passages(sources, read, by, notices)
        return self._each(passages, top, device, notices, f"{sources}: no {by}s to evaluate")

    def _each(
        self, passages: Iterator[Passage], top: int, device: str, notices: list[str], nothing: str
    ) -> Iterator[Report]:
        """The reports of `evaluate_each`."""
        report: Report | None = None
        for scored in self._scored(passages, device):
            if report is not None:
                yield report
            report = _of_passage(self, scored, top)
        if report is None:
            raise CorpusError(nothing)
        report.notes += notices
        yield report

    def _scored(self, passages: Iterable[Passage], device: str) -> Iterator[Scored]:
        """The loss of each passage, which begins in the state of a beginning of the corpus."""
        import torch
        from threadpoolctl import threadpool_limits

        from charrnn.training.evaluate import scored

        network = self._network(device)
        state = network.initial_state(1)
        if (starts := self.checkpoint.starts) is not None:
            state = tuple(
                tuple(torch.from_numpy(part[:1]).to(like) for part, like in zip(*pair, strict=True))
                for pair in zip(starts, state, strict=True)
            )
        with threadpool_limits(1, user_api="blas"):  # as in `evaluate`
            yield from scored(network, passages, state)

    def _sources(self, paths: Iterable[AnyPath]) -> Sources:
        """The files to evaluate."""
        return find(paths, [media.medium_of(self.codec.name)], self.codec.name)

    def _network(self, device: str) -> Network:
        """The network in PyTorch, in evaluation mode."""
        from charrnn.model.device import pick

        return self.checkpoint.network().to(pick(device))

    def _reading(self, settings: dict[str, Any]) -> Any:
        """The medium's settings with these, which say how to read files."""
        medium = media.medium_of(self.codec.name)
        known = {n: s for n, s in config.all_settings().items() if s.meta["when_reading"]}
        if unknown := [name for name in settings if name not in known]:
            raise UsageError(f"not a setting of evaluate: {', '.join(unknown)}")
        given = config.from_flags(layering.for_model(settings, settings, self.codec.name))
        own = config.declared(medium.settings)
        reading = {n: s.default for n, s in own.items() if s.meta["when_reading"]}
        reading |= config.declared_values(given, medium.settings)
        return replace(self.config.codec_settings, **reading)

    def nats(self, text: str) -> NDArray[np.float64]:
        """The negative log probability of each piece of a text; a piece is a character, or a word
        with the space before it (see `pieces`).

        Returns:
            (N,), in nats; NaN for a character that is not in the vocabulary.

        Raises:
            SamplingError: this is not a model of text.
        """
        import numpy as np

        steps, pieces = self.codec.encode_text(text)
        start = self.codec.start(np.random.default_rng(0))
        passage = Passage(np.concatenate([start, steps]), len(start), partial(losses, self.codec))
        [scored] = self._scored([passage], "cpu")
        ends = np.cumsum([0, *(piece.steps for piece in pieces)])
        sums = np.add.accumulate(np.append(0.0, scored.nats))
        own = np.array([piece.nats for piece in pieces], float)
        own[[not piece.steps for piece in pieces]] = np.nan
        nats: NDArray[np.float64] = sums[ends[1:]] - sums[ends[:-1]] + own
        return nats

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text that `nats` computes numbers for; joined, they are the text."""
        return [piece.text for piece in self.codec.encode_text(text)[1]]

    def insight(
        self,
        files: AnyPath | Iterable[AnyPath] | None = None,
        *,
        text: str | None = None,
        against: AnyPath | Model | None = None,
        show: Iterable[str] | None = None,
        length: int | None = None,
        seed: int = 0,
        cell: tuple[int, int] | None = None,
    ) -> Insight:
        """Look into the model: where its loss is, what its units follow, how far back it
        remembers, what it copies.

        Args:
            files: what it reads meanwhile: one path or several; None: what its run held out, and a
                sample; of a model file without a run only a sample.
            text: a text to read instead of files.
            against: another model, whose memory is compared with that of this one.
            show: what to look for, some of `charrnn.insight.report.SHOWN`; None: all of it.
            length: steps to read, at most; None: as many as take a few seconds.
            seed: of the sample.
            cell: layer and unit, from 0, whose states and gates are kept at each step.

        Raises:
            CharrnnError: there is nothing to read, or the other model cannot read it.
        """
        import numpy as np

        from charrnn.insight import report

        shown = report.SHOWN if show is None else list(show)
        if unknown := [name for name in shown if name not in report.SHOWN]:
            raise UsageError(f"not shown: {', '.join(unknown)}; there is {', '.join(report.SHOWN)}")
        _refuse_outside("seed", seed, 0, None)
        if length is not None:
            _refuse_outside("length", length, 2, None)
        if files is not None and text is not None:
            raise UsageError("insight reads either files or a text")
        given, notes = None, list[str]()
        if text is not None:
            given = self.codec.encode_text(text)[0]
            if not len(given):
                raise CorpusError(f"{text!r:.40}: 0 {self.codec.unit}s that the model knows")
        elif files is not None:
            given, notes = self._encoded(files)
        read = 1
        if given is not None and isinstance(self.codec.step, Discrete):
            start = self.codec.start(np.random.default_rng(0))
            read = len(start)
            if not np.array_equal(given[:read], start):
                given = np.concatenate([start, given])
        other = None
        if against is not None:
            other = against if isinstance(against, Model) else Model(load(against))
        found = report.look(
            self.checkpoint,
            self.runtime,
            given,
            read=read,
            against=None if other is None else (other.checkpoint, other.runtime),
            shown=shown,
            length=length,
            seed=seed,
            cell=cell,
        )
        found.notes[:0] = notes
        return found

    def embed(
        self,
        files: AnyPath | Iterable[AnyPath],
        by: str | None = None,
        *,
        average: bool = False,
        notices: list[str] | None = None,
    ) -> Iterator[tuple[Passage, NDArray[np.float32]]]:
        """A vector for each line, document or file, in their order.

        Args:
            files: one path or several.
            by: "line", "file" or "document"; None: lines of text, and of other media files.
            average: the mean of the states after each step, not the state after the last one.
            notices: gets what the user should know about the files, once all is read.

        Returns:
            The part of the files, and the outputs of all layers, (L * H,).

        Raises:
            CharrnnError: the files cannot be read, or there are no lines in them.
        """
        from charrnn.insight.vectors import vectors

        paths = [files] if isinstance(files, str | os.PathLike) else list(files)
        by = by or ("line" if self.codec.primes_are_text else "file")
        if by not in BY:
            raise UsageError(f"by must be one of {', '.join(BY)}, not {by!r:.40}")
        sources = self._sources(paths)
        notices = [] if notices is None else notices
        notices += sources.notices
        passages = self.codec.passages(sources, self._reading({}), by, notices)
        found = vectors(self.runtime, passages, average=average)
        if (first := next(found, None)) is None:
            raise CorpusError(f"{sources}: no {by}s to read")
        return chain([first], found)

    def vector(self, text: str, *, average: bool = False) -> NDArray[np.float32]:
        """The vector of one text, (L * H,); as in `embed`.

        Raises:
            SamplingError: this is not a model of text, or it knows none of the text.
        """
        import numpy as np

        from charrnn.insight.vectors import vectors

        steps = self.codec.encode_text(text)[0]
        if not len(steps):
            raise SamplingError(f"{text!r:.40}: the model knows nothing of this text")
        start = self.codec.start(np.random.default_rng(0))
        passage = Passage(np.concatenate([start, steps]), len(start), partial(losses, self.codec))
        [(_, vector)] = vectors(self.runtime, [passage], average=average)
        return vector

    def export(
        self,
        path: AnyPath,
        *,
        weights: str | None = None,
        title: str = "",
        about: str = "",
        seed: int | None = None,
    ) -> None:
        """Write the model in the format of the file's ending: a web page (.html), ONNX (.onnx),
        arrays (.npz), a smaller model file (.safetensors) or a page about it (.md).

        Args:
            path: the file to write, atomically.
            weights: how matrices are stored: "int8", "fp16" or "fp32".
            title: of a page.
            about: what the model was trained on, and its licence: for a page.
            seed: of the sample on a page about the model; None: 0.

        Raises:
            UsageError: there is no such format, or it does not suit the model.
            CharrnnError: the model is damaged, or the file cannot be written.
        """
        from charrnn.api.exporting import export

        export(self, Path(path), weights=weights, title=title, about=about, seed=seed)

    def push(
        self,
        name: str,
        *,
        private: bool = False,
        title: str = "",
        about: str = "",
        licence: str = "",
        seed: int = 0,
    ) -> str:
        """Publish the model on the Hugging Face Hub: the file, a page about it, its config, a
        sample, and a web page if it writes text.

        Args:
            name: USER/NAME.
            private: whether a new repository is private.
            title: as in `export`.
            about: as in `export`.
            licence: its short name on the hub, e.g. "cc0-1.0".
            seed: as in `export`.

        Returns:
            The address of the commit in a browser.

        Raises:
            CharrnnError: the package huggingface_hub is missing, or the model cannot be uploaded.
        """
        from charrnn.api.exporting import push

        return push(
            self, name, private=private, title=title, about=about, licence=licence, seed=seed
        )

    def save(self, path: AnyPath) -> None:
        """Copy the model file to `path`, atomically.

        Raises:
            CheckpointError: the file is damaged.
            SamplingError: the copy cannot be written.
        """
        self.checkpoint.tensors()  # checks them against the digest
        if Path(path).is_dir() or not Path(path).name:
            raise SamplingError(f"{path}: is a directory; name a file")
        with cannot_write(path, SamplingError), replacing(Path(path)) as temporary:
            shutil.copyfile(self.path, temporary)


class _Mixed(Model):
    """Several models; config and codec are those of the first."""

    def __init__(self, first: Model, others: Mapping[Any, float]) -> None:
        import numpy as np

        from charrnn.sampling.mixture import Member, Mixture, order_in, vocabulary

        super().__init__(first.checkpoint)
        rest = 1 - sum(_weight(weight) for weight in others.values())
        if rest < 1e-9:  # nothing, apart from rounding
            raise UsageError(
                f"--mix: the weights must add up to less than 1; {first.path} gets the rest"
            )
        members = [Member(first.runtime, rest, np.arange(len(vocabulary(first.codec))))]
        seen = {first.checkpoint.sha256}
        for target, weight in others.items():
            try:
                other = target if isinstance(target, Model) else Model(load(target))
            except CheckpointError as error:
                raise CheckpointError(f"--mix: {error}") from None
            if other.checkpoint.sha256 in seen:
                raise UsageError(f"--mix {other.path}: this model is there already")
            seen.add(other.checkpoint.sha256)
            order = order_in(other.codec, first.codec, str(other.path))
            members.append(Member(other.runtime, weight, order))
        self._runtime, self._parts = Mixture(members), (first, dict(others))

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or an unpickled one, opens the files again."""
        return _Mixed, self._parts

    def _network(self, device: str) -> Network:
        raise UsageError("models that are mixed can only be sampled; evaluate each of them")

    def save(self, path: AnyPath) -> None:
        """Models that are mixed are several files.

        Raises:
            UsageError: always.
        """
        raise UsageError("models that are mixed cannot be saved in one file; save each of them")

    def export(self, path: AnyPath, **_: Any) -> None:
        """As `save`.

        Raises:
            UsageError: always.
        """
        self.save(path)

    def push(self, name: str, **_: Any) -> str:
        """Models that are mixed are several files.

        Raises:
            UsageError: always.
        """
        raise UsageError("models that are mixed cannot be published as one; push each of them")


def _weight(value: Any) -> float:
    """A weight of `Model.mixed`.

    Raises:
        UsageError: it is not a number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UsageError(f"--mix: a weight must be a number above 0, not {value!r:.40}")
    return float(value)


def _opened(path: str) -> Model:
    return Model(read(Path(path)))


def _refuse_outside(name: str, value: Any, least: float, most: float | None) -> None:
    """Raise unless an argument is a number within limits.

    Raises:
        UsageError: it is not.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name != "length_penalty":
        is_number = is_number and isinstance(value, int)
    if not is_number or not least <= value or (most is not None and value > most):
        limits = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
        raise UsageError(f"{name} must be a number {limits}, not {value!r:.40}")


def _of_passage(model: Model, scored: Scored, top: int) -> Report:
    """The report of a passage: where it is from, its loss, and what is likely to follow it."""
    import numpy as np

    passage, codec, count = scored.passage, model.codec, len(scored.nats)
    has_nats = count > 0 and model.config.model.head != "mse"
    report = passage.report(count, float(scored.nats.mean()) if has_nats else None)
    report.title, report.values = passage.title, passage.where | report.values
    if top and scored.probabilities is not None:
        likely = np.argsort(-scored.probabilities, kind="stable")[:top].tolist()
        symbols = codec.symbols
        report.values["next"] = [
            {
                "step": step,
                "symbol": None if symbols is None or step == codec.end else symbols[step],
                "probability": float(scored.probabilities[step]),
            }
            for step in likely
        ]
    return report


def _report(
    model: Model,
    sources: Sources,
    settings: Any,
    network: Any,
    path: Path,
    picture: AnyPath | None,
    dynamic: bool,
) -> Report:
    """Encode and evaluate files; if the medium has a critic that compares, also judge samples."""
    from threadpoolctl import threadpool_limits

    from charrnn.data import corpus
    from charrnn.training.evaluate import evaluate, evaluate_dynamically

    codec = model.codec
    reader = codec.reader(sources, settings)
    # On one BLAS thread: on a busy machine, several threads wait for each other.
    with threadpool_limits(1, user_api="blas"):
        count = corpus.write(path, reader)
        if count < 2:
            raise CorpusError(
                f"{sources}: {count} {codec.unit}s that the model knows; at least 2 are needed"
            )
        steps = corpus.read(path)
        result = (evaluate_dynamically if dynamic else evaluate)(network, steps)
        nats = result.nats_per_step if network.head.has_density else None
        report = reader.report(steps, result.steps, nats)
        if dynamic:
            report.values["dynamic"] = True
            report.rows.append(("evaluation", "dynamic"))
        critic = codec.critic(steps)
        if critic is None or not critic.compares:
            if picture is not None:
                raise UsageError(f"--picture: nothing is compared with {codec.unit}s; drop it")
            return report
        from charrnn.sampling.generate import sequences

        own = model.config.codec_settings
        draw = partial(sequences, model.runtime, codec, config=model.config.sampling, settings=own)
        verdict = critic.look(draw(num=critic.num), own)
        # Drawn only if the reader asks for it.
        reader.listen(chain.from_iterable(draw(num=1, first=critic.num)), report, own)
    report.values["free_run"] = dict(verdict.figures or {})
    for name, value in (verdict.figures or {}).items():
        report.rows.append((f"free run, {name.replace('_', ' ')}", f"{value:.2f}"))
    if picture is not None:
        with cannot_write(picture, SamplingError):
            verdict.draw(Path(picture))
    return report
