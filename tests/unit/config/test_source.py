"""What files, environment and options hold beside legal values: nothing, strange YAML, texts that are not YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from adaptive_stream.cli import app
from adaptive_stream.config import load
from adaptive_stream.config.source import HALF
from tests.unit.config.test_load import FAMILY, MATCH, mistakes, written

if TYPE_CHECKING:
    from pathlib import Path


# -- strange YAML ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    ["kafka:\n  # group: mine\n", "kafka: {security: {ca_file: }}\n", "kafka: ~\n", "    alerts:\n",
     "    drift: null\n", "    features:\n", "    alerts: {AccuracyDegraded: }\n"],
)  # fmt: skip
def test_a_block_of_which_every_line_is_a_comment_is_as_if_it_were_not_there(tmp_path: Path, block: str) -> None:
    assert load([written(tmp_path, FAMILY + block)], {}) == load([], {}, [MATCH])


@pytest.mark.parametrize("text", ["", "~", "null"])
def test_a_block_that_is_empty_in_the_environment_leaves_those_of_the_files(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, FAMILY + "http: {port: 1}\n")
    assert load([path], {"ADAPTIVE_STREAM__HTTP": text}).http.port == 1


def test_a_setting_without_a_value_says_what_it_should_be(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "seed:\n")
    assert mistakes(files=[path]) == [(f"{path}:4:1", "seed", "should be a valid integer, not None")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "place", "setting", "said"),
    [
        ("http: {enabled: !!bool maybe}\n", ":4:17", "http.enabled", "is no plain YAML value: tag !!bool"),
        ("seed: !!int ''\n", ":4:7", "seed", "is no plain YAML value: tag !!int"),
        ("seed: !!timestamp soon\n", ":4:7", "seed", "is no plain YAML value: tag !!timestamp"),
        ("kafka:\n  ? [a, b]\n  : 1\n", ":5:5", "kafka", "a name must be a text, not a list or a mapping"),
        ("kafka: {? {a: 1} : 1}\n", ":4:11", "kafka", "a name must be a text, not a list or a mapping"),
        ("seed: " + "[" * 2_000 + "]" * 2_000, ":4:22", "", "is nested without end"),
        ("seed: " + "{a: " * 60 + "1" + "}" * 60, ":4:71", "seed", "is nested without end"),
        ('kafka: {"\\ud800": 1}\n', ":4:9", "kafka", f"the name '\\ud800' {HALF}"),
        ('kafka: {group: "\\ud800"}\n', ":4:16", "kafka.group", HALF),
        ('seed: "\\UFFFFFFFF"', "", "", "not valid YAML: it names a character that there is not"),
    ],
)  # fmt: skip
def test_strange_yaml_is_a_mistake_with_its_line(
    tmp_path: Path, text: str, place: str, setting: str, said: str
) -> None:
    path = written(tmp_path, FAMILY + text)
    assert (f"{path}{place}", setting, said) in mistakes(files=[path])


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[" * 5_000, '"\\UFFFFFFFF"', "!!bool maybe", "? [a]", "&a [*a]", "\0", "\udcff"])
def test_strange_yaml_in_the_environment_is_a_mistake_of_its_variable(text: str) -> None:
    found = mistakes(MATCH, environ={"ADAPTIVE_STREAM__SEED": text})
    assert {source for source, _, _ in found} == {"ADAPTIVE_STREAM__SEED"}


@pytest.mark.parametrize(
    "setting", ["kafka.security.ca_file", "kafka.security.password_file", "families.f.drift.reference_file"]
)
@pytest.mark.parametrize("escape", ["\\0", "\\ud800"])
def test_a_path_that_no_file_can_have_is_a_mistake(tmp_path: Path, setting: str, escape: str) -> None:
    *blocks, name = setting.split(".")
    block = "".join(f"{part}: {{" for part in blocks if part not in {"families", "f"})
    path = written(tmp_path, f'{FAMILY}{"    " * ("f" in blocks)}{block}{name}: "a{escape}"{"}" * block.count("{")}\n')
    assert all(setting.startswith(where) for _, where, _ in mistakes(files=[path]))
    done = CliRunner().invoke(app, ["validate", str(path)])
    assert done.exit_code == 78
    assert done.stderr.replace("\n", "").isprintable()


# -- texts of the environment and of options ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    ["abc #def", "'quoted'", '"quoted"', "~", "null", " lead", "trail ", "a: b", "[x", "007", "!x", "&a", "\\n"],
)
def test_a_password_is_what_is_written(secret: str) -> None:
    for environ, options in (({"ADAPTIVE_STREAM__KAFKA__SECURITY__PASSWORD": secret}, []), ({}, [secret])):
        overrides = [MATCH, *(f"kafka.security.password={text}" for text in options)]
        assert load([], environ, overrides).kafka.security.secret_password() == secret


@pytest.mark.parametrize("text", ["abc #def", "a: b", "*x", " lead", "1e5", "'a' or 'b'", "'open", "'"])
def test_a_text_is_what_is_written(text: str) -> None:
    assert load([], {"ADAPTIVE_STREAM__KAFKA__SECURITY__USERNAME": text}, [MATCH]).kafka.security.username == text


@pytest.mark.parametrize(
    ("text", "meant"), [("'null'", "null"), ('"a\\tb"', "a\tb"), ("null", None), ("~", None), ("", None)]
)
def test_quotes_around_a_text_are_taken_off_and_null_is_none_where_there_may_be_none(
    text: str, meant: str | None
) -> None:
    assert load([], {}, [MATCH, f"kafka.security.username={text}"]).kafka.security.username == meant


def test_an_empty_text_is_one_and_an_empty_password_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "topics: {prefix: mine.}\nkafka: {security: {password: old}}\n")
    config = load([path], {"ADAPTIVE_STREAM__KAFKA__SECURITY__PASSWORD": ""}, ["topics.prefix="])
    assert config.topics.prefix == ""
    assert config.kafka.security.password is None


def test_digits_are_a_text_where_there_may_be_none() -> None:
    assert load([], {}, [MATCH, "kafka.group_instance_id=007"]).kafka.group_instance_id == "007"


def test_a_path_is_what_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, "secret", "pass #1")
    config = load([], {}, [MATCH, f"kafka.security.password_file={path}"])
    assert config.kafka.security.secret_password() == "secret"


# -- names of the environment ------------------------------------------------------------------------------------------


def test_a_variable_in_capitals_finds_names_with_capitals(tmp_path: Path) -> None:
    family = "{match: [m], thresholds: {Web: 0.1}, alerts: {MyRule: {metric: f1_score, medium: 0.5}}}"
    prefix = "ADAPTIVE_STREAM__FAMILIES__CHURN__"
    environ = {
        f"{prefix}ALERTS__ACCURACYDEGRADED__HIGH": "0.2",
        f"{prefix}ALERTS__MYRULE__MEDIUM": "0.6",
        f"{prefix}THRESHOLDS__WEB": "0.7",
        f"{prefix}THRESHOLDS__APP": "0.8",
    }
    families = load([written(tmp_path, f"families: {{Churn: {family}}}\n")], environ).families
    assert list(families) == ["Churn"]
    assert families["Churn"].alerts["AccuracyDegraded"].high == 0.2
    assert families["Churn"].alerts["MyRule"].medium == 0.6
    assert families["Churn"].thresholds == {"Web": 0.7, "app": 0.8}


def test_a_default_rule_needs_no_file() -> None:
    variable = "ADAPTIVE_STREAM__FAMILIES__F__ALERTS__ERRORINCREASED__HIGH"
    alerts = load([], {variable: "0.4"}, [MATCH, "families.f.task=regression"]).families["f"].alerts
    assert alerts["ErrorIncreased"].high == 0.4


def test_names_that_differ_by_their_capitals_alone_are_told_apart(tmp_path: Path) -> None:
    path = written(tmp_path, "families:\n  churn: {match: [a]}\n  Churn: {match: [b]}\n  CHURN: {match: [c]}\n")
    environ = {
        "ADAPTIVE_STREAM__FAMILIES__CHURN__THRESHOLD": "0.1",
        "ADAPTIVE_STREAM__FAMILIES__Churn__THRESHOLD": "0.2",
        "ADAPTIVE_STREAM__FAMILIES__cHURN__THRESHOLD": "0.3",
    }
    families = load([path], environ).families
    assert {name: family.threshold for name, family in families.items()} == {"CHURN": 0.1, "Churn": 0.2, "churn": 0.3}


# -- whose mistake it is -----------------------------------------------------------------------------------------------


def test_what_replaces_a_list_takes_its_lines_away(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "    features:\n      - {name: a}\n      - {name: b, kind: numeric}\n")
    variable = "ADAPTIVE_STREAM__FAMILIES__F__FEATURES"
    found = mistakes(files=[path], environ={variable: "[{name: a}, {name: b, kind: numbers}]"})
    assert [(source, setting) for source, setting, _ in found] == [(variable, "families.f.features.1.kind")]
    second = written(tmp_path, FAMILY + "    features: [{name: a}, {kind: numeric}]\n", "second.yaml")
    found = mistakes(files=[path, second])
    assert [(source, setting) for source, setting, _ in found] == [(f"{second}:4:27", "families.f.features.1.name")]


def test_what_replaces_a_block_takes_its_lines_away(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "http:\n  port: 1\n")
    second = written(tmp_path, "http: 8080\n", "second.yaml")
    assert [source for source, _, _ in mistakes(files=[path, second])] == [f"{second}:1:1"]
    [(source, setting, _)] = mistakes("http=8080", "http.port=many", files=[path])
    assert (source, setting) == ("--set http.port", "http.port")


def test_a_setting_inside_a_list_replaces_the_list(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "    features:\n      - {name: a}\n")
    found = mistakes("families.f.features.0.name=b", files=[path])
    assert {source for source, _, _ in found} == {"--set families.f.features.0.name"}


def test_a_block_that_is_merged_keeps_the_lines_of_its_neighbours(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "http:\n  port: many\n  host: ''\n")
    found = mistakes("http={port: more}", files=[path])
    assert {(source, setting) for source, setting, _ in found} == {
        ("--set http", "http.port"),
        (f"{path}:6:3", "http.host"),
    }


@pytest.mark.parametrize(
    ("setting", "value", "block"),
    [
        ("kafka.session_timeout_ms", "5000", "kafka"),
        ("kafka.rebalance_timeout_ms", "90000", "kafka"),
        ("kafka.security.ca_file", "/no/such/file", "kafka.security"),
        ("kafka.security.protocol", "SASL_SSL", "kafka.security"),
        ("batch.commit_interval_ms", "10", ""),
        ("families.f.task", "regression", "families.f"),
        ("families.f.monitor.baseline", "2", "families.f"),
        ("families.f.monitor.auc_labels", "0", "families.f"),
        ("families.f.monitor.evaluate_every_s", "7", "families.f.monitor"),
        ("families.f.alerts.AucLow.high", "0.9", "families.f.alerts.AucLow"),
        ("families.g.match", "[m]", ""),
    ],
)
def test_a_mistake_that_spans_settings_is_that_of_the_last_one_given(
    tmp_path: Path, setting: str, value: str, block: str
) -> None:
    text = (
        f"{FAMILY}    monitor: {{pane_s: 60}}\n    alerts: {{AucLow: {{metric: auc, medium: 0.8}}}}\n"
        "kafka: {session_timeout_ms: 45000, security: {}}\nbatch: {slice_records: 10}\n"
    )
    path = written(tmp_path, text)
    found = mistakes(f"{setting}={value}", files=[path])
    assert {(source, where) for source, where, _ in found} == {(f"--set {setting}", block)}


def test_each_mistake_that_spans_settings_has_its_own_source(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "kafka:\n  heartbeat_interval_ms: 20000\n  client_id: mine\n")
    environ = {"ADAPTIVE_STREAM__KAFKA__REQUEST_TIMEOUT_MS": "1000", "ADAPTIVE_STREAM__KAFKA__CLIENT_ID": "other"}
    sources = {message.split()[0]: source for source, _, message in mistakes(files=[path], environ=environ)}
    assert sources == {
        "heartbeat_interval_ms": f"{path}:4:1",
        "request_timeout_ms": "ADAPTIVE_STREAM__KAFKA__REQUEST_TIMEOUT_MS",
    }
