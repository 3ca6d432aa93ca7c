"""The budget's law: with no change, evidence reaches the line A by event t with a chance of t / A at most.

For every bet, block, line and horizon; for a stream in parts, however its events were dealt out; for ranks whose pool
grows with the stream, as the detectors use them.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_stream.stats.eprocess import DISPERSION_SCORE as SCORE
from adaptive_stream.stats.eprocess import advance, dispersion_cumulant, location_cumulant

STREAMS = 4_000
SURE = 4.0  # standard errors: a law that holds fails once in 30,000 examples
seeds = st.integers(0, 2**32 - 1)
tilts = st.floats(-1.5, 1.5).filter(lambda s: abs(s) > 0.01)
sizes = st.integers(4, 64)  # of a block
lines = st.floats(20.0, 300.0)
shares = st.floats(0.2, 1.0)  # of the line: the horizon


def reached(evidence: np.ndarray, line: float, is_over: np.ndarray) -> np.ndarray:
    """Note the streams whose evidence has reached the line at some time."""
    found: np.ndarray = is_over | (evidence >= line)
    return found


def check(is_over: np.ndarray, events: int, line: float) -> None:
    bound = min(1.0, events / line)
    assert is_over.mean() <= bound + SURE * np.sqrt(bound / len(is_over))


def evidence_of(z: np.ndarray, tilt: float, *, is_location: bool) -> np.ndarray:
    """Return the e-values of blocks of uniform ranks, (b, ...) to (...)."""
    if is_location:
        return np.asarray(np.exp(tilt * z.sum(axis=0) - len(z) * location_cumulant(tilt)))
    score = SCORE[0] + SCORE[1] * z**2 + SCORE[2] * z**4
    return np.asarray(np.exp(tilt * score.sum(axis=0) - len(z) * dispersion_cumulant(tilt)))


@settings(max_examples=40)
@given(seed=seeds, tilt=tilts, b=sizes, line=lines, share=shares, is_location=st.booleans())
def test_the_line_is_reached_no_more_often_than_the_budget_says(
    seed: int, tilt: float, b: int, line: float, share: float, *, is_location: bool
) -> None:
    dice = np.random.default_rng(seed)
    held, is_over = np.zeros(STREAMS, dtype=np.float32), np.zeros(STREAMS, dtype=np.bool_)
    blocks = max(1, int(share * line) // b)
    for _ in range(blocks):
        e = evidence_of(dice.uniform(-1, 1, (b, STREAMS)), tilt, is_location=is_location)
        held = advance(held, e.astype(np.float32), start=float(b), cap=1e9)
        is_over = reached(held, line, is_over)
    check(is_over, blocks * b, line)


@settings(max_examples=40)
@given(seed=seeds, tilt=tilts, b=sizes, line=lines, share=shares, parts=st.integers(2, 5))
def test_the_evidence_of_parts_adds_up_to_that_of_the_whole_within_one_budget(
    *, seed: int, tilt: float, b: int, line: float, share: float, parts: int
) -> None:
    dice = np.random.default_rng(seed)
    held, is_over = np.zeros((parts, STREAMS), dtype=np.float32), np.zeros(STREAMS, dtype=np.bool_)
    blocks = max(1, int(share * line) // b)
    for part in dice.integers(0, parts, blocks).tolist():  # events are dealt out, block by block
        e = evidence_of(dice.uniform(-1, 1, (b, STREAMS)), tilt, is_location=True)
        held[part] = advance(held[part], e.astype(np.float32), start=float(b), cap=1e9)
        is_over = reached(held.sum(axis=0), line, is_over)
    check(is_over, blocks * b, line)


@settings(max_examples=15)
@given(seed=seeds, tilt=tilts, line=lines, share=shares)
def test_ranks_among_those_before_keep_the_budget_whatever_the_distribution(
    seed: int, tilt: float, line: float, share: float
) -> None:
    dice, b, first, streams = np.random.default_rng(seed), 4, 16, STREAMS // 4
    # heavy ties and heavy tails: exchangeable is all that they are
    values = np.round(np.exp(2 * dice.normal(size=(first + b * max(1, int(share * line) // b), streams))), 1)
    held, is_over = np.zeros(streams, dtype=np.float32), np.zeros(streams, dtype=np.bool_)
    for start in range(first, len(values), b):
        z = np.empty((b, streams))
        for place in range(b):  # each among all before it, ties broken by chance
            now, before = values[start + place], values[: start + place]
            below, same = (before < now).sum(axis=0), (before == now).sum(axis=0)
            z[place] = 2 * (below + dice.random(streams) * (same + 1)) / (len(before) + 1) - 1
        held = advance(held, evidence_of(z, tilt, is_location=True).astype(np.float32), start=float(b), cap=1e9)
        is_over = reached(held, line, is_over)
    check(is_over, len(values) - first, line)
