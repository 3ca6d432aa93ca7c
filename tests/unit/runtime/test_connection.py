"""From the configuration's security block to the options of the clients, and what is said of a file that is wrong."""

from __future__ import annotations

import ssl
import traceback
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.config import Config, ConfigError, load, show
from adaptive_stream.config.provider import load_provider
from adaptive_stream.runtime import connection as module
from adaptive_stream.runtime.connection import NoToken, Tokens, connection
from adaptive_stream.runtime.failure import Fatal
from tests.integration.security import tokens
from tests.integration.security.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-nobody-may-read-this"  # noqa: S105 - looked for in what is said
PASSWORD = ("protocol=SASL_SSL", "mechanism=SCRAM-SHA-512", "username=ann")
BEARER = ("protocol=SASL_SSL", "mechanism=OAUTHBEARER")
TOKENS = "tests.integration.security.tokens"


def config(*settings: str) -> Config:
    return load([], {}, ["families.f.match=[m]", *(f"kafka.security.{setting}" for setting in settings)])


def refusal(*settings: str) -> str:
    with pytest.raises(Fatal) as refused:
        connection(config(*settings))
    assert refused.value.exit_code == 78
    return str(refused.value)


# -- options -----------------------------------------------------------------------------------------------------------


def test_without_security_there_is_none() -> None:
    options = connection(config())
    assert options["security_protocol"] == "PLAINTEXT"
    assert not [name for name in options if name.startswith(("ssl", "sasl"))]


def test_tls_always_checks_who_the_broker_is(tmp_path: Path) -> None:
    for settings in (("protocol=SSL",), ("protocol=SSL", f"ca_file={Authority(tmp_path, 'mine').file}")):
        context = connection(config(*settings))["ssl_context"]
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_only_the_own_authority_is_trusted_when_there_is_one(tmp_path: Path) -> None:
    context = connection(config("protocol=SSL", f"ca_file={Authority(tmp_path, 'mine').file}"))["ssl_context"]
    assert [dict(part[0] for part in found["subject"])["commonName"] for found in context.get_ca_certs()] == ["mine"]


def test_a_password_comes_from_its_file_at_each_start_of_a_client(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    made = config(*PASSWORD, f"password_file={file}")
    assert connection(made)["sasl_plain_password"] == "first"  # noqa: S105
    file.write_text("second\n")
    options = connection(made)
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "ann")
    assert options["sasl_plain_password"] == "second"  # noqa: S105


# -- files that are wrong ----------------------------------------------------------------------------------------------


def test_a_password_file_that_is_gone_empty_or_binary_is_named(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" \n")
    assert "kafka.security.password is empty" in refusal(*PASSWORD, f"password_file={file}")
    file.write_bytes(b"\xff\xfe")
    assert "kafka.security.password_file cannot be read: invalid start byte" in refusal(
        *PASSWORD, f"password_file={file}"
    )
    made = config(*PASSWORD, f"password_file={file}")
    file.unlink()
    with pytest.raises(Fatal, match="password_file cannot be read: No such file"):
        connection(made)


def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    assert f"kafka.security.ca_file {file}: no PEM certificate can be read from it" in refusal(
        "protocol=SSL", f"ca_file={file}"
    )


@pytest.mark.parametrize("given", ["", "a-wrong-one"])
def test_an_encrypted_key_without_its_password_is_refused_and_never_asked_for(tmp_path: Path, given: str) -> None:
    client = Authority(tmp_path, "mine").sign("client", password=SECRET)
    settings = [f"cert_file={client.cert}", f"key_file={client.key}"]
    said = refusal("protocol=SSL", *settings, *([f"key_password={given}"] if given else []))
    assert f"kafka.security.cert_file {client.cert} and key_file {client.key}" in said
    assert "a wrong or missing key_password" in said
    assert given not in said or not given
    right = config("protocol=SSL", *settings, f"key_password={SECRET}")
    assert connection(right)["ssl_context"].check_hostname


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "mine")
    one, other = authority.sign("one"), authority.sign("other")
    said = refusal("protocol=SSL", f"cert_file={one.cert}", f"key_file={other.key}")
    assert "the key does not belong to the certificate" in said


@pytest.mark.parametrize(
    "wrong", ["{secret}", "{{password: [{secret}]}}", "{{username: [{secret}]}}", "{{ca_file: {{a: {secret}}}}}"]
)
def test_what_stands_where_a_secret_may_stand_is_never_repeated(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text(f"families: {{f: {{match: [m]}}}}\nkafka: {{security: {wrong.format(secret=SECRET)}}}\n")
    with pytest.raises(ConfigError, match=r"kafka\.security") as refused:
        load([file], {})
    assert SECRET not in str(refused.value)


# -- token providers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("no-colon", "'no-colon' is not package.module:factory"),
        ("json:", "'json:' is not package.module:factory"),
        ("no.such.module:made", "no.such.module cannot be imported: No module named 'no'"),
        (f"{TOKENS}:missing", f"the module {TOKENS} has no missing"),
        (f"{TOKENS}:not_callable", f"the module {TOKENS} has a value, not a function, not_callable"),
        (f"{TOKENS}:something_else", "something_else() made a dict, not an aiokafka.abc.AbstractTokenProvider"),
        (f"{TOKENS}:failing", "failing() raised KeyError at tokens.py:"),
    ],
)
def test_a_provider_that_is_wrong_is_a_mistake_with_its_line(tmp_path: Path, provider: str, said: str) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text(
        "families: {f: {match: [m]}}\nkafka:\n  security:\n    protocol: SASL_SSL\n    mechanism: OAUTHBEARER\n"
        f'    token_provider: "{provider}"\n'
    )
    with pytest.raises(ConfigError) as refused:
        load([file], {})
    (mistake,) = refused.value.mistakes
    assert (mistake.source, mistake.path) == (f"{file}:6:5", "kafka.security.token_provider")
    assert said in mistake.message
    assert tokens.SECRET_CLAIM not in str(refused.value)


def test_a_module_that_raises_when_imported_is_told_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising_module.py").write_text(f"raise RuntimeError('{SECRET}')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"raising_module cannot be imported: it raised RuntimeError at raising_"
    ) as e:
        config(*BEARER, "token_provider=raising_module:made")
    assert SECRET not in str(e.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (BEARER, "OAUTHBEARER needs token_provider"),
        ((*BEARER, f"token_provider={TOKENS}:good", "username=ann"), "neither username nor password"),
        ((*PASSWORD, "password=x", f"token_provider={TOKENS}:good"), "belongs to mechanism: OAUTHBEARER"),
        (("mechanism=PLAIN", "username=ann", "password=x"), "mechanism belongs to SASL_SSL or SASL_PLAINTEXT"),
        ((f"ca_file={__file__}",), "certificates belong to SSL or SASL_SSL, the protocol is PLAINTEXT"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(*settings)


async def test_all_connections_share_one_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_SUBJECT", "shared")
    made = config(*BEARER, f"token_provider={TOKENS}:good")
    first, second = (connection(made)["sasl_oauth_token_provider"] for _ in range(2))
    assert first._provider is second._provider is load_provider(f"{TOKENS}:good")
    assert (await first.token()).count(".") == 2
    shown = str(show(made))
    assert f"{TOKENS}:good" in shown


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("raising", "raised RuntimeError at tokens.py:"),
        ("numeric", "returned a value of type int"),
        ("silent", "gave no token within 0.05 s"),
    ],
)
async def test_a_provider_without_a_token_is_a_failed_connection_without_its_words(
    factory: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKEN_S", 0.05)
    with pytest.raises(NoToken) as refused:
        await Tokens(f"{TOKENS}:{factory}").token()
    assert said in str(refused.value)
    assert tokens.SECRET_CLAIM not in str(refused.value)
    assert tokens.SECRET_CLAIM not in "".join(traceback.format_exception(refused.value))
