"""``tail`` and ``status``: what is on the topics.

Owns the words in which records are shown. Reads committed records only, as every consumer should, and never commits an
offset.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptive_stream.cli.run import AsJson, Files, Settings, answered, reachable, reaching
from adaptive_stream.contracts.topics import INPUTS, OUTPUTS, Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord

    from adaptive_stream.client import Subscriber
    from adaptive_stream.contracts.events import Estimate, ModelStatus, SeriesStatus

READABLE = (*INPUTS, *OUTPUTS, Topic.DEAD_LETTERS)
SILENCE_S = 30.0  # a read that must end and gets nothing for so long has lost its broker
PIPE_COLUMNS = 250  # a pipe has no width; nothing is cut off
BARS = "▁▂▃▄▅▆▇█"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("tail")(tail)
    app.command("status")(status)


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
            async for record in _until_end(subscriber):
                if _is_about(record, model):
                    if lines:
                        last.append(record)
                    else:
                        typer.echo(_line(role, record, as_json=as_json))
            for record in sorted(last, key=lambda record: (record.timestamp, record.partition, record.offset)):
                typer.echo(_line(role, record, as_json=as_json))
            while follow:
                for _, record in await subscriber.poll(timeout_ms=1000):
                    if _is_about(record, model):
                        typer.echo(_line(role, record, as_json=as_json))

    answered(tree, read())


def status(
    model: Annotated[str | None, typer.Argument(help="A model's id; none: a line for each.")] = None,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say how the models do, from the compacted topic: no worker needs to run."""
    tree = reachable(config, settings)
    found: dict[str, ModelStatus] = {}

    async def read() -> None:
        async with reaching(tree, Topic.MODEL_STATUS) as subscriber:
            async for record in _until_end(subscriber):
                if _is_about(record, model):
                    latest: Any = subscriber.decode(Topic.MODEL_STATUS, record)
                    found[latest.model_id] = latest

    answered(tree, read())
    if not found:
        what = "of any model" if model is None else f"of {model!r}"
        typer.echo(
            f"no status {what} yet: one is published each monitor.status_interval_s of the events' own time;"
            " a worker's /status/MODEL shows it at once",
            err=True,
        )
    if model is not None and not found:
        raise typer.Exit(1)
    _show([found[name] for name in sorted(found)], is_one=model is not None, as_json=as_json)


# -- reading -----------------------------------------------------------------------------------------------------------


def _role(topic: str) -> Topic:
    if topic not in READABLE:
        from difflib import get_close_matches

        meant = get_close_matches(topic, [str(role) for role in READABLE], n=1)
        advice = f"did you mean {meant[0]!r}?" if meant else f"it is one of {', '.join(READABLE)}"
        typer.echo(f"there is no readable topic {topic!r}; {advice}", err=True)
        raise typer.Exit(2)
    return Topic(topic)


async def _until_end(subscriber: Subscriber) -> AsyncIterator[ConsumerRecord]:
    """Yield what is there; a record that comes meanwhile may or may not be among it."""
    while True:
        async with asyncio.timeout(SILENCE_S):
            polled = await subscriber.poll(timeout_ms=200)
            is_end = not polled and await subscriber.is_at_end()
        for _, record in polled:
            yield record
        if is_end:
            return


def _is_about(record: ConsumerRecord, model: str | None) -> bool:
    return model is None or record.key == model.encode()


# -- showing -----------------------------------------------------------------------------------------------------------


def _line(topic: Topic, record: ConsumerRecord, *, as_json: bool) -> str:
    from adaptive_stream.contracts.clock import format_time

    body = _body(record.value)
    key = _text(record.key)
    time = format_time(record.timestamp)
    headers = {name: _text(raw) for name, raw in record.headers}
    if as_json:
        place = {"topic": topic.value, "partition": record.partition, "offset": record.offset, "time": time}
        return json.dumps({**place, "key": key, "headers": headers, "value": body}, ensure_ascii=False)
    if topic is Topic.DEAD_LETTERS:
        if "as_error_code" not in headers and "as_replayed" in headers:
            return f"{time}  {headers['as_replayed']}  was sent again by `dlq replay`"
        where = "{as_source_topic}/{as_source_partition}@{as_source_offset}".format_map(_Known(headers))
        why = "{as_error_code}: {as_error_message} (at {as_error_path})".format_map(_Known(headers))
        return f"{time}  {where}  {why}"
    if topic is Topic.ALERTS and isinstance(body, dict):
        labels = _Known(body["labels"])
        at = body.get("ends_at") or body["starts_at"]
        life = f"{body['status']:8}  {labels['severity']:6}  {labels['alertname']}"
        return f"{at}  {life}  {body['annotations'].get('summary', '')}"
    return f"{time}  {key or '-'}  {body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)}"


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def _body(value: bytes | None) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(value or b"null")
    except ValueError:
        return _text(value)


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode(errors="backslashreplace")


def _show(statuses: list[ModelStatus], *, is_one: bool, as_json: bool) -> None:
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(statuses[0] if is_one else statuses).decode())
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    table = Table(box=None, pad_edge=False)
    for name in ("model", "variant", "channel", "metric", "window (95 %)", "labelled", "baseline", "panes", "alerts"):
        table.add_column(name, no_wrap=True)
    for model in statuses:
        for series in model.series:
            table.add_row(
                model.model_id,
                series.variant_id,
                series.channel_id,
                series.metric,
                _estimate(series.window),
                f"{series.window.n} of {series.labelled}",
                "-" if series.baseline is None else f"{series.baseline.value:.4f}",
                sparkline([pane.value for pane in series.panes]),
                _alerts(series),
            )
    if statuses:
        console.print(table)
    if is_one:
        model = statuses[0]
        counts = ", ".join(f"{name} {count}" for name, count in model.feedback.items())
        typer.echo(f"feedback: {counts}; predictions waiting: {model.waiting}")
        state = "stopped" if model.stopped else "frozen" if model.frozen else "running"
        last = f"; last {model.last_adaptation} at {model.last_adaptation_at}" if model.last_adaptation else ""
        typer.echo(f"family {model.family}, {state}, as of {model.at}; adaptations: {model.adaptations}{last}")


def _alerts(series: SeriesStatus) -> str:
    return ", ".join(f"{name} {stage}" for name, stage in series.alerts.items()) or "-"


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def sparkline(values: list[float | None]) -> str:
    """Return one bar for each value, from the lowest to the highest of them; a blank for none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join(" " if v is None else BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)
