"""Probes, status and metrics over HTTP, on a thread of their own.

Owns the listening socket. Never touches the state of a task: what it shows was published by the loop, or is asked of
it. Called by the worker at its start and end.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, TypeVar

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.runtime.failure import EX_CONFIG, Fatal

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from adaptive_stream.contracts.events import ModelStatus
    from adaptive_stream.runtime.telemetry import Telemetry
    from adaptive_stream.runtime.worker import Worker

T = TypeVar("T")
MAX_CONNECTIONS = 256  # further ones are answered with 503; each takes a file descriptor that Kafka may need
ANSWER_S = 5.0  # how long a request waits for the loop; a step may take seconds in the worst case
# the loop is in the middle of a long step, or the worker leaves and cancels what is asked of it
UNANSWERED = TimeoutError, CancelledError


class Server:
    """The HTTP server of one worker.

    Args:
        worker: whose state is shown.
        telemetry: whose metrics are shown.
        loop: the worker's; questions about a task's state are asked there.
    """

    def __init__(self, worker: Worker, telemetry: Telemetry, loop: asyncio.AbstractEventLoop) -> None:
        self._worker = worker
        self._telemetry = telemetry
        self._loop = loop
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._codec = Codec()

    def start(self, host: str, port: int) -> int:
        """Listen and serve; 0 takes any free port.

        Returns:
            The port.

        Raises:
            Fatal: the port is taken.
        """
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise Fatal(
                f"http: cannot listen on {host}:{port}: {error.strerror}; set http.port", exit_code=EX_CONFIG
            ) from error
        routes = [
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/status", self._status),
            Route("/status/{model_id:path}", self._model),
            Route("/metrics", self._metrics),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=MAX_CONNECTIONS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="http", daemon=True)
        self._thread.start()
        return int(listener.getsockname()[1])

    def stop(self) -> None:
        """Stop serving and wait for the thread, a few seconds at most."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=ANSWER_S)

    async def _livez(self, _: Request) -> Response:
        is_alive = self._worker.is_alive()
        return JSONResponse({"alive": is_alive}, status_code=200 if is_alive else 503)

    async def _readyz(self, _: Request) -> Response:
        is_ready = self._worker.is_ready
        return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)

    async def _status(self, _: Request) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(self._ask, self._worker.report))
        except UNANSWERED:
            return _unanswered()

    async def _model(self, request: Request) -> Response:
        model_id: str = request.path_params["model_id"]
        try:
            status = await run_in_threadpool(self._ask, lambda: self._model_status(model_id))
        except UNANSWERED:
            return _unanswered()
        if status is None:
            return JSONResponse({"error": "this worker does not hold the model"}, status_code=404)
        return Response(self._codec.encode(status), media_type="application/json")

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    def _model_status(self, model_id: str) -> ModelStatus | None:
        found = (task.memory.fleets.status(model_id) for task in self._worker.tasks.values() if task.memory)
        return next((status for status in found if status is not None), None)

    def _ask(self, question: Callable[[], T]) -> T:
        async def answer() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(ANSWER_S)


def _unanswered() -> Response:
    return JSONResponse({"error": "the worker is busy or leaves; ask again"}, status_code=503)
