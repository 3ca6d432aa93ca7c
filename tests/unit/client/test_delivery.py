"""The way to a receiver that is not straight: redirects to nonsense, and proxies of the environment."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from adaptive_stream.cli import app
from adaptive_stream.client.delivery import Delivery, Fate, ProxyUnusable, Redirected
from adaptive_stream.client.endpoint import Endpoint
from tests.unit.client.receiver import Answer, Receiver
from tests.unit.client.test_forwarder import PARCEL, Pauses

NONSENSE = [
    "http://[",
    "http://[::1",
    "http://h:port/",
    "http://xn--a.example/",
    "http://\u00fc..\u00fc/",
    "http://h\x7f/",
    "//",
]


async def deliver(receiver: Receiver) -> Fate:
    async with Delivery(Endpoint.parse(receiver.url), timeout_s=60.0, pause=Pauses()) as delivery:
        return await delivery.deliver(PARCEL)


@pytest.mark.parametrize("location", NONSENSE)
@pytest.mark.parametrize("status", [301, 308])
async def test_a_receiver_that_moved_to_nonsense_ends_it(status: int, location: str) -> None:
    headers = {"location": location.encode().decode("latin-1")}
    with Receiver([Answer(status, headers)]).listening() as receiver:
        with pytest.raises(Redirected, match=rf"answers {status} and points to "):
            await deliver(receiver)
        assert len(receiver.requests) == 1


@pytest.mark.parametrize("location", NONSENSE)
async def test_a_passing_redirect_to_nonsense_is_tried_again(location: str) -> None:
    headers = {"location": location.encode().decode("latin-1")}
    with structlog.testing.capture_logs() as logged, Receiver([Answer(302, headers)]).listening() as receiver:
        assert await deliver(receiver) is Fate.DELIVERED
    first: Any = logged[0]
    assert (first["event"], first["status"]) == ("alert_not_delivered", "302")
    assert "points to " in first["advice"]


async def test_a_redirect_is_told_without_what_was_sent() -> None:
    receiver = Receiver([Answer(301, {"location": "/v2/hooks/XyZabcdefghij?token=s3cretvalue"})])
    with receiver.listening():
        endpoint = Endpoint.parse(f"{receiver.url}/XyZabcdefghij?token=s3cretvalue")
        async with Delivery(endpoint, pause=Pauses()) as delivery:
            with pytest.raises(Redirected, match=r"points to http://127\.0\.0\.1:\d+/v2/hooks/\*\*\*\."):
                await delivery.deliver(PARCEL)


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("value", ["socks5://ana:hunter2@h:1080", "foo://ana:hunter2@h", "http://ana:hunter2@h:port"])
@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
def test_a_proxy_that_cannot_be_used_is_told_by_its_variable(
    proxies: pytest.MonkeyPatch, name: str, value: str
) -> None:
    proxies.setitem(sys.modules, "socksio", None)
    proxies.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    proxies.setenv(name, value)
    with pytest.raises(ProxyUnusable, match=f"^{name}: no proxy") as refused:
        Delivery(Endpoint.parse("https://h.example/hook"))
    assert "hunter2" not in str(refused.value)
    proxies.setattr("adaptive_stream.runtime.telemetry.configure_logging", lambda _: None)  # of the whole process
    done = CliRunner().invoke(app, ["alerts", "forward", "--to", "https://h.example/hook"])
    assert done.exit_code == 78, done.exception
    assert f"{name}: no proxy that can be used" in done.stderr


async def test_a_proxy_of_the_environment_is_used(proxies: pytest.MonkeyPatch) -> None:
    with Receiver([]).listening() as proxy:
        proxies.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
        async with Delivery(Endpoint.parse("http://h.example/hook"), pause=Pauses()) as delivery:
            assert await delivery.deliver(PARCEL) is Fate.DELIVERED
    assert [request.path for request in proxy.requests] == ["http://h.example/hook"]
