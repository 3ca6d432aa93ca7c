"""What all tests share: the hypothesis profile, coroutine tests, and one real Kafka for the whole session."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.integration.scene import Scene
from tests.integration.worker import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")

INTEGRATION = Path(__file__).parent / "integration"
APACHE_KAFKA = "apache/kafka:4.1.0"  # what a Docker engine runs where there is one


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The bootstrap address of a real Kafka: in a container where a Docker engine answers, else the embedded one."""
    if _has_docker():
        from testcontainers.kafka import KafkaContainer  # noqa: PLC0415 - only where a Docker engine answers

        container = KafkaContainer(APACHE_KAFKA)
        with container:
            yield container.get_bootstrap_server()
        return
    from adaptive_stream.embedded import EmbeddedKafka  # noqa: PLC0415 - only where it is started

    with EmbeddedKafka() as broker:
        yield broker.bootstrap


@pytest.fixture
def names() -> str:
    """A name that no other test uses: the consumer group, and with a dot the prefix of the topics."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def scene(kafka: str, names: str) -> Scene:
    """Topics and a group of the test's own on the shared Kafka; made by ``await scene.open()``."""
    return Scene(bootstrap=kafka, name=names)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers as child processes; whatever is left of them is killed at the end."""
    started: list[WorkerProcess] = []

    def start(scene: Scene, **options: str) -> WorkerProcess:
        process = WorkerProcess(scene, folder=tmp_path, number=len(started), **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def _has_docker() -> bool:
    import docker  # noqa: PLC0415 - a slow import, for the integration tests alone

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a refused connection leaves its socket to the collector
        try:
            with contextlib.closing(docker.from_env(timeout=5)) as client:
                return bool(client.ping())
        except docker.errors.DockerException:
            return False
        finally:
            gc.collect()
