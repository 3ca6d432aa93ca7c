"""The way of one alert to a receiver, against a real HTTP server; and what the forwarder remembers of severities."""

from __future__ import annotations

import base64
import datetime as dt
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from adaptive_stream.client.delivery import (
    FIRST_S,
    LAST_S,
    RETRY_AFTER_S,
    Delivery,
    Fate,
    Parcel,
    Redirected,
    Verdict,
    alertmanager_body,
    asked_s,
    judge,
    webhook_body,
)
from adaptive_stream.client.endpoint import Endpoint, Shape
from adaptive_stream.client.forwarder import Announced, _key
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Alert, AlertStatus
from adaptive_stream.contracts.topics import Topic
from tests.unit.client.receiver import Answer, Receiver
from tests.unit.runtime.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_MS = 1_700_000_000_000
PARCEL = Parcel(body=b'{"a":1}', key="e-1", about={"alert_id": "a-1"})


def alert(
    alert_id: str = "a-1",
    *,
    status: AlertStatus = AlertStatus.FIRING,
    severity: str = "medium",
    starts_at: str = "2013-06-01T00:00:00Z",
    ends_at: str | None = None,
) -> Alert:
    return Alert(
        alert_id=alert_id,
        status=status,
        labels={"alertname": "AccuracyDegraded", "severity": severity, "model_id": "m0"},
        annotations={"summary": "accuracy fell", "recommended-action": "trigger_retraining"},
        value=0.71,
        threshold=0.8,
        evidence={"n": 500, "low": 0.69, "why": "late", "by": {"a": [1]}},
        starts_at=starts_at,
        ends_at=ends_at,
    )


class Pauses:
    """Time that is advanced, never slept. After the last of its turns it asks to stop."""

    def __init__(self, turns: int = 1_000) -> None:
        self.waits: list[float] = []
        self._turns = turns

    async def __call__(self, wait_s: float) -> bool:
        self.waits.append(wait_s)
        return len(self.waits) < self._turns


async def deliver(
    receiver: Receiver, pauses: Pauses, *headers: str, url: str = "", timeout_s: float = 60.0, chance: float = 0.5
) -> Fate:
    endpoint = Endpoint.parse(url or receiver.url, headers)
    made = Delivery(endpoint, timeout_s=timeout_s, pause=pauses, chance=lambda: chance, clock=lambda: NOW_MS / 1000)
    async with made as delivery:
        return await delivery.deliver(PARCEL)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


# -- attempts ----------------------------------------------------------------------------------------------------


async def test_what_is_taken_is_sent_once_with_its_headers() -> None:
    pauses = Pauses()
    with Receiver([Answer(202)]).listening() as receiver:
        assert await deliver(receiver, pauses, "X-Team: a b") is Fate.DELIVERED
    (request,) = receiver.requests
    assert (request.path, request.body, pauses.waits) == ("/hook", PARCEL.body, [])
    assert request.headers["idempotency-key"] == "e-1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-team"] == "a b"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 425, 429, 401, 403, 404, 405, 407, 410, 302, 304])
async def test_what_may_pass_is_tried_again_with_the_same_key(status: int) -> None:
    pauses = Pauses()
    with Receiver([Answer(status), Answer(status)]).listening() as receiver:
        assert await deliver(receiver, pauses) is Fate.DELIVERED
    assert [request.headers["idempotency-key"] for request in receiver.requests] == ["e-1"] * 3
    assert len(pauses.waits) == 2


@pytest.mark.parametrize("status", [400, 402, 409, 413, 415, 422, 451])
async def test_a_refusal_is_final_and_said_with_the_start_of_the_answer(status: int, logged: list[Any]) -> None:
    with Receiver([Answer(status, body=b"bad\x1b[31m label\n" + b"x" * 100_000)]).listening() as receiver:
        assert await deliver(receiver, Pauses()) is Fate.REFUSED
    assert len(receiver.requests) == 1
    (line,) = [line for line in logged if line["event"] == "alert_refused"]
    assert (line["log_level"], line["status"], line["alert_id"]) == ("error", str(status), "a-1")
    assert line["answer"].startswith("bad [31m label x")
    assert len(line["answer"]) == 200


async def test_nobody_listening_is_tried_until_somebody_does() -> None:
    receiver = Receiver([])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    running: list[Any] = []

    class Late(Pauses):
        async def __call__(self, wait_s: float) -> bool:
            if len(self.waits) == 2:
                running.append(receiver.listening(port))
                running[0].__enter__()
            return await super().__call__(wait_s)

    pauses = Late()
    try:
        assert await deliver(receiver, pauses, url=f"http://127.0.0.1:{port}/hook") is Fate.DELIVERED
    finally:
        running[0].__exit__(None, None, None)
    assert (len(pauses.waits), len(receiver.requests)) == (3, 1)


async def test_a_receiver_that_hangs_is_left_after_the_limit_and_tried_again(logged: list[Any]) -> None:
    pauses = Pauses(turns=3)
    with Receiver([Answer(is_held=True)] * 3).listening() as receiver:
        assert await deliver(receiver, pauses, timeout_s=0.05) is Fate.UNDONE
    assert len(pauses.waits) == 3
    assert {line["error"] for line in logged} == {"no answer in time"}


async def test_an_answer_whose_words_are_cut_off_still_counts_by_its_status() -> None:
    pauses = Pauses()
    with Receiver([Answer(200, body=b"o", is_cut=True)]).listening() as receiver:
        assert await deliver(receiver, pauses) is Fate.DELIVERED
    assert pauses.waits == []


async def test_a_stop_during_a_pause_leaves_the_alert_undone() -> None:
    with Receiver([Answer(500)] * 9).listening() as receiver:
        assert await deliver(receiver, Pauses(turns=1)) is Fate.UNDONE
    assert len(receiver.requests) == 1


# -- pauses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chance", "waits"), [(0.0, [1.0] * 9), (1.0, [2.0, 4, 8, 16, 32, 60, 60, 60, 60])])
async def test_pauses_grow_by_doubling_between_their_bounds(chance: float, waits: list[float]) -> None:
    pauses = Pauses()
    with Receiver([Answer(503)] * 9).listening() as receiver:
        await deliver(receiver, pauses, chance=chance)
    assert pauses.waits == waits


def test_no_number_of_attempts_leads_out_of_the_bounds() -> None:
    delivery = Delivery(Endpoint.parse("http://h"), chance=lambda: 1.0)
    assert {delivery._wait_s(attempt, None) for attempt in (6, 2_000, 10**9)} == {LAST_S}


@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        ("7", 7.0),
        ("0", FIRST_S),
        ("86400", RETRY_AFTER_S),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", FIRST_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_S),
        ("soon", 1.5),
        ("-3", 1.5),
        ("", 1.5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_may_say_when_to_come_back_within_bounds(status: int, retry_after: str, wait_s: float) -> None:
    pauses = Pauses()
    with Receiver([Answer(status, {"retry-after": retry_after})]).listening() as receiver:
        assert await deliver(receiver, pauses) is Fate.DELIVERED
    assert pauses.waits == [pytest.approx(wait_s)]


@given(st.text())
def test_no_retry_after_is_a_crash(text: str) -> None:
    asked = asked_s(text, now_s=0.0)
    assert asked is None or isinstance(asked, float)


# -- redirects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 308])
async def test_a_receiver_that_moved_for_good_ends_it_and_is_named_without_its_secrets(status: int) -> None:
    there = "https://ana:hunter2@elsewhere.example/api?token=s3cret"
    with (
        Receiver([Answer(status, {"location": there})]).listening() as receiver,
        pytest.raises(Redirected, match=r"https://elsewhere\.example/api\. Redirects are not followed.*--to") as found,
    ):
        await deliver(receiver, Pauses())
    assert len(receiver.requests) == 1
    assert "hunter2" not in str(found.value)
    assert "s3cret" not in str(found.value)


async def test_a_passing_redirect_is_not_followed_and_says_what_to_do(logged: list[Any]) -> None:
    with Receiver([]).listening() as other:
        with Receiver([Answer(307, {"location": other.url})]).listening() as receiver:
            assert await deliver(receiver, Pauses()) is Fate.DELIVERED
        assert other.requests == []
    assert "give it to --to" in logged[0]["advice"]


@pytest.mark.parametrize("location", ["", "http://[", "ftp://x"])
async def test_a_redirect_to_nonsense_is_told_too(location: str) -> None:
    with Receiver([Answer(301, {"location": location})]).listening() as receiver, pytest.raises(Redirected):
        await deliver(receiver, Pauses())


@given(st.integers(100, 999))
def test_only_2xx_counts_as_taken(status: int) -> None:
    assert (judge(status) is Verdict.TAKEN) == (200 <= status <= 299)


# -- secrets and addresses ---------------------------------------------------------------------------------------


async def test_no_secret_reaches_the_log_though_the_receiver_echoes_it(logged: list[Any]) -> None:
    basic = base64.b64encode(b"ana:hunter2").decode()
    secrets = ["hunter2", basic, "T0K3N-of-header", "xoxb-path-secret", "query-secret"]
    answers = [Answer(500, body=", ".join(secrets).encode()), Answer(400, body=f"no Basic {basic}".encode())]
    with Receiver(answers).listening() as receiver:
        url = f"http://ana:hunter2@127.0.0.1:{receiver.port}/xoxb-path-secret?query-secret"
        await deliver(receiver, Pauses(), "X-Token: T0K3N-of-header", url=url)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = url.replace(str(receiver.port), str(probe.getsockname()[1]))
    assert await deliver(receiver, Pauses(turns=1), url=url) is Fate.UNDONE
    (first, second) = receiver.requests
    assert first.headers["authorization"] == second.headers["authorization"] == f"Basic {basic}"
    assert (first.path, first.headers["x-token"]) == ("/xoxb-path-secret?query-secret", "T0K3N-of-header")
    assert len(logged) == 3
    assert "***" in logged[0]["answer"]
    said = json.dumps(logged) + repr(Endpoint.parse(url, ["X-Token: T0K3N-of-header"]))
    assert [secret for secret in secrets if secret in said] == []


@pytest.mark.parametrize(
    ("url", "headers", "said"),
    [
        ("hooks.example", [], "no URL of http"),
        ("ftp://h/x", [], "no URL of http"),
        ("http://", [], "no URL of http"),
        ("http://[::1", [], "no URL of http"),
        ("http://h:99999999/", [], "no URL of http"),
        ("http://h\nx", [], "no URL of http"),
        ("http://h", ["s3cret"], "'Name: value'"),
        ("http://h", ["s3 cret: x"], "'Name: value'"),
        ("http://h", ["x: s3cret\r\ny: z"], "header x has a value"),
        ("http://h", ["x: s3crét"], "header x has a value"),
        ("http://h", ["Content-Length: 3"], "content-length is set by the forwarder"),
        ("http://ana:s3cret@h", ["Authorization: Bearer s3cret"], "give one of them"),
    ],
)
def test_a_bad_address_or_header_is_refused_without_an_echo(url: str, headers: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        Endpoint.parse(url, headers)
    assert "s3cr" not in str(refused.value)


def test_alertmanagers_path_is_completed_where_none_is_given() -> None:
    for url, wanted in (
        ("http://am:9093", "http://am:9093/api/v2/alerts"),
        ("http://am:9093/", "http://am:9093/api/v2/alerts"),
        ("http://am/am/api/v2/alerts?x=1", "http://am/am/api/v2/alerts?x=1"),
    ):
        assert Endpoint.parse(url, shape=Shape.ALERTMANAGER).url == wanted
    assert Endpoint.parse("http://h:1").url in {"http://h:1", "http://h:1/"}
    assert Endpoint.parse("http://u:p@h:1/secret?x").name == "http://h:1"


# -- formats -----------------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_alert_as_the_contract_has_it() -> None:
    given_alert = alert(status=AlertStatus.RESOLVED, ends_at="2013-06-02T00:00:00Z")
    assert Codec().decode_output(Topic.ALERTS, webhook_body(given_alert)) == given_alert


def when(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def test_alertmanager_gets_labels_figures_as_texts_and_an_end_far_off_while_it_fires() -> None:
    (made,) = json.loads(alertmanager_body(alert(starts_at="2013-06-01t02:00:00+02:00"), now_ms=NOW_MS))
    assert set(made) == {"labels", "annotations", "startsAt", "endsAt"}
    assert made["labels"] == {"alertname": "AccuracyDegraded", "severity": "medium", "model_id": "m0"}
    assert made["annotations"] == {
        "summary": "accuracy fell",
        "recommended_action": "trigger_retraining",
        "alert_id": "a-1",
        "value": "0.71",
        "threshold": "0.8",
        "evidence_n": "500",
        "evidence_low": "0.69",
        "evidence_why": "late",
        "evidence_by": '{"a": [1]}',
    }
    assert made["startsAt"] == "2013-06-01T00:00:00Z"
    assert when(made["endsAt"]) > dt.datetime(2024, 10, 1, tzinfo=dt.UTC)


def test_alertmanager_is_told_when_it_ended() -> None:
    over = alert(status=AlertStatus.RESOLVED, ends_at="2013-06-02T00:00:00Z")
    (made,) = json.loads(alertmanager_body(over, now_ms=NOW_MS))
    assert made["endsAt"] == "2013-06-02T00:00:00Z"


def test_the_former_severity_ends_where_the_next_begins() -> None:
    (high, medium) = json.loads(alertmanager_body(alert(severity="high"), former_severity="medium", now_ms=NOW_MS))
    assert (high["labels"]["severity"], medium["labels"]["severity"]) == ("high", "medium")
    assert {**high["labels"], "severity": "medium"} == medium["labels"]
    assert medium["endsAt"] == "2023-11-14T22:13:20Z"
    assert when(high["endsAt"]) > when(medium["endsAt"])


def test_no_end_is_before_its_beginning_though_the_events_are_ahead_of_the_clock() -> None:
    ahead = alert(severity="high", starts_at="2030-01-01T00:00:00Z")
    for one in json.loads(alertmanager_body(ahead, former_severity="medium", now_ms=NOW_MS)):
        assert when(one["endsAt"]) >= when(one["startsAt"])


# -- what the forwarder remembers --------------------------------------------------------------------------------


def test_a_severity_is_remembered_while_its_alert_is_open() -> None:
    announced = Announced()
    assert announced.former_severity(alert(severity="high")) is None
    announced.note(alert(severity="medium"))
    assert announced.former_severity(alert(severity="medium")) is None
    assert announced.former_severity(alert(severity="high")) == "medium"
    announced.note(alert(severity="high"))
    assert announced.former_severity(alert(severity="high", status=AlertStatus.RESOLVED)) is None
    announced.note(alert(severity="high", status=AlertStatus.RESOLVED))
    assert announced.former_severity(alert(severity="medium")) is None


def test_what_is_remembered_is_bounded_and_the_oldest_goes() -> None:
    announced = Announced(most=3)
    for number in range(10):
        announced.note(alert(f"a-{number}"))
    known = [n for n in range(10) if announced.former_severity(alert(f"a-{n}", severity="high")) == "medium"]
    assert known == [7, 8, 9]


def test_a_repetition_has_the_key_of_the_event_whatever_its_id_is() -> None:
    assert _key(record(7, headers=[("ce_id", b"e-1")], topic="x.alerts")) == "e-1"
    assert _key(record(7, topic="x.alerts", partition=2)) == "x.alerts/2@7"
    assert _key(record(7, headers=[("ce_id", b"\r\nx: \xff")], topic="x.alerts")).isprintable()


def test_the_client_does_not_need_what_the_forwarder_needs() -> None:
    script = "import sys, adaptive_stream.client; sys.exit(', '.join({'httpx', 'structlog'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
