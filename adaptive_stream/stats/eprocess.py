"""Evidence against "nothing changed" that may be looked at after every event.

Owns the cumulants of the bets, the evidence of one block of events, and how evidence adds up over blocks. Never keeps
state and never loops over rows. Called by the detectors of drift.

For e-values with mean at most 1 before a change, ``m = (m + b) e`` after each block of b events has mean at most t
after t events. So the chance of m >= A within t events is at most t / A, and a false alarm comes once in A events at
most, on average: A is a budget that is stated in events. The means of two parts of a stream add up to that of the
whole: so does their evidence, within the one budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Single = NDArray[np.float32]
    Shares = NDArray[np.floating]  # single precision where there are many

# 40 points integrate exp of a polynomial on [-1, 1] to 15 digits for every bet in use
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(40)
# The second Legendre polynomial of a rank z in [-1, 1], which is Mood's score, and half of the fourth: a constant and
# the factors of z^2 and z^4. Of a normal whose variance grows by half it sees 13 % more an event than Mood's alone
# (0.0331 against 0.0294 nats in 32 bins), by a third less 9 %; Savage's score, without bounds,
# gains 3 % more on the first once ranks are cut into bins, and has 2 % less on the second.
DISPERSION_SCORE = np.array([-0.3125, -0.375, 2.1875])
LEAST = 0.25  # a bet on a share never bets on less than so much of it, nor of its complement: ruin is not an option


def location_cumulant(s: ArrayLike) -> Array:
    """Return log E exp(s z) of a rank z that is uniform on [-1, 1]: log(sinh s / s)."""
    bets = np.abs(np.asarray(s, dtype=np.float64))
    safe = np.maximum(bets, 1e-8)
    found: Array = np.where(bets < 1e-4, bets**2 / 6, np.log(np.sinh(safe) / safe))
    return found


def dispersion_cumulant(s: ArrayLike) -> Array:
    """Return log E exp(s g) of the dispersion score g of a rank z that is uniform on [-1, 1], by quadrature."""
    bets = np.asarray(s, dtype=np.float64)
    score = np.polynomial.polynomial.polyval(_POINTS**2, DISPERSION_SCORE)
    found: Array = np.log((np.exp(bets[..., None] * score) * _WEIGHTS).sum(axis=-1) / 2)
    return found


def share_bet(share: Shares, shift: float | Shares) -> Shares:
    """Return the share that is bet on: ``shift`` standard deviations of one event above it, or below.

    Args:
        share: that is bet against, inside (0, 1), any shape.
        shift: of either sign, in units of sqrt(share (1 - share)); several of them broadcast.
    """
    found: Shares = share + shift * np.sqrt(share * (1 - share))
    kept: Shares = np.maximum(np.minimum(found, 1 - LEAST * (1 - share)), LEAST * share)
    return kept


def log_share_evidence(hits: Shares, count: Shares | np.floating, share: Shares, bet: Shares, pooled: Shares) -> Shares:
    """Return log e of a block against a share that is itself estimated: the likelihood ratio, less the pool's noise.

    Args:
        hits: sum of the block's values in [0, 1].
        count: values of the block.
        share: of the pool.
        bet: from ``share_bet``.
        pooled: values that the share was estimated from; infinite where it is stated.

    Returns:
        Log e-values. The likelihood ratio is exp(lambda x) over its mean at ``share``, which for other values in [0, 1]
        of the same mean is an upper bound by convexity. The noise of the pool adds (b^2 / 2n) (bet - share)^2 / v to
        the log mean, v = share (1 - share): second order in b / n, exact for Gaussian counts.
    """
    noise = count * count / (2 * pooled) * (bet - share) ** 2 / (share * (1 - share))
    found: Shares = hits * np.log(bet / share) + (count - hits) * np.log((1 - bet) / (1 - share)) - noise
    return found


def advance(evidence: Single, e: Single, *, start: float | Single, cap: float | Single) -> Single:
    """Return the evidence after one more block, written over the block's e-values; numpy may warn of an overflow.

    Args:
        evidence: m, any shape.
        e: of the block; becomes the result.
        start: events of the block, each of which may be the first after a change; 0 where nothing is watched yet.
        cap: above the alarm line, so that nothing overflows; as an array of no dimension it takes half a number's time.
    """
    np.multiply(evidence + start, e, out=e)
    return np.minimum(e, cap, out=e)
