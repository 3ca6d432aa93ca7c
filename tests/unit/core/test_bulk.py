"""Predictions taken in all at once leave the same state as one by one, above all where a ring is full."""

from __future__ import annotations

import pytest

from adaptive_stream.config import load
from adaptive_stream.contracts.events import Action, Control, Correction, Prediction
from adaptive_stream.testing import Driver
from adaptive_stream.testing.driver import thaw

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


CATCH_ALL = 'families.all.match=["*"]'
CONFIGURED_ANEW = {
    "a family came in front of the one that knew the model": ['families.vip.match=["vip-*"]', CATCH_ALL],
    "the only family no longer covers the model": ['families.all.match=["b*"]'],
    "no family covers the model any more": ['families.all.match=["b*"]', 'families.more.match=["c*"]'],
}


def go_on(overrides: list[str], cuts: tuple[int, ...]) -> tuple[Driver, int]:
    """Let a catch-all learn of two models, restart with other families, and send more of both."""
    first = Driver(load([], {}, [CATCH_ALL]))
    send(first, range(10))
    first.run()
    frozen = first.freeze()
    driver = Driver(load([], {}, overrides))
    driver.fleets = thaw(driver.config, frozen.head, first.pages, first.predictions)
    driver._ends = first._ends
    send(driver, range(10, 20))
    send(driver, range(15, 16))  # sent twice: what comes with it goes record by record
    refused = len(driver.run(cuts=cuts).rejected)
    for number in range(10, 20):
        event = Correction(feedback_id=f"f{number}", prediction_id=f"{number}", model_id="vip-1", label=1.0)
        driver.send(event, at_ms=START_MS + 20)
    send(driver, range(20, 30))
    return driver, refused + len(driver.run(cuts=cuts).rejected)


def send(driver: Driver, numbers: range) -> None:
    for number in numbers:
        for model_id in ("vip-1", "b"):
            event = Prediction(prediction_id=f"{number}", model_id=model_id, output=0.9)
            driver.send(event, at_ms=START_MS + number)


@pytest.mark.parametrize("overrides", CONFIGURED_ANEW.values(), ids=CONFIGURED_ANEW.keys())
def test_a_restart_with_other_families_routes_all_at_once_as_one_by_one(overrides: list[str]) -> None:
    (alone, refused), *others = (go_on(overrides, cuts) for cuts in ((1,), (), (7,)))
    for together, also_refused in others:
        assert also_refused == refused
        assert together.fleets.counters() == alone.fleets.counters()
        assert together.fleets.dump() == alone.fleets.dump()


@pytest.mark.parametrize("cuts", [(), (1,)])
def test_a_model_goes_to_the_family_that_covers_it_and_not_to_the_one_that_knew_it(cuts: tuple[int, ...]) -> None:
    driver, refused = go_on(CONFIGURED_ANEW["a family came in front of the one that knew the model"], cuts)
    assert refused == 0
    moved = driver.fleets.status("vip-1")
    assert moved is not None
    assert (moved.family, moved.series[0].predictions, moved.feedback["joined"]) == ("vip", 20, 10)
    driver, refused = go_on(CONFIGURED_ANEW["the only family no longer covers the model"], cuts)
    assert refused == 31, "21 predictions and 10 feedbacks of a model that no family covers"
    assert driver.fleets.status("vip-1") is None
