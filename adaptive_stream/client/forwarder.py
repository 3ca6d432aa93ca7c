"""Every alert of the topic to an HTTP endpoint, at least once, in order for each model.

Owns the place in the topic: an offset is committed after the receiver's answer, never before. Never decides what an
answer means (the delivery does), and never skips what was not refused. Called by ``alerts forward``. Not exported by
``adaptive_stream.client``, for it needs httpx and structlog of the extra `worker`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError

from adaptive_stream.client.delivery import (
    Delivery,
    Fate,
    Parcel,
    alertmanager_body,
    webhook_body,
)
from adaptive_stream.client.endpoint import Endpoint, Shape
from adaptive_stream.client.partitions import partition_counts
from adaptive_stream.client.subscriber import MAX_OUTPUT_BYTES
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import Reject
from adaptive_stream.contracts.events import Alert, AlertStatus
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord

POLL_MS = 200  # how soon a stop and a finished lane are noticed
STOP_S = 20.0  # a delivery under way may take so long after a stop; Kubernetes kills after 30
MAX_OPEN = 100_000  # alerts of a partition whose severity is remembered
_log = structlog.get_logger(__name__)


class Refused(Exception):  # noqa: N818 - it says what the receiver did
    """The receiver refuses an alert for good, and the forwarder was told to stop at one."""


@dataclass(slots=True)
class Counts:
    """What a forwarder has done since it began."""

    delivered: int = 0
    refused: int = 0
    unreadable: int = 0


class Announced:
    """With which severity each open alert was announced; bounded, the oldest are forgotten."""

    def __init__(self, most: int = MAX_OPEN) -> None:
        self._most = most
        self._severities: OrderedDict[str, str] = OrderedDict()

    def note(self, alert: Alert) -> None:
        """Remember an alert that was announced, or forget one that is over."""
        self._severities.pop(alert.alert_id, None)
        if alert.status is AlertStatus.FIRING:
            self._severities[alert.alert_id] = alert.labels["severity"]
            if len(self._severities) > self._most:
                self._severities.popitem(last=False)

    def former_severity(self, alert: Alert) -> str | None:
        """Return the severity with which it was announced before, where it was another."""
        former = self._severities.get(alert.alert_id)
        return former if former != alert.labels["severity"] else None


@dataclass(slots=True)
class _Lane:
    """One partition between its assignment and its revocation.

    Args:
        first: the offset from which records are delivered; those before are only remembered.
        work: what delivers the records fetched last; the partition is paused meanwhile.
    """

    first: int
    announced: Announced
    work: asyncio.Task[bool] | None = None


class Forwarder(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Forward alerts; an async context manager around ``run``.

    Args:
        bootstrap: host:port of the cluster.
        endpoint: where the alerts go.
        shape: of the requests' bodies.
        group: the consumer group that remembers the place; those of one group share the partitions.
        prefix: of the topics' names.
        is_from_beginning: a group that has no place yet begins with the oldest alert, else with what comes next.
        stops_on_refusal: end with ``Refused`` instead of going on with the next alert.
        timeout_s: of one request.
        options: further ones of aiokafka's consumer, as security.
    """

    def __init__(
        self,
        bootstrap: str,
        endpoint: Endpoint,
        *,
        group: str,
        shape: Shape = Shape.WEBHOOK,
        prefix: str = "adaptive.",
        is_from_beginning: bool = False,
        stops_on_refusal: bool = False,
        timeout_s: float = 10.0,
        **options: Any,
    ) -> None:
        self.counts = Counts()
        self._topic = prefix + Topic.ALERTS.value
        self._group = group
        self._shape = shape
        self._is_from_beginning = is_from_beginning
        self._stops_on_refusal = stops_on_refusal
        self._endpoint = endpoint
        self._delivery = Delivery(endpoint, timeout_s=timeout_s, pause=self._pause)
        self._codec = Codec(max_record_bytes=MAX_OUTPUT_BYTES)
        self._options = {"bootstrap_servers": bootstrap, **options}
        self._consumer: AIOKafkaConsumer | None = None
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._stop = asyncio.Event()
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as undo:
            await undo.enter_async_context(self._delivery)
            await self._settle()
            self._consumer = self._make_consumer(
                # past a first start nothing may be skipped: new partitions, and what retention has left of an outage
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_max_wait_ms=100,
            )
            undo.push_async_callback(self._consumer.stop)
            self._consumer.subscribe([self._topic], listener=self)
            await self._consumer.start()
            undo.push_async_callback(self._let_go)
            self._closing = undo.pop_all()
        _log.info("forward_begins", endpoint=self._endpoint.name, format=str(self._shape), group=self._group)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()
        counts = self.counts
        _log.info("forward_ends", delivered=counts.delivered, refused=counts.refused, unreadable=counts.unreadable)

    def stop(self) -> None:
        """Ask to end: a request under way is finished, within a limit, and no other is begun."""
        self._stop.set()

    async def run(self) -> None:
        """Forward until ``stop``.

        Raises:
            Refused: the receiver refused an alert, and that is to end it; nothing is committed past it.
            Redirected: the receiver lives elsewhere.
            KafkaError: the cluster refuses what it is asked.
        """
        assert self._consumer is not None, "use the forwarder as an async context manager"
        while not self._stop.is_set():
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            # first all lanes, without a pause in which partitions could move, then what waits for the cluster
            unread = [tp for tp, records in fetched.items() if not self._begin(self._consumer, tp, records)]
            for tp in unread:
                if tp in self._lanes:  # else it was revoked meanwhile, and its next lane begins elsewhere
                    await self._consumer.seek_to_beginning(tp)
            for tp, lane in self._lanes.items():
                if lane.work is not None and lane.work.done():
                    is_to_go_on, lane.work = lane.work.result(), None
                    if is_to_go_on:
                        self._consumer.resume(tp)
        works = [lane.work for lane in self._lanes.values() if lane.work is not None]
        if works:
            done, _ = await asyncio.wait(works, timeout=STOP_S)
            for work in done:
                if not work.cancelled():
                    work.result()

    # -- the place in the topic ----------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Give a group that has no place yet its place, before it reads.

        Without this a forwarder that was killed before its first commit would begin again with what comes next, and
        what came before would be lost.
        """
        counts = await partition_counts(self._options, [self._topic])
        tps = [TopicPartition(self._topic, partition) for partition in range(counts[self._topic])]
        consumer = self._make_consumer(isolation_level="read_committed")
        try:
            consumer.assign(tps)
            await consumer.start()
            if any([await consumer.committed(tp) is not None for tp in tps]):
                return
            places = await (consumer.beginning_offsets if self._is_from_beginning else consumer.end_offsets)(tps)
            with suppress(CommitFailedError):  # another one of the group was quicker, and is a member by now
                await consumer.commit(places)
        finally:
            await consumer.stop()

    def _make_consumer(self, **options: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(group_id=self._group, enable_auto_commit=False, **{**options, **self._options})

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Drop what is under way: the next owner delivers it, and two owners at once would mix up the order."""
        _log.info("partitions_revoked", partitions=sorted(tp.partition for tp in revoked))
        await self._let_go()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Begin anew from the committed places."""
        _log.info("partitions_assigned", partitions=sorted(tp.partition for tp in assigned))

    async def _let_go(self) -> None:
        works = [lane.work for lane in self._lanes.values() if lane.work is not None]
        self._lanes.clear()
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    # -- one partition -------------------------------------------------------------------------------------------------

    def _begin(self, consumer: AIOKafkaConsumer, tp: TopicPartition, records: Sequence[ConsumerRecord]) -> bool:
        """Let the records of a partition be delivered, while its further ones wait.

        For Alertmanager a partition is first read from its beginning, to know the severities announced before: then
        false is returned, and these records come again.
        """
        lane = self._lanes.get(tp)
        if lane is None:
            lane = self._lanes[tp] = _Lane(first=records[0].offset, announced=Announced())
            if self._shape is Shape.ALERTMANAGER:
                return False
        consumer.pause(tp)
        lane.work = asyncio.create_task(self._carry(consumer, tp, lane, records))
        return True

    async def _carry(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, lane: _Lane, records: Sequence[ConsumerRecord]
    ) -> bool:
        """Deliver records one after the other and commit each; false when the partition must not go on."""
        for record in records:
            alert = self._read(record, is_counted=record.offset >= lane.first)
            if record.offset < lane.first:
                if alert is not None:
                    lane.announced.note(alert)
                continue
            if self._stop.is_set():
                return False
            if alert is not None:
                fate = await self._delivery.deliver(self._parcel(alert, record, lane.announced))
                if not self._may_pass(fate, record):
                    return False
                lane.announced.note(alert)
            try:
                await consumer.commit({tp: record.offset + 1})
            except (CommitFailedError, IllegalStateError):
                _log.warning("place_not_committed", advice="the partition moves; its next owner delivers this again")
                return False
        return True

    def _may_pass(self, fate: Fate, record: ConsumerRecord) -> bool:
        """Count what came of a delivery; say whether its offset may be committed."""
        if fate is Fate.UNDONE:
            return False
        if fate is Fate.REFUSED:
            self.counts.refused += 1
            if self._stops_on_refusal:
                raise Refused(
                    f"{self._endpoint.name} refuses the alert {_place(record)}; mend the receiver and start again, or"
                    " start without --stop-on-refusal to go past it"
                )
            return True
        self.counts.delivered += 1
        return True

    def _read(self, record: ConsumerRecord, *, is_counted: bool) -> Alert | None:
        try:
            alert = self._codec.decode_output(Topic.ALERTS, record.value, record.headers)
        except Reject as reject:
            if is_counted:
                self.counts.unreadable += 1
                _log.error(
                    "record_skipped",
                    place=_place(record),
                    code=str(reject.code),
                    path=reject.path,
                    reason=reject.message,
                    advice="it is no alert; somebody else writes on this topic",
                )
            return None
        assert isinstance(alert, Alert), "the topic carries nothing else"
        return alert

    def _parcel(self, alert: Alert, record: ConsumerRecord, announced: Announced) -> Parcel:
        if self._shape is Shape.WEBHOOK:
            body = webhook_body(alert)
        else:
            former = announced.former_severity(alert)
            body = alertmanager_body(alert, former_severity=former, now_ms=time.time_ns() // 1_000_000)
        about: dict[str, str | int] = {
            "alert_id": alert.alert_id,
            "state": str(alert.status),
            "model_id": alert.model_id,
            "place": _place(record),
        }
        return Parcel(body=body, key=_key(record), about=about)

    async def _pause(self, wait_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stop.wait()
        return not self._stop.is_set()


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}/{record.partition}@{record.offset}"


def _key(record: ConsumerRecord) -> str:
    """Return the event's own id, the same in a mirrored cluster too; without one, its place."""
    event_id: bytes | None = dict(record.headers).get("ce_id")
    return quote(event_id or _place(record).encode(), safe="/@:")
