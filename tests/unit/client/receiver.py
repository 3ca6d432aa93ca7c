"""A real HTTP server that answers from a script and keeps what it was sent."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Answer:
    """What the server says to one request.

    Args:
        is_held: nothing until the receiver is released: a hang.
        is_cut: after the headers nothing, though a body is announced.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_held: bool = False
    is_cut: bool = False


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)


class Receiver:
    """Requests in the order of their arrival; each is answered by the next of the script, after it always with 200.

    Args:
        script: the answers, or a function of the request and its number.
    """

    def __init__(self, script: list[Answer] | Callable[[Request, int], Answer]) -> None:
        self.requests: list[Request] = []
        self.port = 0
        self._script = script
        self._lock = threading.Lock()
        self._released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def take(self, request: Request) -> Answer:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
        if not isinstance(self._script, list):
            return self._script(request, number)
        return self._script[number] if number < len(self._script) else Answer()

    @contextlib.contextmanager
    def listening(self, port: int = 0) -> Iterator[Receiver]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.take(Request(self.path, headers, body))
                if answer.is_held:
                    receiver._released.wait()
                with contextlib.suppress(OSError):  # the client may be gone
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(answer.body) + 10 * answer.is_cut))
                    self.end_headers()
                    self.wfile.write(answer.body)
                    self.close_connection |= answer.is_cut

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._released.set()
            server.shutdown()
            thread.join()
            server.server_close()
