"""The reading and sending verbs against a real Kafka."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

from adaptive_stream.contracts.topics import Topic
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.worker import working

if TYPE_CHECKING:
    from pathlib import Path


def command(scene: Scene, *arguments: str) -> list[str]:
    where = ["--set", f"kafka.bootstrap={scene.bootstrap}", "--set", f"topics.prefix={scene.prefix}"]
    return [sys.executable, "-m", "adaptive_stream.cli", *arguments, *where]


async def run(scene: Scene, *arguments: str, feed: str = "") -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run, command(scene, *arguments), input=feed, capture_output=True, text=True, check=False
    )


async def test_what_is_sent_is_measured_and_read_back(scene: Scene) -> None:
    created = await run(scene, "topics", "create", "--json")
    assert len(json.loads(created.stdout)["created"]) == 10
    again = await run(scene, "topics", "create", "--json")
    assert json.loads(again.stdout) == {"created": []}
    assert (await run(scene, "topics", "check")).returncode == 0

    predicted = "\n".join(
        json.dumps({"prediction_id": f"p{n}", "model_id": "m0", "output": 0.9, "features": [1, 2]}) for n in range(20)
    )
    assert (await run(scene, "send", "predictions", "-", feed=predicted)).returncode == 0
    labels = "\n".join(
        json.dumps(
            {
                "kind": "correction",
                "feedback_id": f"f{n}",
                "prediction_id": f"p{n}",
                "model_id": "m0",
                "label": n % 4 > 0,
            }
        )
        for n in range(20)
    )
    assert (await run(scene, "send", "feedback", "-", feed=labels)).returncode == 0
    async with working(scene.config()):
        await scene.drained()
        # two hours later by the events' own time, another model moves stream time past the next status
        far = (await scene.read(Topic.PREDICTIONS))[Topic.PREDICTIONS][0].timestamp + 1_800_000
        await scene.publish([(Topic.PREDICTIONS, prediction(1), far)])
        await scene.drained()
    shown = await run(scene, "status", "m0", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    assert status["feedback"]["joined"] == 20
    assert status["series"][0]["total"]["value"] == 0.75
    assert "0.7500" in (await run(scene, "status", "m0")).stdout
    assert (await run(scene, "status", "stranger")).returncode == 1

    drift = await run(scene, "drift", "m0")
    assert "inputs and outputs: gathering its reference, 20 of 2,000" in drift.stdout, drift.stderr
    [told] = json.loads((await run(scene, "drift", "m0", "--json")).stdout)
    assert (told["drift"]["performance"]["state"], told["drift"]["performance"]["seen"]) == ("gathering", 20)
    assert (await run(scene, "drift", "stranger")).returncode == 1

    last = await run(scene, "tail", "feedback", "--model", "m0", "-n", "3", "--json")
    assert [json.loads(line)["value"]["feedback_id"] for line in last.stdout.splitlines()] == ["f17", "f18", "f19"]
    assert (await run(scene, "tail", "feedback", "--model", "stranger")).stdout == ""


async def test_a_dead_letter_says_what_why_and_where(scene: Scene) -> None:
    await scene.open()
    bad = await scene.produce(Topic.FEEDBACK, b'{"kind":"correction"}')
    await scene.publish([(Topic.PREDICTIONS, prediction(1), START_MS), (Topic.FEEDBACK, correction(1), START_MS)])
    async with working(scene.config()):
        await scene.drained()
    shown = await run(scene, "tail", "dead-letters")
    assert f"{scene.prefix}feedback/{bad.partition}@{bad.offset}" in shown.stdout
    assert "invalid_event" in shown.stdout


async def test_a_topic_that_is_not_there_is_named_with_what_makes_it(scene: Scene) -> None:
    for arguments in (["tail", "alerts"], ["status"], ["send", "metrics", "-"], ["topics", "check"]):
        done = await run(scene, *arguments)
        assert done.returncode == (1 if arguments[0] == "topics" else 69), done.stderr
        assert "topics create" in done.stderr


async def test_tail_follows_what_comes(scene: Scene, tmp_path: Path) -> None:
    await scene.open()
    seen = tmp_path / "seen"
    with seen.open("wb") as file:
        tail = subprocess.Popen(command(scene, "tail", "feedback", "-f"), stdout=file, stderr=file)
    try:
        for number in range(2):
            await scene.publish([(Topic.FEEDBACK, correction(number), START_MS)])
            await until(lambda wanted=f'"f{number}"': wanted in seen.read_text(), what="the record is shown")
    finally:
        tail.kill()
        tail.wait()
