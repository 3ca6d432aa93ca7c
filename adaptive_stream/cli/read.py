"""``tail``: what is on the topics; and how a topic is read to its end, for every verb that shows some of it.

Owns the words in which records are shown. Reads committed records only, as every consumer should, and never commits an
offset.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptive_stream.cli.run import AsJson, Files, Settings, answered, reachable, reaching
from adaptive_stream.contracts.topics import INPUTS, OUTPUTS, Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord

    from adaptive_stream.client import Subscriber

READABLE = (*INPUTS, *OUTPUTS, Topic.DEAD_LETTERS)
SILENCE_S = 30.0  # a read that must end and gets nothing for so long has lost its broker


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tail")(tail)


def tail(
    topic: Annotated[str, typer.Argument(help=f"One of {', '.join(READABLE)}.", metavar="TOPIC")],
    model: Annotated[str | None, typer.Option(help="Only records of this model.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="The last so many; 0: all.", min=0)] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Print the last records of a topic, and with -f those that come."""
    role = _role(topic)
    tree = reachable(config, settings)

    async def read() -> None:
        async with reaching(tree, role) as subscriber:
            last: deque[ConsumerRecord] = deque(maxlen=lines or None)
            async for record in until_end(subscriber):
                if is_about(record, model):
                    if lines:
                        last.append(record)
                    else:
                        typer.echo(_line(role, record, as_json=as_json))
            for record in sorted(last, key=lambda record: (record.timestamp, record.partition, record.offset)):
                typer.echo(_line(role, record, as_json=as_json))
            while follow:
                for _, record in await subscriber.poll(timeout_ms=1000):
                    if is_about(record, model):
                        typer.echo(_line(role, record, as_json=as_json))

    answered(tree, read())


# -- reading -----------------------------------------------------------------------------------------------------------


def _role(topic: str) -> Topic:
    if topic not in READABLE:
        from difflib import get_close_matches

        meant = get_close_matches(topic, [str(role) for role in READABLE], n=1)
        advice = f"did you mean {meant[0]!r}?" if meant else f"it is one of {', '.join(READABLE)}"
        typer.echo(f"there is no readable topic {topic!r}; {advice}", err=True)
        raise typer.Exit(2)
    return Topic(topic)


async def until_end(subscriber: Subscriber) -> AsyncIterator[ConsumerRecord]:
    """Yield what is there; a record that comes meanwhile may or may not be among it."""
    while True:
        async with asyncio.timeout(SILENCE_S):
            polled = await subscriber.poll(timeout_ms=200)
            is_end = not polled and await subscriber.is_at_end()
        for _, record in polled:
            yield record
        if is_end:
            return


async def events(
    subscriber: Subscriber, topic: Topic, model: str | None, strange: Strange
) -> AsyncIterator[tuple[str, Any]]:
    """Yield what is there of a model, or of any: each record's key and event, None where it takes the key away."""
    from adaptive_stream.contracts.errors import Reject

    async for record in until_end(subscriber):
        if not is_about(record, model):
            continue
        if record.value is None:
            yield _text(record.key), None
            continue
        try:
            event = subscriber.decode(topic, record)
        except Reject:
            strange.count += 1
            continue
        yield _text(record.key), event


class Strange:
    """How many records somebody else wrote on a topic: one of them must not hide the others."""

    def __init__(self, wanted: str) -> None:
        self.count = 0
        self._wanted = wanted

    def tell(self) -> None:
        """Say it on standard error, if there are any."""
        if self.count:
            typer.echo(f"{self.count} records on the topic are no {self._wanted}; somebody else wrote them", err=True)


def is_about(record: ConsumerRecord, model: str | None) -> bool:
    """Say whether a record is a model's, by its key; None: any model's."""
    return model is None or record.key == model.encode()


def no_status(model: str | None) -> None:
    """Say on standard error that nothing is known, and what makes it known."""
    what = "of any model" if model is None else f"of {model!r}"
    typer.echo(
        f"no status {what} yet: one is published each monitor.status_interval_s of the events' own time;"
        " a worker's /status/MODEL shows it at once",
        err=True,
    )


# -- showing -----------------------------------------------------------------------------------------------------------


def _line(topic: Topic, record: ConsumerRecord, *, as_json: bool) -> str:
    """Return a record in one line of which every character prints: anybody may have written it."""
    try:
        return _told(topic, record, _body(record.value), as_json=as_json)
    except RecursionError:  # nested deeper than can be read, or than can be written
        return _told(topic, record, _text(record.value), as_json=as_json)


def _told(topic: Topic, record: ConsumerRecord, body: Any, *, as_json: bool) -> str:  # noqa: ANN401 - any JSON
    from adaptive_stream.cli.page.markup import printable

    key = _text(record.key)
    time = _time(record.timestamp)
    headers = {name: _text(raw) for name, raw in record.headers}
    if as_json:
        place = {"topic": topic.value, "partition": record.partition, "offset": record.offset, "time": time}
        return json.dumps({**place, "key": key, "headers": headers, "value": body})  # in ASCII: what is not is escaped
    line = f"{key or '-'}  {body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)}"
    if topic is Topic.DEAD_LETTERS:
        line = _letter_line(headers)
    elif topic is Topic.ALERTS:
        with suppress(KeyError, TypeError, AttributeError, ValueError):  # it is no alert, and shown like any record
            return printable(_alert_line(body))
    return printable(f"{time}  {line}")


def _letter_line(headers: dict[str, str]) -> str:
    if "as_error_code" not in headers and "as_replayed" in headers:
        return f"{headers['as_replayed']}  was sent again by `dlq replay`"
    where = "{as_source_topic}/{as_source_partition}@{as_source_offset}".format_map(_Known(headers))
    why = "{as_error_code}: {as_error_message} (at {as_error_path})".format_map(_Known(headers))
    return f"{where}  {why}"


def _alert_line(body: Any) -> str:  # noqa: ANN401 - any JSON
    labels = _Known(body["labels"])
    at = body.get("ends_at") or body["starts_at"]
    life = f"{body['status']:8}  {labels['severity']:6}  {labels['alertname']}"
    return f"{at}  {life}  {body['annotations'].get('summary', '')}"


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def _body(value: bytes | None) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(value or b"null")
    except ValueError:
        return _text(value)


def _time(time_ms: int) -> str:
    from adaptive_stream.contracts.clock import format_time

    try:
        return format_time(time_ms)
    except OverflowError:  # whoever writes a record sets its time
        return f"{time_ms} ms"


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode(errors="backslashreplace")
