"""Cumulants, bets on shares, and how evidence adds up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from adaptive_stream.stats.eprocess import (
    DISPERSION_SCORE,
    advance,
    dispersion_cumulant,
    location_cumulant,
    log_share_evidence,
    share_bet,
)


def score(z: float) -> float:
    return float(np.polynomial.polynomial.polyval(z * z, DISPERSION_SCORE))


@pytest.mark.parametrize("s", [-1.0, -0.1, 1e-6, 0.15, 0.45, 2.0])
def test_the_cumulants_are_those_of_a_uniform_rank(s: float) -> None:
    location = np.log(quad(lambda z: np.exp(s * z) / 2, -1, 1)[0])
    dispersion = np.log(quad(lambda z: np.exp(s * score(z)) / 2, -1, 1)[0])
    assert float(location_cumulant(s)) == pytest.approx(location, abs=1e-12)
    assert float(dispersion_cumulant(s)) == pytest.approx(dispersion, abs=1e-12)


def test_the_dispersion_score_is_centred_and_has_nothing_of_the_location() -> None:
    assert quad(score, -1, 1)[0] == pytest.approx(0, abs=1e-12)
    assert quad(lambda z: z * score(z), -1, 1)[0] == pytest.approx(0, abs=1e-12)


def test_a_bet_on_a_share_is_fair_against_a_stated_one() -> None:
    share, none = np.array([0.2]), np.array([np.inf])
    for shift in (0.3, -0.3):
        bet = share_bet(share, shift)
        e = [float(np.exp(log_share_evidence(np.array([k]), np.array([1.0]), share, bet, none))[0]) for k in (0.0, 1.0)]
        assert 0.8 * e[0] + 0.2 * e[1] == pytest.approx(1.0)
        # a loss between the ends is worth no more than the chord: fair for any loss of that mean
        middle = float(np.exp(log_share_evidence(np.array([0.2]), np.array([1.0]), share, bet, none))[0])
        assert middle <= 1.0


def test_no_bet_risks_all() -> None:
    share = np.array([1e-6, 0.01, 0.5, 0.99, 1 - 1e-6])
    for shift in (-5.0, -0.1, 0.1, 5.0):
        bet = share_bet(share, shift)
        assert (bet > 0).all()
        assert (bet < 1).all()
        assert ((bet > share) == (shift > 0)).all()


def test_a_share_that_was_estimated_from_few_is_bet_against_with_care() -> None:
    share, bet = np.array([0.1]), np.array([0.2])
    hits, count = np.array([4.0]), np.array([8.0])
    few, many, all_ = (log_share_evidence(hits, count, share, bet, np.array([n]))[0] for n in (50.0, 5_000.0, np.inf))
    assert few < many < all_


def test_a_pool_of_the_same_stream_gives_no_evidence_on_average() -> None:
    dice = np.random.default_rng(1)
    n, b, runs = 200, 8, 400_000
    held = dice.binomial(n, 0.1, runs)
    share = (held + 2) / (n + 2)
    e = np.exp(
        log_share_evidence(dice.binomial(b, 0.1, runs), np.array([b]), share, share_bet(share, 0.3), np.array([n]))
    )
    assert e.mean() < 1 + 3 * e.std() / np.sqrt(runs)


def test_evidence_counts_the_events_that_may_have_been_the_first_and_never_overflows() -> None:
    evidence = np.zeros(3, dtype=np.float32)
    evidence = advance(evidence, np.array([1.0, 0.5, 1e30], dtype=np.float32), start=8.0, cap=1e9)
    assert evidence.tolist() == [8.0, 4.0, 1e9]
    evidence = advance(evidence, np.array([1.0, 0.5, 0.0], dtype=np.float32), start=8.0, cap=1e9)
    assert evidence.tolist() == [16.0, 6.0, 0.0]


def test_the_chance_of_an_alarm_grows_no_faster_than_the_events() -> None:
    dice = np.random.default_rng(2)
    runs, b, blocks, line = 20_000, 8, 100, 8_000.0
    evidence, is_over = np.zeros(runs, dtype=np.float32), np.zeros(runs, dtype=np.bool_)
    for _ in range(blocks):
        z = dice.uniform(-1, 1, (b, runs)).sum(axis=0)
        evidence = advance(
            evidence, np.exp(0.5 * z - b * location_cumulant(0.5)).astype(np.float32), start=float(b), cap=1e9
        )
        is_over |= evidence >= line
    assert 0 < is_over.mean() <= blocks * b / line
