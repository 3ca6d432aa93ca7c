"""What the readers make of records that anybody wrote: none of them hides the others, and none steers a terminal."""

from __future__ import annotations

import asyncio
import errno
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from adaptive_stream.cli import alerts, app, drift, read, status
from adaptive_stream.cli.run import answered, reachable
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.topics import Topic
from tests.unit.cli import story
from tests.unit.cli.test_alerts import alert
from tests.unit.runtime.records import record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord
    from typer.testing import Result

    from adaptive_stream.contracts.events import OutputEvent

MODEL = "late-flights"
HOSTILE = "a\x1b]0;owned\x07\x9b31m\u202eb"
DEEP = b"[" * 60_000
STRANGE = [None, b"", b"{}", b"5", b"null", DEEP, b"\xff\xfe", b'"\\ud800"', b'{"labels": 5}', b"9" * 5_000]


class Shelf:
    """A subscriber of records that are there already."""

    def __init__(self, records: list[ConsumerRecord]) -> None:
        self._records = records

    async def poll(self, *, timeout_ms: int) -> list[tuple[Topic, ConsumerRecord]]:
        await asyncio.sleep(0)
        assert timeout_ms
        polled, self._records = self._records, []
        return [(Topic.ALERTS, found) for found in polled]

    async def is_at_end(self) -> bool:
        await asyncio.sleep(0)
        return not self._records

    def decode(self, topic: Topic, found: ConsumerRecord) -> OutputEvent:
        return Codec().decode_output(topic, found.value, found.headers)


def run(monkeypatch: pytest.MonkeyPatch, records: list[ConsumerRecord], *arguments: str) -> Result:
    @asynccontextmanager
    async def reaching(_tree: object, topic: Topic) -> AsyncIterator[Shelf]:
        await asyncio.sleep(0)
        yield Shelf(list(records) if topic is not Topic.ADAPTATIONS else [])

    for module in (alerts, drift, read, status):
        monkeypatch.setattr(module, "reaching", reaching)
    return CliRunner().invoke(app, arguments)


def held(*values: bytes | None, key: bytes = MODEL.encode(), **more: Any) -> list[ConsumerRecord]:  # noqa: ANN401
    return [record(place, value=value, key=key, **more) for place, value in enumerate(values)]


def encoded(model: str = MODEL) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(story.status(story.series()), model_id=model))


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", MODEL], ["status", "--json"], ["drift", MODEL]], ids=" ".join
)
def test_strange_records_are_counted_and_the_others_shown(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    done = run(monkeypatch, held(encoded(), *STRANGE[1:]), *arguments)
    assert done.exit_code == 0, done.exception
    assert MODEL in done.stdout
    assert done.stderr == f"{len(STRANGE) - 1} records on the topic are no statuses; somebody else wrote them\n"


def test_what_a_tombstone_takes_away_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [*held(encoded("gone"), None, key=b"gone"), *held(encoded())]
    done = run(monkeypatch, records, "status", "--json")
    assert [found["model_id"] for found in json.loads(done.stdout)] == [MODEL]
    for verb in ("status", "drift"):
        done = run(monkeypatch, records, verb, "gone")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "no status of 'gone' yet" in done.stderr
    done = run(monkeypatch, held(None, encoded()), "drift", MODEL)
    assert done.exit_code == 0


def test_strange_records_are_no_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(monkeypatch, held(*STRANGE), "alerts")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith(f"{len(STRANGE) - 1} records on the topic are no alerts")


@pytest.mark.parametrize("topic", ["alerts", "dead-letters", "model-status", "predictions"])
@pytest.mark.parametrize("options", [[], ["--json"], ["-n", "0"]], ids=str)
def test_tail_shows_every_record(monkeypatch: pytest.MonkeyPatch, topic: str, options: list[str]) -> None:
    nested = b"[" * 900 + b"]" * 900
    done = run(monkeypatch, held(*STRANGE[-9:], nested), "tail", topic, *options)
    assert done.exit_code == 0, done.exception
    assert len(done.stdout.splitlines()) == 10
    if options == ["--json"]:
        assert [json.loads(line)["offset"] for line in done.stdout.splitlines()] == list(range(10))


@pytest.mark.parametrize(
    "body", [{}, {"labels": 5}, {"labels": {}, "starts_at": "x", "status": [], "annotations": {}}, {"labels": {}}, []]
)
def test_what_is_no_alert_is_shown_like_any_record(body: object) -> None:
    (found,) = held(json.dumps(body).encode())
    assert read._line(Topic.ALERTS, found, as_json=False).endswith(f"  {MODEL}  {json.dumps(body)}")


@pytest.mark.parametrize("topic", [Topic.ALERTS, Topic.DEAD_LETTERS, Topic.PREDICTIONS])
def test_nothing_that_is_printed_steers_a_terminal(topic: Topic) -> None:
    labels = {"severity": HOSTILE, "alertname": HOSTILE}
    body = {"labels": labels, "status": HOSTILE, "starts_at": HOSTILE, "annotations": {"summary": HOSTILE}}
    names = ("as_error_code", "as_error_message", "as_error_path", "as_source_topic")
    headers = [(name, HOSTILE.encode()) for name in names]
    bodies = [json.dumps(body, ensure_ascii=False).encode(), HOSTILE.encode(), None, b'"\\u009b\\ud800"']
    for found in (
        *held(*bodies, key=HOSTILE.encode(), headers=headers),
        *held(b"", headers=[("as_replayed", b"\x1b")]),
    ):
        assert read._line(topic, found, as_json=False).isprintable()
        as_json = read._line(topic, found, as_json=True)
        assert as_json.isprintable()
        assert as_json.isascii()
        assert json.loads(as_json)["headers"] == {name: raw.decode() for name, raw in found.headers}


@pytest.mark.parametrize("arguments", [["status", "--json"], ["status", MODEL, "--json"], ["drift", MODEL, "--json"]])
def test_the_json_of_an_event_is_ascii(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    variant = "é\x9b31m\x7f\u202e😀"
    model = story.status(msgspec.structs.replace(story.series(), variant_id=variant))
    done = run(monkeypatch, held(msgspec.json.encode(model)), *arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout.isascii()
    assert done.stdout.removesuffix("\n").isprintable()
    assert variant in json.dumps(json.loads(done.stdout), ensure_ascii=False)


def test_the_json_of_an_alert_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    found = msgspec.structs.replace(alert("a-1"), annotations={"summary": "é\x9b31m"})
    alerts._show([found], as_json=True)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed)["annotations"] == found.annotations


def test_a_time_outside_the_calendar_is_told_as_it_is() -> None:
    (found,) = held(b"{}", time_ms=2**62)
    assert read._line(Topic.PREDICTIONS, found, as_json=False).startswith(f"{2**62} ms  ")


def test_a_reader_that_has_seen_enough_is_no_failure_of_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> str:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")  # as typer.echo in `tail | head -1`

    monkeypatch.setattr(read, "_line", cut)
    done = run(monkeypatch, held(b"{}"), "tail", "alerts")
    assert (done.exit_code, done.output) == (1, "")


def test_what_was_done_is_told_though_nobody_reads_on() -> None:
    async def cut() -> None:
        await asyncio.sleep(0)
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    verb = typer.Typer()
    verb.command()(lambda: answered(reachable(None, None), cut(), more=lambda: "; 3 were sent for certain"))
    done = CliRunner().invoke(verb)
    assert (done.exit_code, done.stderr) == (1, "standard output is closed; 3 were sent for certain\n")
