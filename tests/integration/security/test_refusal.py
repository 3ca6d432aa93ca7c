"""Whom the wire refuses: the process ends with a sentence that says what is wrong, and never with the secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.embedded.broker import _free_ports
from adaptive_stream.runtime import connection, topics
from adaptive_stream.runtime.connection import explain
from adaptive_stream.runtime.failure import Fatal
from tests.integration.scene import Scene
from tests.integration.security.fortress import SECRET, Fortress, verb, written
from tests.integration.security.tokens import SECRET_CLAIM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.worker import WorkerProcess

WRONG = "a-wrong-password-nobody-may-read-either"
LIMIT_S = 25.0  # below the patience of a start: what waiting does not mend is not waited for
WORKER = ("username=worker", "password=to-be-replaced")
TLS = ("protocol=SSL", "ca_file={ca}")
SASL = ("protocol=SASL_SSL", "ca_file={ca}")
TOKEN = "token_provider=tests.integration.security.tokens:"  # noqa: S105 - a name of a function
HOPELESS = {
    "a wrong password with PLAIN": (
        "OPEN",
        ("protocol=SASL_PLAINTEXT", "mechanism=PLAIN", *WORKER),
        "refuses user 'worker' with PLAIN: wrong or expired credentials",
    ),
    "a wrong password with SCRAM-SHA-256": (
        "SASL",
        (*SASL, "mechanism=SCRAM-SHA-256", *WORKER),
        "refuses user 'worker' with SCRAM-SHA-256: wrong or expired credentials",
    ),
    "a wrong password with SCRAM-SHA-512": (
        "SASL",
        (*SASL, "mechanism=SCRAM-SHA-512", *WORKER),
        "refuses user 'worker' with SCRAM-SHA-512: wrong or expired credentials",
    ),
    "an unknown user": (
        "SASL",
        (*SASL, "mechanism=SCRAM-SHA-512", "username=nobody", "password=to-be-replaced"),
        "refuses user 'nobody' with SCRAM-SHA-512",
    ),
    "an expired token": (
        "SASL",
        (*SASL, "mechanism=OAUTHBEARER", f"{TOKEN}expired"),
        "refuses the token with OAUTHBEARER: wrong or expired credentials",
    ),
    "a mechanism that is not offered": (
        "OPEN",
        ("protocol=SASL_PLAINTEXT", "mechanism=SCRAM-SHA-256", *WORKER),
        "does not offer SCRAM-SHA-256 on this port",
    ),
    "SASL where there is none": (
        "",
        ("protocol=SASL_PLAINTEXT", "mechanism=PLAIN", *WORKER),
        "does not use SASL on this port; kafka.security.protocol is SASL_PLAINTEXT",
    ),
    "an unknown authority": (
        "TLS",
        ("protocol=SSL", "ca_file={stranger}"),
        "shows a certificate that no authority in kafka.security.ca_file .*stranger.pem has signed",
    ),
    "an authority that the system does not know": (
        "TLS",
        ("protocol=SSL",),
        "shows a certificate that no authority in the system's store of authorities has signed",
    ),
    "a wrong host name": ("ELSEWHERE", TLS, "shows a certificate for another host than 127.0.0.1"),
    "an expired certificate": ("STALE", TLS, "shows a certificate that has expired"),
    "no client certificate": ("MUTUAL", TLS, "wants a client certificate: set kafka.security.cert_file and key_file"),
    "a client certificate of a stranger": (
        "MUTUAL",
        (*TLS, "cert_file={cert}", "key_file={key}"),
        "refuses the connection, and with it the certificate .*strange-worker.cert",
    ),
}


def facing(fortress: Fortress, name: str, listener: str, *settings: str) -> Scene:
    strange = fortress.stranger.sign("strange-worker")
    places = {
        "ca": fortress.authority.file,
        "stranger": fortress.stranger.file,
        "cert": strange.cert,
        "key": strange.key,
    }
    security = tuple(f"kafka.security.{setting.format(**places)}" for setting in settings)
    bootstrap = fortress.kafka.address(listener) if listener else fortress.kafka.bootstrap
    return Scene(bootstrap=bootstrap, name=name, settings=security)


@pytest.mark.parametrize("case", HOPELESS)
async def test_a_worker_ends_with_78_and_says_so_for(
    case: str,
    fortress: Fortress,
    names: str,
    start_worker: Callable[..., WorkerProcess],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener, settings, said = HOPELESS[case]
    client = facing(fortress, names, listener, *settings)
    if any(setting.startswith("password") for setting in settings):
        monkeypatch.setenv("ADAPTIVE_STREAM__KAFKA__SECURITY__PASSWORD", WRONG)
    worker = start_worker(client, settings="log.level=debug")
    assert await worker.ended(limit_s=LIMIT_S) == 78
    log = worker.log.read_text()
    assert re.search(f"Kafka at {client.bootstrap} cannot be reached: the broker at {client.bootstrap} {said}", log)
    assert "Traceback" not in log
    for secret in (WRONG, SECRET, SECRET_CLAIM):
        assert secret not in log


@pytest.mark.parametrize("case", ["a wrong password with PLAIN", "an unknown authority", "no client certificate"])
@pytest.mark.parametrize("words", [("validate", "FILE", "--connect"), ("tail", "alerts", "-c", "FILE")])
async def test_a_verb_that_connects_says_the_same_for(
    case: str,
    words: tuple[str, ...],
    fortress: Fortress,
    names: str,
    tmp_path: Path,
) -> None:
    listener, settings, said = HOPELESS[case]
    file = written(facing(fortress, names, listener, *settings), tmp_path)
    arguments = [file if word == "FILE" else word for word in words]
    found = await verb(
        *arguments, environ={"ADAPTIVE_STREAM__KAFKA__SECURITY__PASSWORD": WRONG} if WORKER[0] in settings else {}
    )
    assert found.returncode == 78
    assert re.search(said, found.stderr)
    assert "Traceback" not in found.stderr
    assert WRONG not in found.stdout + found.stderr


# -- what may mend itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "settings", "said"),
    [
        ("", ("protocol=SSL",), "closed the connection without a reason; does its listener speak SSL"),
        ("TLS", (), "closed the connection without a reason; does its listener speak PLAINTEXT"),
        ("OPEN", (), "closed the connection without a reason; does its listener speak PLAINTEXT"),
        (
            "SASL",
            (*SASL, "mechanism=OAUTHBEARER", f"{TOKEN}raising"),
            "tokens:raising raised RuntimeError at tokens.py:",
        ),
        ("SASL", (*SASL, "mechanism=OAUTHBEARER", f"{TOKEN}numeric"), "tokens:numeric returned a value of type int"),
        ("SASL", (*SASL, "mechanism=OAUTHBEARER", f"{TOKEN}silent"), "tokens:silent gave no token within 0.2 s"),
    ],
)
async def test_what_waiting_may_mend_is_69(  # noqa: PLR0917 - pytest passes by name
    listener: str,
    settings: tuple[str, ...],
    said: str,
    fortress: Fortress,
    names: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "TOKEN_S", 0.2)
    monkeypatch.setattr(topics, "PATIENCE_S", 0.0)
    client = facing(fortress, names, listener, *settings)
    found = await explain(client.config())
    assert found is not None
    assert found.exit_code == 69
    assert said in str(found)
    assert SECRET_CLAIM not in str(found)
    with pytest.raises(Fatal, match="cannot be reached") as refused:
        await topics.check(client.config())
    assert refused.value.exit_code == 69
    assert said in str(refused.value)


async def test_nobody_and_no_name_are_69(names: str) -> None:
    (port,) = _free_ports(1)
    nobody = await explain(Scene(bootstrap=f"127.0.0.1:{port}", name=names).config())
    assert nobody is not None
    assert (nobody.exit_code, str(nobody)) == (69, f"127.0.0.1:{port}: nobody listens there")
    nowhere = await explain(Scene(bootstrap="kafka.invalid:9092", name=names).config())
    assert nowhere is not None
    assert (nowhere.exit_code, str(nowhere)) == (69, "kafka.invalid:9092: the name 'kafka.invalid' cannot be resolved")


async def test_one_address_that_answers_is_enough(fortress: Fortress, names: str) -> None:
    (port,) = _free_ports(1)
    scene = Scene(bootstrap=f"127.0.0.1:{port},{fortress.kafka.bootstrap}", name=names)
    assert await explain(scene.config()) is None
