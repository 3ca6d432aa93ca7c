"""``alerts`` and ``alerts forward`` against a real Kafka and a real HTTP server: nothing lost, nothing out of order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from adaptive_stream.client import delivery
from adaptive_stream.client.endpoint import Endpoint, Shape
from adaptive_stream.client.forwarder import Forwarder, Refused
from adaptive_stream.contracts.events import Alert, AlertStatus
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.intake import home
from tests.integration.scene import LIMIT_S, Scene, until
from tests.integration.test_cli import command, run
from tests.unit.client.receiver import Answer, Receiver, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
MODELS = 7
# the command line with short pauses: time is advanced, not slept
IMPATIENT = (
    "from adaptive_stream.client import delivery; delivery.FIRST_S = delivery.LAST_S = 0.01;"
    " from adaptive_stream.cli import main; main()"
)


def alert(
    number: int, *, status: str = "firing", severity: str = "medium", of: int | None = None, model: str = ""
) -> Alert:
    """Return an alert; its value tells the events of one model apart, in their order."""
    model = model or f"m{number % MODELS}"
    return Alert(
        alert_id=f"a-{number if of is None else of}",
        status=AlertStatus(status),
        labels={"alertname": "AccuracyDegraded", "severity": severity, "model_id": model, "variant_id": "v"},
        annotations={"summary": f"event {number}"},
        value=float(number),
        threshold=0.8,
        evidence={"n": 50, "low": 0.6, "high": 0.7},
        starts_at="2013-06-01T00:00:00Z",
        ends_at="2013-06-02T00:00:00Z" if status == "resolved" else None,
    )


async def produce(scene: Scene, *alerts: Alert | bytes) -> None:
    """Produce alerts as the worker does, each to the partition of its model; bytes are what a stranger writes."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap)
    await producer.start()
    try:
        for one in alerts:
            key = b"m0" if isinstance(one, bytes) else one.model_id.encode()
            value = one if isinstance(one, bytes) else msgspec.json.encode(one)
            await producer.send_and_wait(
                scene.prefix + Topic.ALERTS.value, value, key=key, partition=home(key, PARTITIONS)
            )
    finally:
        await producer.stop()


async def places(scene: Scene, group: str) -> dict[int, int]:
    """Return what a group has committed, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.bootstrap)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {tp.partition: at.offset for tp, at in found.items() if tp.topic.endswith("alerts") and at.offset >= 0}


async def is_committed_to_the_end(scene: Scene, group: str) -> bool:
    records = (await scene.read(Topic.ALERTS))[Topic.ALERTS]
    ends = {record.partition: record.offset + 1 for record in records}
    found = await places(scene, group)
    return all(found.get(partition) == end for partition, end in ends.items())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_S", 0.01)
    monkeypatch.setattr(delivery, "LAST_S", 0.01)


@contextlib.asynccontextmanager
async def forwarding(scene: Scene, receiver: Receiver, **options: Any) -> AsyncIterator[Forwarder]:  # noqa: ANN401
    """Run a forwarder in this event loop until the block ends."""
    options = {"group": scene.name, "is_from_beginning": True, "timeout_s": LIMIT_S, **options}
    endpoint = Endpoint.parse(receiver.url, shape=options.get("shape", Shape.WEBHOOK))
    async with Forwarder(scene.bootstrap, endpoint, prefix=scene.prefix, **options) as forwarder:
        life = asyncio.create_task(forwarder.run())
        try:
            yield forwarder
        finally:
            forwarder.stop()
            await life


def numbers(receiver: Receiver) -> list[int]:
    return [int(request.json["value"]) for request in receiver.requests]


def check_delivered(receiver: Receiver, wanted: int) -> None:
    """Check that each event came at least once, and those of a model in order, but for repeats of the last."""
    by_model: dict[str, list[int]] = defaultdict(list)
    for request in receiver.requests:
        by_model[request.json["labels"]["model_id"]].append(int(request.json["value"]))
    assert {number for found in by_model.values() for number in found} == set(range(wanted))
    for model, found in by_model.items():
        first = list(dict.fromkeys(found))
        assert first == sorted(first), model


# -- listing -----------------------------------------------------------------------------------------------------


async def test_each_alert_is_listed_once_in_its_newest_state(scene: Scene) -> None:
    await scene.open()
    assert (await run(scene, "alerts", "--firing", "--exit-code")).returncode == 0
    await produce(
        scene,
        alert(0, model="m0"),
        b"no alert",
        alert(1, model="m1"),
        alert(2, model="m0", of=0, severity="high"),
        alert(3, model="m1", of=1, status="resolved"),
        alert(4, model="m2"),
    )
    listed = await run(scene, "alerts", "--json")
    assert (listed.returncode, listed.stderr) == (0, "1 records on the topic are no alerts; somebody else wrote them\n")
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(one["alert_id"], one["status"], one["labels"]["severity"]) for one in found] == [
        ("a-0", "firing", "high"),
        ("a-4", "firing", "medium"),
        ("a-1", "resolved", "medium"),
    ]
    table = (await run(scene, "alerts", "--firing")).stdout.splitlines()
    assert len(table) == 3
    assert "2 [0.6, 0.7] n=50" in table[1]
    assert "m0 / v / -" in table[1]
    assert (await run(scene, "alerts", "--firing", "--exit-code")).returncode == 1
    assert (await run(scene, "alerts", "--firing", "--exit-code", "--model", "m1")).returncode == 0
    recent = await run(scene, "alerts", "--since", "24h", "--json")
    assert [json.loads(line)["alert_id"] for line in recent.stdout.splitlines()] == ["a-0", "a-4"]
    old = await run(scene, "alerts", "--since", "2013-06-01T00:00:00Z", "--json")
    assert len(old.stdout.splitlines()) == 3


# -- forwarding --------------------------------------------------------------------------------------------------


async def test_every_alert_is_delivered_in_order_and_committed_after(scene: Scene) -> None:
    await scene.open()
    await produce(scene, *(alert(number) for number in range(20)), b"no alert")
    with Receiver([Answer(500), Answer(429, {"retry-after": "0"}), Answer(503)]).listening() as receiver:
        async with forwarding(scene, receiver) as forwarder:
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
            await produce(scene, *(alert(number) for number in range(20, 30)))
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="what came later too")
    check_delivered(receiver, 30)
    assert (forwarder.counts.delivered, forwarder.counts.unreadable) == (30, 1)
    assert len(receiver.requests) == 33
    assert len({request.headers["idempotency-key"] for request in receiver.requests}) == 30


async def test_nothing_is_committed_before_it_was_taken(scene: Scene) -> None:
    await scene.open()
    await produce(scene, *(alert(number, model="m0") for number in range(5)))
    with Receiver(lambda _, number: Answer(200 if number < 2 else 503)).listening() as receiver:
        async with forwarding(scene, receiver):
            await until(lambda: len(receiver.requests) > 8, what="the third is tried again and again")
            assert (await places(scene, scene.name))[home(b"m0", PARTITIONS)] == 2
    assert set(numbers(receiver)) == {0, 1, 2}
    assert (await places(scene, scene.name))[home(b"m0", PARTITIONS)] == 2


async def test_a_refused_alert_is_counted_and_passed(scene: Scene) -> None:
    await scene.open()
    await produce(scene, *(alert(number, model="m0") for number in range(3)))
    with Receiver([Answer(200), Answer(400, body=b"no")]).listening() as receiver:
        async with forwarding(scene, receiver) as forwarder:
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
    assert numbers(receiver) == [0, 1, 2]
    assert (forwarder.counts.delivered, forwarder.counts.refused) == (2, 1)


async def test_a_forwarder_may_stop_at_a_refusal_with_nothing_committed_past_it(scene: Scene) -> None:
    await scene.open()
    await produce(scene, *(alert(number, model="m0") for number in range(3)))
    with Receiver([Answer(200), Answer(400)]).listening() as receiver:
        with pytest.raises(Refused, match=rf"{scene.prefix}alerts/\d@1"):
            async with forwarding(scene, receiver, stops_on_refusal=True) as forwarder:
                await until(lambda: forwarder.counts.refused > 0, what="it is refused")
        assert (await places(scene, scene.name))[home(b"m0", PARTITIONS)] == 1
        async with forwarding(scene, receiver):
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
    assert numbers(receiver) == [0, 1, 1, 2]


async def test_a_first_start_begins_with_what_comes_and_loses_nothing_if_it_dies_before_a_commit(scene: Scene) -> None:
    await scene.open()
    await produce(scene, alert(0, model="m0"))
    with Receiver([Answer(503)] * 3).listening() as receiver:
        async with forwarding(scene, receiver, is_from_beginning=False):
            pass
        await produce(scene, alert(1, model="m0"))
        async with forwarding(scene, receiver, is_from_beginning=False):
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
    assert set(numbers(receiver)) == {1}


async def test_two_endpoints_get_all_alerts_each_with_a_group_of_its_own(scene: Scene) -> None:
    await scene.open()
    with Receiver([]).listening() as one, Receiver([]).listening() as two:
        async with forwarding(scene, one), forwarding(scene, two, group=f"{scene.name}-2"):
            await produce(scene, *(alert(number) for number in range(10)))
            await until(lambda: len(one.requests) >= 10 and len(two.requests) >= 10, what="both have all")
    check_delivered(one, 10)
    check_delivered(two, 10)


async def test_two_of_one_group_share_the_partitions_and_one_takes_over_from_the_other(scene: Scene) -> None:
    await scene.open()
    with Receiver([]).listening() as receiver:
        async with forwarding(scene, receiver) as first:
            await produce(scene, *(alert(number) for number in range(10)))
            await until(lambda: first.counts.delivered >= 10, what="the first delivers")
            async with forwarding(scene, receiver) as second:
                await until(lambda: bool(second._consumer.assignment()), what="the second has its share")
                await produce(scene, *(alert(number) for number in range(10, 40)))
                await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
                assert second.counts.delivered > 0
            await produce(scene, *(alert(number) for number in range(40, 50)))
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="the first has taken over")
    check_delivered(receiver, 50)


async def test_a_partition_that_moves_while_its_alert_is_tried_is_tried_by_its_next_owner_alone(scene: Scene) -> None:
    await scene.open()
    await produce(scene, *(alert(number) for number in range(21)))
    is_open = asyncio.Event()
    taken: list[int] = []

    def script(request: Request, _: int) -> Answer:
        if not is_open.is_set():
            return Answer(503)
        taken.append(int(request.json["value"]))
        return Answer()

    with Receiver(script).listening() as receiver:
        async with forwarding(scene, receiver) as first:
            await until(lambda: len(first._lanes) == PARTITIONS, what="the first tries all partitions")
            async with forwarding(scene, receiver) as second:
                await until(lambda: bool(second._consumer.assignment()), what="the second has its share")
                is_open.set()
                await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
    assert sorted(taken) == list(range(21))


async def test_alertmanager_is_told_that_the_former_severity_is_over_across_a_restart(scene: Scene) -> None:
    await scene.open()
    await produce(scene, alert(0, model="m0"), alert(1, model="m1"))
    with Receiver([]).listening() as receiver:
        async with forwarding(scene, receiver, shape=Shape.ALERTMANAGER):
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
        await produce(
            scene,
            alert(2, model="m0", of=0, severity="high"),
            alert(3, model="m0", of=0, severity="high", status="resolved"),
            alert(4, model="m1", of=1, status="resolved"),
        )
        async with forwarding(scene, receiver, shape=Shape.ALERTMANAGER):
            await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is committed")
    bodies = sorted((request.json for request in receiver.requests), key=lambda body: body[0]["annotations"]["value"])
    assert [[one["labels"]["severity"] for one in body] for body in bodies] == [
        ["medium"],
        ["medium"],
        ["high", "medium"],
        ["high"],
        ["medium"],
    ]
    assert [body[0]["endsAt"] == "2013-06-02T00:00:00Z" for body in bodies] == [False, False, False, True, True]


# -- the process -------------------------------------------------------------------------------------------------


class Bridge:
    """``alerts forward`` as a child process."""

    def __init__(self, scene: Scene, receiver: Receiver, log: Path, *options: str) -> None:
        asked = command(scene, "alerts", "forward", "--to", receiver.url, "--from-beginning", "--group", scene.name)
        asked += ["--timeout", str(LIMIT_S)]
        arguments = asked[asked.index("alerts") :]
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", IMPATIENT, *arguments, *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    async def ended(self) -> int:
        await until(lambda: self.process.poll() is not None, what=f"the bridge ends; its log: {self.log}")
        return self.process.returncode


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    started: list[Bridge] = []

    def start(scene: Scene, receiver: Receiver, *options: str) -> Bridge:
        started.append(Bridge(scene, receiver, tmp_path / "bridge.log", *options))
        return started[-1]

    yield start
    for bridge in started:
        if bridge.process.poll() is None:
            bridge.process.kill()
        bridge.process.wait()


async def test_kills_between_delivery_and_commit_and_in_a_hang_lose_nothing(
    scene: Scene, start_bridge: Callable[..., Bridge]
) -> None:
    await scene.open()
    await produce(scene, *(alert(number) for number in range(25)))
    running: list[Bridge] = []
    killed_at = {6: Answer(200), 13: Answer(is_held=True)}  # before the answer leaves; while there is none
    spoilt: list[int] = []

    def script(request: Request, number: int) -> Answer:
        if number < 3:
            return Answer(500)
        if number in killed_at:
            spoilt.append(int(request.json["value"]))
            running[-1].process.kill()
            return killed_at[number]
        return Answer()

    with Receiver(script).listening() as receiver:
        for _ in killed_at:
            running.append(start_bridge(scene, receiver))
            assert await running[-1].ended() == -signal.SIGKILL
        running.append(start_bridge(scene, receiver))
        await until(lambda: is_committed_to_the_end(scene, scene.name), what="all is delivered and committed")
        running[-1].process.send_signal(signal.SIGTERM)
        assert await running[-1].ended() == 0
    check_delivered(receiver, 25)
    assert all(numbers(receiver).count(number) >= 2 for number in spoilt), "what was not committed comes again"


async def test_a_sigterm_finishes_the_delivery_under_way_and_begins_no_other(
    scene: Scene, start_bridge: Callable[..., Bridge]
) -> None:
    await scene.open()
    await produce(scene, *(alert(number, model="m0") for number in range(3)))
    running: list[Bridge] = []

    def script(_: Request, number: int) -> Answer:
        if number == 1:
            running[0].process.send_signal(signal.SIGTERM)
        return Answer()

    with Receiver(script).listening() as receiver:
        running.append(start_bridge(scene, receiver))
        assert await running[0].ended() == 0
    # the signal may be seen before or after the second is committed, so the third may have been begun; never lost
    assert numbers(receiver) in ([0, 1], [0, 1, 2])
    assert (await places(scene, scene.name))[home(b"m0", PARTITIONS)] == len(receiver.requests)


async def test_a_sigterm_in_a_pause_leaves_with_0_and_nothing_committed(
    scene: Scene, start_bridge: Callable[..., Bridge]
) -> None:
    await scene.open()
    await produce(scene, alert(0, model="m0"))
    with Receiver(lambda *_: Answer(429, {"retry-after": "300"})).listening() as receiver:
        bridge = start_bridge(scene, receiver)
        await until(lambda: "alert_not_delivered" in bridge.log.read_text(), what="it waits to be let in")
        bridge.process.send_signal(signal.SIGTERM)
        assert await bridge.ended() == 0
    assert (await places(scene, scene.name))[home(b"m0", PARTITIONS)] == 0


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (Answer(400), 1, "refuses the alert"),
        (Answer(308, {"location": "https://elsewhere.example/"}), 78, "https://elsewhere.example/"),
    ],
)
async def test_what_only_an_operator_mends_has_its_exit_code(
    scene: Scene, start_bridge: Callable[..., Bridge], answer: Answer, code: int, said: str
) -> None:
    await scene.open()
    await produce(scene, alert(0, model="m0"))
    with Receiver(lambda *_: answer).listening() as receiver:
        bridge = start_bridge(scene, receiver, "--stop-on-refusal", "--header", "Authorization: Bearer s3cret-token")
        assert await bridge.ended() == code
    log = bridge.log.read_text()
    assert said in log
    assert "Traceback" not in log
    assert receiver.requests[0].headers["authorization"] == "Bearer s3cret-token"
    assert "s3cret" not in log
    assert "/hook" not in log
    assert (await places(scene, scene.name))[home(b"m0", PARTITIONS)] == 0


async def test_a_topic_that_is_not_there_is_named_with_what_makes_it(scene: Scene) -> None:
    for arguments in (["alerts"], ["alerts", "forward", "--to", "http://127.0.0.1:1"]):
        done = await run(scene, *arguments)
        assert done.returncode == 69, done.stderr
        assert "topics create" in done.stderr
