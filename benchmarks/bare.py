"""The bare loop: read the same topics, decode with msgspec, count. What any Python consumer pays at the least.

Run as a process: ``python -m benchmarks.bare BOOTSTRAP PREFIX PARTITIONS FROM COUNT``; prints events/s and CPU seconds
between the record FROM and the record COUNT.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from adaptive_stream.contracts.codec import CARRIES
from adaptive_stream.contracts.topics import Topic


async def main(bootstrap: str, prefix: str, partitions: int, first: int, count: int) -> None:
    """Read and decode until so many records are seen."""
    roles = (Topic.PREDICTIONS, Topic.FEEDBACK)
    decode = {prefix + role.value: msgspec.json.Decoder(CARRIES[role]).decode for role in roles}
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=10
    ) as consumer:
        tps = [TopicPartition(name, partition) for name in decode for partition in range(partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        seen, started, used = 0, 0.0, 0.0
        while seen < count:
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                one = decode[tp.topic]
                for record in records:
                    one(record.value)
                seen += len(records)
            if not started and seen >= first:
                started, first, used = time.monotonic(), seen, cpu()
        elapsed = time.monotonic() - started
    print((seen - first) / elapsed, cpu() - used, seen - first)


def cpu() -> float:
    """Return the CPU seconds used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:])))
