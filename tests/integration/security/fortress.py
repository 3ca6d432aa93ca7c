"""A Kafka that lets in whom it knows and allows what it was told, and the identities that it knows."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from adaptive_stream.embedded import EmbeddedKafka
from tests.integration.scene import Scene
from tests.integration.security.authority import Authority, Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).parents[3]
SECRET = "hunter2-nobody-may-read-this"  # noqa: S105 - looked for in all output
KEY_SECRET = "correct-horse-of-the-key"  # noqa: S105 - the same
USERS = ("worker", "app", "reader")
MODULE = "org.apache.kafka.common.security"
LISTENERS = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "ELSEWHERE": "SSL",
    "STALE": "SSL",
    "SASL": "SASL_SSL",
    "OPEN": "SASL_PLAINTEXT",
}


@dataclass
class Fortress:
    """A running Kafka with every kind of listener. Without an identity one is ANONYMOUS, and may do everything."""

    kafka: EmbeddedKafka
    folder: Path
    authority: Authority
    stranger: Authority
    client: Identity
    password_file: Path
    key_password_file: Path

    def scene(self, name: str) -> Scene:
        """Return a test's topics and group, seen by the administrator."""
        return Scene(bootstrap=self.kafka.bootstrap, name=name)

    def seen(self, name: str, listener: str, *settings: str) -> Scene:
        """Return the same topics and group as a client of this listener sees them; settings of ``kafka.security``."""
        security = tuple(f"kafka.security.{setting}" for setting in settings)
        return Scene(bootstrap=self.kafka.address(listener), name=name, settings=security)

    async def grant(self, commands: Iterable[str]) -> None:
        """Do what ``kafka-acls.sh`` would do with these commands."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        try:
            response = await admin._send_request(_CreateAcls([acl for command in commands for acl in entries(command)]))
        finally:
            await admin.close()
        assert [code for code, _ in response.results] == [0] * len(response.results), response.results


def build(folder: Path) -> Fortress:
    """Return the Kafka, ready to be started."""
    authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
    servers = {
        "tls": authority.sign("broker", host="127.0.0.1"),
        "elsewhere": authority.sign("elsewhere", host="kafka.example.org"),
        "stale": authority.sign("stale", host="127.0.0.1", life=timedelta(days=-1)),
    }
    servers |= dict.fromkeys(("mutual", "sasl"), servers["tls"])
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.open.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
    }
    for listener, server in servers.items():
        properties[f"listener.name.{listener}.ssl.keystore.type"] = "PEM"
        properties[f"listener.name.{listener}.ssl.keystore.location"] = str(server.both)
    known = " ".join(f'user_{user}="{SECRET}"' for user in USERS)
    for listener in ("sasl", "open"):
        start = f"listener.name.{listener}."
        properties |= {
            f"{start}plain.sasl.jaas.config": f"{MODULE}.plain.PlainLoginModule required {known};",
            f"{start}scram-sha-256.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
            f"{start}scram-sha-512.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
            f"{start}oauthbearer.sasl.jaas.config": (
                f'{MODULE}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
        }
    scram = [f"SCRAM-SHA-{bits}=[name=worker,password={SECRET}]" for bits in (256, 512)]
    password_file, key_password_file = folder / "password", folder / "key-password"
    password_file.write_text(f"{SECRET}\n")
    key_password_file.write_text(f"{KEY_SECRET}\n")
    return Fortress(
        kafka=EmbeddedKafka(listeners=LISTENERS, users=scram, properties=properties),
        folder=folder,
        authority=authority,
        stranger=stranger,
        client=authority.sign("tls-worker", password=KEY_SECRET),
        password_file=password_file,
        key_password_file=key_password_file,
    )


# -- the command line --------------------------------------------------------------------------------------------------


async def verb(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a verb of the command line to its end."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "adaptive_stream.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
    )


def written(scene: Scene, folder: Path, *settings: str) -> str:
    """Write a scene's configuration, secrets masked, and return the file's name."""
    file = folder / "written.yaml"
    file.write_text(yaml.safe_dump(scene.config(*settings).model_dump(mode="json")), encoding="utf-8")
    return str(file)


# -- access control lists ----------------------------------------------------------------------------------------------

RESOURCES = {"--topic": 2, "--group": 3, "--transactional-id": 5}
PATTERNS = {"literal": 3, "prefixed": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
ALLOW = 3
Acl = tuple[int, str, int, str, str, int, int]


def entries(command: str) -> list[Acl]:
    """Return the entries that a ``kafka-acls.sh --add`` would make; an option that it does not know is an error."""
    program, *words = shlex.split(command)
    assert program == "kafka-acls.sh"
    assert "--add" in words
    words.remove("--add")
    options = list(zip(words[::2], words[1::2], strict=True))
    assert {name for name, _ in options} <= {
        "--bootstrap-server", "--command-config", "--allow-principal", "--operation", "--resource-pattern-type",
        *RESOURCES,
    }  # fmt: skip
    pattern = PATTERNS[dict(options).get("--resource-pattern-type", "literal")]
    return [
        (RESOURCES[kind], name, pattern, principal, "*", OPERATIONS[operation], ALLOW)
        for kind, name in options
        if kind in RESOURCES
        for said, principal in options
        if said == "--allow-principal"
        for option, operation in options
        if option == "--operation"
    ]


class _Response(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(("throttle_time_ms", Int32), ("results", Array(("error_code", Int16), ("error_message", String()))))


class _Struct(RequestStruct):  # type: ignore[misc]
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String()),
                ("resource_pattern_type", Int8),
                ("principal", String()),
                ("host", String()),
                ("operation", Int8),
                ("permission_type", Int8),
            ),
        )
    )


class _CreateAcls(Request[_Struct]):  # type: ignore[misc]
    API_KEY = 30

    def __init__(self, acls: Sequence[Acl]) -> None:
        self._acls = list(acls)

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        return request_struct_class(self._acls)
