"""How to reach the cluster: the options that every aiokafka client shares, and the words for why it cannot be reached.

Owns the translation from the configuration's security block, and the diagnosis that the clients themselves swallow
("unable to bootstrap"). Never says a secret. Called by the session, the worker, the readers and the administration.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiokafka import errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, collect_hosts
from aiokafka.protocol.metadata import MetadataRequest

from adaptive_stream.config.provider import load_provider, told
from adaptive_stream.runtime.failure import EX_CONFIG, EX_UNAVAILABLE, Fatal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiokafka import TopicPartition
    from aiokafka.client import AIOKafkaClient

    from adaptive_stream.config import Config
    from adaptive_stream.config.tree import Security

TOKEN_S = 20.0  # the client sets no limit to a token provider
PROBE_S = 10.0  # a broker answers in milliseconds, a far one in a second
PROBE_MAX = 16  # addresses tried by one diagnosis
# X509_V_ERR_*, <openssl/x509_vfy.h>
NOT_YET_VALID, EXPIRED, NOT_THIS_HOST = 9, 10, (62, 64)
UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)


def connection(config: Config) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client takes to reach this cluster.

    Raises:
        Fatal: a certificate, a key or a password cannot be read or used.
    """
    kafka = config.kafka
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "client_id": kafka.client_id,
        "request_timeout_ms": kafka.request_timeout_ms,
        "metadata_max_age_ms": kafka.metadata_max_age_ms,
        "security_protocol": str(security.protocol),
    }
    if "SSL" in options["security_protocol"]:
        options["ssl_context"] = _tls(security)
    if options["security_protocol"].startswith("SASL"):
        options["sasl_mechanism"] = str(security.mechanism)
        if security.token_provider is not None:
            options["sasl_oauth_token_provider"] = Tokens(security.token_provider)
        else:
            options["sasl_plain_username"] = security.username
            options["sasl_plain_password"] = _secret(security, "password")
    return options


class NoToken(kafka_errors.KafkaConnectionError):  # type: ignore[misc]  # aiokafka ships no types
    """The token provider gave no token."""


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """The configured token provider, bounded: what goes wrong in it is one failed connection, told without its words.

    Args:
        name: as ``package.module:factory``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._provider = load_provider(name)
        self._extensions: dict[str, str] = {}

    async def token(self) -> str:
        """Return the provider's token.

        Raises:
            NoToken: it raised, took too long, or returned no text.
        """
        try:
            async with asyncio.timeout(TOKEN_S):
                found = await self._provider.token()
            self._extensions = dict(self._provider.extensions())
        except TimeoutError:
            raise NoToken(f"the token provider {self._name} gave no token within {TOKEN_S:g} s") from None
        except Exception as error:  # noqa: BLE001 - somebody else's code may raise anything
            raise NoToken(f"the token provider {self._name} raised {told(error)}") from None
        if not isinstance(found, str) or not found:
            what = "an empty text" if isinstance(found, str) else f"a value of type {type(found).__name__}"
            raise NoToken(f"the token provider {self._name} returned {what}")
        return found

    def extensions(self) -> dict[str, str]:
        """Return what the provider sends along with the token."""
        return self._extensions


# -- why the cluster cannot be reached ---------------------------------------------------------------------------------


def without_leader(client: AIOKafkaClient, places: Iterable[TopicPartition]) -> str:
    """Return which of these partitions no broker leads, as the client last heard, and what that means; "" for none.

    Where a disk is full or broken, or a broker gone, the client asks again and again without a word.
    """
    lost = [f"{tp.topic}-{tp.partition}" for tp in places if client.cluster.leader_for_partition(tp) == -1]
    return f"no broker leads {', '.join(lost)}: the one that has it is gone, or lost its disk" if lost else ""


async def explain(config: Config) -> Fatal | None:
    """Try every address once and say what is wrong; None when the cluster can be reached.

    Returns:
        With exit code 78 what waiting does not mend (a refused password, an unknown authority, a wrong host name), with
        69 the rest: nobody listens, no answer, or a connection that was closed without a reason.

    Raises:
        Fatal: a certificate, a key or a password cannot be read or used.
    """
    options = connection(config)
    asked = [(host, port) for host, port, _ in collect_hosts(config.kafka.bootstrap, randomize=False)]
    advertised: set[tuple[str, int]] = set()
    failures: list[Fatal] = []
    reached: set[tuple[str, int]] = set()
    for host, port in asked[:PROBE_MAX]:
        try:
            advertised |= await _brokers(host, port, options)
            reached.add((host, port))
        except (kafka_errors.KafkaError, OSError, ValueError) as error:
            failures.append(_failure(error, config.kafka.security, f"{host}:{port}", host))
    if not reached:
        return _worst(failures)
    failures.clear()  # one address is enough to begin with; the clients then go to those that the cluster advertises
    for host, port in sorted(advertised - reached)[:PROBE_MAX]:
        try:
            await _brokers(host, port, options)
            reached.add((host, port))
        except (kafka_errors.KafkaError, OSError, ValueError) as error:
            where = f"{host}:{port}, as the cluster advertises it (advertised.listeners),"
            failures.append(_failure(error, config.kafka.security, where, host))
    is_hopeless = any(failure.exit_code == EX_CONFIG for failure in failures)
    return _worst(failures) if failures and (is_hopeless or not advertised & reached) else None


class Probe(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka ships no types
    """A connection that sees the broker refuse a token; the client takes the refusal for a success."""

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """Return the client's own authenticator, made to read the answer."""
        return _CheckedToken(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


class _CheckedToken(OAuthAuthenticator):  # type: ignore[misc]  # aiokafka ships no types
    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:  # RFC 7628 §3.2.2: an answer that is not empty is a refusal
            raise kafka_errors.SaslAuthenticationFailed("the token is refused")
        step: tuple[bytes, bool] | None = await super().step(payload)
        return step


async def open_probe(host: str, port: int, options: dict[str, Any]) -> Probe:
    """Return an open connection to one broker; ``close_probe`` closes it.

    Raises:
        KafkaError: it did not open.
        OSError: the same; TimeoutError is one, and so is ssl.SSLError.
        ValueError: the broker failed to prove that it knows the password (SCRAM).
    """
    shared = {name: value for name, value in options.items() if name.startswith(("sasl", "ssl", "security", "client"))}
    probe = Probe(host, port, request_timeout_ms=PROBE_S * 1000, **shared)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(close_probe, probe)
        async with asyncio.timeout(PROBE_S + TOKEN_S):
            await probe.connect()
        undo.pop_all()
    return probe


async def close_probe(probe: Probe) -> None:
    """Close a connection and wait until its socket is gone."""
    closed = probe.close()
    if probe._protocol is not None:  # noqa: SLF001 - otherwise there was no socket, and nothing to wait for
        await asyncio.wait([closed], timeout=1.0)


async def _brokers(host: str, port: int, options: dict[str, Any]) -> set[tuple[str, int]]:
    """Return the addresses that a broker advertises."""
    probe = await open_probe(host, port, options)
    try:
        metadata = await probe.send(MetadataRequest([]))
    finally:
        await close_probe(probe)
    if not metadata.brokers:  # what a connection gets that is not let in
        raise kafka_errors.KafkaConnectionError("the cluster names no brokers")
    return {(broker[1], broker[2]) for broker in metadata.brokers}


def _worst(failures: list[Fatal]) -> Fatal:
    return next((failure for failure in failures if failure.exit_code == EX_CONFIG), failures[0])


def _failure(error: BaseException, security: Security, where: str, host: str) -> Fatal:
    """Return what an error at one broker means."""
    for cause in _causes(error):
        said = _refusal(cause, security, host)
        if said is not None:
            return Fatal(f"the broker at {where} {said}", exit_code=EX_CONFIG)
    for cause in _causes(error):
        if isinstance(cause, NoToken):
            return Fatal(f"the broker at {where} cannot be asked: {cause.args[0]}", exit_code=EX_UNAVAILABLE)
        if isinstance(cause, socket.gaierror):
            return Fatal(f"{where}: the name {host!r} cannot be resolved", exit_code=EX_UNAVAILABLE)
        if isinstance(cause, ConnectionRefusedError):
            return Fatal(f"{where}: nobody listens there", exit_code=EX_UNAVAILABLE)
        if isinstance(cause, TimeoutError):
            return Fatal(f"{where}: no answer within {PROBE_S:g} s", exit_code=EX_UNAVAILABLE)
    closed = "closed the connection without a reason; does its listener speak"
    return Fatal(
        f"the broker at {where} {closed} {security.protocol} (kafka.security.protocol)?"
        f"{_without_certificate(security)} The client saw: {type(error).__name__}",
        exit_code=EX_UNAVAILABLE,
    )


def _refusal(error: BaseException, security: Security, host: str) -> str | None:
    """Return what the broker or we ourselves refuse for good; None when waiting may help."""
    who = f"user {security.username!r}" if security.username else "the token"
    if isinstance(error, ssl.SSLError):
        return _tls_refusal(error, security, host)
    if isinstance(error, kafka_errors.SaslAuthenticationFailed):
        return f"refuses {who} with {security.mechanism}: wrong or expired credentials, or they are not known there"
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
        return f"does not offer {security.mechanism} on this port (kafka.security.mechanism)"
    if isinstance(error, kafka_errors.IllegalSaslStateError):
        return f"does not use SASL on this port; kafka.security.protocol is {security.protocol}"
    if isinstance(error, ValueError):
        return f"did not prove that it knows the password of {who}: is it the right cluster?"
    return None


def _tls_refusal(error: ssl.SSLError, security: Security, host: str) -> str | None:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error, security, host)
    if "ALERT" in reason and security.cert_file is None and "PROTOCOL" not in reason:
        return f"wants a client certificate: set kafka.security.cert_file and key_file ({reason})"
    if "ALERT" in reason:
        return f"refuses the connection, and with it the certificate {security.cert_file}: {reason}"
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return f"does not speak TLS on this port; kafka.security.protocol is {security.protocol}"
    return None


def _distrust(error: ssl.SSLCertVerificationError, security: Security, host: str) -> str:
    store = f"kafka.security.ca_file {security.ca_file}" if security.ca_file else "the system's store of authorities"
    if error.verify_code in NOT_THIS_HOST:
        return f"shows a certificate for another host than {host}; connect by a name that stands in it"
    if error.verify_code in UNKNOWN_AUTHORITY:
        return f"shows a certificate that no authority in {store} has signed"
    if error.verify_code == EXPIRED:
        return "shows a certificate that has expired"
    if error.verify_code == NOT_YET_VALID:
        return "shows a certificate that is not valid yet; is this machine's clock right?"
    return f"shows a certificate that is refused: {error.verify_message}"


def _without_certificate(security: Security) -> str:
    is_bare = security.protocol.endswith("SSL") and security.cert_file is None
    return " Or does it want a client certificate (kafka.security.cert_file)?" if is_bare else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


# -- files -------------------------------------------------------------------------------------------------------------


def _tls(security: Security) -> ssl.SSLContext:
    place = "kafka.security"
    try:
        context = ssl.create_default_context(cafile=str(security.ca_file) if security.ca_file else None)
    except OSError as error:
        raise Fatal(
            f"{place}.ca_file {security.ca_file}: no PEM certificate can be read from it: {_why(error)}"
        ) from None
    if security.cert_file is None:
        return context
    # without a password OpenSSL would ask for it on the terminal
    password = _secret(security, "key_password") or ""
    try:
        context.load_cert_chain(str(security.cert_file), str(security.key_file), password)
    except (OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            what = "the key does not belong to the certificate"
        else:
            what = f"no PEM certificate with its key, or a wrong or missing key_password: {_why(error)}"
        raise Fatal(f"{place}.cert_file {security.cert_file} and key_file {security.key_file}: {what}") from None
    return context


def _secret(security: Security, name: str) -> str | None:
    try:
        found = security.secret_password() if name == "password" else security.secret_key_password()
    except (OSError, UnicodeDecodeError) as error:
        raise Fatal(f"kafka.security.{name}_file cannot be read: {_why(error)}") from None
    if found == "":
        raise Fatal(f"kafka.security.{name} is empty")
    return found


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__)
