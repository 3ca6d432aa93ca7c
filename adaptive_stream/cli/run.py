"""``run`` and ``topics``: the worker and what it needs on the cluster."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from adaptive_stream.client import Subscriber
    from adaptive_stream.config import Config
    from adaptive_stream.contracts.topics import Topic

T = TypeVar("T")
REACH_S = 30.0  # how long a verb waits for the cluster

Files = Annotated[list[Path] | None, typer.Option("--config", "-c", help="A YAML file; several are merged.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="One setting, as kafka.bootstrap=host:9092.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def loaded(files: list[Path] | None, settings: list[str] | None, *, needs_family: bool = True) -> Config:
    """Return the configuration, or leave with 78 and every mistake on standard error."""
    from adaptive_stream.cli.page.markup import printable
    from adaptive_stream.config import ConfigError, load

    try:
        return load(files or [], os.environ, settings or [], needs_family=needs_family)
    except ConfigError as error:
        typer.echo("\n".join(map(printable, str(error).splitlines())), err=True)
        raise typer.Exit(78) from error


def reachable(files: list[Path] | None, settings: list[str] | None) -> Config:
    """Return a configuration for verbs that only need to reach the cluster: without a file, no family is asked for."""
    return loaded(files, settings, needs_family=bool(files))


@asynccontextmanager
async def patiently(opening: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter a client's context within a limit; aiokafka by itself may try for ever.

    Raises:
        TimeoutError: it did not open in time.
    """
    async with asyncio.timeout(REACH_S):
        opened = await opening.__aenter__()
    try:
        yield opened
    finally:
        await opening.__aexit__(None, None, None)


@asynccontextmanager
async def reaching(tree: Config, topic: Topic) -> AsyncIterator[Subscriber]:
    """Read a topic from its beginning, with the configured security."""
    from adaptive_stream.client import Subscriber
    from adaptive_stream.runtime.connection import connection

    options = connection(tree)
    bootstrap = options.pop("bootstrap_servers")
    async with patiently(Subscriber(bootstrap, topic, prefix=tree.topics.prefix, **options)) as subscriber:
        yield subscriber


def unanswered(tree: Config, error: Exception, more: str = "") -> typer.Exit:
    """Say on standard error why Kafka did not answer; return the exit: 78 for what waiting does not mend, else 69."""
    from adaptive_stream.runtime.connection import explain
    from adaptive_stream.runtime.failure import Fatal

    try:
        reason = asyncio.run(explain(tree))
    except Fatal as fatal:
        reason = fatal
    if reason is None and isinstance(error, Fatal):  # it answers, and refuses what was asked
        reason = error
    typer.echo(f"Kafka at {tree.kafka.bootstrap}: {reason or error or 'no answer'}{more}", err=True)
    return typer.Exit(reason.exit_code if reason is not None else 69)


def answered(tree: Config, work: Coroutine[Any, Any, None], *, more: Callable[[], str] = str) -> None:
    """Run what needs the cluster; where that does not answer, leave with the reason, what is more, and its code."""
    from aiokafka.errors import KafkaError

    from adaptive_stream.runtime.failure import Fatal

    try:
        asyncio.run(work)
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(130) from interrupt
    except BrokenPipeError:  # standard output's, as of `tail | head`: click ends quietly; the client has its own errors
        if told := more():
            typer.echo(f"standard output is closed{told}", err=True)
        raise
    except (Fatal, KafkaError, OSError, TimeoutError, LookupError) as error:
        raise unanswered(tree, error, more()) from error


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("run")(run)
    topics = typer.Typer(help="The topics on the cluster.", no_args_is_help=True)
    topics.command("create")(create)
    topics.command("check")(check)
    app.add_typer(topics, name="topics")


def run(config: Files = None, settings: Settings = None) -> None:
    """Run a worker until SIGTERM; a second signal ends it at once."""
    import gc

    from adaptive_stream.runtime.failure import Fatal
    from adaptive_stream.runtime.telemetry import configure_logging
    from adaptive_stream.runtime.worker import serve

    tree = loaded(config, settings)
    configure_logging(tree)
    # a million waiting predictions are a million ids: the default thresholds would walk them over and over
    gc.set_threshold(50_000, 20, 100)
    try:
        code = asyncio.run(serve(tree))
    except Fatal as fatal:
        typer.echo(str(fatal), err=True)
        code = fatal.exit_code
    sys.exit(code)


def create(config: Files = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing, as the worker needs them."""
    from adaptive_stream.runtime import topics
    from adaptive_stream.runtime.failure import Fatal

    try:
        created = asyncio.run(topics.create(reachable(config, settings)))
    except Fatal as fatal:
        typer.echo(str(fatal), err=True)
        raise typer.Exit(fatal.exit_code) from fatal
    _print({"created": created} if as_json else "\n".join(created))


def check(config: Files = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Check that the topics are there and partitioned together."""
    from adaptive_stream.runtime import topics
    from adaptive_stream.runtime.failure import Fatal

    tree = reachable(config, settings)
    try:
        counts = asyncio.run(topics.check(tree))
    except Fatal as fatal:
        typer.echo(str(fatal), err=True)
        raise typer.Exit(1 if fatal.exit_code == 78 else fatal.exit_code) from fatal
    named = {tree.topics.name(topic): count for topic, count in counts.items()}
    _print(named if as_json else "\n".join(f"{name}  {count} partitions" for name, count in named.items()))


def _print(value: object) -> None:
    import json

    text = value if isinstance(value, str) else json.dumps(value)
    if text:
        typer.echo(text)
