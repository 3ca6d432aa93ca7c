"""What a worker must be allowed, the commands that grant it, and the name that Kafka gives to an identity."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.config import Config, load
from adaptive_stream.contracts.topics import INPUTS, OUTPUTS, Topic
from adaptive_stream.runtime import access
from adaptive_stream.runtime.access import Operation, Permission, Resource
from tests.integration.security.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path


def config(*settings: str) -> Config:
    return load([], {}, ["families.f.match=[m]", *settings])


def test_every_topic_is_needed_for_something() -> None:
    found = access.needed(config("topics.prefix=p."), 2)
    topics = {(one.operation, one.name) for one in found if one.resource is Resource.TOPIC}
    read = {f"p.{topic}" for topic in (*INPUTS, Topic.STATE)}
    written = {f"p.{topic}" for topic in Topic}
    assert topics == {(Operation.READ, name) for name in read} | {(Operation.WRITE, name) for name in written}
    assert set(Topic) == {*INPUTS, *OUTPUTS, Topic.DEAD_LETTERS, Topic.STATE}


def test_each_task_has_its_transactional_id() -> None:
    found = access.needed(config("kafka.group=g"), 3)
    ids = [one.name for one in found if one.resource is Resource.TRANSACTIONAL_ID]
    assert ids == ["g-0", "g-1", "g-2"]
    assert [one.name for one in found if one.resource is Resource.GROUP] == ["g"]


def test_there_is_one_command_for_each_resource_and_one_for_all_tasks() -> None:
    tree = config("kafka.group=g", "kafka.bootstrap=host:9093")
    missing = [
        Permission(Operation.READ, Resource.TOPIC, "state", "a restore"),
        Permission(Operation.WRITE, Resource.TOPIC, "state", "journal"),
        *(Permission(Operation.WRITE, Resource.TRANSACTIONAL_ID, f"g-{n}", "a task") for n in range(6)),
    ]
    start = "kafka-acls.sh --bootstrap-server host:9093 --command-config admin.properties --add --allow-principal"
    assert access.commands(tree, missing, principal="User:ann") == [
        f"{start} User:ann --operation Read --operation Write --topic state",
        f"{start} User:ann --operation Write --transactional-id g- --resource-pattern-type prefixed",
    ]


def test_a_principal_of_any_shape_stays_one_word_of_the_shell() -> None:
    hostile = r"User:CN=it's; rm -rf /,O=Tests\, Inc."
    (command,) = access.commands(
        config(), [Permission(Operation.READ, Resource.GROUP, "g", "the group")], principal=hostile
    )
    assert hostile in shlex.split(command)


def test_a_permission_is_told_in_words() -> None:
    told = str(Permission(Operation.WRITE, Resource.TRANSACTIONAL_ID, "g-0", "a task's transactions"))
    assert told == "Write on transactional id g-0 (a task's transactions)"


@pytest.mark.parametrize("name", ["plain", 'it\'s, "quoted" + <more>; \\'])
async def test_the_principal_of_a_certificate_is_its_subject_as_java_writes_it(tmp_path: Path, name: str) -> None:
    made = Authority(tmp_path, "mine").sign("client", subject=name)
    tree = config(
        "kafka.security.protocol=SSL", f"kafka.security.cert_file={made.cert}", f"kafka.security.key_file={made.key}"
    )
    escaped = "".join(f"\\{letter}" if letter in ',+"\\<>;' else letter for letter in name)
    assert await access.principal(tree) == rf"User:CN={escaped},O=Tests\, Inc.,C=DE"


async def test_the_principal_of_a_token_is_its_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_SUBJECT", raising=False)
    bearer = ("kafka.security.protocol=SASL_SSL", "kafka.security.mechanism=OAUTHBEARER")
    tokens = "kafka.security.token_provider=tests.integration.security.tokens"
    assert await access.principal(config(*bearer, f"{tokens}:expired")) == "User:oauth-worker"
    assert await access.principal(config(*bearer, f"{tokens}:raising")) == "User:SUBJECT-OF-THE-TOKEN"


async def test_without_an_identity_one_is_anonymous() -> None:
    assert await access.principal(config()) == "User:ANONYMOUS"
    assert await access.principal(config("kafka.security.protocol=SSL")) == "User:ANONYMOUS"
