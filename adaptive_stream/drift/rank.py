"""Evidence of whole blocks: values become codes, codes become ranks, ranks become bets.

Owns the arithmetic of one pass over blocks of any series. Never touches the table. Called by the feature detector.

Ranks are conformal: among n counted values and itself, ties and bins broken by chance, a value's rank is exactly
uniform as long as nothing changed, whatever its distribution (Vovk, Gammerman, Shafer, "Algorithmic Learning in a
Random World", 2005, ch. 8). Arrays are (b, blocks, streams): sums over a block run over the first axis, in the
same order however many blocks there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptive_stream.drift import chance
from adaptive_stream.drift.layout import (
    BINS,
    DISPERSION,
    DISPERSION_CUMULANT,
    EDGES,
    LEVEL,
    LEVELS,
    LOCATION,
    LOCATION_CUMULANT,
    MISSING,
    OTHER,
    SHIFTS,
)
from adaptive_stream.drift.reference import FARTHEST, project
from adaptive_stream.drift.run import summed
from adaptive_stream.stats.eprocess import DISPERSION_SCORE, log_share_evidence, share_bet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.drift.layout import Layout
    from adaptive_stream.drift.reference import Bins

    Array = NDArray[np.float64]
    Single = NDArray[np.float32]
    Places = NDArray[np.int64]
    Codes = NDArray[np.uint8]
    Counts = NDArray[np.uint16]

MUTED = np.float32(-50.0)  # log evidence of a stream that nothing is known of: it counts for nothing
LEAST_SHARE = np.float32(1e-6)  # that is bet against, and its complement: single precision holds no less
BIASES = 3.5  # standard errors of a frozen pool that pass for no change


class Coded(NamedTuple):
    """Blocks as codes."""

    codes: Codes  # (b, blocks, streams), BINS where missing
    places: Places  # (b, blocks x streams): of each code in a flat histogram of the same shape as ``hist``
    levels: Codes  # (b, blocks, categorical), LEVELS where missing
    sums: Single  # (blocks, 4, numeric columns), of the powers of the standardised values
    hist: Codes  # (BINS + 1, blocks, streams); wider than 8 bits where b is
    hist_levels: Codes  # (LEVELS + 1, blocks, categorical)


def code(layout: Layout, values: Single, group: Places, bins: Bins) -> Coded:
    """Code the values of blocks.

    Args:
        layout: of the fleet.
        values: (b, blocks, columns).
        group: of each block, a place in ``bins``.
        bins: of each group.
    """
    numeric = len(layout.numeric)
    whole = np.empty((*values.shape[:2], layout.streams), dtype=np.float32)
    numbers = whole[:, :, :numeric]
    numbers[:] = values[:, :, layout.numeric] if len(layout.categorical) else values
    with np.errstate(invalid="ignore", over="ignore"):
        near = numbers - bins.location[group]
        near /= bins.scale[group]
    np.clip(near, -FARTHEST, FARTHEST, out=near)
    sums = _power_sums(near)
    is_whole = not np.isnan(sums).any()  # far fewer than the values
    if not is_whole:
        near[np.isnan(near)] = 0
        sums = _power_sums(near)
    project(layout, near, out=whole[:, :, numeric:])
    codes, hist = _codes(whole, _of_blocks(bins.edges, group, layout.streams))
    if not is_whole:
        is_missing = np.isnan(numbers)
        codes[:, :, :numeric][is_missing] = BINS
        hist[BINS, :, :numeric] = is_missing.sum(axis=0)
        hist[0] -= hist[BINS]  # it reaches no edge
    levels = _level_codes(values[:, :, layout.categorical], bins.levels[group])
    return Coded(codes, _places(codes), levels, sums, hist, _histogram(levels, LEVELS + 1))


def _of_blocks(edges: Single, group: Places, streams: int) -> Single:
    """Return the edges of each block, (EDGES, blocks, streams); of some groups, (groups, EDGES, streams and more)."""
    width = edges.shape[2]
    found = edges.reshape(-1, width).take(np.arange(EDGES)[:, None] + group * EDGES, axis=0)
    return found if width == streams else np.ascontiguousarray(found[:, :, :streams])


def _codes(values: Single, edges: Single) -> tuple[Codes, Codes]:
    """Return how many edges, (EDGES, blocks, streams), each value reaches, and the histograms of that."""
    flat = values.reshape(len(values), -1)
    codes, is_above = np.zeros(flat.shape, dtype=np.uint8), np.empty(flat.shape, dtype=np.bool_)
    one = is_above.view(np.uint8)
    # how many values of a block reach each edge
    reach = np.zeros((BINS + 1, flat.shape[1]), dtype=np.min_scalar_type(len(flat)))
    reach[0] = len(flat)
    # 31 comparisons of whole arrays are three times as fast as five gathers
    for place, edge in enumerate(edges.reshape(EDGES, -1), start=1):
        np.greater_equal(flat, edge, out=is_above)
        np.add(codes, one, out=codes)
        np.add.reduce(one, axis=0, dtype=reach.dtype, out=reach[place])
    hist = np.zeros_like(reach)
    np.subtract(reach[:-1], reach[1:], out=hist[:-1])
    return codes.reshape(values.shape), hist.reshape(-1, *values.shape[1:])


def _level_codes(values: Single, levels: Single) -> Codes:
    codes = np.full(values.shape, OTHER, dtype=np.uint8)
    for place in range(OTHER):
        codes[values == levels[:, place]] = place
    codes[np.isnan(values)] = LEVELS
    return codes


def _power_sums(y: Single) -> Single:
    square = y * y
    parts = summed(y), summed(square), summed(square * y), summed(square * square)
    return np.stack(parts, axis=1)


def _places(codes: Codes) -> Places:
    width = codes[0].size
    places = codes.reshape(len(codes), width).astype(np.int64)
    places *= width
    places += np.arange(width)
    return places


def _histogram(codes: Codes, size: int) -> Codes:
    found = np.zeros((size, *codes.shape[1:]), dtype=np.min_scalar_type(len(codes)))
    flat = found.reshape(-1)
    for event in _places(codes):
        flat[event] += 1  # no place twice: one event of each block and stream
    return found


class Pool(NamedTuple):
    """What each block is compared with: counts of the pool before it."""

    bins: Counts  # (BINS + 1, blocks, streams)
    levels: Counts  # (LEVELS + 1, blocks, categorical)
    pooled: Places  # (blocks,) events, missing ones included


class Ranks(NamedTuple):
    """Ranks of blocks, and what they add up to."""

    values: Single  # (blocks, streams) not missing
    pool: Single  # (blocks, streams) in the pool, not missing
    location: Single  # sum of z
    dispersion: Single  # sum of the dispersion score
    lag: Single  # sum of neighbours' products, inside the block


def rank(coded: Coded, pool: Pool, seeds: NDArray[np.uint64], events: Places) -> Ranks:
    """Rank the values of blocks among the pools before them.

    Args:
        coded: the blocks.
        pool: before each.
        seeds: of each block's series, (blocks,).
        events: numbers of the events, (b, blocks).
    """
    b, blocks, streams = coded.codes.shape
    width = blocks * streams
    below = np.empty((BINS + 1, width), dtype=np.uint16)  # a pool is at most 65,000
    held = pool.bins.reshape(BINS + 1, width)
    below[0] = 0
    for place in range(BINS):
        np.add(below[place], held[place], out=below[place + 1])
    places = coded.places
    total = below[BINS].astype(np.float32)
    z = held.reshape(-1).take(places, mode="wrap").astype(np.float32)  # "wrap" is in range, too, and twice as fast
    z += 1
    z *= chance.uniforms(np.broadcast_to(seeds, events.shape), events, streams).reshape(b, width)
    z += below.reshape(-1).take(places, mode="wrap")
    z *= 2 / (total + 1)
    z -= 1
    missing = coded.hist[BINS].reshape(width)
    if missing.any():
        z[places >= BINS * width] = 0
    count = b - missing.astype(np.float32)
    location = summed(z)
    lag = summed(z[1:] * z[:-1])
    z *= z
    constant, second, fourth = (np.float32(factor) for factor in DISPERSION_SCORE)
    dispersion = constant * count + second * summed(z)
    z *= z
    dispersion += fourth * summed(z)
    return Ranks(*(part.reshape(blocks, streams) for part in (count, total, location, dispersion, lag)))


def shift_bets(found: Single, ranks: Ranks, temper: Single, *, b: int, tolerance: float, is_frozen: bool) -> None:
    """Write the log evidence of location and dispersion, (blocks, SHIFTS x streams).

    Args:
        found: where to.
        ranks: of the blocks.
        temper: exponents of the evidence, (blocks, streams).
        b: events of a block.
        tolerance: Cliff's delta that is no change.
        is_frozen: the pool never learns, so that its own error must pass for no change.
    """
    grid = found.reshape(len(found), SHIFTS, -1)
    cost = ranks.values * temper
    slack = cost * np.float32(tolerance)
    if is_frozen:
        slack += cost * np.float32(BIASES) / np.sqrt(3 * ranks.pool + 3)
    cost *= 1 + b / (ranks.pool + 1)
    for place, (sums, bets, cumulants) in enumerate(
        ((ranks.location, LOCATION, LOCATION_CUMULANT), (ranks.dispersion, DISPERSION, DISPERSION_CUMULANT))
    ):
        score = sums * temper
        for number, (s, cumulant) in enumerate(zip(bets.tolist(), cumulants.tolist(), strict=True)):
            evidence = score * np.float32(s)
            evidence -= cost * np.float32(cumulant)
            if tolerance or is_frozen:
                evidence -= slack * np.float32(abs(s))
            grid[:, place * len(LOCATION) + number] = evidence


def share_bets(hits: Single, count: Single, held: Single, pooled: Single, shifts: Array, *, is_frozen: bool) -> Single:
    """Return the log evidence on shares, (blocks, shifts, ...).

    Args:
        hits: of each block, (blocks, ...).
        count: values of the block, broadcast against it.
        held: hits in the pool.
        pooled: values in the pool.
        shifts: of the bets.
        is_frozen: the pool never learns.
    """
    shift = shifts.astype(np.float32).reshape(-1, *[1] * (pooled.ndim - 1))
    hits, count, held, pooled = (one[:, None] for one in (hits, count, held, pooled + 2))
    # what was never seen may still happen, and that it does not happen is no news: two events for the one, none for
    # the other
    base = np.clip((held + 2 * (shift > 0).astype(np.float32)) / pooled, LEAST_SHARE, 1 - LEAST_SHARE)
    if is_frozen:
        error = np.sign(shift) * np.float32(BIASES) * np.sqrt(base * (1 - base) / pooled)
        base = np.clip(base + error, base / 4, 1 - (1 - base) / 4)
    return log_share_evidence(hits, count, base, share_bet(base, shift), pooled)


def _missing_bets(hits: Single, held: Single, pooled: Single, *, b: int, is_frozen: bool) -> Single:
    """Return the log evidence on missing shares: where nothing ever was missing it is the same for every column."""
    count = np.full((1, 1), b, dtype=np.float32)
    nothing = np.zeros((len(hits), 1), dtype=np.float32)
    of_none = share_bets(nothing, count, nothing, pooled, MISSING, is_frozen=is_frozen)
    found = np.repeat(of_none, hits.shape[1], axis=2)
    some = np.flatnonzero(hits.any(axis=0) | held.any(axis=0))
    if len(some):
        found[:, :, some] = share_bets(hits[:, some], count, held[:, some], pooled, MISSING, is_frozen=is_frozen)
    return found


def column_bets(layout: Layout, coded: Coded, pool: Pool, *, is_frozen: bool) -> tuple[Single, Single]:
    """Return the log evidence on missing shares, (blocks, MISSING, columns), and on levels.

    Levels have the shape (blocks, LEVEL, LEVELS, categorical).
    """
    b, blocks = coded.codes.shape[:2]
    hits, held = np.empty((2, blocks, layout.columns), dtype=np.float32)
    numeric = len(layout.numeric)
    hits[:, layout.numeric], held[:, layout.numeric] = coded.hist[BINS, :, :numeric], pool.bins[BINS, :, :numeric]
    hits[:, layout.categorical], held[:, layout.categorical] = coded.hist_levels[LEVELS], pool.levels[LEVELS]
    pooled = pool.pooled[:, None].astype(np.float32)
    missing = _missing_bets(hits, held, pooled, b=b, is_frozen=is_frozen)
    if not len(layout.categorical):
        return missing, np.empty((blocks, len(LEVEL), LEVELS, 0), dtype=np.float32)
    at_levels = coded.hist_levels[:LEVELS].astype(np.float32).transpose(1, 0, 2)
    in_pool = pool.levels[:LEVELS].astype(np.float32).transpose(1, 0, 2)
    levels = share_bets(
        at_levels,
        at_levels.sum(axis=1, keepdims=True),
        in_pool,
        in_pool.sum(axis=1, keepdims=True),
        LEVEL,
        is_frozen=is_frozen,
    )
    return missing, levels
