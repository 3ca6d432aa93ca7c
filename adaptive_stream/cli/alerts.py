"""``alerts`` and ``alerts forward``: which alerts there are, and the bridge that takes them elsewhere.

Owns the words in which alerts are shown and the exit codes of the bridge. Never commits an offset itself: listing needs
no group, and the forwarder owns its place. Wired into the command line.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_stream.cli.read import Strange, events
from adaptive_stream.cli.run import AsJson, Files, Settings, answered, loaded, patiently, reachable, reaching
from adaptive_stream.cli.terminal import ascii_json, console, table
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptive_stream.client.endpoint import Endpoint, Shape
    from adaptive_stream.client.forwarder import Forwarder
    from adaptive_stream.contracts.events import Alert

SHAPES = ("webhook", "alertmanager")  # as endpoint.Shape; that module is too heavy for --help
URGENCY = {"high": 0, "medium": 1, "info": 2}
COLUMNS = ("severity", "alert", "model / variant / channel", "since", "ended", "value (95 %)", "threshold", "summary")
GROUP_SUFFIX = "-alerts-forward"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(invoke_without_command=True)
    verbs.callback()(alerts)
    verbs.command("forward")(forward)
    app.add_typer(verbs, name="alerts")


def alerts(
    context: typer.Context,
    firing: Annotated[bool, typer.Option("--firing", help="Only those that are not resolved.")] = False,
    model: Annotated[str | None, typer.Option(help="Only alerts of this model.")] = None,
    since: Annotated[str | None, typer.Option(help="Not resolved before: 24h (ago), or 2013-06-01T00:00:00Z.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Leave with 1 if one that is shown fires.")] = False,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List the alerts of the topic, each in its newest state: those that fire first, then the most severe and newest.

    `alerts forward` takes them to a webhook or to Alertmanager.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    since_ms = None if since is None else _instant(since)
    tree = reachable(config, settings)
    found: dict[str, Alert] = {}
    strange = Strange("alerts")

    async def read() -> None:
        async with reaching(tree, Topic.ALERTS) as subscriber:
            async for _, event in events(subscriber, Topic.ALERTS, model, strange):
                if event is not None:
                    found[event.alert_id] = event

    answered(tree, read())
    strange.tell()
    chosen = ordered(alert for alert in found.values() if _is_chosen(alert, is_firing=firing, since_ms=since_ms))
    _show(chosen, as_json=as_json)
    if exit_code and any(_fires(alert) for alert in chosen):
        raise typer.Exit(1)


def forward(
    to: Annotated[str, typer.Option(help="The receiver's URL; @FILE reads it from a file.", metavar="URL")],
    shape: Annotated[str, typer.Option("--format", help=f"One of {', '.join(SHAPES)}.")] = SHAPES[0],
    group: Annotated[
        str | None, typer.Option(help=f"The consumer group; by default kafka.group with {GROUP_SUFFIX}.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="As 'Name: value'; @FILE reads one from a file. Repeatable.")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds for one request.", min=0.1, max=300.0)] = 10.0,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="A group without a place begins with the oldest alert.")
    ] = False,
    stop_on_refusal: Annotated[
        bool, typer.Option("--stop-on-refusal", help="Leave with 1 at an alert that is refused for good.")
    ] = False,
    config: Files = None,
    settings: Settings = None,
) -> None:
    """Post every alert to a URL, at least once and in order for each model, until SIGTERM.

    An offset is committed only after the receiver has answered 2xx. Repeats carry the same header Idempotency-Key.
    """
    tree = loaded(config, settings) if config else reachable(config, settings)
    try:
        from adaptive_stream.client.delivery import ProxyUnusable, Redirected
        from adaptive_stream.client.endpoint import Shape
        from adaptive_stream.client.forwarder import Forwarder, Refused
        from adaptive_stream.runtime.telemetry import configure_logging
    except ModuleNotFoundError as error:
        typer.echo(f"forwarding needs {error.name}: pip install 'adaptive-stream[worker]'", err=True)
        raise typer.Exit(78) from error
    from adaptive_stream.runtime.connection import connection

    if shape not in SHAPES:
        typer.echo(f"there is no format {shape!r}; it is one of {', '.join(SHAPES)}", err=True)
        raise typer.Exit(2)
    endpoint = _endpoint(to, header or [], Shape(shape))
    configure_logging(tree)
    for name in ("httpx", "httpcore"):  # they log whole addresses, and headers
        logging.getLogger(name).setLevel(logging.WARNING)

    async def work() -> None:
        options = connection(tree)
        forwarder = Forwarder(
            options.pop("bootstrap_servers"),
            endpoint,
            group=group or tree.kafka.group + GROUP_SUFFIX,
            shape=Shape(shape),
            prefix=tree.topics.prefix,
            is_from_beginning=from_beginning,
            stops_on_refusal=stop_on_refusal,
            timeout_s=timeout_s,
            **options,
        )
        async with patiently(forwarder):
            _stop_on_signal(forwarder)
            await forwarder.run()

    try:
        answered(tree, work())
    except Refused as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(1) from refused
    except (Redirected, ProxyUnusable) as unfit:
        typer.echo(str(unfit), err=True)
        raise typer.Exit(78) from unfit


# -- listing -----------------------------------------------------------------------------------------------------------


def _refuse_options(context: typer.Context) -> None:
    """Refuse options between `alerts` and the verb behind it: they would be ignored."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":  # typer has its own copy of click's enum
            verb = f"alerts {context.invoked_subcommand}"
            typer.echo(f"options of `{verb}` stand behind it; --{name.replace('_', '-')} stands before", err=True)
            raise typer.Exit(2)


def _instant(text: str) -> int:
    from adaptive_stream.cli.dlq import instant

    try:
        return instant(text, now_ms=time.time_ns() // 1_000_000)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def _fires(alert: Alert) -> bool:
    return alert.status == "firing"


def _is_chosen(alert: Alert, *, is_firing: bool, since_ms: int | None) -> bool:
    from adaptive_stream.contracts.clock import parse_time

    if _fires(alert):
        return True
    return not is_firing and (since_ms is None or parse_time(alert.ends_at or alert.starts_at) >= since_ms)


def ordered(found: Iterable[Alert]) -> list[Alert]:
    """Return the alerts in the order in which somebody on call wants them."""
    from adaptive_stream.contracts.clock import parse_time

    def rank(alert: Alert) -> tuple[bool, int, int, str]:
        severity = URGENCY.get(alert.labels["severity"], len(URGENCY))
        return not _fires(alert), severity, -parse_time(alert.starts_at), alert.alert_id

    return sorted(found, key=rank)


def _show(chosen: list[Alert], *, as_json: bool) -> None:
    if as_json:
        for alert in chosen:
            typer.echo(ascii_json(alert))
        return
    if not chosen:
        typer.echo("no alerts", err=True)
        return
    console().print(table(COLUMNS, map(cells, chosen), wrapped="summary"))


def cells(alert: Alert) -> tuple[str, ...]:
    """Return what the table says of an alert."""
    labels = alert.labels
    whom = [labels["model_id"], labels.get("variant_id", "-"), labels.get("channel_id", "-")]
    return (
        labels["severity"],
        labels["alertname"],
        " / ".join(whom),
        alert.starts_at,
        alert.ends_at or "-",
        _value(alert),
        f"{alert.threshold:.4g}",
        alert.annotations.get("summary", ""),
    )


def _value(alert: Alert) -> str:
    """Return the value, with its interval and its number where the evidence has them."""
    told = f"{alert.value:.4g}"
    low, high, n = (_number(alert.evidence.get(name)) for name in ("low", "high", "n"))
    if low is not None and high is not None:
        told += f" [{low:.4g}, {high:.4g}]"
    return told if n is None else f"{told} n={n:.0f}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


# -- forwarding --------------------------------------------------------------------------------------------------------


def _endpoint(to: str, headers: list[str], shape: Shape) -> Endpoint:
    from adaptive_stream.client.endpoint import Endpoint

    try:
        return Endpoint.parse(_given(to), [_given(text) for text in headers], shape=shape)
    except (OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def _given(text: str) -> str:
    """Return an option's text, or that of the file it names: what stands on a command line, others can read."""
    return Path(text[1:]).read_text(encoding="utf-8").strip() if text.startswith("@") else text


def _stop_on_signal(forwarder: Forwarder) -> None:
    """Let the first SIGTERM or SIGINT end the work in order, and a second one at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        forwarder.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
