"""Every way to reach a Kafka and to prove who one is: granted what `validate --connect` asks for, a worker works."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import msgspec
import pytest

from adaptive_stream.contracts.events import Metrics
from adaptive_stream.contracts.topics import Topic
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.security.fortress import KEY_SECRET, SECRET, Fortress, verb, written
from tests.integration.security.tokens import SECRET_CLAIM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.worker import WorkerProcess

JOINED = 5
AS_WORKER = ("username=worker", "password_file={password_file}")
PROVIDER = "token_provider=tests.integration.security.tokens:good"
WAYS = {
    "PLAINTEXT": ("", ()),
    "TLS": ("TLS", ("protocol=SSL", "ca_file={ca}")),
    "mutual TLS": (
        "MUTUAL",
        ("protocol=SSL", "ca_file={ca}", "cert_file={cert}", "key_file={key}", "key_password_file={key_password_file}"),
    ),
    "PLAIN over TLS": ("SASL", ("protocol=SASL_SSL", "ca_file={ca}", "mechanism=PLAIN", *AS_WORKER)),
    "PLAIN": ("OPEN", ("protocol=SASL_PLAINTEXT", "mechanism=PLAIN", *AS_WORKER)),
    "SCRAM-SHA-256": ("SASL", ("protocol=SASL_SSL", "ca_file={ca}", "mechanism=SCRAM-SHA-256", *AS_WORKER)),
    "SCRAM-SHA-512": ("OPEN", ("protocol=SASL_PLAINTEXT", "mechanism=SCRAM-SHA-512", *AS_WORKER)),
    "OAUTHBEARER": ("SASL", ("protocol=SASL_SSL", "ca_file={ca}", "mechanism=OAUTHBEARER", PROVIDER)),
}
PRINCIPALS = {
    "mutual TLS": r"User:CN=tls-worker,O=Tests\, Inc.,C=DE",
    "PLAIN over TLS": "User:worker",
    "PLAIN": "User:worker",
    "SCRAM-SHA-256": "User:worker",
    "SCRAM-SHA-512": "User:worker",
    "OAUTHBEARER": "User:oauth-worker",
}


def seen(fortress: Fortress, name: str, way: str) -> Scene:
    listener, settings = WAYS[way]
    places = {
        "ca": fortress.authority.file,
        "cert": fortress.client.cert,
        "key": fortress.client.key,
        "password_file": fortress.password_file,
        "key_password_file": fortress.key_password_file,
    }
    if not listener:
        return fortress.scene(name)
    return fortress.seen(name, listener, *(setting.format(**places) for setting in settings))


async def joined(scene: Scene) -> int:
    """Return how many feedbacks the newest committed status of the model counts as joined."""
    records = (await scene.read(Topic.MODEL_STATUS))[Topic.MODEL_STATUS]
    counts = [msgspec.json.decode(record.value)["feedback"]["joined"] for record in records]
    return max(counts, default=0)


async def feed(scene: Scene) -> None:
    """Publish predictions, their truth, and something later that moves stream time past the next status."""
    await scene.publish((Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(JOINED))
    await scene.publish((Topic.FEEDBACK, correction(n), START_MS + 100 + n) for n in range(JOINED))
    await scene.publish([(Topic.METRICS, Metrics(model_id="m0", accuracy=0.5), START_MS + 300_000)])


@pytest.mark.parametrize("way", WAYS)
async def test_a_worker_joins_feedback_over(
    way: str, fortress: Fortress, names: str, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene, client = fortress.scene(names), seen(fortress, names, way)
    await scene.open()
    file = written(client, tmp_path, "log.level=debug")
    outputs = []
    if way in PRINCIPALS:  # the others are the administrator
        refused = await verb("validate", file, "--connect")
        assert refused.returncode == 78, refused.stderr
        commands = refused.stdout.splitlines()
        assert all(PRINCIPALS[way] in command for command in commands)
        await fortress.grant(commands)
        outputs += [refused.stdout, refused.stderr]

    async def is_allowed() -> bool:
        checked = await verb("validate", file, "--connect")
        outputs.extend([checked.stdout, checked.stderr])
        return checked.returncode == 0

    await until(is_allowed, what="what was granted is in force")
    worker = start_worker(client, settings="log.level=debug")
    await worker.said("worker_started")
    await feed(scene)

    async def has_joined() -> bool:
        assert worker.code is None, worker.log.read_text()
        return await joined(scene) == JOINED

    await until(has_joined, what="the feedback is joined and a status says so")
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    shown = await verb("config", "show", "--config", file)
    said = "".join([*outputs, shown.stdout, shown.stderr, worker.log.read_text()])
    assert "worker_stopped" in said
    for secret in (SECRET, KEY_SECRET, SECRET_CLAIM):
        assert secret not in said
