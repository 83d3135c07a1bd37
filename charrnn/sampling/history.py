"""The repetition penalty and bans, which depend on the previous steps of a sequence."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from charrnn.data.stretches import Following
from charrnn.media.codec import Rules
from charrnn.sampling import filters
from charrnn.sampling.filters import Logits
from charrnn.settings import SamplingConfig


class History:
    """The steps of one sequence, including the prime; penalises and bans repetitions.

    Args:
        config: repetition penalty and window, the n of n-grams, the minimum length.
        never: steps that are always banned.
        steps: the prime.
        end: the step that ends a document; it is banned after itself, since no document is empty,
            and before the minimum length.
        rules: which steps may follow; None: there are none.
        corpus: bans what would lengthen a stretch of the corpus; None: copying is allowed.
        least: steps after the prime before which the document does not end, as the minimum length.
    """

    def __init__(
        self,
        config: SamplingConfig,
        never: NDArray[np.integer],
        steps: Iterable[int],
        end: int | None = None,
        rules: Rules | None = None,
        corpus: Following | None = None,
        least: int = 0,
    ) -> None:
        self._corpus, self._least = corpus, max(least, config.min_length)
        self._stretch: deque[int] = deque(maxlen=0 if corpus is None else corpus.length)
        self._config, self._never, self._end, self._rules = config, never, end, rules
        self._latest: int | None = None
        self._count = 0
        self._recent: deque[int] = deque(maxlen=config.repetition_window)
        self._last: deque[int] = deque(maxlen=max(0, config.no_repeat_ngram - 1))
        self._after: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for step in steps:
            self.add(step)
        self._count = 0  # of the steps after the prime

    def add(self, step: int) -> None:
        """Append a step."""
        n, self._latest, self._count = self._config.no_repeat_ngram, step, self._count + 1
        if self._rules is not None:
            self._rules.add(step)
        if step == self._end:  # n-grams and copies do not span documents
            self._last.clear()
            self._stretch.clear()
            return
        self._stretch.append(step)
        if n and len(self._last) == n - 1:
            self._after[tuple(self._last)].add(step)
        if n:
            self._last.append(step)
        if self._config.repetition_penalty != 1:
            self._recent.append(step)

    @property
    def is_idle(self) -> bool:
        """Whether `applied` never changes the logits."""
        config = self._config
        rules = config.no_repeat_ngram or config.repetition_penalty != 1
        is_free = self._rules is None and self._end is None and self._corpus is None
        return is_free and not rules and not len(self._never)

    def applied(self, logits: Logits) -> Logits:
        """The logits, (V,), after the repetition penalty, rules and bans.

        Raises:
            SamplingError: all steps are banned.
        """
        logits = filters.penalized(logits, self._recent, self._config.repetition_penalty)
        if self._rules is not None:
            rules = self._rules
            logits = rules.favoured(np.where(rules.allowed(), logits, -np.inf))
        banned = self._never
        is_short = self._count < self._least
        if self._end is not None and (is_short or self._latest == self._end):
            banned = np.append(banned, self._end)
        if self._config.no_repeat_ngram and len(self._last) == self._config.no_repeat_ngram - 1:
            repeats = self._after.get(tuple(self._last))
            if repeats:
                banned = np.union1d(banned, list(repeats))
        if self._corpus is not None and len(self._stretch) == self._corpus.length:
            banned = np.union1d(banned, self._corpus.after(np.array(self._stretch)))
        return filters.banned(logits, banned)

    def copy(self) -> History:
        """An independent copy."""
        rules = None if self._rules is None else self._rules.copy()
        other = History(self._config, self._never, (), self._end, rules, self._corpus, self._least)
        other._stretch = self._stretch.copy()
        other._latest, other._count = self._latest, self._count
        other._recent, other._last = self._recent.copy(), self._last.copy()
        other._after = defaultdict(set, {k: set(v) for k, v in self._after.items()})
        return other
