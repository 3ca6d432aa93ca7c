"""``report MODEL -o report.html``: one page about a model, for somebody who has no terminal.

Owns the reading of a model's history from the topics, and the file. Never asks a worker, and never commits an offset.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptive_stream.cli.dlq import instant
from adaptive_stream.cli.read import is_about, no_status, until_end
from adaptive_stream.cli.run import Files, Settings, answered, patiently, reachable, reaching
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adaptive_stream.cli.page import History
    from adaptive_stream.config import Config

STANDARD_OUTPUT = "-"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(report)


def report(
    model: Annotated[str, typer.Argument(help="A model's id.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The file; -: standard output.")] = "report.html",
    since: Annotated[
        str | None, typer.Option(help="Nothing older than 30d before its newest status, or than 2013-06-01T00:00:00Z.")
    ] = None,
    config: Files = None,
    settings: Settings = None,
) -> None:
    """Write one self-contained page about a model, from the topics alone: no worker needs to run.

    It holds what the topics hold: panes of every status that is not compacted yet, alerts, adaptations, dead letters.
    """
    from adaptive_stream.cli.page import History, write_page
    from adaptive_stream.contracts.clock import parse_time

    _instant(since, now_ms=0)
    check_target(output)
    tree = reachable(config, settings)
    history = History(model)
    answered(tree, _read(tree, history))
    if history.status is None:
        no_status(model)
        raise typer.Exit(1)
    page = write_page(history, since_ms=_instant(since, now_ms=parse_time(history.status.at)))
    if output == STANDARD_OUTPUT:
        sys.stdout.buffer.write(page.encode())
        sys.stdout.buffer.flush()
        return
    try:
        replace(Path(output), page.encode())
    except OSError as error:
        typer.echo(f"{output} cannot be written: {error.strerror or error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"{output}: {len(page.encode()):,} bytes, as of {history.status.at}", err=True)


def replace(path: Path, content: bytes) -> None:
    """Put a file in its place at once: whoever reads it sees the old one or the new one, whole.

    Raises:
        OSError: it cannot be; the old file is there as it was.
    """
    path = path.resolve()  # a link stays a link
    if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced, but written
        path.write_bytes(content)
        return
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _instant(since: str | None, *, now_ms: int) -> int | None:
    """Return the first instant to show; the events' own time, so that a stream of another year is reported alike."""
    try:
        return None if since is None else instant(since, now_ms=now_ms)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def check_target(output: str) -> None:
    """Leave before the work when its result could not be put there."""
    path = Path(output)
    if output == STANDARD_OUTPUT:
        return
    if path.is_dir():
        typer.echo(f"{output} is a folder; name a file in it", err=True)
        raise typer.Exit(2)
    parent = path.resolve().parent
    if not parent.is_dir():
        typer.echo(f"there is no folder {parent}; make it first", err=True)
        raise typer.Exit(2)
    if not os.access(path if path.exists() and not path.is_file() else parent, os.W_OK):  # a file is replaced whole
        typer.echo(f"{output} cannot be written: you may not write there", err=True)
        raise typer.Exit(2)


# -- reading -----------------------------------------------------------------------------------------------------------


async def _read(tree: Config, history: History) -> None:
    """Read what the topics hold of a model; the others' records are passed by their keys."""
    async for status in _events(tree, Topic.MODEL_STATUS, history):
        history.take_status(status)
    if history.status is None:
        return
    async for alert in _events(tree, Topic.ALERTS, history):
        history.take_alert(alert)
    async for adaptation in _events(tree, Topic.ADAPTATIONS, history):
        history.take_adaptation(adaptation)
    await _read_letters(tree, history)


async def _events(tree: Config, topic: Topic, history: History) -> AsyncIterator[Any]:
    """Yield a model's events of a topic; what somebody else wrote there is counted."""
    from adaptive_stream.contracts.errors import Reject

    async with reaching(tree, topic) as subscriber:
        async for record in until_end(subscriber):
            if not is_about(record, history.model_id) or record.value is None:
                continue
            try:
                event: Any = subscriber.decode(topic, record)
            except Reject:
                history.unreadable += 1
                continue
            if event.model_id == history.model_id:
                yield event


async def _read_letters(tree: Config, history: History) -> None:
    from adaptive_stream.client.letters import Letter, LetterBox, read_record
    from adaptive_stream.runtime.connection import connection

    key = history.model_id.encode()
    name = tree.topics.name(Topic.DEAD_LETTERS)
    async with patiently(LetterBox(name, **connection(tree))) as box:
        async for record in box.read(await box.stable_ends()):
            if record.key == key and isinstance(letter := read_record(record), Letter):
                history.take_refusal(letter.code)
