"""Events cut into blocks by whole arrays are those that one would put into blocks one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adaptive_stream.drift.run import FEW, Run, accumulated, cut, fill, last_clear, summed, widest

SERIES, B = 5, 3


@given(
    seed=st.integers(0, 1_000),
    count=st.integers(2, 300),
    shape=st.sampled_from([(1,), (1, 1), (2,), (3, 7), (40, 26)]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_sums_are_added_up_one_after_the_other(seed: int, count: int, shape: tuple[int, ...], dtype: type) -> None:
    dice = np.random.default_rng(seed)
    parts = (dice.normal(size=(count, *shape)) * 10 ** dice.uniform(-3, 3, (count, *shape))).astype(dtype)
    expected = parts[0].copy()
    for one in parts[1:]:
        expected += one
    assert summed(parts).tobytes() == expected.tobytes()


@given(
    batches=st.lists(st.lists(st.integers(0, SERIES - 1), max_size=40), min_size=1, max_size=6),
    width=st.sampled_from([0, 1, 2]),
)
def test_blocks_hold_the_events_of_their_series_in_order(batches: list[list[int]], width: int) -> None:
    waiting = np.zeros((SERIES, B - 1, *[width] * bool(width)), dtype=np.float32)
    seen, totals = np.zeros(SERIES, dtype=np.int64), np.zeros((SERIES, max(width, 1)), dtype=np.float32)
    by_hand: list[list[float]] = [[] for _ in range(SERIES)]
    value = 0
    for batch in batches:
        run = Run(np.array(batch, dtype=np.int64))
        values = (np.arange(len(batch)) + value + 1).astype(np.float32)
        value += len(batch)
        for series, one in zip(batch, values.tolist(), strict=True):
            by_hand[series].append(one)
        counts = run.end - run.at
        order = widest(seen[run.series] % B, counts, B)
        rows, counts = run.series[order], counts[order]
        found = cut(seen[rows] % B, counts, B)
        events = np.repeat(values[:, None], width, axis=1) if width else values
        blocks, last = fill(found, events, run.order, run.skip(order, counts), waiting=waiting, rows=rows)
        assert not run.is_left
        for block, (group, turn) in enumerate(zip(found.owner.tolist(), found.turn.tolist(), strict=True)):
            first = (int(seen[rows[group]]) // B + turn) * B
            expected = by_hand[rows[group]][first : first + B]
            held = blocks[:, block].reshape(B, -1)
            assert (held == np.array(expected)[:, None]).all()
            assert values[last[block]] == expected[-1]
        if len(found.owner):
            mine = rows[: found.closed]
            held = totals[mine]
            accumulated(found, held, blocks.sum(axis=0).reshape(len(found.owner), -1)[:, : totals.shape[1]])
            totals[mine] = held
            full = found.full[: found.closed]
            for stop in (full, np.maximum(full - 1, 1)):
                for columns in (1, FEW):  # few marks are looked at in another way
                    is_third = np.repeat((found.turn % 3 == 0)[:, None], columns, axis=1)
                    assert (last_clear(found, is_third, stop) == ((stop - 1) // 3 * 3)[:, None]).all()
        np.add.at(seen, np.array(batch, dtype=np.int64), 1)
    for series in range(SERIES):
        done = len(by_hand[series]) // B * B
        assert (by_hand[series][done:] == waiting[series].reshape(B - 1, -1)[: len(by_hand[series]) - done].T).all()
        assert totals[series].tolist() == [sum(by_hand[series][:done])] * totals.shape[1]
