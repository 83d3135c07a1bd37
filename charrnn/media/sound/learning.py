"""Encodes recordings as spectrogram frames and learns their principal components."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.media.held_out import ends_or_wholes
from charrnn.media.medium import Learner
from charrnn.media.sound.bands import FLOOR, mel_bank
from charrnn.media.sound.envelope import Envelope
from charrnn.media.sound.recordings import Recordings
from charrnn.media.sound.spectrogram import (
    BANDS,
    START,
    STARTS,
    Array,
    Arrays,
    SpectrogramCodec,
    gap_frames,
    raw_frames,
)
from charrnn.media.sound.stft import Frames, Stft
from charrnn.media.sources import Sources

Part = tuple[int, int, int]  # part of a recording: index of the recording, first frame, end

PASS_FRAMES = 4096  # processed at a time
MIN_END_S = 0.5  # of the end of a recording that is held out; of shorter ones, whole recordings
WEIGHT = 0.5  # a bin's weight is its usual magnitude to this power
BAND_WEIGHT = 3.0  # a band weighs as much as so many times its bins together
HEARD_NOISE = 0.75  # at first; with all of it, tones are rough
RANK = 1e-8  # of the largest variance: smaller variances are rounding errors


class SpectrogramLearner(Learner):
    """The `Learner` of sound.

    The first pass yields raw frames.  Then the principal components are computed, and the second
    pass replaces the frames by features, which have positions in the training part.

    Args:
        sources: the recordings.
        rate: samples per second.
        stft: the transform.
        components: F; 0: raw magnitudes.
        val_fraction: fraction to hold out: the end of each recording, or where they are short,
            whole ones.  After the second pass the attribute of this name is the resulting fraction
            of the whole corpus.
    """

    def __init__(
        self, sources: Sources, rate: int, stft: Stft, components: int, val_fraction: float
    ) -> None:
        bands = BANDS if components else 0
        self._bank = mel_bank(rate, stft, bands)
        self._envelope = Envelope.for_frames(rate, stft, bands)
        most = stft.bins + bands + (self._envelope.width if self._envelope else 0)
        if components > most:
            raise ConfigError(
                f"--components must be at most {most}, the count of numbers in a frame"
            )
        self._sources, self._rate, self._stft = sources, rate, stft
        self._components, self._fraction = components, val_fraction
        self._notices: list[str] = []
        self._said: tuple[str, ...] = ()  # about the gaps
        self._counts: list[int] = []  # frames of each recording
        self._codec: SpectrogramCodec | None = None

    def __iter__(self) -> Iterator[Frames]:
        for recording in Recordings(self._sources, self._rate, self._notices):
            self._counts.append(0)
            for block in raw_frames(
                recording.sound(),
                self._stft,
                self._bank,
                self._envelope,
                linear=not self._components,
            ):
                self._counts[-1] += len(block)
                yield block

    has_second_pass: ClassVar[bool] = True

    def second_pass(self, raw: Frames) -> Iterator[Frames]:
        """The corpus as features: first the training parts of all recordings, then the held-out
        parts, with silence between parts that are not contiguous.

        Args:
            raw: all raw frames, (N, D).
        """
        learnt, held = self._parts()
        spans = [(begin, end) for _, begin, end in learnt]
        arrays = _fit(raw, spans, self._components, self._bank, self._envelope)
        gap = gap_frames(self._counts, self._rate, self._stft)
        places = _places(learnt + held, gap)
        before = places[len(learnt) - 1] + learnt[-1][2] - learnt[-1][1]  # frames to learn
        codec = SpectrogramCodec(
            self._rate,
            self._stft,
            arrays,
            self._envelope,
            (HEARD_NOISE,),
            before if self._components else 0,
        )
        self._codec = codec
        arrays["starts"] = _starts(codec, raw, spans, places)
        silence = codec.features(codec.silence(gap))
        count = gaps = 0
        for (_, begin, end), place in zip(learnt + held, places, strict=True):
            if place > count:
                yield from codec.placed([silence], count)
                gaps += gap
            yield from codec.placed(map(codec.features, _rows(raw, begin, end)), place)
            count = place + end - begin
        self.val_fraction = (count - before) / count
        if gaps:
            sound, silent = ((n / codec.steps_per_s) for n in (count - gaps, gaps))
            self._said = (f"{sound:.1f} s are sound and {silent:.1f} s gaps between recordings",)

    @property
    def notices(self) -> tuple[str, ...]:
        """As in `Learner`."""
        return (*self._notices, *self._said)

    @property
    def held_out(self) -> str:
        """As in `Learner`."""
        if len(self._counts) == 1:
            return ""
        _, held = self._parts()
        bounds = set(pairwise(np.cumsum([0, *self._counts]).tolist()))
        wholes = sum((begin, end) in bounds for _, begin, end in held)
        if not wholes:
            return "from the ends of the recordings"
        ends = " and from the ends of others" if wholes < len(held) else ""
        return f"in {wholes:,} whole recordings{ends}"

    def _parts(self) -> tuple[list[Part], list[Part]]:
        """The training parts and the held-out parts of the recordings."""
        bounds = np.cumsum([0, *self._counts]).tolist()
        whole = list(pairwise(bounds))
        least = max(2, round(MIN_END_S * self._rate / self._stft.hop))
        held = dict(ends_or_wholes(whole, self._fraction, least, self.seed))
        learnt, apart = [], []
        for recording, (begin, end) in enumerate(whole):
            cut = next((start for start in held if begin <= start < end), end)
            learnt.append((recording, begin, cut))
            apart.append((recording, cut, end))
        return [p for p in learnt if p[1] < p[2]], [p for p in apart if p[1] < p[2]]

    @property
    def codec(self) -> SpectrogramCodec:
        """The codec, once `second_pass` is exhausted."""
        assert self._codec is not None
        return self._codec


def _places(parts: Sequence[Part], gap: int) -> list[int]:
    """The place of each part in the corpus, with a gap between parts that are not contiguous."""
    places = [0]
    for (before, first, last), (recording, begin, _) in pairwise(parts):
        is_next = (before, last) == (recording, begin)
        places.append(places[-1] + last - first + (0 if is_next else gap))
    return places


def _rows(raw: Frames, begin: int, end: int) -> Iterator[Frames]:
    """Rows in blocks, each read through a new memory map: with a single map, everything read would
    count as memory of this process."""
    for start in range(begin, end, PASS_FRAMES):
        rows: NDArray[Any] = raw
        if isinstance(raw, np.memmap) and raw.filename is not None:
            rows = np.memmap(raw.filename, raw.dtype, "r", raw.offset, raw.shape)
        yield np.array(rows[start : min(end, start + PASS_FRAMES)])


def _fit(
    raw: Frames,
    parts: list[tuple[int, int]],
    components: int,
    bank: Array,
    envelope: Envelope | None,
) -> Arrays:
    """The arrays of a codec, e.g. mean and principal components, from the frames in these parts."""
    width, bins = raw.shape[1], len(bank)
    if not components:
        return {"mean": np.zeros(width, np.float32), "remainder": np.zeros(width, np.float32)}
    count, total, power = 0, np.zeros(width), np.zeros(bins)
    products = np.zeros((width, width))
    for begin, end in parts:
        for rows in _rows(raw, begin, end):
            block = rows.astype(np.float64)
            count += len(block)
            total += block.sum(0)
            power += np.square(np.exp(block[:, :bins]) - FLOOR).sum(0)
            products += block.T @ block
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    weight = (np.sqrt(power / count) + FLOOR) ** WEIGHT
    of_bands = BAND_WEIGHT * np.sqrt(np.square(weight) @ bank + FLOOR)
    weight = np.concatenate([weight, of_bands])
    if envelope:  # a band weighs as much in all its short frames as in the long one
        of_short = of_bands[envelope.first :] / np.sqrt(envelope.count)
        weight = np.concatenate([weight, *[of_short] * envelope.count])
    weighted = covariance * np.outer(weight, weight)
    rank = max(1, min(components, count - 1))
    variances, vectors = scipy.linalg.eigh(weighted, subset_by_index=(width - rank, width - 1))
    variances, basis = variances[::-1], vectors.T[::-1]
    variances = np.maximum(variances, RANK)
    is_used = variances >= max(RANK * variances[0], RANK)
    is_used[1:] &= variances[1:] > RANK
    variances, basis = variances[is_used], basis[is_used]
    kept = np.sum(np.square(basis) * variances[:, np.newaxis], 0) / np.square(weight)
    deviations = np.sqrt(variances)
    arrays = {
        "mean": mean,
        "weight": weight,
        "basis": basis,
        "scale": np.sqrt(deviations * deviations[0]),
        "remainder": np.sqrt(np.maximum(np.diag(covariance) - kept, 0)),
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _starts(
    codec: SpectrogramCodec, raw: Frames, parts: list[tuple[int, int]], offsets: Sequence[int]
) -> Array:
    """Excerpts, (S, P, F), that samples without a prime continue: spread over the parts, from the
    louder half of candidates.

    Args:
        codec: encodes them.
        raw: all raw frames.
        parts: of these, to choose from.
        offsets: the place of each part in the corpus.
    """
    length = min(START, max(end - begin for begin, end in parts))
    found = [range(begin, end - length + 1, max(1, length // 4)) for begin, end in parts]
    places = np.concatenate([np.array(places, int) for places in found])
    loudness = np.concatenate([rows.mean(1) for rows in _rows(raw, 0, len(raw))])
    loudness = np.array([loudness[place : place + length].mean() for place in places])
    places = places[loudness >= np.median(loudness)]
    chosen = places[np.linspace(0, len(places) - 1, min(STARTS, len(places))).astype(int)]
    starts: list[Frames] = []
    for place in chosen.tolist():
        part = next(index for index, (begin, end) in enumerate(parts) if begin <= place < end)
        features = codec.features(raw[place : place + length])
        starts.extend(codec.placed([features], offsets[part] + place - parts[part][0]))
    return np.stack(starts)
