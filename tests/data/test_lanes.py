from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.data.lanes import Lanes, epoch_lanes


@given(st.integers(1, 400), st.integers(1, 6), st.integers(1, 9), st.integers(0, 8))
def test_segments_go_on_where_the_last_one_ended(
    count: int, batch: int, length: int, offset: int
) -> None:
    assume(length <= count)
    assume(offset <= Lanes(np.arange(count), batch, length).slack)
    lanes = Lanes(np.arange(count), batch, length, offset)
    segments = [lanes.segment(index) for index in range(lanes.segments)]
    assert lanes.segments == max(0, (count - length) // (batch * length))
    for inputs, targets in segments:
        assert inputs.shape == targets.shape == (batch, length)
        assert (targets == inputs + 1).all()
    for (_, before), (after, _) in pairwise(segments):
        assert (after[:, 0] == before[:, -1]).all()
    if segments:
        assert segments[0][0][0, 0] == offset
        seen = np.concatenate([inputs.ravel() for inputs, _ in segments])
        assert len(np.unique(seen)) == len(seen)


@given(st.integers(2, 400), st.integers(1, 6), st.integers(1, 9))
def test_ragged_lanes_leave_out_less_than_a_lane_each(count: int, batch: int, length: int) -> None:
    lanes = Lanes(np.arange(count), batch, length, ragged=True)
    predicted = sum(lanes.segment(index)[1].size for index in range(lanes.segments))
    assert count - 1 - batch < predicted <= count - 1


@given(st.integers(1, 400), st.integers(1, 6), st.integers(1, 9), st.integers(0, 5))
def test_stateless_pieces_are_each_read_once(
    count: int, batch: int, length: int, epoch: int
) -> None:
    assume(count >= (batch + 1) * length)
    lanes = epoch_lanes(np.arange(count), batch, length, seed=3, epoch=epoch, stateful=False)
    ordered = epoch_lanes(np.arange(count), batch, length, seed=3, epoch=epoch)
    pieces = [lanes.segment(index) for index in range(lanes.segments)]
    for inputs, targets in pieces:
        assert inputs.shape == (batch, length)
        assert (targets == inputs + 1).all()
        assert (np.diff(inputs, axis=1) == 1).all()
    both = [
        np.concatenate([each.segment(index)[0].ravel() for index in range(each.segments)])
        for each in (lanes, ordered)
    ]
    assert sorted(both[0]) == sorted(both[1])


@given(st.integers(1, 400), st.integers(1, 6), st.integers(1, 9), st.integers(0, 5))
def test_circular_pieces_go_on_at_the_beginning(
    count: int, batch: int, length: int, epoch: int
) -> None:
    assume(count >= (batch + 1) * length)
    lanes = epoch_lanes(
        np.arange(count), batch, length, seed=3, epoch=epoch, stateful=False, circular=True
    )
    plain = Lanes(np.arange(count), batch, length)
    assert lanes.segments == plain.segments
    pieces = [lanes.segment(index) for index in range(lanes.segments)]
    for inputs, targets in pieces:
        assert (targets == (inputs + 1) % count).all()
        assert (np.diff(inputs, axis=1) % count == 1 % count).all()
    seen = np.concatenate([inputs.ravel() for inputs, _ in pieces])
    assert len(np.unique(seen)) == len(seen)


def test_stateless_pieces_come_in_another_order_each_epoch() -> None:
    orders = [
        epoch_lanes(np.arange(1000), 3, 10, seed=3, epoch=epoch, stateful=False).order
        for epoch in (0, 1, 1)
    ]
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[1], orders[2])


def test_offsets_differ_between_epochs_and_repeat() -> None:
    steps = np.arange(1000)
    offsets = [epoch_lanes(steps, 3, 64, seed=7, epoch=epoch).offset for epoch in range(50)]
    again = [epoch_lanes(steps, 3, 64, seed=7, epoch=epoch).offset for epoch in range(50)]
    assert offsets == again
    assert len(set(offsets)) > 20


@given(st.integers(20, 3000), st.integers(1, 8), st.integers(1, 64))
def test_every_step_is_learnt_in_some_epoch(count: int, batch: int, length: int) -> None:
    assume(count >= (batch + 1) * length)
    seen = np.zeros(count, bool)
    for epoch in range(200):
        lanes = epoch_lanes(np.arange(count), batch, length, seed=0, epoch=epoch)
        assert 0 <= lanes.offset <= lanes.slack
        first, last = lanes.offset, lanes.offset + batch * lanes.lane_length
        assert last < count
        seen[first:last] = True
    assert seen[:-1].mean() > 0.97
