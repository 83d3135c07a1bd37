from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.settings import TrainingConfig
from charrnn.training.progress import Progress, planned_updates
from charrnn.training.schedule import MIN_RATE, SCHEDULES, Place, learning_rate


def config_of(**settings: object) -> TrainingConfig:
    return TrainingConfig(
        **({"lr": 1.0, "eval_every": 1, "weight_decay": 0, "lr_decay": 0.97} | settings)
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@given(epoch=st.integers(0, 10**6), fraction=st.floats(0, 1))
def test_rates_are_positive_and_at_most_lr(name: str, epoch: int, fraction: float) -> None:
    rate = learning_rate(Place(epoch, fraction), config_of(schedule=name, lr=0.5))
    assert 0 <= rate <= 0.5


def test_cosine_falls_to_its_floor_after_the_warm_up() -> None:
    config = config_of(warmup=0.1)
    rates = [learning_rate(Place(0, part / 100), config) for part in range(101)]
    assert rates[0] < 0.01
    assert max(rates) == rates[10]
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(MIN_RATE)
    assert rates[5] == pytest.approx(0.5 * SCHEDULES["cosine"](Place(0, 0.05), config))


def test_exponential_is_char_rnn_s() -> None:
    """train.lua multiplies at the end of each epoch from the tenth on."""
    config = config_of(schedule="exponential", warmup=0.0, lr_decay=0.97, lr_decay_after=10)
    rates = [learning_rate(Place(epoch, 0.5), config) for epoch in range(13)]
    assert rates[:10] == [1.0] * 10
    assert rates[10:] == pytest.approx([0.97, 0.97**2, 0.97**3])


def test_torch_rnn_s_steps() -> None:
    """train.lua counts epochs from 1 and halves when that number is a multiple of five."""
    config = config_of(
        schedule="exponential", warmup=0.0, lr_decay=0.5, lr_decay_after=4, lr_decay_every=5
    )
    rates = [learning_rate(Place(epoch, 0.5), config) for epoch in range(15)]
    assert rates == [1.0] * 4 + [0.5] * 5 + [0.25] * 5 + [0.125]


def test_linear_ends_at_nothing() -> None:
    config = config_of(schedule="linear", warmup=0.0)
    rates = [learning_rate(Place(0, part / 4), config) for part in range(5)]
    assert rates == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_plateaus_are_counted() -> None:
    progress = Progress(planned_updates=100, threads=1, corpus_crc32=0)
    losses = [3.0, 2.0, 2.1, 2.0, 1.9, 1.9, 1.9, 1.9, 1.9]
    seen = [(progress.evaluated(7.0 + loss, loss, 2), progress.plateaus) for loss in losses]
    assert [improved for improved, _ in seen] == [True, True, False, False, True] + [False] * 4
    assert [plateaus for _, plateaus in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 3]
    assert (progress.best_nats_per_step, progress.best_score, progress.stale) == (8.9, 1.9, 4)
    config = config_of(schedule="plateau", warmup=0.0, lr_decay=0.5)
    assert learning_rate(Place(0, 0.5, plateaus=3), config) == 0.125


def test_whichever_limit_comes_first() -> None:
    assert planned_updates(config_of(steps=50), 10, 1.0) == 50
    assert planned_updates(config_of(steps=50, epochs=2.5), 10, 1.0) == 25
    assert planned_updates(config_of(steps=50, epochs=2.5, minutes=0.25), 10, 1.0) == 15
    assert planned_updates(config_of(minutes=1), 10, 2.0, update=100, elapsed_s=30) == 160


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.1, 30)), min_size=1, max_size=12))
def test_the_used_up_share_never_jumps(decisions: list[tuple[int, float]]) -> None:
    """Whatever the clock says, the share rises evenly, and ends at 1."""
    config = config_of(minutes=2.0)
    progress = Progress(planned_updates=100, threads=1, corpus_crc32=0)
    for steps, seconds in decisions:
        for _ in range(steps):
            before = progress.fraction
            progress.update += 1
            assert before <= progress.fraction <= 1
        progress.elapsed_s += seconds
        if progress.over(config):
            return
        before = progress.fraction
        progress.decide(config, 10)
        assert progress.fraction == pytest.approx(before)
        assert progress.planned_updates > progress.update
    progress.update = progress.planned_updates
    assert progress.fraction == 1


def test_a_raised_budget_is_planned_from_its_beginning() -> None:
    """Ten steps a second, three minutes raised to four: 2400 steps, and the share ends at 1."""
    progress = Progress(planned_updates=1800, threads=1, corpus_crc32=0)
    progress.update, progress.elapsed_s = 1800, 180.0
    progress.anchor_step, progress.anchor_elapsed_s = 1700, 170.0
    longer = config_of(minutes=4.0)
    assert progress.refit(longer, 10)
    assert progress.planned_updates == 2400
    assert progress.fraction == pytest.approx(0.75)
    progress.update, progress.elapsed_s = 2000, 200.0
    progress.decide(longer, 10)
    assert progress.planned_updates == pytest.approx(2400, abs=2)


@pytest.mark.parametrize(
    "wrong", [{"step": -1}, {"step": "x"}, {"threads": 0}, {"epoch": 1.5}, {"elapsed_s": None}]
)
def test_broken_progress_is_refused(wrong: dict[str, object]) -> None:
    values = Progress(planned_updates=7, threads=2, corpus_crc32=5).to_dict()
    with pytest.raises((TypeError, ValueError)):
        Progress.from_dict(values | wrong)


def test_progress_survives_json() -> None:
    progress = Progress(planned_updates=7, threads=2, corpus_crc32=5, update=3)
    assert Progress.from_dict(progress.to_dict()) == progress
    progress.best_nats_per_step = 1.25
    assert Progress.from_dict(progress.to_dict()) == progress
