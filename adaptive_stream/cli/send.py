"""``send``: events from a file or from standard input onto a topic.

Owns the check of each line before it is sent. Never changes an event.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_stream.cli.run import AsJson, Files, Settings, reachable, unanswered
from adaptive_stream.contracts.topics import INPUTS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import InputEvent

CHUNK_LINES = 1_000  # what is held in memory
PATIENCE_S = 60.0  # how long a request waits for the broker


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("send")(send)


def send(
    topic: Annotated[str, typer.Argument(help=f"One of {', '.join(INPUTS)}.", metavar="TOPIC")],
    file: Annotated[Path, typer.Argument(help="JSON lines, one event each; - is standard input.", allow_dash=True)],
    check: Annotated[bool, typer.Option("--check", help="Only check; send nothing.")] = False,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Send events. A bad line is named with its number and not sent, the others are; exit 1 if there was one.

    An event's `occurred_at` becomes the record's time, so that yesterday's events can be sent today.
    """
    if topic not in INPUTS:
        typer.echo(f"events are sent to one of {', '.join(INPUTS)}, not to {topic!r}", err=True)
        raise typer.Exit(2)
    if str(file) != "-" and not file.is_file():
        typer.echo(f"the file {file} does not exist", err=True)
        raise typer.Exit(2)
    tree = reachable(config, settings)
    from aiokafka.errors import KafkaError

    from adaptive_stream.runtime.failure import Fatal

    tally = _Tally()
    try:
        asyncio.run(_send(tree, Topic(topic), file, tally, is_check=check))
    except _Unreadable as unreadable:
        typer.echo(f"{unreadable}; {tally.sent} events were sent", err=True)
        raise typer.Exit(2) from unreadable
    except BrokenPipeError:  # standard error's; click ends quietly
        raise
    except (Fatal, KafkaError, OSError, TimeoutError, LookupError) as error:
        raise unanswered(tree, error, f"; {tally.sent} events were sent") from error
    import json

    counts = {"sent": tally.sent, "bad": tally.bad}
    typer.echo(json.dumps(counts) if as_json else f"{tally.sent} sent, {tally.bad} bad", err=not as_json)
    if tally.bad:
        raise typer.Exit(1)


class _Unreadable(Exception):  # noqa: N818 - it says what the file is
    """The file cannot be read: no fault of Kafka."""


class _Tally:
    def __init__(self) -> None:
        self.sent = 0
        self.bad = 0


async def _send(tree: Config, topic: Topic, file: Path, tally: _Tally, *, is_check: bool) -> None:
    from adaptive_stream.cli.run import patiently
    from adaptive_stream.client import Publisher
    from adaptive_stream.client.partitions import partition_counts
    from adaptive_stream.runtime.connection import connection

    options = connection(tree)
    bootstrap = options.pop("bootstrap_servers")
    prefix = tree.topics.prefix
    opening = Publisher(bootstrap, prefix=prefix, timeout_s=PATIENCE_S, **options) if not is_check else nullcontext()
    async with patiently(opening) as publisher:
        if publisher is not None:
            await partition_counts(connection(tree), [tree.topics.name(topic)])
        for chunk in _chunks(tree, topic, file, tally):
            if publisher is not None:
                tally.sent += await publisher.send_many(topic, chunk, is_checked=True)


def _chunks(tree: Config, topic: Topic, file: Path, tally: _Tally) -> Iterator[list[tuple[InputEvent, int]]]:
    """Yield the good events with their times; name the bad ones on standard error."""
    from adaptive_stream.contracts.clock import parse_time
    from adaptive_stream.contracts.codec import Codec
    from adaptive_stream.contracts.errors import Reject

    codec = Codec(max_record_bytes=tree.batch.max_record_bytes, max_depth=tree.batch.max_depth)
    chunk: list[tuple[InputEvent, int]] = []
    for number, line in enumerate(_lines(file), start=1):
        body = line.strip()
        if not body:
            continue
        try:
            event = codec.decode(topic, body)
        except Reject as reject:
            tally.bad += 1
            typer.echo(f"{file}:{number}: {reject.code} at {reject.path}: {reject.message}", err=True)
            continue
        time_ms = parse_time(event.occurred_at) if event.occurred_at else time.time_ns() // 1_000_000
        chunk.append((event, time_ms))
        if len(chunk) == CHUNK_LINES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _lines(file: Path) -> Iterator[bytes]:
    is_stdin = str(file) == "-"
    try:
        with nullcontext(sys.stdin.buffer) if is_stdin else file.open("rb") as lines:
            yield from lines
    except OSError as error:
        name = "standard input" if is_stdin else str(file)
        raise _Unreadable(f"{name} cannot be read: {error.strerror or error}") from error
