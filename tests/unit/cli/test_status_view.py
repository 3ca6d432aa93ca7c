"""What ``status`` prints: everything a status says, in words, and nothing that steers a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adaptive_stream.cli.drift import show as show_drift
from adaptive_stream.cli.status import show_all, show_one
from adaptive_stream.contracts.events import Estimate
from tests.unit.cli.story import adaptation, bare, drift, estimates, moved, series, status, watch

if TYPE_CHECKING:
    import pytest

    from adaptive_stream.contracts.events import Adaptation, ModelStatus

HOSTILE = "[red]m\x1b[31m\r\u202e[/red]"


def one(capsys: pytest.CaptureFixture[str], model: ModelStatus, *adaptations: Adaptation) -> str:
    show_one(model, adaptations)
    return capsys.readouterr().out


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_every_metric_stands_with_its_interval_its_n_its_baseline_and_its_trend(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = squeezed(one(capsys, status(series())))
    for name, estimate in estimates().items():
        assert f"{name} {estimate.value:.4f} {estimate.low:.4f} to {estimate.high:.4f} {estimate.n:,}" in said
    for phrase in (
        "late-flights: family flights, running, as of 2013-06-03T00:00:00Z",
        "v12 on web: fair, 1.5 of 3 points: accuracy 0, latency ½, errors 1",
        "baseline 0.8321, ordered, n 1,000, version 4, set 1 Jun 2013, 03:00 UTC",
        "0.8321 ↘ declining 0.7251 [0.7000 to 0.7400], n 2,380 0.8061 [0.8000 to 0.8400], n 2,500",
        "estimated (no labels; blind to concept drift)",
        "reported by tools",
        "latency_p95_ms 0.5811 0.4822 to 0.6833 1,008 19.25",
        "AccuracyDegraded firing high 2013-06-02T16:00:00Z acknowledged 0.7123 0.7777",
        "LatencyHigh pending medium 2013-06-02T23:00:00Z silenced until 2013-06-05 03:00 UTC",
        "feedback: joined 5200, orphan 44; predictions waiting: 1312",
        "memory_usage_mb 512",
        "conversion",
    ):
        assert phrase in said, phrase
    assert "▁" in said


def test_the_last_adaptations_stand_with_their_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    said = squeezed(one(capsys, status(bare()), adaptation(1), adaptation(2)))
    assert "2013-06-01T01:00:00Z promoted drift v12 → v13 n 5200, gain 0.0417, number 1" in said
    assert "number 2" in said


def test_a_series_that_knows_nothing_is_shown_without_tables(capsys: pytest.CaptureFixture[str]) -> None:
    said = squeezed(one(capsys, status(bare())))
    assert "v1 on default: health unknown accuracy: no baseline yet 0 of 0 predictions labelled; in all -" in said
    assert "95 % interval" not in said


def test_a_worker_that_gives_one_metric_has_a_table_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    old = msgspec.structs.replace(bare(), window=Estimate(n=20, value=0.75, low=0.5, high=0.9))
    assert "accuracy 0.7500 0.5000 to 0.9000 20 -" in squeezed(one(capsys, status(old)))


def test_all_models_are_a_line_for_each_series_with_its_health(capsys: pytest.CaptureFixture[str]) -> None:
    show_all([status(series("v1"), series("v2")), status(bare(), model="other")])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["model", "variant", "channel"]
    assert "health" in head
    assert [line.split()[:3] for line in lines] == [
        ["late-flights", "v1", "web"],
        ["late-flights", "v2", "web"],
        ["other", "v1", "default"],
    ]
    assert [" fair " in line for line in lines] == [True, True, False]
    assert "AccuracyDegraded firing" in lines[0]


def test_ids_of_anybody_steer_neither_the_terminal_nor_the_markup(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = msgspec.structs.replace(
        series(HOSTILE, HOSTILE), metric=HOSTILE, metrics={HOSTILE: Estimate(n=1, value=0.5)}, alerts={HOSTILE: HOSTILE}
    )
    model = msgspec.structs.replace(status(hostile, model=HOSTILE), family=HOSTILE, feedback={HOSTILE: 1})
    show_one(model, [adaptation(1, to=HOSTILE)])
    show_all([model])
    said = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in said)
    assert said.count(r"[red]m\x1b[31m\r\u202e[/red]") >= 8


def test_drift_is_told_by_a_verb_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    show_drift(status(msgspec.structs.replace(series(), drift=drift()), bare()))
    said = squeezed(capsys.readouterr().out)
    for phrase in (
        "late-flights: as of 2013-06-03T00:00:00Z",
        "inputs and outputs: drifted since the alarm of 2 Jun 2013, 16:00 UTC; evidence 10^6.5, alarm at 10^6.0",
        "performance: watching 5,300 since its reference; evidence 10^1.2",
        "neighbours correlate by 0.31",
        "temp 71 % down -0.8321 sd 0.6150 → 0.3825",
        "2 Jun 2013, 06:00 (2 Jun 2013, 05:00 to 2 Jun 2013, 07:00) 412 KS 0.4100 (p < 0.0001)",
        "1 Jun 2013, 20:00 covariate wind_speed wider",
        "drift is not watched",
    ):
        assert phrase in said, phrase


def test_a_name_of_anybody_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_drift(status(msgspec.structs.replace(series(), drift=drift(data=watch(streams=[moved(HOSTILE)])))))
    said = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in said)
