"""Permissions: those of the guide are enough, each one that misses is named, and asking changes nothing."""

from __future__ import annotations

import re
import signal
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.partitioner import murmur2

from adaptive_stream.client import Publisher, Subscriber
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime import access
from adaptive_stream.runtime.access import Operation, Resource
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.security.fortress import SECRET, Fortress, entries, verb, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptive_stream.config import Config
    from adaptive_stream.runtime.access import Findings
    from tests.integration.worker import WorkerProcess

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "security.md"
REFUSED = "not allowed: {named}. `adaptive-stream validate FILE --connect` prints the commands"
HIDDEN = "{name} is missing. run `adaptive-stream topics create`"
SETTINGS = ("protocol=SASL_SSL", "mechanism=PLAIN")


def granted(user: str, scene: Scene) -> list[str]:
    """Return the guide's commands for a user, with the names of a test's own topics and group."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    mine = [line for line in lines if f"User:{user} " in line]
    assert mine, f"the guide has commands for {user}"
    return [
        line.replace(" adaptive.", f" {scene.prefix}")
        .replace(" adaptive-stream", f" {scene.name}")
        .replace(" adaptive-readers", f" {scene.name}-readers")
        for line in mine
    ]


def seen_by(user: str, fortress: Fortress, name: str) -> Scene:
    identity = (f"username={user}", f"password_file={fortress.password_file}", f"ca_file={fortress.authority.file}")
    return fortress.seen(name, "SASL", *SETTINGS, *identity)


def options(user: str, fortress: Fortress) -> dict[str, Any]:
    return {
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(cafile=str(fortress.authority.file)),
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": user,
        "sasl_plain_password": SECRET,
    }


def partition_of(model: str) -> int:
    return (murmur2(model.encode()) & 0x7FFFFFFF) % 3


def complaints(worker: WorkerProcess) -> list[dict[str, Any]]:
    """Return the worker's own warnings, and its client's about permissions; a young broker has others."""
    loud = [line for line in worker.lines() if line["level"] in {"warning", "error"}]
    return [line for line in loud if line["logger"].startswith("adaptive_stream") or "uthoriz" in line["event"]]


async def until_found(config: Config, condition: Callable[[Findings], bool], *, what: str) -> None:
    """Wait until what a check finds is so: a broker learns of a permission a moment after it is granted."""

    async def is_so() -> bool:
        return condition(await access.check(config))

    await until(is_so, what=what)


async def test_a_worker_an_app_and_a_reader_work_with_exactly_what_the_guide_lists(
    fortress: Fortress, names: str, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene = fortress.scene(names)
    await scene.open()
    for user in ("worker", "app", "reader"):
        await fortress.grant(granted(user, scene))
    client = seen_by("worker", fortress, names)
    await until_found(client.config(), lambda found: not found.missing, what="the worker is allowed all it needs")
    worker = start_worker(client)
    await worker.said("worker_started")

    bootstrap, prefix = client.bootstrap, scene.prefix
    async with Publisher(bootstrap, prefix=prefix, **options("app", fortress)) as app:
        await app.send_many(Topic.PREDICTIONS, [(prediction(n), START_MS + n) for n in range(5)])
        await app.send_many(Topic.FEEDBACK, [(correction(n), START_MS + 100 + n) for n in range(5)])
        await app.send(Topic.PREDICTIONS, prediction(9), time_ms=START_MS + 300_000)
        with pytest.raises(TopicAuthorizationFailedError):
            await app.ordered(model_id="m0", action="freeze")
    async with Subscriber(bootstrap, Topic.MODEL_COMMANDS, prefix=prefix, **options("app", fortress)) as follower:
        assert await follower.is_at_end()
    right = partition_of("m0")
    await scene.produce(Topic.PREDICTIONS, b"{}", partition=right)
    misplaced = b'{"prediction_id": "p50", "model_id": "m0", "output": 0.9, "features": [1, 2]}'
    await scene.produce(Topic.PREDICTIONS, misplaced, partition=(right + 1) % 3, time_ms=START_MS + 300_001)

    reader = written(seen_by("reader", fortress, names), tmp_path)

    async def is_joined() -> bool:
        assert worker.code is None, worker.log.read_text()
        shown = await verb("status", "m0", "--json", "-c", reader)
        return shown.returncode == 0 and msgspec.json.decode(shown.stdout)["feedback"]["joined"] == 5

    await until(is_joined, what="a reader sees the joined feedback")

    async def is_moved() -> bool:
        records = (await scene.read(Topic.PREDICTIONS))[Topic.PREDICTIONS]
        places = [record.partition for record in records if b"p50" in record.value]
        return sorted(places) == sorted([right, (right + 1) % 3])

    await until(is_moved, what="the record is on its right partition, too")

    async def has_letter() -> bool:
        letters = await verb("tail", "dead-letters", "-c", reader)
        assert letters.returncode == 0, letters.stderr
        return len(letters.stdout.splitlines()) == 1

    await until(has_letter, what="a reader sees the dead letter")
    assert (await verb("tail", "predictions", "-c", reader)).returncode != 0
    group = {"group": f"{names}-readers", **options("reader", fortress)}
    async with Subscriber(bootstrap, Topic.MODEL_STATUS, prefix=prefix, **group) as subscriber:

        async def has_status() -> bool:
            return bool(await subscriber.poll(timeout_ms=200))

        await until(has_status, what="a reader with a group gets the status")
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert not complaints(worker)


async def test_the_guide_lists_for_a_worker_what_validate_looks_for(fortress: Fortress, names: str) -> None:
    scene = fortress.scene(names)
    listed = {acl[:3] + acl[5:6] for command in granted("worker", scene) for acl in entries(command)}
    missing = access.needed(scene.config(), 3)
    printed = access.commands(scene.config(), missing, principal="User:worker")
    assert {acl[:3] + acl[5:6] for command in printed for acl in entries(command)} == listed
    assert len(printed) == len(set(printed)) == 12


async def test_each_permission_that_misses_is_named_alone(fortress: Fortress, names: str, tmp_path: Path) -> None:
    scene, client = fortress.scene(names), seen_by("worker", fortress, names)
    await scene.open()
    config = client.config()
    left = access.needed(config, 3)
    assert (await access.check(config)).missing == left
    # the transactional ids are granted together, the rest one by one
    while left:
        granting = [left[0]] if left[0].resource is not Resource.TRANSACTIONAL_ID else list(left)
        left = [permission for permission in left if permission not in granting]
        if not left or len(left) == 3:
            alone = await verb("validate", written(client, tmp_path), "--connect")
            assert alone.returncode == 78
            assert [line for line in alone.stderr.splitlines() if line.startswith("missing")] == [
                f"missing: {permission}" for permission in [*granting, *left]
            ]
            assert alone.stdout.splitlines() == access.commands(config, [*granting, *left], principal="User:worker")
        await fortress.grant(access.commands(config, granting, principal="User:worker"))
        await until_found(
            config, lambda found, left=left: found.missing == left, what=f"{granting} is allowed, {left} is not"
        )
    done = await verb("validate", written(client, tmp_path), "--connect")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "ok\n")


@pytest.mark.parametrize(
    ("operation", "resource", "name", "said"),
    [
        (Operation.READ, Resource.TOPIC, "{prefix}feedback", REFUSED),
        (Operation.READ, Resource.TOPIC, "{prefix}state", REFUSED),
        (Operation.READ, Resource.GROUP, "{group}", REFUSED),
        (Operation.WRITE, Resource.TRANSACTIONAL_ID, "{group}-0", REFUSED),
        # what one may not even describe looks as if it were not there
        (Operation.WRITE, Resource.TOPIC, "{prefix}model-status", HIDDEN),
    ],
)
async def test_a_worker_without_one_permission_is_told_which_and_ends_with_78(  # noqa: PLR0917 - pytest passes by name
    operation: Operation,
    resource: Resource,
    name: str,
    said: str,
    fortress: Fortress,
    names: str,
    tmp_path: Path,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    scene, client = fortress.scene(names), seen_by("worker", fortress, names)
    await scene.open()
    config = client.config()
    lacking = [
        permission
        for permission in access.needed(config, 3)
        if (permission.operation, permission.resource) == (operation, resource)
        and (resource is Resource.TRANSACTIONAL_ID or permission.name == name.format(prefix=scene.prefix, group=names))
    ]
    others = [permission for permission in access.needed(config, 3) if permission not in lacking]
    await fortress.grant(access.commands(config, others, principal="User:worker"))
    await until_found(config, lambda found: found.missing == lacking, what="all others are allowed")

    checked = await verb("validate", written(client, tmp_path), "--connect")
    assert checked.returncode == 78
    assert [line for line in checked.stderr.splitlines() if line.startswith("missing")] == [
        f"missing: {permission}" for permission in lacking
    ]
    assert checked.stdout.splitlines() == access.commands(config, lacking, principal="User:worker")

    worker = start_worker(client)
    assert await worker.ended() == 78
    named = "; ".join(str(permission) for permission in lacking)
    assert said.format(named=named, name=lacking[0].name) in worker.log.read_text()


async def test_missing_topics_are_named_beside_missing_permissions(
    fortress: Fortress, names: str, tmp_path: Path
) -> None:
    scene = fortress.scene(names)
    await scene.create(Topic.PREDICTIONS)
    as_administrator = await verb("validate", written(scene, tmp_path), "--connect")
    assert as_administrator.returncode == 78
    absent = [scene.prefix + topic.value for topic in Topic if topic is not Topic.PREDICTIONS]
    assert as_administrator.stdout == ""
    assert sorted(as_administrator.stderr.splitlines()) == sorted(
        f"missing: topic {name}; `adaptive-stream topics create` makes it" for name in absent
    )
    await scene.open()
    assert (await verb("validate", written(scene, tmp_path), "--connect")).returncode == 0


async def test_asking_changes_nothing_and_disturbs_no_worker(
    fortress: Fortress, names: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene = fortress.scene(names)
    await scene.open()
    for _ in range(2):
        assert (await access.check(scene.config())).missing == []
    assert names not in await groups(scene)
    assert await scene.read(*Topic) == {topic: [] for topic in Topic}
    worker = start_worker(scene)
    await worker.said("worker_started")
    for number in range(5):
        await scene.publish([(Topic.PREDICTIONS, prediction(number), START_MS + number)])
        assert (await access.check(scene.config())).missing == []
        await scene.drained()
    assert names in await groups(scene)
    await scene.check_journals()
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert not complaints(worker)


async def groups(scene: Scene) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.bootstrap)
    await admin.start()
    try:
        return {name for name, _ in await admin.list_consumer_groups()}
    except KafkaError as error:  # a broker that is younger than any group
        assert "Coordinator" in type(error).__name__  # noqa: PT017 - any other error is a failure
        return set()
    finally:
        await admin.close()
