"""What the probes' server says while the loop does not answer."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError

import httpx
import pytest

from adaptive_stream.runtime.http import Server
from adaptive_stream.runtime.worker import Worker
from tests.unit.runtime.records import config


@pytest.mark.parametrize("path", ["/status", "/status/m1"])
@pytest.mark.parametrize("why", [CancelledError(), TimeoutError()], ids=["it leaves", "it is busy"])
async def test_a_worker_that_cannot_answer_says_so(
    path: str, why: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(config())
    server = Server(worker, worker.telemetry, asyncio.get_running_loop())

    def ask(_: object) -> None:
        raise why

    monkeypatch.setattr(server, "_ask", ask)
    port = server.start("127.0.0.1", 0)
    try:
        async with httpx.AsyncClient(timeout=30, transport=httpx.AsyncHTTPTransport(retries=20)) as client:
            answer = await client.get(f"http://127.0.0.1:{port}{path}")
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.json() == {"error": "the worker is busy or leaves; ask again"}
    finally:
        server.stop()
