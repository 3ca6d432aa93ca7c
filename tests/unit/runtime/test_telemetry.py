from __future__ import annotations

import asyncio
import logging

import pytest
from prometheus_client import generate_latest

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Adaptation, AdaptationKind, Correction, Prediction, Trigger
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.runtime import telemetry as module
from adaptive_stream.runtime.intake import Refused
from adaptive_stream.runtime.stepping import Advanced
from adaptive_stream.runtime.task import Stage
from adaptive_stream.runtime.telemetry import RateLimit, Telemetry
from adaptive_stream.testing import Driver
from tests.unit.runtime.records import START_MS, config, record

BOUNDED = {  # each label with the closed set that its values come from; None: the names in the core's own code
    "topic": {topic.value for topic in Topic},
    "code": {code.value for code in ErrorCode},
    "stage": {stage.value for stage in Stage},
    "disposition": {"restore", "rejoin", "exit"},
    "outcome": {"joined", "inline", "early", "late", "orphan", "duplicate", "capped"},
    "what": None,
    "le": None,
}


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value("adaptive_stream_" + name, labels)


def busy() -> Telemetry:
    """Telemetry that has seen everything once, from models with telling names."""
    telemetry = Telemetry()
    adaptation = Adaptation(
        adaptation_id="a",
        kind=AdaptationKind.FROZEN,
        model_id="m-secret",
        trigger=Trigger.CONTROL,
        evidence={},
        at=format_time(START_MS),
    )
    refused = [Refused(Topic.FEEDBACK, record(1), Reject(code, "m-secret")) for code in ErrorCode]
    advanced = Advanced([adaptation], refused, [(Topic.FEEDBACK, 1, record(2))])
    telemetry.count_batch([*INPUTS, Topic.PREDICTIONS], advanced)
    driver = Driver(config())
    driver.send(Prediction(prediction_id="p", model_id="m-secret", output=0.5), at_ms=START_MS)
    driver.send(Correction(feedback_id="f", prediction_id="p", model_id="m-secret", label=1.0), at_ms=START_MS + 1)
    driver.run()
    telemetry.take_levels(0, driver.fleets)
    telemetry.take_levels(1, driver.fleets)
    telemetry.set_stages(dict.fromkeys((stage.value for stage in Stage), 0))
    return telemetry


def test_a_committed_batch_is_counted() -> None:
    telemetry = busy()
    assert value(telemetry, "records_consumed_total", topic="predictions") == 2
    assert value(telemetry, "records_consumed_total", topic="feedback") == 1
    assert value(telemetry, "records_produced_total", topic="adaptations") == 1
    assert value(telemetry, "records_rejected_total", code="poison") == 1
    assert value(telemetry, "dead_letters_total", code="poison") == 1
    assert value(telemetry, "records_repartitioned_total") == 1


def test_levels_are_summed_over_the_tasks_and_leave_with_them() -> None:
    telemetry = busy()
    assert value(telemetry, "feedback_joined_total", outcome="joined") == 2
    assert value(telemetry, "models") == 2
    telemetry.drop_levels(1)
    assert value(telemetry, "feedback_joined_total", outcome="joined") == 1
    telemetry.drop_levels(1)
    assert value(telemetry, "models") == 1


def test_labels_come_from_closed_sets_and_never_from_records() -> None:
    for family in busy().registry.collect():
        assert family.name.startswith("adaptive_stream_")
        for sample in family.samples:
            for label, given in sample.labels.items():
                allowed = BOUNDED[label]
                assert allowed is None or given in allowed
    assert b"secret" not in generate_latest(busy().registry)


def test_two_workers_in_a_process_do_not_share_their_metrics() -> None:
    busy()
    assert value(Telemetry(), "records_consumed_total", topic="predictions") is None


def test_a_loop_that_never_beat_is_not_called_silent() -> None:
    telemetry = Telemetry()
    assert telemetry.silence_s("poll") < 1
    telemetry._beats["poll"] = 0.0
    assert telemetry.silence_s("poll") > 0
    telemetry.beat("poll")
    assert telemetry.silence_s("poll") < 30


async def test_waiting_ends_with_news_or_with_time_and_news_count_once() -> None:
    telemetry = Telemetry()
    telemetry.wake()
    async with asyncio.timeout(30):
        await telemetry.wait(3600)
        await telemetry.wait(0.001)


def line(at: float) -> logging.LogRecord:
    made = logging.LogRecord("aiokafka", logging.WARNING, "", 0, "gone %s", ("away",), None)
    made.created = at
    return made


def test_a_flood_of_the_clients_lines_is_bounded_and_what_was_held_back_is_told() -> None:
    limit = RateLimit()
    passed = [limit.filter(line(1000.0)) for _ in range(10_000)]
    assert sum(passed) == module.MAX_CLIENT_LINES
    later = line(1000.0 + module.CLIENT_WINDOW_S + 1)
    assert limit.filter(later)
    assert later.getMessage() == f"gone away ({10_000 - module.MAX_CLIENT_LINES} lines held back)"


def test_a_few_lines_pass_unchanged() -> None:
    limit = RateLimit()
    few = [line(1000.0 + n) for n in range(module.MAX_CLIENT_LINES)]
    assert all(limit.filter(one) for one in few)
    assert {one.getMessage() for one in few} == {"gone away"}


@pytest.mark.parametrize("name", ["lag_records", "buffer_bytes", "batch_seconds_count", "commit_seconds_count"])
def test_the_metrics_of_the_style_guide_exist(name: str) -> None:
    names = {sample.name for family in busy().registry.collect() for sample in family.samples}
    described = {family.name for family in busy().registry.collect()}
    assert "adaptive_stream_" + name in names | described
