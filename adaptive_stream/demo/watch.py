"""What can be seen of a running demo, from Kafka and from the worker's metrics alone.

Owns the reading of the output topics, the group's progress and ``/metrics``. Never talks to the app. Called by the
demo's loop.
"""

from __future__ import annotations

import asyncio
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from adaptive_stream.client import Subscriber
from adaptive_stream.client.letters import Letter, read_record
from adaptive_stream.contracts.events import Adaptation, Alert, ModelStatus
from adaptive_stream.contracts.topics import INPUTS, Topic

if TYPE_CHECKING:
    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import PaneFigures

METRICS_S = 2.0  # a worker that is being restarted does not answer
OUTCOME_METRIC = "adaptive_stream_feedback_joined_total"
WAITING_METRIC = "adaptive_stream_predictions_waiting"


@dataclass(slots=True)
class Picture:
    """What has been seen so far.

    Attributes:
        stepped: input records whose batch is committed.
        ends: input records on the topics, by role.
        status: the model's last status.
        panes: the last figures of each day, by its start; late labels may change a day until it leaves the window.
        alerts: what was published about each alert, by its id, in order.
        dead_letters, adaptations: how many.
        outcomes, waiting: from the worker's metrics, as they are.
    """

    stepped: int = 0
    ends: dict[Topic, int] = field(default_factory=dict)
    status: ModelStatus | None = None
    panes: dict[str, PaneFigures] = field(default_factory=dict)
    alerts: dict[str, list[Alert]] = field(default_factory=dict)
    dead_letters: int = 0
    adaptations: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    waiting: int = 0

    @property
    def lag(self) -> int:
        """Input records that are not stepped yet."""
        return sum(self.ends.values()) - self.stepped


class Watcher:
    """Watch one worker group; an async context manager.

    Args:
        config: the worker's.
        port: of the worker's HTTP server.
    """

    def __init__(self, config: Config, *, port: int) -> None:
        self.picture = Picture()
        self._config = config
        self._metrics_url = f"http://127.0.0.1:{port}/metrics"
        roles = (Topic.ALERTS, Topic.ADAPTATIONS, Topic.MODEL_STATUS, Topic.DEAD_LETTERS)
        self._outputs = Subscriber(config.kafka.bootstrap, *roles, prefix=config.topics.prefix)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka.bootstrap)
        self._inputs = AIOKafkaConsumer(bootstrap_servers=config.kafka.bootstrap)
        self._names = {config.topics.name(topic): topic for topic in INPUTS}

    async def __aenter__(self) -> Self:
        await self._outputs.__aenter__()
        await self._admin.start()
        await self._inputs.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._outputs.__aexit__()
        await self._admin.close()
        await self._inputs.stop()

    async def look(self) -> list[Alert]:
        """Look at everything once. Returns the alerts that are news."""
        news = await self._read_outputs(timeout_ms=200)
        await self._read_progress()
        await self._read_metrics()
        return news

    async def finish(self) -> list[Alert]:
        """Read the output topics to their ends, after the last commit. Returns the alerts that are news."""
        news = []
        while not await self._outputs.is_at_end():
            news += await self._read_outputs(timeout_ms=200)
        return news

    async def _read_outputs(self, *, timeout_ms: int) -> list[Alert]:
        picture, news = self.picture, []
        for topic, record in await self._outputs.poll(timeout_ms=timeout_ms):
            if topic is Topic.DEAD_LETTERS:
                picture.dead_letters += isinstance(read_record(record), Letter)  # a mark says that one was replayed
                continue
            match self._outputs.decode(topic, record):
                case Alert() as alert:
                    picture.alerts.setdefault(alert.alert_id, []).append(alert)
                    news.append(alert)
                case ModelStatus() as status:
                    picture.status = status
                    picture.panes.update({pane.starts_at: pane for series in status.series for pane in series.panes})
                case Adaptation():
                    picture.adaptations += 1
        return news

    async def _read_progress(self) -> None:
        """Committed offsets first: what is stepped was there before, so that the lag is never below the truth."""
        try:
            group = await self._admin.list_consumer_group_offsets(self._config.kafka.group)
        except KafkaError:
            return  # the group has no coordinator yet; silence for too long is the caller's to judge
        tps = [
            TopicPartition(name, partition)
            for name in self._names
            for partition in range(self._config.topics.partitions)
        ]
        ends = await self._inputs.end_offsets(tps)
        picture = self.picture
        picture.stepped = sum(max(0, group[tp].offset) for tp in tps if tp in group)
        picture.ends = dict.fromkeys(INPUTS, 0)
        for tp, end in ends.items():
            picture.ends[self._names[tp.topic]] += end

    async def _read_metrics(self) -> None:
        try:
            text = await asyncio.to_thread(self._fetch)
        except OSError:
            return  # starting, or killed: the last figures stay
        samples = [sample for metric in text_string_to_metric_families(text) for sample in metric.samples]
        outcomes = {s.labels["outcome"]: int(s.value) for s in samples if s.name == OUTCOME_METRIC}
        if outcomes:
            self.picture.outcomes = outcomes
            self.picture.waiting = sum(int(s.value) for s in samples if s.name == WAITING_METRIC)

    def _fetch(self) -> str:
        with urllib.request.urlopen(self._metrics_url, timeout=METRICS_S) as answer:  # noqa: S310 - a local URL
            return str(answer.read().decode())
