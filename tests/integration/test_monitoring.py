"""Monitoring through a real Kafka: silence without records, orders about alerts, and a status that tells all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from adaptive_stream.contracts.events import Action, Alert, Control, ModelStatus, Prediction
from adaptive_stream.contracts.topics import Topic
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.worker import dump, working

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import InputEvent

QUICK = (
    "families.f.monitor.evaluate_every_s=1",
    "families.f.monitor.status_interval_s=1",
    "families.f.features=[]",
    "families.f.alerts.PredictionsSilent.medium=3",
    "families.f.alerts.PredictionsSilent.min_count=1",
    "families.f.alerts.PredictionsSilent.repeat_s=0",
)


async def alerts(scene: Scene) -> list[Alert]:
    found = await scene.read(Topic.ALERTS)
    return [msgspec.json.decode(record.value, type=Alert) for record in found[Topic.ALERTS]]


def silences(told: list[Alert]) -> list[tuple[str, str]]:
    return [(a.model_id, a.status.value) for a in told if a.labels["alertname"] == "PredictionsSilent"]


async def test_silence_is_told_while_no_record_comes_at_all_and_a_restore_finds_the_same(scene: Scene) -> None:
    quick = replace(scene, settings=(*scene.settings, "topics.partitions=1"), family=(*scene.family, *QUICK))
    await quick.open()
    async with working(quick.config()) as worker:
        await quick.publish([(Topic.PREDICTIONS, prediction(n, model="m0"), START_MS + n) for n in range(5)])

        async def is_told() -> bool:
            return silences(await alerts(quick)) == [("m0", "firing")]

        await until(is_told, what="the alert of silence, with no record behind it")
        states = dump(worker)
    async with working(quick.config()) as worker:  # the journal holds the cut times of the batches without records
        assert set(states) == set(dump(worker)) == {0}
        later = [(Topic.PREDICTIONS, prediction(n, model="m0"), START_MS + 2_000 * n) for n in range(10, 14)]
        await quick.publish(later)

        async def is_over() -> bool:
            return ("m0", "resolved") in silences(await alerts(quick))

        await until(is_over, what="the alert ends when predictions come again")
    told = silences(await alerts(quick))
    assert told.index(("m0", "resolved")) == 1, "it fired once, across a restart, and then it was over"


def story() -> list[tuple[Topic, InputEvent, int]]:
    """A model that is good, slow to answer, and then bad: three hours, labels a minute behind."""
    told: list[tuple[Topic, InputEvent, int]] = []
    for number in range(600):
        at = START_MS + number * 18_000
        is_right = number % 10 != 0 if number < 300 else number % 2 == 0
        event = Prediction(
            prediction_id=f"p{number}", model_id="m0", output=0.8, latency_ms=5.0 + number % 7, confidence=0.8
        )
        told.append((Topic.PREDICTIONS, event, at))
        told.append((Topic.FEEDBACK, correction(number, model="m0", label=float(is_right)), at + 60_000))
    return sorted(told, key=lambda item: item[2])


async def test_a_status_tells_every_figure_with_its_interval_and_orders_about_alerts_are_obeyed(scene: Scene) -> None:
    one = replace(
        scene,
        settings=(*scene.settings, "topics.partitions=1"),
        family=(*scene.family, "families.f.features=[]", "families.f.monitor.baseline_labels=100"),
    )
    await one.open()
    events = story()
    await one.publish(
        events
    )  # before anybody reads: labels that come a moment late would be told too late to estimate by
    async with working(one.config()):
        await one.drained()
        fired = [a for a in await alerts(one) if a.labels["alertname"] == "AccuracyDegraded"]
        assert [a.status.value for a in fired[:1]] == ["firing"]
        assert fired[0].evidence["high"] < fired[0].evidence["baseline"]
        end = events[-1][2]
        orders = [
            Control(command_id="ack", action=Action.ACKNOWLEDGE, model_id="m0"),
            Control(command_id="hush", action=Action.SILENCE, model_id="m0", args={"duration_s": 600}),
        ]
        await one.publish([(Topic.CONTROL, order, end + 1) for order in orders])
        await one.publish([(Topic.PREDICTIONS, prediction(999, model="m0"), end + 120_000)])
        await one.drained()
        answers = [msgspec.json.decode(r.value) for r in (await one.read(Topic.ADAPTATIONS))[Topic.ADAPTATIONS]]
        assert [(a["kind"], a["evidence"].get("action")) for a in answers] == [
            ("applied", "acknowledge"),
            ("applied", "silence"),
        ]
        statuses = (await one.read(Topic.MODEL_STATUS))[Topic.MODEL_STATUS]
        last = msgspec.json.decode(statuses[-1].value, type=ModelStatus)
    [series] = last.series
    for name in ("accuracy", "precision", "recall", "f1_score", "log_loss", "brier", "calibration_error"):
        assert series.metrics[name].low <= series.metrics[name].value <= series.metrics[name].high, name  # type: ignore[operator]
    assert {"latency_p50_ms", "latency_p95_ms", "error_rate", "confidence", "labelled_share"} <= set(series.metrics)
    assert {"accuracy", "brier"} <= set(series.arrived)
    assert series.estimated["accuracy"].n > 0
    assert series.baseline_source == "learned"
    assert series.health is not None
    assert series.health.level != "insufficient_data"
    assert sum(map(sum, series.confusion)) == series.window.n
    [opened] = [alert for alert in series.open_alerts if alert.alertname == "AccuracyDegraded"]
    assert (opened.stage, opened.acknowledged) == ("firing", True)
    assert opened.silenced_until is not None
