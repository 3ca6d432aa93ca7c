"""The demo's summary: what happened, when, and whether a plain recount agrees.

Owns the figures by week and month, the pairing of alerts and the recount. Reads Kafka's topics and nothing else.
Called by the demo when everything is stepped.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from typing import TYPE_CHECKING, Literal, TypedDict

from aiokafka import AIOKafkaConsumer, TopicPartition

from adaptive_stream.contracts.clock import format_time, parse_time
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from aiokafka import ConsumerRecord

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import Alert, PaneFigures
    from adaptive_stream.demo.watch import Picture

DAY_MS = 86_400_000
THRESHOLD = 0.5
OUTCOMES: tuple[Literal["joined", "early", "late", "orphan", "duplicate"], ...] = (
    "joined",
    "early",
    "late",
    "orphan",
    "duplicate",
)


class Period(TypedDict, total=False):
    """One month or week; only one of the first two keys is there."""

    month: str
    week: str
    labelled: int
    accuracy: float


class Life(TypedDict):
    """One alert."""

    alertname: str
    severity: str
    status: str
    starts_at: str
    resolved_at: str | None


class Recount(TypedDict):
    """What a plain program finds in the input topics: labelled and right predictions by day."""

    joined: int
    right: int
    days: int
    equal: bool


class Summary(TypedDict):
    """The JSON summary."""

    seed: int
    elapsed_s: float
    predictions: int
    feedback: int
    events_per_s: float
    joined: int
    early: int
    late: int
    orphan: int
    duplicate: int
    waiting: int
    dead_letters: int
    killed: int
    months: list[Period]
    weeks: list[Period]
    alerts: list[Life]
    recount: Recount


async def summarise(config: Config, picture: Picture, *, seed: int, elapsed_s: float, killed: int) -> Summary:
    """Return the summary of a demo that is over."""
    assert picture.status is not None, "the worker has published a status"
    outcomes = picture.status.feedback
    predictions, feedback = picture.ends[Topic.PREDICTIONS], picture.ends[Topic.FEEDBACK]
    days = {pane.starts_at: (pane.labelled, _right(pane)) for pane in picture.panes.values()}
    return Summary(
        seed=seed,
        elapsed_s=round(elapsed_s, 1),
        predictions=predictions,
        feedback=feedback,
        events_per_s=round((predictions + feedback) / elapsed_s),
        joined=outcomes["joined"],
        early=outcomes["early"],
        late=outcomes["late"],
        orphan=outcomes["orphan"],
        duplicate=outcomes["duplicate"],
        waiting=picture.status.waiting,
        dead_letters=picture.dead_letters,
        killed=killed,
        months=[
            Period(month=name, labelled=n, accuracy=share) for name, n, share in grouped(days, lambda day: day[:7])
        ],
        weeks=[Period(week=name, labelled=n, accuracy=share) for name, n, share in grouped(days, iso_week)],
        alerts=[life(events) for events in picture.alerts.values()],
        recount=await recount(config, days),
    )


def grouped(days: Mapping[str, tuple[int, int]], name_of: Callable[[str], str]) -> list[tuple[str, int, float]]:
    """Sum (labelled, right) by day over longer periods: (name, labelled, share that was right)."""
    labelled: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for day, (n, n_right) in days.items():
        labelled[name_of(day)] += n
        right[name_of(day)] += n_right
    return [(name, labelled[name], round(right[name] / labelled[name], 4)) for name in sorted(labelled)]


def iso_week(day: str) -> str:
    """Return the ISO week of an instant, as 2013-W23."""
    year, week, _ = dt.datetime.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"


def life(events: list[Alert]) -> Life:
    """Return one alert from all that was published about it."""
    last = events[-1]
    return Life(
        alertname=last.labels["alertname"],
        severity=last.labels["severity"],
        status=last.status.value,
        starts_at=last.starts_at,
        resolved_at=last.ends_at,
    )


async def recount(config: Config, days: Mapping[str, tuple[int, int]]) -> Recount:
    """Join the two input topics with a dictionary and compare, day by day. Uses none of the worker's code."""
    served: dict[str, tuple[str, bool]] = {}
    async for record in _whole(config, Topic.PREDICTIONS):
        body = json.loads(record.value)
        day = format_time(record.timestamp // DAY_MS * DAY_MS)
        served[body["prediction_id"]] = (day, body["output"] >= THRESHOLD)
    labelled: Counter[str] = Counter()
    right: Counter[str] = Counter()
    async for record in _whole(config, Topic.FEEDBACK):
        body = json.loads(record.value)
        if body["prediction_id"] in served:
            day, is_positive = served[body["prediction_id"]]
            labelled[day] += 1
            right[day] += is_positive == bool(body["label"])
    found = {day: (count, right[day]) for day, count in labelled.items()}
    return Recount(joined=labelled.total(), right=right.total(), days=len(found), equal=found == dict(days))


async def _whole(config: Config, topic: Topic) -> AsyncIterator[ConsumerRecord]:
    """Yield every record that the topic has, in the order of each partition."""
    tps = [TopicPartition(config.topics.name(topic), p) for p in range(config.topics.partitions)]
    async with AIOKafkaConsumer(bootstrap_servers=config.kafka.bootstrap, max_partition_fetch_bytes=2**22) as consumer:
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    yield record


def _right(pane: PaneFigures) -> int:
    return round((pane.value or 0.0) * pane.labelled)


def words(summary: Summary) -> str:
    """Return the summary as people read it."""
    outcomes = ", ".join(f"{name} {summary[name]:,}" for name in OUTCOMES)
    events = f"{summary['predictions']:,} predictions and {summary['feedback']:,} outcomes of 2013"
    lines = [
        f"{events} in {summary['elapsed_s']:g} s: {summary['events_per_s']:,.0f} events a second.",
        f"{outcomes}; waiting for their outcome {summary['waiting']:,}; dead letters {summary['dead_letters']}.",
        "",
        "month    labelled  accuracy of the model of January",
    ]
    lines += [
        f"{month['month']}  {month['labelled']:8,}  {month['accuracy']:.3f} {'█' * round(month['accuracy'] * 40 - 20)}"
        for month in summary["months"]
    ]
    lines.append("")
    for alert in summary["alerts"]:
        end = f"resolved {alert['resolved_at']}" if alert["resolved_at"] else "still firing at the end of the year"
        lines.append(f"{alert['alertname']} ({alert['severity']})  fired {alert['starts_at']}, {end}")
    killed = f"The worker was killed {summary['killed']} times on the way. " if summary["killed"] else ""
    verdict = "the same in every count" if summary["recount"]["equal"] else "NOT the same"
    lines += ["", f"{killed}A plain recount of the topics, day by day, is {verdict}."]
    return "\n".join(lines)


def progress(picture: Picture, *, first_ms: int, last_ms: int) -> float:
    """Return which share of the year the last status has reached."""
    if picture.status is None:
        return 0.0
    return min(1.0, max(0.0, (parse_time(picture.status.at) - first_ms) / (last_ms - first_ms)))
