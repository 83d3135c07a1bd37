from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charrnn.errors import SamplingError
from charrnn.sampling import filters
from charrnn.settings import SamplingConfig

LOGITS = arrays(np.float32, st.integers(1, 40), elements=st.floats(-50, 50, width=32))


@given(
    LOGITS,
    st.floats(0, 100),
    st.integers(0, 50),
    st.floats(0.001, 1),
    st.floats(0, 1),
    st.floats(0.001, 1),
)
def test_filters_keep_a_distribution(
    logits: np.ndarray, temperature: float, k: int, p: float, share: float, typical: float
) -> None:
    config = SamplingConfig(top_k=k, top_p=p, min_p=share, typical_p=typical)
    probabilities = filters.filtered(logits, config, temperature)
    assert probabilities.shape == logits.shape
    assert (probabilities >= 0).all()
    if (k, p, share, typical) != (0, 1, 0, 1):
        assert probabilities.sum() == pytest.approx(1)
    for uniform in (0.0, 0.3, 1 - 2**-53):
        assert probabilities[filters.draw(probabilities, uniform)] > 0


@given(
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    st.integers(0, 25),
    st.sampled_from([0.2, 0.9, 1.0]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.2, 0.9, 1.0]),
)
def test_several_sequences_are_filtered_as_each_alone(
    count: int, size: int, seed: int, temperature: float, k: int, p: float, share: float, typ: float
) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, size), scale=4).astype(np.float32)
    uniforms = generator.random(count)
    config = SamplingConfig(top_k=k, top_p=p, min_p=share, typical_p=typ)
    together = filters.filtered(logits, config, temperature)
    apart = [filters.filtered(row, config, temperature) for row in logits]
    np.testing.assert_allclose(together, apart, rtol=1e-9, atol=1e-12)
    steps = filters.draws(np.array(apart), uniforms)
    alone = [filters.draw(row, u) for row, u in zip(apart, uniforms, strict=True)]
    assert steps.tolist() == alone
    expected = [filters.surprise(row, int(s)) for row, s in zip(logits, steps, strict=True)]
    np.testing.assert_allclose(filters.surprises(logits, steps), expected)


@given(LOGITS, st.floats(0.001, 1))
def test_min_p_keeps_what_is_likely_beside_the_likeliest(logits: np.ndarray, share: float) -> None:
    probabilities = filters.softmax(logits)
    kept = filters.min_p(probabilities, share) > 0
    assert kept[probabilities.argmax()]
    assert (kept == (probabilities >= share * probabilities.max())).all()


@given(LOGITS, st.floats(0.01, 0.99))
def test_typical_keeps_what_surprises_as_expected(logits: np.ndarray, p: float) -> None:
    probabilities = filters.softmax(logits)
    kept = filters.typical_p(probabilities, p) > 0
    surprise = -np.log(np.maximum(probabilities, 1e-300))
    away = np.abs(surprise - probabilities @ surprise)
    assert probabilities[kept].sum() >= p - 1e-9
    if not kept.all():
        assert away[kept].max() <= away[~kept & (probabilities > 0)].min(initial=np.inf) + 1e-9


def test_typical_may_leave_out_the_likeliest() -> None:
    probabilities = np.array([0.4] + [0.06] * 10)
    assert filters.typical_p(probabilities, 0.5)[0] == 0


@given(LOGITS, st.lists(st.integers(0, 39)), st.floats(1.01, 10))
def test_the_penalty_lowers_what_was_seen(
    logits: np.ndarray, recent: list[int], penalty: float
) -> None:
    recent = [step for step in recent if step < len(logits)]
    lowered = filters.penalized(logits, recent, penalty)
    seen = np.isin(np.arange(len(logits)), recent)
    assert (lowered[~seen] == logits[~seen]).all()
    assert (lowered[seen] <= logits[seen]).all()
    assert filters.penalized(logits, recent, 1.0) is logits


@given(LOGITS, st.sets(st.integers(0, 39)))
def test_what_is_banned_is_never_drawn(logits: np.ndarray, steps: set[int]) -> None:
    ruled_out = sorted(step for step in steps if step < len(logits))
    if len(ruled_out) == len(logits):
        with pytest.raises(SamplingError, match="no step is left"):
            filters.banned(logits, ruled_out)
        return
    probabilities = filters.softmax(filters.banned(logits, ruled_out))
    assert (probabilities[ruled_out] == 0).all()
    assert probabilities.sum() == pytest.approx(1)


@given(LOGITS, st.floats(0.05, 20))
def test_softmax_is_that_of_the_book(logits: np.ndarray, temperature: float) -> None:
    weights = np.exp(logits.astype(np.longdouble) / temperature)
    np.testing.assert_allclose(
        filters.softmax(logits, temperature), weights / weights.sum(), rtol=1e-6, atol=1e-12
    )


@given(LOGITS)
def test_temperature_zero_is_greedy(logits: np.ndarray) -> None:
    probabilities = filters.softmax(logits, 0)
    assert probabilities[logits.argmax()] == 1
    assert probabilities.sum() == 1


@given(LOGITS, st.integers(1, 40))
def test_top_k_keeps_the_k_likeliest(logits: np.ndarray, k: int) -> None:
    probabilities = filters.softmax(logits)
    kept = filters.top_k(probabilities, k)
    assert (kept > 0).sum() <= k
    left_out = probabilities[kept == 0]
    if len(left_out) and (kept > 0).any():
        assert left_out.max() <= probabilities[kept > 0].min()


@given(LOGITS, st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(logits: np.ndarray, p: float) -> None:
    probabilities = filters.softmax(logits)
    kept = filters.top_p(probabilities, p) > 0
    mass = probabilities[kept].sum()
    assert mass >= p - 1e-9
    assume(kept.sum() > 1)
    assert mass - probabilities[kept].min() < p + 1e-9


def test_broken_logits_are_an_error() -> None:
    for logits in ([0, np.nan], [np.inf, 0], [-np.inf, -np.inf]):
        with pytest.raises(SamplingError, match="not finite"):
            filters.softmax(np.array(logits))
    assert filters.softmax(np.array([0, -np.inf])).tolist() == [1, 0]


def test_draws_follow_the_distribution() -> None:
    probabilities = np.array([0.1, 0.0, 0.6, 0.3])
    generator = np.random.default_rng(0)
    counts = np.bincount([filters.draw(probabilities, generator.random()) for _ in range(20_000)])
    np.testing.assert_allclose(counts / 20_000, probabilities, atol=0.015)
    assert counts[1] == 0
