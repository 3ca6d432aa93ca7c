"""The demo as a user starts it: the whole year, with a worker that is killed, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import LIMIT_S, TURN_S

if TYPE_CHECKING:
    from pathlib import Path

DEMO = [sys.executable, "-m", "adaptive_stream.cli", "demo", "--no-ui"]
QUIET = {"2013-02", "2013-03", "2013-10", "2013-11"}


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


@pytest.mark.timeout(600)
def test_a_year_with_a_worker_that_is_killed_three_times_counts_every_flight_once(tmp_path: Path) -> None:
    summary_file, folder = tmp_path / "summary.json", tmp_path / "tmp"
    folder.mkdir()
    done = subprocess.run(
        [*DEMO, "--kill-worker", "--seed", "3", "--json", str(summary_file)],
        capture_output=True,
        text=True,
        env=environment(folder),
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(summary_file.read_text())
    assert summary["killed"] == 3
    assert summary["recount"]["equal"]
    assert (summary["predictions"], summary["feedback"], summary["dead_letters"]) == (336_776, 327_346, 0)
    assert summary["joined"] == summary["recount"]["joined"] == 327_346
    assert sum(month["labelled"] for month in summary["months"]) == 327_346
    assert sum(week["labelled"] for week in summary["weeks"]) == 327_346
    summer, winter = [alert for alert in summary["alerts"] if alert["alertname"] == "AccuracyDegraded"]
    names = {alert["alertname"] for alert in summary["alerts"]}
    assert names == {"AccuracyDegraded", "CalibrationBroken", "EstimatedAccuracyLow", "DataDrift"}
    drifts = [alert["starts_at"][:7] for alert in summary["alerts"] if alert["alertname"] == "DataDrift"]
    assert drifts == ["2013-04", "2013-06", "2013-09", "2013-11"], "spring, summer, autumn and winter"
    assert summer["starts_at"][:7] in {"2013-06", "2013-07"}
    assert summer["resolved_at"] < "2013-09-15"
    assert winter["starts_at"].startswith("2013-12")
    assert winter["status"] == "firing"
    assert not list(folder.iterdir())
    assert "the same in every count" in done.stdout


@pytest.mark.parametrize("word", ["starting Kafka", "behind"], ids=["while Kafka starts", "in mid-year"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_leaves_no_process_and_no_folder_behind(tmp_path: Path, number: signal.Signals, word: str) -> None:
    folder, log = tmp_path / "tmp", tmp_path / "log"
    folder.mkdir()
    # as in the background of a script, which ignores the one and hands that on
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with log.open("wb") as file:
        demo = subprocess.Popen(DEMO, stdout=file, stderr=file, env=environment(folder), start_new_session=True)
    signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + LIMIT_S
        while word not in log.read_text():
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                demo.wait(TURN_S)
        children = children_of(demo.pid)
        demo.send_signal(number)
        assert demo.wait(LIMIT_S) == 130, log.read_text()
    finally:
        demo.kill()
        demo.wait()
    assert "nothing is left behind" in log.read_text()
    assert not [pid for pid in children if is_running(pid)]
    assert not list(folder.iterdir())


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def is_running(pid: int) -> bool:
    """Say whether a process is there and not merely waiting to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - procfs
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
