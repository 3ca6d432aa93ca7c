"""Predictions taken in all at once leave the same state as one by one, above all where a ring is full."""

from __future__ import annotations

import pytest

from adaptive_stream.config import load
from adaptive_stream.contracts.events import Action, Control, Correction, Prediction
from adaptive_stream.testing import Driver

START_MS = 1_600_000_000_000
CAPACITY = 240  # of the smallest ring, without features
Words = list[str]


def play(story: list[Words], *, one_by_one: bool) -> Driver:
    """Step slices of words: p7 is the prediction 7, f7 its feedback, c an order."""
    driver = Driver(load([], {}, ['families.f.match=["m"]', "join.max_bytes=65536", "join.max_feedback_ids=64"]))
    for turn, words in enumerate(story):
        for word in words:
            number = word[1:]
            match word[0]:
                case "p":
                    event = Prediction(prediction_id=number, model_id="m", output=0.9)
                case "f":
                    event = Correction(feedback_id=f"{turn}-{number}", prediction_id=number, model_id="m", label=1.0)
                case _:
                    event = Control(command_id=f"{turn}", action=Action.SET_BASELINE, model_id="m")
            driver.send(event, at_ms=START_MS + turn)
        driver.run(cuts=(1,) if one_by_one else ())
    return driver


def numbered(first: int, stop: int, word: str = "p") -> Words:
    return [f"{word}{number}" for number in range(first, stop)]


FULL = [numbered(0, 1), numbered(1, CAPACITY)]  # the first record of a model always goes alone
STORIES = {
    "the ring is filled": FULL,
    "feedback finds what leaves later in the slice": [*FULL, ["f2", *numbered(1000, 1005)]],
    "feedback comes for what has just left": [*FULL, [*numbered(1000, 1005), "f2"]],
    "feedback comes in between": [*FULL, [*numbered(1000, 1002), "f3", "f1", *numbered(1002, 1006)]],
    "feedback comes for nothing": [*FULL, ["f9999", *numbered(1000, 1005)]],
    "more come than the ring holds": [*FULL, numbered(1000, 1000 + 2 * CAPACITY)],
    "feedback comes for what came and left within the slice": [
        *FULL,
        [*numbered(1000, 1000 + CAPACITY), "f1000", *numbered(2000, 2100)],
    ],
    "feedback comes for what left long ago": [*FULL, numbered(1000, 1064), ["f0", *numbered(2000, 2005)]],
    "the ring goes round": [*FULL, *(numbered(n, n + 100) for n in range(1000, 3000, 100)), numbered(2800, 3000, "f")],
    "feedback precedes its prediction": [*FULL[:1], ["p1", "f3", "p2", "p3", "f2"]],
    "feedback waits since before": [["p0"], ["f5"], numbered(4, 7)],
    "an id comes twice in a slice": [["p0"], ["p1", "p2", "p1", "f1"]],
    "an id comes again": [["p0"], ["p1"], ["p2", "p1", "p3"]],
    "an order comes in between": [["p0"], ["p1", "f0", "c", "f1", "p2"]],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_all_at_once_is_one_by_one(story: list[Words]) -> None:
    together, alone = play(story, one_by_one=False), play(story, one_by_one=True)
    assert together.fleets.counters() == alone.fleets.counters()
    assert together.fleets.dump() == alone.fleets.dump()
    assert together.fleets.fleets[0].join.index == alone.fleets.fleets[0].join.index
