"""What is watched, what an alarm says and begins, and what becomes of bad input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.config.family import Feature
from adaptive_stream.drift.drift import Drift, Phase
from adaptive_stream.drift.given import Rejected
from adaptive_stream.drift.layout import Direction
from adaptive_stream.drift.since import MOST
from adaptive_stream.drift.verdict import TESTS, Kind, Severity, severity
from tests.unit.drift.watched import FEATURES, LEVELS, REFERENCE, drift, feed, lose, values

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[np.ndarray, np.random.Generator], None]


def settled(**settings: object) -> tuple[Drift, np.random.Generator]:
    """A series that has been watched for a while."""
    made, dice = drift(**settings), np.random.default_rng(1)  # type: ignore[arg-type]
    assert feed(made, values(dice, 3_000)) == []
    return made, dice


def up(x: np.ndarray, _: np.random.Generator) -> None:
    x[:, 0] += 0.8


def wider(x: np.ndarray, _: np.random.Generator) -> None:
    x[:, 0] *= 2


def narrower(x: np.ndarray, _: np.random.Generator) -> None:
    x[:, 0] /= 2


def down(x: np.ndarray, _: np.random.Generator) -> None:
    x[:, 1] *= 0.4


def missing(x: np.ndarray, dice: np.random.Generator) -> None:
    x[dice.random(len(x)) < 0.1, 1] = np.nan


def level(x: np.ndarray, dice: np.random.Generator) -> None:
    x[dice.random(len(x)) < 0.3, 2] = 1


def unseen(x: np.ndarray, dice: np.random.Generator) -> None:
    x[dice.random(len(x)) < 0.2, 2] = len(LEVELS)


@pytest.mark.parametrize(
    ("change", "stream", "direction", "name"),
    [
        (up, "a", Direction.UP, None),
        (wider, "a", Direction.WIDER, None),
        (narrower, "a", Direction.NARROWER, None),
        (down, "b", Direction.DOWN, None),
        (missing, "b", Direction.MORE_MISSING, None),
        (level, "c", Direction.MORE_FREQUENT, "l1"),
        (unseen, "c", Direction.MORE_FREQUENT, "other"),
    ],
)
def test_an_alarm_names_what_changed_and_how(
    change: Change, stream: str, direction: Direction, name: str | None
) -> None:
    made, dice = settled()
    changed = values(dice, 1_500)
    change(changed, dice)
    verdict = feed(made, changed)[0].verdict
    leading = verdict.findings[0]
    assert (leading.stream, leading.direction, leading.level) == (stream, direction, name)
    assert verdict.kind is Kind.COVARIATE
    assert verdict.is_alarm
    assert leading.since_low <= 3_000 <= leading.since_high
    assert abs(leading.since - 3_000) < 100
    assert verdict.at > 3_000


def test_the_effect_the_tests_and_the_severity_describe_the_change() -> None:
    made, dice = settled()
    changed = values(dice, 1_500)
    up(changed, dice)
    verdict = feed(made, changed)[0].verdict
    leading = verdict.findings[0]
    assert leading.effect.shift == pytest.approx(0.8, abs=0.4)
    assert leading.effect.cliff_delta == pytest.approx(0.43, abs=0.2)
    assert leading.effect.variance_ratio == pytest.approx(1.0, abs=0.5)
    assert [test.name for test in leading.tests] == list(TESTS)
    assert min(test.p_value for test in leading.tests) < 1e-3
    assert verdict.affected == ("a",)
    assert verdict.severity in {Severity.MEDIUM, Severity.HIGH}
    assert verdict.log10_line == 6.0
    assert verdict.reference_version == 1


@pytest.mark.parametrize("shift", [2.0, 3.0, 8.0, 1e30, np.inf])
@pytest.mark.parametrize("mode", ["sequential", "classic"])
def test_values_that_are_all_beyond_the_reference_moved_and_are_not_wider(shift: float, mode: str) -> None:
    for sign, direction in ((1, Direction.UP), (-1, Direction.DOWN)):
        made, dice = settled(mode=mode, classic_window=300, projections=0)
        changed = values(dice, 1_500)
        changed[:, 0] += sign * shift
        verdict = feed(made, changed)[0].verdict
        assert (verdict.findings[0].stream, verdict.findings[0].direction) == ("a", direction)
        assert made.history(0)[0].direction is direction


@pytest.mark.parametrize("shift", [0.2, -0.2])
def test_a_projection_of_what_moved_says_the_way_and_the_size_of_the_features(shift: float) -> None:
    features = [Feature(name=f"f{number}") for number in range(20)]
    made, dice = drift(features=features), np.random.default_rng(3)
    feed(made, dice.standard_normal((3_000, 20)))
    direction = np.sign(made.layout.signs[0])
    [alarm] = feed(made, dice.standard_normal((1_500, 20)) + shift * direction)[:1]
    leading = alarm.verdict.findings[0]
    assert (leading.stream, leading.direction) == ("projection_1", Direction.UP if shift > 0 else Direction.DOWN)
    named = next(one for one in alarm.verdict.findings if one.stream.startswith("f"))
    assert alarm.verdict.severity is severity(named.effect)


@pytest.mark.parametrize("shift", [0.12, 0.2, 0.5, 1.0, 3.0])
def test_a_change_is_dated_and_measured_whatever_its_size(shift: float) -> None:
    inside, told = [], []
    for seed in range(6):
        made, dice = drift(reference_predictions=2_000, projections=0), np.random.default_rng(seed)
        feed(made, values(dice, 6_000))
        changed = values(dice, 20_000)
        changed[:, 0] += shift
        leading = feed(made, changed)[0].verdict.findings[0]
        inside.append(leading.since_low <= 6_000 <= leading.since_high)
        told.append(leading.effect.shift)
    assert sum(inside) >= 4, "of six intervals that cover nine of ten"
    assert np.median(told) == pytest.approx(shift, rel=0.6)


@pytest.mark.parametrize(("before", "since"), [(0.10, 0.13), (0.10, 0.20), (0.10, 0.50), (0.20, 0.15)])
def test_a_change_of_the_loss_is_dated_and_measured_whatever_its_size(before: float, since: float) -> None:
    inside, told = [], []
    for seed in range(6):
        made, dice = drift(reference_labels=5_000), np.random.default_rng(seed)
        lose(made, (dice.random(8_000) < before) * 1.0)
        [alarm, *_] = lose(made, (dice.random(30_000) < since) * 1.0)
        leading = alarm.verdict.findings[0]
        inside.append(leading.since_low <= 8_000 <= leading.since_high)
        told.append(leading.effect.since - leading.effect.before)
    assert sum(inside) >= 4, "of six intervals that cover nine of ten"
    assert np.median(told) == pytest.approx(since - before, rel=0.6)


def test_what_becomes_constant_and_what_was_constant_changed_much() -> None:
    made, dice = settled()
    changed = values(dice, 1_500)
    changed[:, 0] = 0.0
    assert feed(made, changed)[0].verdict.severity is Severity.HIGH
    made, dice = drift(), np.random.default_rng(1)
    data = values(dice, 4_500)
    data[:3_000, 0] = 0.0
    verdict = feed(made, data)[0].verdict
    assert verdict.findings[0].stream == "a"
    assert verdict.severity is Severity.HIGH


def test_a_projection_is_worth_as_little_as_the_feature_that_stays_longest() -> None:
    features = [Feature(name=f"f{number}") for number in range(10)]
    alarms = []
    for seed in range(2):
        made, dice = drift(features=features, reference_predictions=2_000), np.random.default_rng(seed)
        data = dice.standard_normal((20_000, 10))
        for number in range(1, len(data)):
            data[number, :5] = 0.9 * data[number - 1, :5] + np.sqrt(1 - 0.9**2) * data[number, :5]
        alarms += feed(made, data)
    assert alarms == [], "a sum of what stays and of what does not hides at lag 1 how long it stays"


def test_the_history_says_which_way_the_leading_finding_went() -> None:
    made, dice = settled()
    for change, direction in ((wider, Direction.WIDER), (missing, Direction.MORE_MISSING)):
        feed(made, values(dice, 1_000))
        changed = values(dice, 1_500)
        change(changed, dice)
        assert feed(made, changed)
        assert direction in {past.direction for past in made.history(0)}
    lose(made, (dice.random(1_000) < 0.1) * 1.0)
    assert lose(made, (dice.random(1_000) < 0.4) * 1.0)
    assert [past.direction for past in made.history(0) if past.kind is Kind.PERFORMANCE] == [Direction.UP]


def test_an_objective_that_is_missed_for_long_is_one_alarm_in_the_history() -> None:
    made, dice = drift(stated=0.1, reference_labels=100), np.random.default_rng(1)
    alarms = lose(made, (dice.random(4_000) < 0.8) * 1.0)
    assert len(alarms) > 5, "evidence begins anew, and is soon enough again"
    assert len(made.history(0)) == 1
    assert lose(made, (dice.random(4_000) < 0.05) * 1.0) == []
    assert lose(made, (dice.random(500) < 0.8) * 1.0)
    assert len(made.history(0)) == 2, "it was kept meanwhile"


def moved(made: Drift, **settings: Any) -> Drift:  # noqa: ANN401 - of the configuration
    """Return a worker's drift after a restart with another configuration."""
    after = drift(series=0, **settings)
    for number in range(made.table.page_count):
        after.table.load([made.table.page(number)], adapt=after.adapt())
    after.restored(now_ms=0)
    return after


@pytest.mark.parametrize("size", [600, 1_000, 3_000])
@pytest.mark.parametrize("seen", [100, 900, 5_000, 5_007])
def test_references_of_another_size_are_gathered_anew(size: int, seen: int) -> None:
    made, dice = drift(reference_predictions=2_000), np.random.default_rng(1)
    feed(made, values(dice, seen))
    after = moved(made, reference_predictions=size)
    assert after.dropped["drift_reset"] == 1
    assert feed(after, values(dice, 3_000)) == []
    changed = values(dice, 1_500)
    up(changed, dice)
    assert feed(after, changed)[0].verdict.findings[0].stream == "a"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_a_history_of_another_length_keeps_the_newest_and_what_is_known(size: int) -> None:
    made, dice = drift(history=3), np.random.default_rng(1)
    for shift in range(5):
        data = values(dice, 1_500)
        data[:, 0] += 2.0 * shift
        feed(made, data)
    assert len(made.history(0)) == 3
    after = moved(made, history=size)
    assert after.dropped["drift_reset"] == 0
    assert after.history(0) == made.history(0)[-size:]
    changed = values(dice, 2_500)
    changed[1_000:, 0] -= 5
    fresh = len(feed(after, changed))
    assert fresh > 0
    kept = after.history(0)[:-fresh]
    assert kept == made.history(0)[-len(kept) :] if kept else fresh >= size


def test_a_reference_from_a_file_that_is_too_short_by_now_gives_way_to_events() -> None:
    made, dice = drift(), np.random.default_rng(1)
    made.set_reference(0, values(dice, 2_000), outputs=None, confidences=None, now_ms=0)
    feed(made, values(dice, 107))
    after = moved(made, reference_predictions=4_000)
    feed(after, values(dice, 5_000))
    assert after.data_state(0).phase is Phase.WATCHING


def test_a_series_that_begins_anew_takes_the_file_s_reference() -> None:
    made, dice = settled()
    after = drift(series=0, block=16)
    after.first = after.count(values(dice, 2_000), outputs=None, confidences=None)
    for number in range(made.table.page_count):
        after.table.load([made.table.page(number)], adapt=after.adapt())
    after.restored(now_ms=0)
    assert after.data_state(0).phase is Phase.WATCHING


def test_an_alarm_that_was_to_be_kept_is_over_once_references_follow() -> None:
    made, dice = settled(after_alarm="keep")
    changed = values(dice, 1_500)
    up(changed, dice)
    assert len(feed(made, changed)) == 1
    lose(made, (dice.random(1_000) < 0.1) * 1.0)
    assert lose(made, (dice.random(1_000) < 0.5) * 1.0)
    kept = moved(made, after_alarm="keep")
    assert (kept.data_state(0).phase, kept.performance_state(0).phase) == (Phase.ALARMED, Phase.ALARMED)
    after = moved(made, after_alarm="rereference")
    assert (after.data_state(0).phase, after.performance_state(0).phase) == (Phase.GATHERING, Phase.GATHERING)


@pytest.mark.parametrize("mode", ["sequential", "classic"])
def test_columns_that_the_file_lacks_are_not_watched(mode: str) -> None:
    made, dice = drift(mode=mode, classic_window=300), np.random.default_rng(1)
    made.set_reference(0, values(dice, 2_000), outputs=None, confidences=None, now_ms=0)
    assert feed(made, values(dice, 3_000), outputs=dice.random(3_000), confidences=dice.random(3_000)) == []


def test_nothing_is_concluded_before_there_is_a_reference_and_the_state_says_so() -> None:
    made, dice = drift(), np.random.default_rng(1)
    feed(made, values(dice, 120))
    assert str(made.data_state(0)) == "gathering 120 of 600"
    assert str(made.performance_state(0)) == "gathering 0 of 400"
    changed = values(dice, 470)
    changed[:, 0] += 100
    assert feed(made, changed) == []
    feed(made, values(dice, 50))
    assert made.data_state(0).phase is Phase.WATCHING


def test_after_an_alarm_a_reference_is_gathered_anew_or_the_alarm_stays() -> None:
    for after, phase in (("rereference", Phase.GATHERING), ("keep", Phase.ALARMED)):
        made, dice = settled(after_alarm=after)
        changed = values(dice, 400)
        up(changed, dice)
        assert len(feed(made, changed)) == 1
        assert made.data_state(0).phase is phase
        [past] = made.history(0)
        assert (past.stream, past.kind) == ("a", Kind.COVARIATE)
        made.rereference(0)
        assert made.data_state(0).phase is Phase.GATHERING
        assert made.history(0) == [past]


def test_the_changed_data_is_peace_once_it_is_the_reference() -> None:
    made, dice = settled()
    alarms = []
    for _ in range(10):
        changed = values(dice, 500)
        up(changed, dice)
        alarms += feed(made, changed)
    assert len(alarms) == 1
    assert made.data_verdict(0).reference_version == 2


def test_the_history_is_bounded_and_keeps_the_newest() -> None:
    made, dice = settled(history=2)
    for shift in range(1, 5):
        changed = values(dice, 1_200)
        changed[:, 0] += 2.0 * shift
        assert len(feed(made, changed)) == 1
    assert [past.at for past in made.history(0)] == sorted(past.at for past in made.history(0))
    assert len(made.history(0)) == 2
    assert made.history(0)[-1].at > 6_000


@pytest.mark.parametrize("combine", ["mean", "strict"])
@pytest.mark.parametrize("reference", ["growing", "frozen"])
def test_every_way_of_watching_finds_a_plain_change(combine: str, reference: str) -> None:
    made, dice = settled(combine=combine, reference=reference)
    changed = values(dice, 1_500)
    up(changed, dice)
    assert feed(made, changed)[0].verdict.findings[0].stream == "a"


def test_a_shift_within_the_tolerance_is_no_change() -> None:
    made, dice = settled(tolerance=0.3)
    changed = values(dice, 8_000)
    changed[:, 0] += 0.3  # Cliff's delta 0.17
    assert feed(made, changed) == []


def test_the_outputs_speak_of_the_labels() -> None:
    made, dice = drift(), np.random.default_rng(2)
    feed(made, values(dice, 3_000), outputs=dice.beta(2, 5, 3_000))
    [alarm] = feed(made, values(dice, 600), outputs=dice.beta(4, 5, 600))[:1]
    assert alarm.verdict.kind is Kind.LABEL
    assert alarm.verdict.findings[0].stream == "output"


def test_a_change_of_many_features_at_once_is_seen_along_a_direction() -> None:
    features = [Feature(name=f"f{number}") for number in range(20)]
    made, dice = drift(features=features), np.random.default_rng(3)
    feed(made, dice.standard_normal((3_000, 20)))
    direction = np.sign(made.layout.signs[0])
    [alarm] = feed(made, dice.standard_normal((1_500, 20)) + 0.2 * direction)[:1]
    leading = alarm.verdict.findings[0]
    assert leading.stream == "projection_1"
    assert leading.since_low <= 3_000 <= leading.since_high, "dated by the feature that moved most"


@pytest.mark.parametrize(
    ("change", "direction"), [(up, Direction.UP), (wider, Direction.WIDER), (narrower, Direction.NARROWER)]
)
def test_the_classic_mode_tests_windows_that_do_not_overlap(change: Change, direction: Direction) -> None:
    made, dice = settled(mode="classic", classic_window=300, reference_predictions=1_000)
    changed = values(dice, 1_500)
    change(changed, dice)
    verdict = feed(made, changed)[0].verdict
    leading = verdict.findings[0]
    assert (leading.stream, leading.direction) == ("a", direction)
    assert leading.since_low <= 3_000 <= leading.since_high
    assert verdict.is_alarm
    assert verdict.affected == ("a",)


@pytest.mark.parametrize(
    ("change", "stream", "direction"),
    [
        (missing, "b", Direction.MORE_MISSING),
        (level, "c", Direction.MORE_FREQUENT),
        (unseen, "c", Direction.MORE_FREQUENT),
    ],
)
def test_the_classic_mode_tests_levels_and_what_is_missing(change: Change, stream: str, direction: Direction) -> None:
    made, dice = settled(mode="classic", classic_window=300, reference_predictions=1_000)
    changed = values(dice, 1_500)
    change(changed, dice)
    leading = feed(made, changed)[0].verdict.findings[0]
    assert (leading.stream, leading.direction) == (stream, direction)
    assert leading.effect.since > leading.effect.before
    assert leading.since_low <= 3_000 <= leading.since_high


def test_the_classic_mode_is_the_same_however_events_are_batched() -> None:
    dice = np.random.default_rng(14)
    data = np.concatenate([values(dice, 2_500), values(dice, 2_500) + 0.5])
    data[:, 2] = np.floor(data[:, 2])
    for after in ("keep", "rereference"):
        whole, parts = (drift(mode="classic", classic_window=100, after_alarm=after) for _ in range(2))
        told = feed(whole, data)
        found = [alarm for start in range(0, 5_000, 37) for alarm in feed(parts, data[start : start + 37])]
        assert [repr(alarm.verdict) for alarm in told] == [repr(alarm.verdict) for alarm in found]
        assert told
        assert whole.table.page(0) == parts.table.page(0)


# -- losses --------------------------------------------------------------------------------------------------------


def test_a_rise_of_the_loss_is_drift_of_the_performance() -> None:
    made, dice = drift(), np.random.default_rng(4)
    assert lose(made, (dice.random(3_000) < 0.1).astype(float)) == []
    verdict = lose(made, (dice.random(1_000) < 0.35).astype(float))[0].verdict
    [finding] = verdict.findings
    assert verdict.kind is Kind.PERFORMANCE
    assert (finding.stream, finding.direction) == ("loss", Direction.UP)
    assert finding.effect.before == pytest.approx(0.1, abs=0.02)
    assert finding.effect.since == pytest.approx(0.35, abs=0.15)
    assert finding.since_low <= 3_000 <= finding.since_high
    assert verdict.severity is Severity.HIGH


def test_an_improvement_is_news_and_not_severe() -> None:
    made, dice = drift(), np.random.default_rng(5)
    lose(made, (dice.random(3_000) < 0.4).astype(float))
    verdict = lose(made, (dice.random(3_000) < 0.15).astype(float))[0].verdict
    assert verdict.findings[0].direction is Direction.DOWN
    assert verdict.severity is Severity.LOW


def test_a_stated_loss_is_watched_from_the_first_label() -> None:
    made, dice = drift(stated=0.1), np.random.default_rng(6)
    assert made.performance_state(0).phase is Phase.WATCHING
    verdict = lose(made, (dice.random(400) < 0.5).astype(float))[0].verdict
    assert verdict.findings[0].effect.before == 0.1
    better = drift(stated=0.4)
    assert lose(better, (dice.random(20_000) < 0.1).astype(float)) == []


def test_losses_between_nothing_and_all_are_watched_too() -> None:
    made, dice = drift(), np.random.default_rng(7)
    assert lose(made, dice.beta(2, 8, 3_000)) == []
    assert lose(made, dice.beta(5, 5, 3_000))


def test_correlated_losses_are_tempered_and_it_is_reported() -> None:
    made, dice = drift(reference_labels=2_000), np.random.default_rng(8)
    losses, last = np.empty(2_100), 0.0
    for place in range(len(losses)):
        last = last if dice.random() < 0.6 else float(dice.random() < 0.2)
        losses[place] = last
    lose(made, losses)
    assert made.performance_verdict(0).findings[0].correlation == pytest.approx(0.6, abs=0.12)


def test_correlated_inputs_are_tempered_and_independent_ones_are_not() -> None:
    made, dice = drift(reference_predictions=4_000), np.random.default_rng(9)
    data = values(dice, 4_100)
    for place in range(1, len(data)):
        data[place, 0] = 0.8 * data[place - 1, 0] + 0.6 * data[place, 0]
    feed(made, data)
    found = {finding.stream: finding.correlation for finding in made.data_verdict(0).findings}
    columns = {name: made.data.correlation(made.table, 0, place, is_missing=False) for place, name in enumerate("abc")}
    assert columns["a"] == pytest.approx(0.78, abs=0.08)
    assert columns["b"] == columns["c"] == 0.0
    assert found.get("a", columns["a"]) == columns["a"]


# -- bad input -----------------------------------------------------------------------------------------------------


def test_events_of_another_width_are_counted_and_change_nothing() -> None:
    made, dice = settled()
    before = made.table.page(0)
    assert feed(made, dice.standard_normal((40, 5))) == []
    assert made.dropped["drift_width"] == 40
    assert made.table.page(0) == before


def test_losses_that_are_no_number_are_counted_and_those_outside_the_range_are_cut() -> None:
    made = drift()
    lose(made, np.array([math.nan, 2.0, -1.0, math.inf]))
    assert made.dropped["drift_loss_not_finite"] == 1
    assert made.table.col["labels"][0] == 3
    lose(made, np.zeros(13))
    assert made.table.col["loss_sums"][0, 3] == 2.0


def test_infinite_values_are_extreme_ones() -> None:
    made, dice = drift(), np.random.default_rng(10)
    data = values(dice, 3_000)
    data[dice.random(3_000) < 0.02, 0] = np.inf
    data[dice.random(3_000) < 0.02, 1] = -1e300
    assert feed(made, data) == []
    changed = values(dice, 2_000)
    changed[dice.random(2_000) < 0.4, 0] = np.inf
    found = {finding.stream: finding.direction for finding in feed(made, changed)[0].verdict.findings}
    assert found["a"] in {Direction.UP, Direction.WIDER}


@pytest.mark.parametrize("value", [0.0, -3.5, 1e9, np.nan, np.inf])
def test_a_feature_that_never_varies_is_peaceful_until_it_does(value: float) -> None:
    made, dice = drift(), np.random.default_rng(11)
    data = values(dice, 4_000)
    data[:, 1] = value
    assert feed(made, data) == []
    leading = feed(made, values(dice, 1_000))[0].verdict.findings[0]
    assert leading.stream == "b"


def test_a_feature_that_becomes_constant_is_found() -> None:
    made, dice = settled()
    data = values(dice, 1_000)
    data[:, 0] = 0.1
    assert feed(made, data)[0].verdict.findings[0].stream in {"a", "projection_1", "projection_2"}


def test_a_feature_that_goes_missing_altogether_is_found() -> None:
    made, dice = settled()
    data = values(dice, 200)
    data[:, 0] = np.nan
    leading = feed(made, data)[0].verdict.findings[0]
    assert (leading.stream, leading.direction) == ("a", Direction.MORE_MISSING)


def test_what_never_happens_is_no_news_however_long_it_does_not() -> None:
    made, dice = drift(features=FEATURES[:1], budget_events=1e9), np.random.default_rng(13)
    feed(made, dice.standard_normal((80_000, 1)))
    evidence = made.table.col["evidence"][0] * made.layout.weights
    missing = evidence[made.layout.at_missing : made.layout.at_levels]
    assert missing.sum() < 80_000 * 0.1  # a value is never missing, the confidence always: neither is evidence
    of_confidence = evidence[: made.layout.at_missing][made.layout.stream_of[: made.layout.at_missing] == 2]
    assert of_confidence.sum() == 0


def test_no_events_are_no_work_and_what_is_disabled_sees_nothing() -> None:
    made = drift()
    assert feed(made, np.empty((0, 3))) == []
    assert lose(made, np.empty(0)) == []
    off = drift(enabled=False)
    feed(off, values(np.random.default_rng(1), 100))
    assert off.table.col["events"][0] == 0


# -- references ----------------------------------------------------------------------------------------------------


def test_a_reference_can_be_given_and_is_watched_against_at_once() -> None:
    made, dice = drift(), np.random.default_rng(12)
    assert made.set_reference(0, values(dice, 5_000), outputs=None, confidences=None, now_ms=77) is None
    assert made.data_state(0).phase is Phase.WATCHING
    assert made.data_verdict(0).reference_at == 77
    assert feed(made, values(dice, 3_000), outputs=dice.random(3_000)) == []  # outputs were not given: not watched
    changed = values(dice, 1_000)
    down(changed, dice)
    assert feed(made, changed)[0].verdict.findings[0].stream == "b"


def test_rows_that_are_no_reference_are_refused_with_the_reason() -> None:
    made, dice = settled()
    before = made.table.page(0)
    for rows, outputs, reason in (
        (values(dice, 9), None, "needs"),
        (dice.random((5_000, 2)), None, "features"),
        (values(dice, 5_000), dice.random(4), "outputs"),
    ):
        found = made.set_reference(0, rows, outputs=outputs, confidences=None, now_ms=0)
        assert isinstance(found, Rejected)
        assert reason in found.reason
    assert made.table.page(0) == before


def test_a_page_of_other_features_begins_anew_and_is_counted() -> None:
    made, _ = settled()
    other = drift(series=0, features=[*FEATURES, Feature(name="d")])
    other.table.load([made.table.page(0)], adapt=other.adapt())
    assert other.dropped["drift_reset"] == 1
    assert str(other.data_state(0)) == f"gathering 0 of {REFERENCE}"
    same = drift(series=0)
    same.table.load([made.table.page(0)], adapt=same.adapt())
    assert same.table.page(0) == made.table.page(0)


def test_an_alarm_that_is_kept_goes_on_being_measured_from_its_beginning() -> None:
    pages = set()
    for at_once in (97, 12_000):
        dice = np.random.default_rng(3)
        made = drift(after_alarm="keep", reference="frozen", features=[Feature(name="a"), Feature(name="b")])
        feed(made, dice.standard_normal((2_000, 2)))
        changed = dice.standard_normal((12_000, 2)) * [2.5, 1] + [1, 0]
        for start in range(0, len(changed), at_once):
            feed(made, changed[start : start + at_once])
        pages.add(made.table.page(0))
    assert (made.table.col["score"][0] > MOST - 200).sum() > 1, "two scores of one column are where scores end"
    leading = made.data_verdict(0).findings[0]
    assert leading.stream == "a"
    assert leading.effect.shift == pytest.approx(1.0, abs=0.15)
    assert leading.since == pytest.approx(2_000, abs=50)
    assert made.table.col["recent_blocks"][0, 0] * made.config.block > 11_900
    assert len(pages) == 1


# -- bounds --------------------------------------------------------------------------------------------------------


def test_a_series_of_twenty_features_takes_at_most_ten_kilobytes() -> None:
    features = [Feature(name=f"f{number}") for number in range(20)]
    made = Drift(DriftConfig(), features=features)
    size = sum(np.prod(array.shape[1:], dtype=int) * array.itemsize for array in made.table.col.values())
    assert size <= 10_000


def test_the_weights_of_all_bets_are_one_budget() -> None:
    for features, classes in ((FEATURES, 0), (FEATURES[:1], 5), ([], 3), ([], 0)):
        layout = drift(features=features, classes=classes).layout
        assert layout.weights.sum() == pytest.approx(1.0, abs=1e-5)
        assert (layout.weights > 0).all()
        total = layout.by_stream(np.ones((1, layout.bets), dtype=np.float32) * layout.weights)
        assert total.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "settings", [{"reference_predictions": 100}, {"block": 2}, {"budget_events": 1}, {"unknown": 1}]
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DriftConfig(**settings)  # type: ignore[arg-type]
