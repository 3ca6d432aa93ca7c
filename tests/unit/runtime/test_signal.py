from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(60)

STUCK = """
import asyncio
from adaptive_stream.runtime import worker

class Stuck:
    def __init__(self, config):
        pass

    def stop(self):
        asyncio.get_running_loop().call_soon(lambda: print("stopping", flush=True))

    async def run(self):
        print("running", flush=True)
        await asyncio.Event().wait()

worker.Worker = Stuck
asyncio.run(worker.serve(None))
"""


def call(process: subprocess.Popen[str], number: signal.Signals, *, says: str) -> None:
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == says


@pytest.mark.slow
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_of_either_kind_ends_a_worker_that_hangs(first: signal.Signals, second: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            call(process, first, says="stopping\n")
            process.send_signal(second)
            assert process.wait(60) == -second
        finally:
            process.kill()
