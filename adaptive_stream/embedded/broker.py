"""A real Apache Kafka as child processes: one node or three, on free ports, in a folder of its own.

Owns the processes, the ports and the folder, and leaves none of them behind. Never used by a worker. Called by the
demo, the tests and ``adaptive-stream kafka``.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Self

from adaptive_stream.embedded.child import start_child, stop_children
from adaptive_stream.embedded.jars import EmbeddedKafkaError, class_path
from adaptive_stream.embedded.java import find_java

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOST = "127.0.0.1"
START_S = 90.0  # 2 s on an idle machine; shared ones have taken a minute
ATTEMPTS = 3  # a free port may be taken between its choice and its use
STARTED = b"Kafka Server started"  # Kafka's own words, at level info of kafka.server
JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
LOGGING = """\
status = error
appender.file.type = File
appender.file.name = FILE
appender.file.fileName = {folder}/node-{node}.log
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.file.ref = FILE
logger.server.name = kafka.server
logger.server.level = info
"""


class EmbeddedKafka:
    """One Kafka cluster; a context manager.

    Args:
        brokers: 1, or more that all vote.
        folder: for data and logs; kept at the end. None takes a temporary one, removed at the end.
        port: of the first broker; 0 takes a free one.
        properties: over the defaults.
        listeners: further ones by name, with their protocol; ``address`` tells where they are.
        users: for SCRAM, as ``SCRAM-SHA-256=[name=ann,password=...]``; made when the storage is formatted.
        is_detached: the brokers outlive this process.
    """

    def __init__(
        self,
        *,
        brokers: int = 1,
        folder: Path | None = None,
        port: int = 0,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        users: Sequence[str] = (),
        is_detached: bool = False,
    ) -> None:
        self._count = brokers
        self._is_temporary = folder is None
        self.folder = folder
        self._port = port
        self._properties = dict(properties or {})
        self._listeners = dict(listeners or {})
        self._users = list(users)
        self._is_detached = is_detached
        self._further: list[dict[str, int]] = []
        self._ports: list[tuple[int, int]] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._log_starts: dict[int, int] = {}  # bytes of a node's log that are from before its launch
        self._command: list[str] = []

    @property
    def bootstrap(self) -> str:
        """host:port of every broker."""
        return ",".join(f"{HOST}:{port}" for port, _ in self._ports)

    def address(self, listener: str) -> str:
        """Return host:port of every broker, at one of the further listeners."""
        return ",".join(f"{HOST}:{ports[listener]}" for ports in self._further)

    @property
    def pids(self) -> dict[int, int]:
        """Process ids by node."""
        return {node: process.pid for node, process in self._processes.items()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the brokers and wait until they answer.

        Raises:
            EmbeddedKafkaError: the port is taken; or with the end of the log.
        """
        if self._port:
            _check_free(self._port)
        self._command = [str(find_java()), *JVM, "-cp", class_path()]
        for attempt in range(1, ATTEMPTS + 1):
            with contextlib.ExitStack() as undo:
                undo.callback(self.stop)
                try:
                    self._lay_out()
                    for node in range(1, self._count + 1):
                        self._launch(node)
                    for node in range(1, self._count + 1):
                        self._wait(node)
                except EmbeddedKafkaError:
                    if attempt == ATTEMPTS:
                        raise
                    continue
                if not self._is_detached:
                    atexit.register(self.stop)
                undo.pop_all()
                return

    def stop(self) -> None:
        """Stop the brokers and remove what is temporary. Safe to call twice."""
        stop_children(list(self._processes.values()))
        self._processes.clear()
        if self._is_temporary and self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        atexit.unregister(self.stop)

    def kill(self, node: int) -> None:
        """Kill a broker with SIGKILL, as a power cut would."""
        process = self._processes.pop(node)
        process.kill()
        process.wait()

    def restart(self, node: int) -> None:
        """Start a killed broker on its old port and data, and wait until it answers."""
        self._launch(node)
        self._wait(node)

    # -- one node ------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        """Choose ports, write the settings and format the data folders."""
        if self._is_temporary:
            self.folder = Path(tempfile.mkdtemp(prefix="adaptive-stream-kafka-"))
        assert self.folder is not None, "a folder is given or made"
        self.folder.mkdir(parents=True, exist_ok=True)
        free = iter(_free_ports((2 + len(self._listeners)) * self._count))
        self._ports = [(next(free), next(free)) for _ in range(self._count)]
        self._further = [{name: next(free) for name in self._listeners} for _ in range(self._count)]
        if self._port:
            self._ports[0] = (self._port, self._ports[0][1])
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for node in range(1, self._count + 1):
            settings = "\n".join(f"{name}={value}" for name, value in self._settings(node).items())
            (self.folder / f"node-{node}.properties").write_text(settings + "\n", encoding="utf-8")
            logging = LOGGING.format(folder=self.folder, node=node)
            (self.folder / f"node-{node}.log4j2.properties").write_text(logging, encoding="utf-8")
            if not (self.folder / f"data-{node}" / "meta.properties").exists():
                self._format(node, cluster)

    def _format(self, node: int, cluster: str) -> None:
        config = f"{self.folder}/node-{node}.properties"
        command = [
            *self._with_logging(node),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",
            "-c",
            config,
            *(word for user in self._users for word in ("--add-scram", user)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise EmbeddedKafkaError(f"Kafka's storage cannot be formatted: {(done.stdout + done.stderr)[-2000:]}")

    def _settings(self, node: int) -> dict[str, str]:
        port, controller = self._ports[node - 1]
        voters = ",".join(f"{i + 1}@{HOST}:{c}" for i, (_, c) in enumerate(self._ports))
        open_to = {"PLAINTEXT": port, **self._further[node - 1]}
        addresses = ",".join(f"{name}://{HOST}:{at}" for name, at in open_to.items())
        protocols = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT", **self._listeners}
        replicas, in_sync = str(min(3, self._count)), str(min(2, self._count))
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": voters,
            "listeners": f"{addresses},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": addresses,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": f"{self.folder}/data-{node}",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "auto.create.topics.enable": "false",
            "log.cleaner.dedupe.buffer.size": "2097152",
            "num.network.threads": "1",
            "num.io.threads": "2",
            **self._properties,
        }

    def _with_logging(self, node: int) -> list[str]:
        java, *rest = self._command
        return [java, f"-Dlog4j2.configurationFile={self.folder}/node-{node}.log4j2.properties", *rest]

    def _launch(self, node: int) -> None:
        assert self.folder is not None, "laid out before"
        log = self._log(node)
        self._log_starts[node] = log.stat().st_size if log.exists() else 0
        self._processes[node] = start_child(
            [*self._with_logging(node), "kafka.Kafka", f"{self.folder}/node-{node}.properties"],
            self.folder / f"node-{node}.out",
            is_detached=self._is_detached,
        )

    def _wait(self, node: int) -> None:
        """Wait until the broker says that it has started, and takes connections.

        Its port alone proves nothing: another process may have taken it, and answers while the broker still fails.
        """
        process, deadline = self._processes[node], time.monotonic() + START_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise EmbeddedKafkaError(f"Kafka node {node} ended with code {process.returncode}:\n{self._tail(node)}")
            if self._says_started(node):
                address = (HOST, self._ports[node - 1][0])
                with contextlib.suppress(OSError), socket.create_connection(address, timeout=1.0):
                    return
            time.sleep(0.05)
        raise EmbeddedKafkaError(f"Kafka node {node} did not answer within {START_S:g} s:\n{self._tail(node)}")

    def _says_started(self, node: int) -> bool:
        try:
            with self._log(node).open("rb") as log:
                log.seek(self._log_starts[node])
                return STARTED in log.read()
        except FileNotFoundError:
            return False

    def _log(self, node: int) -> Path:
        assert self.folder is not None, "laid out before"
        return self.folder / f"node-{node}.log"

    def _tail(self, node: int) -> str:
        texts = [self.folder / f"node-{node}.{end}" for end in ("out", "log")] if self.folder else []
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in texts if path.exists())


def _check_free(port: int) -> None:
    """Raise where a port cannot be had: Kafka would end over it, while whoever holds the port takes connections."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does: closed connections do not hold it
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise EmbeddedKafkaError(f"port {port} {why}; --port 0 takes a free one") from error


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def is_alive(pid: int) -> bool:
    """Say whether a process is there and is an embedded broker; a pid alone may have been given to another one."""
    try:
        os.kill(pid, 0)
        return "kafka.Kafka" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return False
