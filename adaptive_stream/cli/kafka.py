"""``kafka up|down|status``: the embedded broker by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from adaptive_stream.cli.run import AsJson

STOP_S = 20.0


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(help="The embedded Kafka by itself.", no_args_is_help=True)
    verbs.command("up")(up)
    verbs.command("down")(down)
    verbs.command("status")(status)
    app.add_typer(verbs, name="kafka")


def up(
    brokers: Annotated[int, typer.Option(help="How many nodes.", min=1, max=5)] = 1,
    port: Annotated[int, typer.Option(help="Of the first node; 0 takes a free one.", min=0, max=65_535)] = 9092,
    as_json: AsJson = False,
) -> None:
    """Start Kafka in the background; `kafka down` stops it and removes its data."""
    from adaptive_stream.embedded import EmbeddedKafka, EmbeddedKafkaError

    if _running():
        typer.echo("an embedded Kafka is up already; `adaptive-stream kafka down` stops it", err=True)
        raise typer.Exit(1)
    folder = _state_file().parent / "data"
    shutil.rmtree(folder, ignore_errors=True)
    kafka = EmbeddedKafka(brokers=brokers, folder=folder, port=port, is_detached=True)
    try:
        kafka.start()
    except EmbeddedKafkaError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(69) from error
    state = {"bootstrap": kafka.bootstrap, "pids": list(kafka.pids.values()), "folder": str(folder)}
    _state_file().write_text(json.dumps(state))
    typer.echo(json.dumps(state) if as_json else kafka.bootstrap)


def down() -> None:
    """Stop the Kafka that `kafka up` started."""
    from adaptive_stream.embedded.broker import is_alive

    state = _running()
    if not state:
        typer.echo("no embedded Kafka is up", err=True)
        raise typer.Exit(1)
    pids = [pid for pid in state["pids"] if is_alive(pid)]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(state["folder"], ignore_errors=True)
    _state_file().unlink(missing_ok=True)
    typer.echo("stopped", err=True)


def status(as_json: AsJson = False) -> None:
    """Say whether it is up, and where."""
    state = _running()
    typer.echo(json.dumps(state) if as_json else (state["bootstrap"] if state else "down"))
    if not state:
        raise typer.Exit(1)


def _state_file() -> Path:
    from adaptive_stream.embedded.jars import cache_folder

    folder = cache_folder() / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "up.json"


def _running() -> dict[str, Any]:
    from adaptive_stream.embedded.broker import is_alive

    try:
        state = json.loads(_state_file().read_text())
    except (OSError, ValueError):
        return {}
    return dict(state) if any(is_alive(pid) for pid in state["pids"]) else {}
