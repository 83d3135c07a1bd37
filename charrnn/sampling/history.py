"""What was written so far, as far as it bears on what may come next."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SamplingConfig
from charrnn.sampling import filters
from charrnn.sampling.filters import Logits


class History:
    """The steps of one sequence, prime included: lowers and rules out what would repeat them.

    Args:
        config: repetition penalty and window, and the n of n-grams.
        never: steps ruled out from the beginning.
        steps: those written already.
        end: the step that ends a document; it does not follow itself, since no document is
            empty.
    """

    def __init__(
        self,
        config: SamplingConfig,
        never: NDArray[np.integer],
        steps: Iterable[int],
        end: int | None = None,
    ) -> None:
        self._config, self._never, self._end = config, never, end
        self._latest: int | None = None
        self._recent: deque[int] = deque(maxlen=config.repetition_window)
        self._last: deque[int] = deque(maxlen=max(0, config.no_repeat_ngram - 1))
        self._after: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for step in steps:
            self.add(step)

    def add(self, step: int) -> None:
        """Note a step that was written."""
        n, self._latest = self._config.no_repeat_ngram, step
        if step == self._end:  # every document ends; and what came before it is another
            self._last.clear()
            return
        if n and len(self._last) == n - 1:
            self._after[tuple(self._last)].add(step)
        if n:
            self._last.append(step)
        if self._config.repetition_penalty != 1:
            self._recent.append(step)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ever lowered or ruled out."""
        config = self._config
        rules = config.no_repeat_ngram or config.repetition_penalty != 1
        return not rules and not len(self._never) and self._end is None

    def applied(self, logits: Logits) -> Logits:
        """The logits, (V,), with the repetition penalty, and without what is ruled out.

        Raises:
            SamplingError: nothing is left.
        """
        logits = filters.penalized(logits, self._recent, self._config.repetition_penalty)
        ruled_out = self._never
        if self._end is not None and self._latest == self._end:
            ruled_out = np.append(ruled_out, self._end)
        if self._config.no_repeat_ngram and len(self._last) == self._config.no_repeat_ngram - 1:
            again = self._after.get(tuple(self._last))
            if again:
                ruled_out = np.union1d(ruled_out, list(again))
        return filters.banned(logits, ruled_out)

    def copy(self) -> History:
        """One that goes on by itself."""
        other = History(self._config, self._never, (), self._end)
        other._latest = self._latest
        other._recent, other._last = self._recent.copy(), self._last.copy()
        other._after = defaultdict(set, {k: set(v) for k, v in self._after.items()})
        return other
