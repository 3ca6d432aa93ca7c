"""The page: head, table of contents, a section for each series, then what is about the whole model.

Owns the bounds: how many series, and which detail keeps the page below its limit. Never reads or writes anything.
Called by the verb ``report``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptive_stream.cli.page import table as tables
from adaptive_stream.cli.page.drift import ALL_PICTURES
from adaptive_stream.cli.page.history import MAX_HELD
from adaptive_stream.cli.page.markup import NOTHING, Markup, clipped, element, instant, join, number, text
from adaptive_stream.cli.page.section import Detail, badge, section
from adaptive_stream.cli.page.style import STYLE
from adaptive_stream.contracts.clock import parse_time

if TYPE_CHECKING:
    from adaptive_stream.cli.page.history import History, Life
    from adaptive_stream.contracts.events import ModelStatus, SeriesStatus

LIMIT_BYTES = 300_000
MAX_SERIES = 20
# the tables of panes give way first, for the lines show the same; the last one is for ids and figures without end
DETAILS = (
    Detail(points=600, panes=400, alerts=MAX_HELD, adaptations=MAX_HELD, names=120, chars=120),
    Detail(points=600, panes=100, alerts=MAX_HELD, adaptations=500, names=120, chars=120),
    Detail(points=600, panes=60, alerts=MAX_HELD, adaptations=200, names=60, chars=80),
    Detail(points=400, panes=40, alerts=700, adaptations=100, names=60, chars=80),
    Detail(points=300, panes=24, alerts=400, adaptations=60, names=40, chars=60),
    Detail(points=200, panes=12, alerts=200, adaptations=40, names=24, chars=60),
    Detail(points=120, panes=6, alerts=100, adaptations=20, names=24, chars=40),
    Detail(points=60, panes=2, alerts=60, adaptations=10, names=16, chars=40),
    Detail(points=80, panes=0, alerts=40, adaptations=10, names=16, chars=40, pictures=2),
    Detail(points=30, panes=0, alerts=20, adaptations=5, names=3, chars=36, pictures=1),
)
# the page can load nothing and run nothing, whatever it holds
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_page(history: History, *, since_ms: int | None = None) -> str:
    """Return the page as text: HTML that is XML too, below the limit of bytes in UTF-8.

    Args:
        history: with a status.
        since_ms: show nothing older; None: whatever the topics hold.
    """
    assert history.status is not None, "without a status there is nothing to show"
    status = history.status
    fits = ""
    first, last = 0, len(DETAILS) - 1
    while first <= last:  # what is coarser is smaller
        middle = 0 if first == 0 and last == len(DETAILS) - 1 else (first + last) // 2
        page = f"<!DOCTYPE html>\n{_page(history, status, since_ms, DETAILS[middle])}\n"
        if len(page.encode()) < LIMIT_BYTES:
            fits, last = page, middle - 1
        else:
            first = middle + 1
    assert fits, "the coarsest page is below the limit, whatever it holds"
    return fits


def _page(history: History, status: ModelStatus, since_ms: int | None, detail: Detail) -> Markup:
    lives, older = history.lives(since_ms=since_ms)
    now_ms = parse_time(status.at)
    shown = status.series[:MAX_SERIES]
    sections = [
        section(
            series,
            history.panes(series, since_ms=since_ms),
            [life for life in lives if life.concerns(series)],
            history.evidence(series, since_ms=since_ms),
            name=f"s{count}",
            now_ms=now_ms,
            detail=detail,
        )
        for count, series in enumerate(shown)
    ]
    rest = len(status.series) - len(shown)
    if rest:
        sections.append(
            element("p", text(f"{rest:,} more series are not shown; `status` lists them all."), class_="rest")
        )
    if not shown:
        sections.append(element("p", text("No variant of this model has been seen predicting.")))
    return element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", text(f"{clipped(status.model_id, 80)}: report")),
            element("style", Markup(STYLE)),
        ),
        element(
            "body",
            _header(status, since_ms, detail),
            _contents(shown) if len(shown) > 1 else NOTHING,
            element("main", *sections, _model(history, status, lives, older, since_ms, detail)),
            element("footer", text(_origin(history, status))),
        ),
        lang="en",
    )


def _header(status: ModelStatus, since_ms: int | None, detail: Detail) -> Markup:
    state = "stopped" if status.stopped else "frozen" if status.frozen else "running"
    asked = "" if since_ms is None else f", shown since {instant(since_ms)} UTC"
    said = f"Family {status.family}, {state}, as of {instant(parse_time(status.at))} UTC{asked}."
    if detail.pictures < ALL_PICTURES:
        said += " To keep the page small, pictures of lesser matters are left out; `status --json` has every figure."
    return element("header", element("h1", text(status.model_id)), element("p", text(said)))


def _contents(shown: list[SeriesStatus]) -> Markup:
    entries = [
        element(
            "li",
            element(
                "a", text(f"{clipped(series.variant_id, 60)} on {clipped(series.channel_id, 60)}"), href=f"#s{count}"
            ),
            text(f" {clipped(series.metric, 40)} {number(series.window.value)} "),
            badge(series.health),
        )
        for count, series in enumerate(shown)
    ]
    model = element("li", element("a", text("the whole model"), href="#model"))
    return element("nav", element("h2", text("Contents")), element("ul", *entries, model))


def _model(
    history: History, status: ModelStatus, lives: list[Life], older: int, since_ms: int | None, detail: Detail
) -> Markup:
    """Return what is about the model as a whole: alerts, adaptations, feedback, reported figures, dead letters."""
    events = [event for event in reversed(history.adaptations) if since_ms is None or parse_time(event.at) >= since_ms]
    forgotten = history.adaptation_count - len(history.adaptations) if since_ms is None else 0
    parts = [element("h2", text("The whole model"), id="model"), element("h3", text("Alerts"))]
    if lives:
        parts.append(tables.alerts_table(lives, more=older, chars=detail.chars, limit=detail.alerts))
    else:
        parts.append(element("p", text("None.")))
    parts.append(element("h3", text("Adaptations")))
    if events:
        parts.append(tables.adaptations_table(events, more=forgotten, chars=detail.chars, limit=detail.adaptations))
    else:
        parts.append(element("p", text("None.")))
    blocks = [
        tables.counts_table("Feedback by outcome", "outcome", status.feedback, chars=detail.chars, limit=detail.names)
    ]
    if history.refused:
        refused = dict(history.refused.most_common())
        blocks.append(
            tables.counts_table(
                "Dead letters of this model by code", "code", refused, chars=detail.chars, limit=detail.names
            )
        )
    if status.reported:
        rows = list(status.reported.items())[: detail.names]
        blocks.append(tables.table("Figures that tools reported last", ("figure", "value"), rows, chars=detail.chars))
    parts.append(element("h3", text("Feedback, dead letters, reported figures")))
    parts.append(element("p", text(f"{status.waiting:,} predictions wait for their feedback.")))
    if not history.refused:
        parts.append(element("p", text("No record of this model is on the dead-letter topic.")))
    parts.append(element("div", join(blocks), class_="row"))
    return element("section", *parts, aria_labelledby="model")


def _origin(history: History, status: ModelStatus) -> str:
    said = (
        f"Made by adaptive-stream from the topics alone, as of the event time {status.at}. "
        "Intervals hold at every look. Estimates without labels are blind to concept drift."
    )
    return said if not history.unreadable else f"{said} {history.unreadable:,} records could not be read."
