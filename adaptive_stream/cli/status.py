"""``status``: how the models do, a line for each series, or all there is to say of one model.

Owns the words and the tables of that. Reads committed records of the topics alone, never asks a worker, never commits
an offset.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_stream.cli.read import Strange, events, no_status
from adaptive_stream.cli.run import AsJson, Files, Settings, answered, reachable, reaching
from adaptive_stream.cli.terminal import ascii_json, console, table
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import Adaptation, Estimate, ModelStatus, SeriesStatus

BARS = "▁▂▃▄▅▆▇█"
LAST = 5  # adaptations that are shown
SPARKS = 60  # panes of a sparkline


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("status")(status)


def status(
    model: Annotated[str | None, typer.Argument(help="A model's id; none: a line for each.")] = None,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say how the models do, from the compacted topic: no worker needs to run."""
    tree = reachable(config, settings)
    found: dict[str, ModelStatus] = {}
    last: deque[Adaptation] = deque(maxlen=LAST)
    strange = Strange("statuses")

    async def read() -> None:
        async with reaching(tree, Topic.MODEL_STATUS) as subscriber:
            async for key, latest in events(subscriber, Topic.MODEL_STATUS, model, strange):
                if latest is None:
                    found.pop(key, None)
                else:
                    found[latest.model_id] = latest
        if model is not None and model in found and not as_json:
            await _read_adaptations(tree, model, last)

    answered(tree, read())
    strange.tell()
    if not found:
        no_status(model)
    if model is not None and model not in found:
        raise typer.Exit(1)
    if as_json:
        statuses = [found[name] for name in sorted(found)]
        typer.echo(ascii_json(statuses if model is None else found[model]))
    elif model is None:
        show_all([found[name] for name in sorted(found)])
    else:
        show_one(found[model], last)


async def _read_adaptations(tree: Config, model: str, last: deque[Adaptation]) -> None:
    strange = Strange("adaptations")  # not told: `tail adaptations` shows them
    async with reaching(tree, Topic.ADAPTATIONS) as subscriber:
        async for _, event in events(subscriber, Topic.ADAPTATIONS, model, strange):
            if event is not None:
                last.append(event)


# -- all models --------------------------------------------------------------------------------------------------------


def show_all(statuses: Sequence[ModelStatus]) -> None:
    """Print one line for each series."""
    rows = [
        (
            model.model_id,
            series.variant_id,
            series.channel_id,
            series.metric,
            _estimate(series.window),
            f"{series.window.n} of {series.labelled}",
            "-" if series.baseline is None or series.baseline.value is None else f"{series.baseline.value:.4f}",
            "-" if series.health is None else series.health.level.value,
            sparkline([pane.value for pane in series.panes[-SPARKS:]]),
            ", ".join(f"{name} {stage}" for name, stage in series.alerts.items()) or "-",
        )
        for model in statuses
        for series in model.series
    ]
    columns = (
        "model", "variant", "channel", "metric", "window (95 %)", "labelled", "baseline", "health", "panes", "alerts",
    )  # fmt: skip
    if rows:
        console().print(table(columns, rows))


# -- one model ---------------------------------------------------------------------------------------------------------


def show_one(model: ModelStatus, adaptations: Iterable[Adaptation]) -> None:
    """Print everything that a status says, series by series, then what is about the model."""
    from adaptive_stream.cli.page.markup import printable
    from adaptive_stream.cli.page.table import evidence_words

    screen = console()
    state = "stopped" if model.stopped else "frozen" if model.frozen else "running"
    typer.echo(printable(f"{model.model_id}: family {model.family}, {state}, as of {model.at}"))
    for series in model.series:
        _show_series(screen, series)
    typer.echo("")
    counts = ", ".join(f"{name} {count}" for name, count in model.feedback.items())
    typer.echo(printable(f"feedback: {counts}; predictions waiting: {model.waiting}"))
    if model.reported:
        typer.echo(
            printable("reported last: " + ", ".join(f"{name} {value:g}" for name, value in model.reported.items()))
        )
    newest = f"; last {model.last_adaptation} at {model.last_adaptation_at}" if model.last_adaptation else ""
    typer.echo(printable(f"adaptations: {model.adaptations}{newest}"))
    rows = [
        (
            event.at,
            event.kind.value,
            event.trigger.value,
            " → ".join(variant for variant in (event.from_, event.to) if variant) or "-",
            evidence_words(event, chars=120),
        )
        for event in adaptations
    ]
    if rows:
        screen.print(table(("at", "adaptation", "because of", "variant", "evidence"), rows, indent=2))


def _show_series(screen: Console, series: SeriesStatus) -> None:
    from adaptive_stream.cli.page.markup import printable
    from adaptive_stream.cli.page.section import baseline_words, health_words
    from adaptive_stream.cli.page.table import BLIND

    level = "health unknown" if series.health is None else series.health.level.value.replace("_", " ")
    points = "" if series.health is None else f", {health_words(series.health)}"
    typer.echo("")
    typer.echo(printable(f"{series.variant_id} on {series.channel_id}: {level}{points}"))
    typer.echo(printable(f"  {series.metric}: {baseline_words(series)}"))
    known = [pane for pane in series.panes if pane.value is not None][-SPARKS:]
    if known:
        values = [pane.value for pane in known if pane.value is not None]
        bars = sparkline([pane.value for pane in series.panes[-SPARKS:]])
        typer.echo(f"  {bars}  {min(values):.4f} to {max(values):.4f}, {known[0].starts_at} to {known[-1].starts_at}")
    typer.echo(
        f"  {series.labelled:,} of {series.predictions:,} predictions labelled; in all {_estimate(series.total)}"
    )
    rows = _metric_rows(series)
    if rows:
        columns = (
            "metric", "value", "95 % interval", "n", "baseline", "trend", "as labels arrived", f"estimated ({BLIND})",
            "reported by tools",
        )  # fmt: skip
        filled = [n for n in range(len(columns)) if n < 5 or any(row[n] != "-" for row in rows)]
        shown = [tuple(row[n] for n in filled) for row in rows]
        screen.print(table([columns[n] for n in filled], shown, indent=2))
    if series.open_alerts:
        screen.print(table(("alert", "stage", "severity", "since", "attention", "value", "threshold"),
                             _alert_rows(series), indent=2))  # fmt: skip


def _metric_rows(series: SeriesStatus) -> list[tuple[str, ...]]:
    from adaptive_stream.cli.page.markup import number
    from adaptive_stream.cli.page.table import baseline_of, interval, metrics_of, trend_words, whole

    measured = metrics_of(series)
    names = dict.fromkeys((*measured, *series.arrived, *series.estimated, *series.reported))
    made = [
        (
            name,
            number(found.value) if (found := measured.get(name)) else "-",
            interval(found),
            f"{found.n:,}" if found else "-",
            number(baseline_of(series, name)),
            trend_words(series.trends.get(name)),
            whole(series.arrived.get(name)),
            whole(series.estimated.get(name)),
            whole(series.reported.get(name)),
        )
        for name in names
    ]
    return [*made, *((name, *["-"] * 7, number(value)) for name, value in series.values.items())]


def _alert_rows(series: SeriesStatus) -> list[tuple[str, ...]]:
    from adaptive_stream.cli.page.markup import number
    from adaptive_stream.cli.page.table import attention

    return [
        (
            alert.alertname,
            alert.stage,
            alert.severity.value,
            alert.since,
            attention(alert),
            number(alert.value),
            number(alert.threshold),
        )
        for alert in series.open_alerts
    ]


# -- words -------------------------------------------------------------------------------------------------------------


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def sparkline(values: Sequence[float | None]) -> str:
    """Return one bar for each value, from the lowest to the highest of them; a blank for none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join(" " if v is None else BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)
