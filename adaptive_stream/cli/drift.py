"""``drift``: which inputs moved, how, since when, and how sure that is.

Owns the order in which that is told. Reads committed statuses alone, never asks a worker, never commits an offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_stream.cli.read import Strange, events, no_status
from adaptive_stream.cli.run import AsJson, Files, Settings, answered, reachable, reaching
from adaptive_stream.cli.terminal import ascii_json, console, table
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from adaptive_stream.contracts.drift import DriftWatch
    from adaptive_stream.contracts.events import ModelStatus, SeriesStatus


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("drift")(drift)


def drift(
    model: Annotated[str, typer.Argument(help="A model's id.")],
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say what of a model's inputs, outputs and losses changed, from its newest status: no worker needs to run."""
    tree = reachable(config, settings)
    newest: ModelStatus | None = None
    strange = Strange("statuses")

    async def read() -> None:
        nonlocal newest
        async with reaching(tree, Topic.MODEL_STATUS) as subscriber:
            async for _, found in events(subscriber, Topic.MODEL_STATUS, model, strange):
                newest = found

    answered(tree, read())
    strange.tell()
    if newest is None:
        no_status(model)
        raise typer.Exit(1)
    if as_json:
        told = [
            {"variant_id": series.variant_id, "channel_id": series.channel_id, "drift": series.drift}
            for series in newest.series
        ]
        typer.echo(ascii_json(told))
        return
    show(newest)


def show(model: ModelStatus) -> None:
    """Print what a status says of drift, series by series."""
    from adaptive_stream.cli.page.markup import printable

    typer.echo(printable(f"{model.model_id}: as of {model.at}"))
    for series in model.series:
        typer.echo("")
        typer.echo(printable(f"{series.variant_id} on {series.channel_id}"))
        _show_series(series)


def _show_series(series: SeriesStatus) -> None:
    from adaptive_stream.cli.page.drift import filled, told, watch_words
    from adaptive_stream.cli.page.markup import instant
    from adaptive_stream.contracts.clock import parse_time

    if series.drift is None:
        typer.echo("  drift is not watched (families.NAME.drift.enabled)")
        return
    for words, watch in (("inputs and outputs", series.drift.data), ("performance", series.drift.performance)):
        typer.echo(f"  {words}: {watch_words(watch)}{_correlation(watch)}")
    if streams := told(series.drift):
        console().print(table(*filled(streams), indent=2))
    if series.drift.history:
        rows = [(instant(parse_time(p.at)), p.kind, p.name, p.change) for p in reversed(series.drift.history)]
        console().print(table(("earlier alarm", "of", "stream", "change"), rows, indent=2))


def _correlation(watch: DriftWatch) -> str:
    if not watch.autocorrelation:
        return ""
    return f"; neighbours correlate by {watch.autocorrelation:.2f}, so evidence counts less"
