"""Calibration error, calibration maps, and the expected confusion matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive_stream.stats.calibration import (
    BINS,
    CENTRES,
    PRIOR,
    calibrate,
    calibration_error,
    expected,
    isotonic,
    place,
    platt,
)

MAPS = [isotonic, platt]


def sums(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bins = place(p)
    return tuple(np.bincount(bins, weights, BINS) for weights in (np.ones_like(p), p, labels.astype(float)))


def drawn(count: int, *, bend: float = 1.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels whose odds are those of the probabilities to the power of ``bend``."""
    dice = np.random.default_rng(seed)
    p = dice.random(count)
    odds = (p / (1 - p)) ** bend
    return p, dice.random(count) < odds / (1 + odds)


def pooled(values: list[float], weights: list[float]) -> list[float]:
    """Pool adjacent violators, one block at a time."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (v1, w1, n1), (v2, w2, n2) = blocks[-2:]
            blocks[-2:] = [((v1 * w1 + v2 * w2) / (w1 + w2), w1 + w2, n1 + n2)]
    return [value for value, _, size in blocks for _ in range(size)]


def test_a_probability_falls_into_its_twentieth() -> None:
    assert place([0, 0.049, 0.05, 0.5, 0.999, 1]).tolist() == [0, 0, 1, 10, 19, 19]
    assert place([-0.1, 1.1]).tolist() == [0, BINS - 1]


def test_the_error_is_the_weighted_gap_of_the_bins() -> None:
    n, predicted, labels = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)
    n[[4, 15]], predicted[[4, 15]], labels[[4, 15]] = [100, 300], [22, 230], [32, 200]
    value, low, high = calibration_error(n, predicted, labels)
    assert float(value) == pytest.approx((10 + 30) / 400)
    assert low <= value <= high


def test_without_labels_the_error_is_unknown() -> None:
    value, low, high = calibration_error(*np.zeros((3, BINS)))
    assert math.isnan(value)
    assert (low, high) == (0, 1)


def test_a_calibrated_model_may_have_no_error_and_a_broken_one_must() -> None:
    _, calm, _ = calibration_error(*sums(*drawn(5_000)))
    value, low, high = calibration_error(*sums(*drawn(5_000, bend=0.3)))
    assert calm == 0
    assert 0.05 < low < value < high


def test_one_broken_bin_is_enough_where_it_holds_the_events() -> None:
    n, predicted, labels = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)
    n[19], predicted[19], labels[19] = 1_000, 980, 850
    assert calibration_error(n, predicted, labels)[1] > 0.05


@pytest.mark.parametrize("seed", range(5))
def test_the_steps_are_those_of_pooled_adjacent_violators(seed: int) -> None:
    dice = np.random.default_rng(seed)
    n = dice.integers(1, 50, BINS).astype(float)
    labels = np.floor(dice.random(BINS) * (n + 1))
    _, y = isotonic(n, n * CENTRES, labels)
    rates = (labels + PRIOR * CENTRES) / (n + PRIOR)
    assert y == pytest.approx(pooled(rates.tolist(), (n + PRIOR).tolist()))


@pytest.mark.parametrize("fit", MAPS)
def test_where_nothing_is_known_the_map_is_the_identity(fit: type[object]) -> None:
    x, y = fit(*np.zeros((3, BINS)))
    assert x == pytest.approx(CENTRES)
    assert y == pytest.approx(CENTRES)


@pytest.mark.parametrize("fit", MAPS)
def test_the_map_stays_inside_the_unit_interval_when_all_labels_are_alike(fit: type[object]) -> None:
    n = np.zeros((2, BINS))
    n[:, [0, 19]] = 1e6
    predicted = n * np.where(np.arange(BINS) > 10, 1.0, 0.0)
    for labels in (np.zeros_like(n), n):
        _, y = fit(n, predicted, labels)
        assert ((y > 0) & (y < 1)).all()


def test_empty_bins_lie_between_their_neighbours_and_beyond_them_on_the_identity() -> None:
    n, rates = np.zeros(BINS), np.zeros(BINS)
    n[[5, 10]], rates[[5, 10]] = 1e6, [0.40, 0.45]
    x, y = isotonic(n, n * CENTRES, n * rates)
    assert y[7] == pytest.approx(0.40 + 0.05 * (x[7] - x[5]) / (x[10] - x[5]), abs=1e-4)
    assert y[19] == pytest.approx(CENTRES[19])
    assert y[0] == pytest.approx(CENTRES[0])
    assert (np.diff(y) >= 0).all()


@pytest.mark.parametrize("fit", MAPS)
def test_a_bent_probability_is_made_straight(fit: type[object]) -> None:
    p, labels = drawn(100_000, bend=0.4)
    x, y = fit(*sums(p, labels))
    odds = (p / (1 - p)) ** 0.4
    found = calibrate(p, x[None], y[None], rows=np.zeros(len(p), dtype=np.int64))
    is_inside = (p > x[0]) & (p < x[-1])  # beyond its ends a map is flat
    assert np.abs(found - odds / (1 + odds))[is_inside].mean() < 0.015
    assert np.abs(p - odds / (1 + odds))[is_inside].mean() > 0.1


def test_between_two_places_the_map_is_a_line_and_flat_beyond_them() -> None:
    x, y = CENTRES[None], (0.1 + 0.5 * CENTRES)[None]
    p = np.array([0.0, 0.025, 0.3, 0.33, 0.975, 1.0])
    found = calibrate(p, x, y, rows=np.zeros(6, dtype=np.int64))
    assert found == pytest.approx(0.1 + 0.5 * np.clip(p, 0.025, 0.975))


def test_each_event_is_calibrated_by_its_own_row() -> None:
    x = np.tile(CENTRES, (2, 1))
    y = np.stack([CENTRES, CENTRES / 2])
    p, rows = np.array([0.2, 0.2, 0.8]), np.array([0, 1, 1])
    assert calibrate(p, x, y, rows=rows) == pytest.approx([0.2, 0.1, 0.4])
    assert calibrate(p, x[rows], y[rows]) == pytest.approx([0.2, 0.1, 0.4])


def test_the_expected_confusion_of_an_event_adds_up_to_one() -> None:
    tp, fp, fn = expected([0.9, 0.3, 0.6], [0.8, 0.5, 0.4], threshold=0.5)
    assert tp.tolist() == [0.9, 0.3, 0.0]
    assert fp == pytest.approx([0.1, 0.7, 0.0])
    assert fn == pytest.approx([0.0, 0.0, 0.6])


def test_expected_accuracy_of_a_calibrated_model_is_its_accuracy() -> None:
    p, labels = drawn(50_000, seed=3)
    _, fp, fn = expected(p, p, threshold=0.3)
    assert (1 - fp - fn).mean() == pytest.approx(((p >= 0.3) == labels).mean(), abs=0.008)
