"""``python -m benchmarks [NAME …]``: run the benchmarks, print the table, write results.json.

An embedded Kafka is started where one of them needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import tempfile
from pathlib import Path

from adaptive_stream.embedded import EmbeddedKafka
from benchmarks import drift, monitor, native, speed, waiting
from benchmarks.day import day
from benchmarks.report import Report

BENCHMARKS = {
    "speed": speed.speed,
    "models": speed.models,
    "processes": speed.processes,
    "latency": waiting.latency,
    "commit": waiting.commit,
    "restore": waiting.restore,
    "takeover": waiting.takeover,
    "monitor": monitor.monitor,
    "drift": drift.drift,
    "native": native.native,
    "day": day,
}
SELDOM = {"day", "native"}  # half an hour, and what needs a C compiler: only when named
ALONE = {"monitor", "drift", "native"}  # the core without a Kafka


def main() -> None:
    """Run what is named, or everything."""
    names = sys.argv[1:] or [name for name in BENCHMARKS if name not in SELDOM]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics are young and their leaders still move
    report = Report()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adaptive-stream-bench-")))
        bootstrap = "" if ALONE.issuperset(names) else stack.enter_context(EmbeddedKafka()).bootstrap
        for name in names:
            asyncio.run(BENCHMARKS[name](report, bootstrap, folder))
    report.save()


if __name__ == "__main__":
    main()
