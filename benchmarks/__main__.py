"""``python -m benchmarks [NAME …]``: run the benchmarks on an embedded Kafka, print the table, write results.json."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from adaptive_stream.embedded import EmbeddedKafka
from benchmarks import speed, waiting
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
    "day": day,
}
LONG = {"day"}  # half an hour: only when it is named


def main() -> None:
    """Run what is named, or everything."""
    names = sys.argv[1:] or [name for name in BENCHMARKS if name not in LONG]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics are young and their leaders still move
    report = Report()
    with tempfile.TemporaryDirectory(prefix="adaptive-stream-bench-") as folder, EmbeddedKafka() as kafka:
        for name in names:
            asyncio.run(BENCHMARKS[name](report, kafka.bootstrap, Path(folder)))
    report.save()


if __name__ == "__main__":
    main()
