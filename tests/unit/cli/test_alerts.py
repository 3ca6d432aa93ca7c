"""``alerts`` without a broker: the words in which alerts are shown, and which mistakes are whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from adaptive_stream.cli import app
from adaptive_stream.cli.alerts import SHAPES, cells, ordered
from adaptive_stream.client.endpoint import Shape
from adaptive_stream.contracts.events import Alert, AlertStatus

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "kafka.bootstrap=127.0.0.1:1"  # tcpmux: nothing listens there
RUNNER = CliRunner()
TO = ["--to", "http://127.0.0.1:1/hook"]


def alert(alert_id: str, *, severity: str = "medium", day: int = 1, is_over: bool = False, **evidence: object) -> Alert:
    return Alert(
        alert_id=alert_id,
        status=AlertStatus.RESOLVED if is_over else AlertStatus.FIRING,
        labels={"alertname": "AccuracyDegraded", "severity": severity, "model_id": "m/1", "variant_id": "v2"},
        annotations={"summary": "fell\x1b[2J"},
        value=0.712345,
        threshold=0.8,
        evidence=evidence,
        starts_at=f"2013-06-{day:02}T00:00:00Z",
        ends_at="2013-07-01T00:00:00Z" if is_over else None,
    )


@pytest.mark.parametrize("verb", [[], ["forward"]], ids=str)
def test_every_verb_explains_itself(verb: list[str]) -> None:
    done = RUNNER.invoke(app, ["alerts", *verb, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["--firing", "--exit-code"], ["--json"], ["forward", *TO]],
    ids=" ".join,
)
def test_no_broker_is_exit_69_with_the_address(arguments: list[str]) -> None:
    done = RUNNER.invoke(app, ["alerts", *arguments, "--set", NOBODY])
    assert done.exit_code == 69, done.output
    assert "127.0.0.1:1" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "'yesterday' is neither a time ago, such as 24h"),
        (["--firing", "forward", *TO], "--firing stands before"),
        (["--set", NOBODY, "forward", *TO], "--settings stands before"),
        (["forward"], "--to"),
        (["forward", "--to", "hooks.example/x"], "no URL of http or https"),
        (["forward", "--to", "@/no/such/file"], "/no/such/file"),
        (["forward", *TO, "--format", "slack"], "there is no format 'slack'; it is one of webhook, alertmanager"),
        (["forward", *TO, "--header", "Authorization"], "'Name: value'"),
        (["forward", *TO, "--timeout", "0"], "--timeout"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_usage_error(arguments: list[str], said: str) -> None:
    done = RUNNER.invoke(app, ["alerts", *arguments])
    assert done.exit_code == 2, done.output
    assert said.replace("24h", "2h") in done.stderr


def test_a_header_may_stand_in_a_file_and_a_mistake_in_it_is_not_echoed(tmp_path: Path) -> None:
    file = tmp_path / "header"
    file.write_text("s3cret without a name\n")
    done = RUNNER.invoke(app, ["alerts", "forward", *TO, "--header", f"@{file}"])
    assert done.exit_code == 2
    assert "s3cret" not in done.output


def test_the_formats_are_those_of_the_delivery() -> None:
    assert tuple(Shape) == SHAPES


def test_what_fires_stands_first_then_the_most_severe_and_newest() -> None:
    given = [
        alert("over", severity="high", day=9, is_over=True),
        alert("old", day=2),
        alert("news", severity="info", day=9),
        alert("new", day=3),
        alert("high", severity="high", day=1),
        alert("own", severity="page", day=9),
    ]
    assert [found.alert_id for found in ordered(given)] == ["high", "new", "old", "news", "own", "over"]


def test_a_value_comes_with_its_interval_and_its_number_where_they_are_known() -> None:
    assert cells(alert("a", n=1200, low=0.69, high=0.73)) == (
        "medium",
        "AccuracyDegraded",
        "m/1 / v2 / -",
        "2013-06-01T00:00:00Z",
        "-",
        "0.7123 [0.69, 0.73] n=1200",
        "0.8",
        "fell\x1b[2J",  # made printable where it is printed
    )
    assert cells(alert("a"))[5] == "0.7123"
    assert cells(alert("a", n=3))[5] == "0.7123 n=3"
    assert cells(alert("a", n="many", low=True, high=None))[5] == "0.7123"
    assert cells(alert("a", is_over=True))[4] == "2013-07-01T00:00:00Z"
