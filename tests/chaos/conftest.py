"""What the schedules share: their seed, a Kafka that may be killed, and a stream each."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.embedded import EmbeddedKafka
from tests.chaos.ledger import LOOK_S, Ledger
from tests.chaos.siege import SETTINGS, Siege
from tests.integration.scene import FAMILY, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.worker import WorkerProcess

SEED = "CHAOS_SEED"
LIMIT_S = 600  # one schedule takes a minute; a shared machine may take several
PROPERTIES = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}  # Kafka's own default is 10 s
WATCHED = (
    *FAMILY,
    "families.f.monitor.panes=3",  # half an hour: the stream's bad third comes and goes
    # a look at every minute of stream time would take half of a schedule's time, in the workers and in the audit
    f"families.f.monitor.evaluate_every_s={LOOK_S}",
    f"families.f.monitor.status_interval_s={LOOK_S}",
)
DISK_BYTES = 2**29  # the stream, its outputs and the broker's own topics take a third of it
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(LIMIT_S))
            if "three_brokers" in getattr(item, "fixturenames", ()):  # one process of xdist runs them all
                item.add_marker(pytest.mark.xdist_group("three brokers"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say each schedule's seed and time, wherever it ran: what a process of xdist prints is lost."""
    if report.when == "call":
        for name, value in report.user_properties:
            name_of = report.nodeid.rpartition("::")[2]
            sys.stdout.write(f"\n{name_of}: {name}={value}, {report.duration:.0f} s, {report.outcome}\n")


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """The seed of the stream and of the schedule: another one each time, or the environment's."""
    found = int(os.environ.get(SEED) or secrets.randbelow(2**31))
    record_property(SEED, found)
    return found


@contextlib.contextmanager
def kept(request: pytest.FixtureRequest, folder: Path, *, brokers: int) -> Iterator[EmbeddedKafka]:
    """Run a Kafka whose logs outlive it, and after a failure its data too: what is in doubt is written there alone."""
    with EmbeddedKafka(brokers=brokers, folder=folder, properties=PROPERTIES) as kafka:
        yield kafka
    if not request.session.testsfailed:
        for data in folder.glob("data-*"):
            shutil.rmtree(data)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    with kept(request, tmp_path_factory.mktemp("one-broker"), brokers=1) as broker:
        yield broker


@pytest.fixture
def broker(cluster: EmbeddedKafka) -> Iterator[EmbeddedKafka]:
    """One broker that a schedule may kill; it runs again for the next one."""
    yield cluster
    if not cluster.pids:
        cluster.restart(1)


@pytest.fixture(scope="session")
def replicated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    with kept(request, tmp_path_factory.mktemp("three-brokers"), brokers=3) as brokers:
        yield brokers


@pytest.fixture
def three_brokers(replicated: EmbeddedKafka) -> Iterator[EmbeddedKafka]:
    """Three brokers of which a schedule may kill some; all run again for the next one."""
    yield replicated
    for node in {1, 2, 3} - replicated.pids.keys():
        replicated.restart(node)


@pytest.fixture
def lay_siege(
    names: str, seed: int, request: pytest.FixtureRequest, start_worker: Callable[..., WorkerProcess]
) -> Callable[..., Siege]:
    """Make a schedule's own stream on a cluster, with further settings."""

    def lay(brokers: EmbeddedKafka, *settings: str) -> Siege:
        return Siege(
            scene=Scene(bootstrap=brokers.bootstrap, name=names, settings=(*SETTINGS, *settings), family=WATCHED),
            ledger=Ledger(seed),
            dice=np.random.default_rng([seed, 1]),
            launch=start_worker,
            name=request.node.name,
        )

    return lay


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that a test may fill, where a first broker keeps its data; only where a user may mount one."""
    folder = tmp_path / "kafka" / "data-1"
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system of its own: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
