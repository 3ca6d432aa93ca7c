"""The model that the demo's app serves: a logistic regression, fitted on January.

Owns the features that the app publishes and the fit. Never sees what comes after January; that is the point. Used by
the app-simulator alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.demo.flights import Flights

FEATURES = (
    "hour",
    "minute",
    "dow",
    "distance",
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
    "carrier",
    "origin",
)
JANUARY_ENDS_S = 1359676800  # 2013-02-01T00:00:00Z
SHARE = 0.9  # of January's flights that a seed chooses to fit on
RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Model:
    """Weights over standardised columns."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]

    def predict(self, flights: Flights) -> NDArray[np.float64]:
        """Return the probability of arriving late for each flight."""
        return np.asarray(expit((_design(flights) - self.mean) / self.scale @ self.weights[1:] + self.weights[0]))


def fit(flights: Flights, *, seed: int) -> Model:
    """Fit on a seeded 90 % of January's labelled flights."""
    dice = np.random.default_rng(seed)
    chosen = (flights.ts_s < JANUARY_ENDS_S) & (flights.label >= 0) & (dice.random(len(flights.ts_s)) < SHARE)
    x, y = _design(flights)[chosen], flights.label[chosen].astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    x = np.c_[np.ones(len(x)), (x - mean) / scale]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = x @ weights
        ridge = RIDGE * np.r_[0.0, weights[1:]]
        value = float(np.mean(np.logaddexp(0, z) - y * z) + 0.5 * ridge @ weights)
        return value, x.T @ (expit(z) - y) / len(y) + ridge

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return Model(mean=mean, scale=scale, weights=found.x)


def _design(flights: Flights) -> NDArray[np.float64]:
    """Return the numbers as columns, the mean for what is missing. The names are published, the model ignores them."""
    columns = flights.numbers.values()
    return np.stack([np.where(np.isnan(column), np.nanmean(column), column) for column in columns], axis=1)
