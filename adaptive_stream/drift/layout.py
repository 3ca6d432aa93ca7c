"""Which streams a series has, which bets are made on each, and what each bet weighs.

Owns the order of columns, streams and bets, all of it from the configuration. Never holds a state. Read by everything
in drift.

A *column* is what an event brings: a feature, the output, the confidence. A *stream* is what is watched: every column,
and some projections. A *bet* is one direction and size of change of one stream; all of them stand in one row:

    numeric streams   location and dispersion   SHIFTS x streams
    columns           share that is missing     MISSING x columns
    categorical ones  share of each level       LEVEL x LEVELS x streams
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.stats.eprocess import dispersion_cumulant, location_cumulant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptive_stream.config.drift import DriftConfig
    from adaptive_stream.config.family import Feature

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

BINS = 32
EDGES = BINS - 1
LEVELS = 8  # seven, and all others
OTHER = LEVELS - 1
# Tilts of the two scores of a rank, and what each weighs: docs/decisions/drift.md says what was tried
LOCATION = np.array([0.15, 0.45, 1.0, -0.15, -0.45, -1.0])
DISPERSION = np.array([0.4, 1.1, -0.4, -1.1])
LOCATION_SHARES = np.array([0.2, 0.5, 0.3, 0.2, 0.5, 0.3]) / 2
DISPERSION_SHARES = np.array([0.6 * 0.55, 0.6 * 0.45, 0.4 * 0.55, 0.4 * 0.45])
# Shifts of a share in standard deviations of one event
MISSING = np.array([0.3, -0.3])
LEVEL = np.array([0.2, 0.6, 2.0, -0.1, -0.3])
SHIFTS = len(LOCATION) + len(DISPERSION)
LOCATION_CUMULANT = location_cumulant(LOCATION)
DISPERSION_CUMULANT = dispersion_cumulant(DISPERSION)
# Shares of a stream's weight, and of a projection beside a column: it is nobody's feature, and finds what the columns
# find unless a change is spread over many of them
LOCATION_WEIGHT, DISPERSION_WEIGHT, MISSING_WEIGHT = 0.55, 0.4, 0.05
PROJECTION_WEIGHT = 0.2
# The bets whose running maximum dates a change: the smallest each way, and the middle one where there are more. Of a
# change that only the smallest finds the middle one's is nothing again and again, and dates the noise before the alarm
DATED_SHIFTS = (0, 1, 3, 4, 6, 8)
DATED_MISSING = (0, 1)
DATED_LEVEL = (0, 1, 3, 4)


class Direction(StrEnum):
    """How a stream changed."""

    UP = "up"
    DOWN = "down"
    WIDER = "wider"
    NARROWER = "narrower"
    MORE_MISSING = "more missing"
    FEWER_MISSING = "fewer missing"
    MORE_FREQUENT = "level more frequent"
    LESS_FREQUENT = "level less frequent"


class Layout:
    """The streams and bets of one fleet.

    Args:
        config: of the family's drift.
        features: in the order of their values.
        classes: of the output; 0 where it is a number.

    Attributes:
        names: of the columns, then of the projections.
        numeric: columns that are numbers.
        categorical: columns that are levels.
        streams: numeric streams, projections included.
        signs: of the projections, (projections, numeric columns); the last two columns have none.
        weights: of the bets; they add up to 1.
        dated: bets whose running maximum is kept, in the order of the bets; of projections none, as columns move them.
        stream_of: the stream that each bet is on, a place in ``names``.
    """

    def __init__(self, config: DriftConfig, *, features: Sequence[Feature], classes: int) -> None:
        self.names = [feature.name for feature in features] + ["output", "confidence"]
        self.levels = [feature.levels if feature.kind == "categorical" else [] for feature in features]
        self.levels += [[str(number) for number in range(classes)], []]
        self.columns = len(self.names)
        self.features = len(features)
        is_level = np.array([bool(levels) for levels in self.levels])
        self.numeric: Places = np.flatnonzero(~is_level)
        self.categorical: Places = np.flatnonzero(is_level)
        projected = int((self.numeric < len(features)).sum())
        self.projections = config.projections if projected > 1 else 0  # of one feature it would be that feature
        self.names += [f"projection_{number + 1}" for number in range(self.projections)]
        self.streams = len(self.numeric) + self.projections
        dice = np.random.default_rng(np.random.PCG64(20_240_229))  # the same for every fleet and release
        signs = dice.integers(0, 2, (self.projections, projected)) * 2 - 1
        self.signs = (signs / np.sqrt(max(projected, 1))).astype(np.float32)
        self.stream_names = np.r_[self.numeric, self.columns + np.arange(self.projections)]
        self._bets()

    def _bets(self) -> None:
        numeric, levels = self.streams, len(self.categorical)
        self.at_missing = SHIFTS * numeric
        self.at_levels = self.at_missing + len(MISSING) * self.columns
        self.bets = self.at_levels + len(LEVEL) * LEVELS * levels
        shifts = np.r_[LOCATION_WEIGHT * LOCATION_SHARES, DISPERSION_WEIGHT * DISPERSION_SHARES]
        by_stream = np.ones(numeric)
        by_stream[len(self.numeric) :] = PROJECTION_WEIGHT
        each_missing = np.full((len(MISSING), self.columns), MISSING_WEIGHT / len(MISSING))
        each_level = np.full((len(LEVEL), LEVELS, levels), (1 - MISSING_WEIGHT) / (len(LEVEL) * LEVELS))
        parts = (shifts[:, None] * by_stream, each_missing, each_level)
        weights = np.concatenate([part.ravel() for part in parts])
        self.weights = (weights / weights.sum()).astype(np.float32)
        self.stream_of = np.concatenate(
            [
                np.tile(self.stream_names, SHIFTS),
                np.tile(np.arange(self.columns), len(MISSING)),
                np.tile(self.categorical, len(LEVEL) * LEVELS),
            ]
        )
        grid = np.arange(self.at_missing).reshape(SHIFTS, numeric)
        missing = self.at_missing + np.arange(len(MISSING) * self.columns).reshape(len(MISSING), self.columns)
        level = self.at_levels + np.arange(self.bets - self.at_levels).reshape(len(LEVEL), LEVELS, levels)
        self.dated = np.concatenate(
            [
                grid[list(DATED_SHIFTS), : len(self.numeric)].ravel(),
                missing[list(DATED_MISSING)].ravel(),
                level[list(DATED_LEVEL)].ravel(),
            ]
        )

    def by_stream(self, evidence: NDArray[np.float32]) -> Array:
        """Add up weighted evidence by stream, (n, bets) to (n, names)."""
        n, numeric = len(evidence), len(self.numeric)
        shifts = evidence[:, : self.at_missing].reshape(n, SHIFTS, self.streams).sum(axis=1, dtype=np.float64)
        missing = evidence[:, self.at_missing : self.at_levels].reshape(n, len(MISSING), self.columns)
        found = np.zeros((n, len(self.names)))
        found[:, self.numeric] = shifts[:, :numeric]
        found[:, self.columns :] = shifts[:, numeric:]
        found[:, : self.columns] += missing.sum(axis=1, dtype=np.float64)
        levels = evidence[:, self.at_levels :].reshape(n, len(LEVEL) * LEVELS, len(self.categorical))
        found[:, self.categorical] += levels.sum(axis=1, dtype=np.float64)
        return found

    def direction(self, bet: int) -> tuple[Direction, int]:
        """Return what a bet is on, and the place of the level, -1 where it is on none."""
        if bet < self.at_missing:
            kind = bet // self.streams
            if kind < len(LOCATION):
                return (Direction.UP if LOCATION[kind] > 0 else Direction.DOWN), -1
            return (Direction.WIDER if DISPERSION[kind - len(LOCATION)] > 0 else Direction.NARROWER), -1
        if bet < self.at_levels:
            shift = MISSING[(bet - self.at_missing) // self.columns]
            return (Direction.MORE_MISSING if shift > 0 else Direction.FEWER_MISSING), -1
        place = (bet - self.at_levels) // len(self.categorical)
        is_more = LEVEL[place // LEVELS] > 0
        return (Direction.MORE_FREQUENT if is_more else Direction.LESS_FREQUENT), place % LEVELS
