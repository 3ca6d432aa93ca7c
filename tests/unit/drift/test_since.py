"""Evidence in whole steps, and which of some scores leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.drift.layout import Layout
from adaptive_stream.drift.since import MOST, NOBODY, STEPS, Since, leading, whole_steps
from tests.unit.drift.watched import FEATURES

if TYPE_CHECKING:
    from adaptive_stream.config.family import Feature


@pytest.mark.parametrize("each", [0.3, 0.009, 0.0003, 0.0, -0.0003, -0.12])
@pytest.mark.parametrize("first", [0, 12_345, 10**12])
def test_what_is_rounded_off_adds_up_to_nothing(each: float, first: int) -> None:
    blocks = 5_000
    log_e, numbers = np.full((blocks, 3), each, dtype=np.float32), first + np.arange(blocks)
    total = whole_steps(log_e, numbers).astype(np.int64).sum(axis=0)
    assert np.abs(total - blocks * each * float(STEPS)).max() < 6, "of 5,000 roundings"


def test_two_steps_never_leave_their_bytes() -> None:
    found = whole_steps(np.array([[1e9, -1e9]], dtype=np.float32), np.array([7]))
    assert found.tolist() == [[int(MOST), -int(MOST)]]
    assert 2 * int(MOST) <= np.iinfo(found.dtype).max


def test_the_largest_leads_the_first_of_equal_ones_and_none_that_is_not_clear() -> None:
    scores = np.array([[1.0, 3.0, 2.0], [2.5, 3.0, 2.0], [4.0, 2.5, 0.0]])
    assert leading(scores, 2.0).tolist() == [2, 0, NOBODY]


@pytest.mark.parametrize(("features", "classes"), [(FEATURES, 0), (FEATURES[:2], 3), ([], 3), ([], 0)])
def test_each_score_leads_its_own_column_from_its_own_place(features: list[Feature], classes: int) -> None:
    layout = Layout(DriftConfig(), features=features, classes=classes)
    since = Since(layout, b=12)
    seen = set()
    for column in range(layout.columns):
        for leader in range(len(since.places)):
            score = np.zeros((1, len(layout.dated)), dtype=np.int16)
            place = since.places[leader, column]
            score[0, place] = MOST
            found = since.leaders(score)[0]
            if found[column] == leader:
                seen.add(int(place))
                assert (np.delete(found, column) == NOBODY).all()
                assert layout.stream_of[layout.dated[place]] == column
    assert seen == set(range(len(layout.dated))), "what keeps the lead is read where it took it"
