"""Alert rules in a file: the defaults under them, and every mistake with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from adaptive_stream.config import ConfigError, load
from adaptive_stream.config.rule import MAX_RULES, Rule, default_rules, figures_of, is_share
from adaptive_stream.contracts.figure import BETTER_HIGH
from adaptive_stream.monitor.baseline import PLACE
from adaptive_stream.monitor.monitor import Monitor

if TYPE_CHECKING:
    from pathlib import Path

    from adaptive_stream.config import Family

TASKS = ("binary", "multiclass", "regression")


def family(*overrides: str) -> Family:
    return load([], {}, ["families.f.match=[m]", *(f"families.f.{text}" for text in overrides)]).families["f"]


def of_task(task: str) -> list[str]:
    return [f"task={task}", *(["classes=[a, b]"] if task == "multiclass" else [])]


@pytest.mark.parametrize("task", TASKS)
def test_every_default_rule_is_legal_for_its_task_and_has_a_runbook(task: str) -> None:
    rules = family(*of_task(task)).alerts
    assert set(rules) == set(default_rules(task, 1.0))
    for name, rule in rules.items():
        assert rule.runbook == f"docs/runbooks/alerts.md#{name.lower()}"
        assert rule.recommended_action != "investigate"


@pytest.mark.parametrize("task", TASKS)
def test_the_figures_of_a_task_are_those_that_a_window_has(task: str) -> None:
    made = Monitor(family(*of_task(task)))
    made.drift = lambda _: ({}, {})  # of which the fleet knows
    window = made.window(made.series.col["row"][:0].astype(int), now_ms=1)
    assert figures_of(task) == {name for name in BETTER_HIGH if name in window}


def test_shares_are_the_figures_between_zero_and_one() -> None:
    assert {name for name in PLACE if not is_share(name)} == {
        "log_loss",
        "mean_absolute_error",
        "root_mean_squared_error",
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_p99_ms",
        "reported_latency_ms",
        "reported_memory_usage_mb",
    }


def test_the_defaults_are_the_numbers_that_were_asked_for() -> None:
    rules = family().alerts
    for name in ("AccuracyDegraded", "ReportedAccuracyDegraded"):
        found = rules[name]
        assert (found.compare, found.medium, found.high) == ("delta", 0.05, 0.10)
        assert found.recommended_action == "trigger_retraining"
    for name in ("LatencyHigh", "ReportedLatencyHigh"):
        found = rules[name]
        assert (found.compare, found.medium, found.high) == ("ratio", 2.0, None)
        assert found.recommended_action == "optimize_inference"
    for name in ("ErrorRateHigh", "ReportedErrorRateHigh"):
        found = rules[name]
        assert (found.compare, found.medium, found.high) == ("absolute", None, 0.10)
        assert found.recommended_action == "immediate_investigation"


def test_what_is_given_lies_over_the_default_and_leaves_the_rest_of_it() -> None:
    rules = family("alerts.AccuracyDegraded.medium=0.03", "alerts.LatencyHigh={enabled: false}").alerts
    assert (rules["AccuracyDegraded"].medium, rules["AccuracyDegraded"].high) == (0.03, 0.10)
    assert rules["AccuracyDegraded"].recommended_action == "trigger_retraining"
    assert (rules["LatencyHigh"].enabled, rules["LatencyHigh"].medium) == (False, 2.0)
    assert rules["ErrorRateHigh"].enabled


def test_a_rule_of_ones_own_stands_beside_the_defaults() -> None:
    rules = family("alerts.Mine={metric: brier, high: 0.2}").alerts
    assert set(rules) == {*default_rules("binary", 1.0), "Mine"}
    mine = rules["Mine"]
    assert (mine.is_below, mine.first_level, mine.clear_level, mine.min_count) == (False, 0.2, 0.2, 100)


def test_the_levels_of_an_error_are_shares_of_the_tolerance() -> None:
    rule = family("task=regression", "tolerance=20").alerts["ErrorIncreased"]
    assert (rule.medium, rule.high) == (1.0, 2.0)


def test_no_rules_at_all_are_the_defaults() -> None:
    assert set(family("alerts=null").alerts) == set(family().alerts)


def test_a_disabled_rule_has_no_place_among_the_lives() -> None:
    names = [name for name, _ in Monitor(family("alerts.LatencyHigh.enabled=false")).rules]
    assert "LatencyHigh" not in names
    assert "AccuracyDegraded" in names


@pytest.mark.parametrize(
    ("rule", "side", "clear"),
    [
        ({"metric": "accuracy", "medium": 0.8}, True, 0.8),
        ({"metric": "error_rate", "medium": 0.1}, False, 0.1),
        ({"metric": "confidence", "when": "above", "medium": 0.99}, False, 0.99),
        ({"metric": "accuracy", "compare": "delta", "medium": 0.1}, True, 0.05),
        ({"metric": "brier", "compare": "delta", "high": 0.1, "recovery": 0.2}, False, 0.02),
        ({"metric": "latency_p99_ms", "compare": "ratio", "medium": 3}, False, 2.0),
        ({"metric": "accuracy", "compare": "ratio", "medium": 0.8}, True, 0.9),
        ({"metric": "error_rate", "medium": 0.1, "clear": 0.03}, False, 0.03),
    ],
)
def test_which_side_is_bad_and_where_it_is_over(rule: dict[str, Any], side: bool, clear: float) -> None:  # noqa: FBT001
    found = Rule.model_validate(rule)
    assert found.is_below == side
    assert found.clear_level == pytest.approx(clear)


BY_NAME = "alerts holds rules by name, as alerts: {AccuracyDegraded: {medium: 0.03}}"
MISTAKES = [
    ("alerts={drop: 0.05}", "", BY_NAME),
    ("alerts=0.05", "", BY_NAME),
    ("alerts.AccuracyDegraded=5", "", BY_NAME),
    ("alerts.Mine={medium: 1}", ".alerts.Mine.metric", "is missing"),
    ("alerts.Mine={metric: acuracy, medium: 1}", ".alerts.Mine.metric", "'acuracy' is no figure; there are accuracy,"),
    ("alerts.Mine={metric: auc, medim: 1}", ".alerts.Mine.medim", 'unknown setting; did you mean "medium"?'),
    ("alerts.Mine={metric: auc}", ".alerts.Mine", "a rule needs a level: medium, high or both"),
    ("alerts.Mine={metric: auc, compare: delta, medium: -1}", ".alerts.Mine", "a delta is a distance to the baseline"),
    ("alerts.Mine={metric: auc, compare: ratio, medium: 1.2}", ".alerts.Mine", "is below 1 on the bad side"),
    ("alerts.Mine={metric: brier, compare: ratio, high: 0.5}", ".alerts.Mine", "is above 1 on the bad side"),
    ("alerts.Mine={metric: auc, compare: less, high: 0.5}", ".alerts.Mine.compare", "'less' is not one of"),
    ("alerts.Mine={metric: auc, medium: 0.5, high: 0.6}", ".alerts.Mine", "high must be further on the bad side"),
    ("alerts.Mine={metric: brier, medium: 0.5, high: 0.4}", ".alerts.Mine", "high must be further on the bad side"),
    ("alerts.AccuracyDegraded.high=0.01", ".alerts.AccuracyDegraded", "high must be further on the bad side"),
    ("alerts.ErrorRateHigh.high=0.03", ".alerts.ErrorRateHigh", "clear (0.05) must not be further on the bad side"),
    ("alerts.Mine={metric: auc, medium: 0.7, clear: 0.6}", ".alerts.Mine", "clear (0.6) must not be further"),
    ("alerts.Mine={metric: auc, compare: delta, medium: 0.1, clear: 0.2}", ".alerts.Mine", "clear (0.2) must not"),
    ("alerts.Mine={metric: brier, medium: .nan}", ".alerts.Mine.medium", "finite"),
    ("alerts.Mine={metric: brier, medium: .inf}", ".alerts.Mine.medium", "finite"),
    ("alerts.Mine={metric: brier, medium: 1, recovery: 0}", ".alerts.Mine.recovery", "greater than 0"),
    ("alerts.Mine={metric: brier, medium: 1, for_s: -1}", ".alerts.Mine.for_s", "greater than or equal to 0"),
    ("alerts.Mine={metric: brier, medium: 1, min_count: 0}", ".alerts.Mine.min_count", "greater than or equal to 1"),
    ("alerts.Mine={metric: brier, medium: 1, enabled: perhaps}", ".alerts.Mine.enabled", "boolean"),
    ("alerts.Mine={metric: volume_fold, compare: ratio, medium: 2}", ".alerts.Mine", "volume_fold has no baseline"),
    ("alerts.Mine={metric: f1_macro, medium: 0.5}", "", "alerts.Mine: f1_macro is no figure of task: binary"),
    ("monitor.baselines={feedback_age_s: 3}", ".monitor.baselines", "feedback_age_s: no figure with a baseline"),
    ("monitor.baselines={estimated_recall: 1}", ".monitor.baselines", "estimated_recall: no figure with a baseline"),
    ("monitor.baselines={recall: 7}", ".monitor.baselines", "recall: not in the range of the figure"),
]


@pytest.mark.parametrize(("setting", "path", "message"), MISTAKES)
def test_a_mistake_in_a_rule_is_refused_with_its_place(setting: str, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        family(setting)
    [mistake] = refused.value.mistakes
    assert mistake.path == f"families.f{path}"
    assert message in mistake.message
    assert mistake.source.startswith("--set families.f.")


def test_an_area_that_is_not_kept_can_raise_no_alert() -> None:
    with pytest.raises(ConfigError, match="there is no auc without"):
        family("monitor.auc_labels=0", "alerts.Mine={metric: auc, medium: 0.5}")


def test_the_name_of_a_rule_is_a_name() -> None:
    with pytest.raises(ConfigError, match="should match pattern"):
        family("alerts={'a b': {metric: brier, medium: 1}}")


def test_there_are_only_so_many_rules() -> None:
    many = ", ".join(f"r{number}: {{metric: brier, medium: 1}}" for number in range(MAX_RULES))
    with pytest.raises(ConfigError, match=f"at most {MAX_RULES} items"):
        family(f"alerts={{{many}}}")


def test_a_file_names_the_line_of_each_mistake(tmp_path: Path) -> None:
    path = tmp_path / "worker.yaml"
    path.write_text(
        "families:\n  f:\n    match: [m]\n    alerts:\n      Mine: {metric: nothing, medium: 1}\n"
        "      LatencyHigh:\n        medum: 3\n"
    )
    with pytest.raises(ConfigError) as refused:
        load([path], {})
    found = {mistake.path: mistake.source for mistake in refused.value.mistakes}
    assert found["families.f.alerts.Mine.metric"].startswith(f"{path}:5:")
    assert found["families.f.alerts.LatencyHigh.medum"].startswith(f"{path}:7:")


def test_a_rule_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Rule(metric="auc", medium=0.5).medium = 0.4  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("tolerance", ["1e3", "'1000'", "1_000.0"])
def test_a_tolerance_that_yaml_reads_as_text_has_the_default_rules(tolerance: str) -> None:
    regression = ["task=regression", f"tolerance={tolerance}", "monitor.baseline=10"]
    found = family(*regression)
    assert found.tolerance == 1_000
    assert set(found.alerts) == set(default_rules("regression", 1.0))
    assert found.alerts["ErrorIncreased"].medium == 50


@pytest.mark.parametrize("tolerance", ["many", "[1]", "~", "0", "-1", ".nan", ".inf", "'-inf'", "1" + "0" * 400])
def test_a_tolerance_that_is_none_is_the_one_mistake(tolerance: str) -> None:
    with pytest.raises(ConfigError) as refused:
        family("task=regression", f"tolerance={tolerance}", "monitor.baseline=10")
    assert [mistake.path for mistake in refused.value.mistakes] == ["families.f.tolerance"]
