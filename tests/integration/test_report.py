"""``report`` and ``status MODEL`` against a real Kafka and a real worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from adaptive_stream.contracts.events import Action, Control
from adaptive_stream.contracts.topics import Topic
from tests.integration.scene import START_MS, Scene, correction, prediction
from tests.integration.test_cli import run
from tests.integration.worker import working

if TYPE_CHECKING:
    from pathlib import Path

MINUTE_MS = 60_000
COUNT = 240  # ten minutes make a pane: four hours make 24


async def test_a_models_life_becomes_a_page(scene: Scene, tmp_path: Path) -> None:
    await scene.open()
    events = []
    for number in range(COUNT):
        time_ms = START_MS + number * MINUTE_MS
        label = 1.0 if number < COUNT // 2 else 0.0
        events.append((Topic.PREDICTIONS, prediction(number), time_ms))
        events.append((Topic.FEEDBACK, correction(number, label=label), time_ms))
    end_ms = START_MS + COUNT * MINUTE_MS
    order = Control(command_id="c1", action=Action.FREEZE, model_id="m0", reason="see it")
    await scene.publish([*events, (Topic.CONTROL, order, end_ms)])
    await scene.produce(Topic.FEEDBACK, b'{"kind":"correction"}', time_ms=end_ms)
    async with working(scene.config()):
        await scene.drained()
        await scene.publish([(Topic.PREDICTIONS, prediction(COUNT), end_ms + 30 * MINUTE_MS)])
        await scene.drained()

    file = tmp_path / "report.html"
    file.write_text("old")
    done = await run(scene, "report", "m0", "-o", str(file))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    page = file.read_text()
    tree = ET.fromstring(page)  # noqa: S314 - the page under test
    said = " ".join(" ".join(tree.itertext()).split())
    shown = json.loads((await run(scene, "status", "m0", "--json")).stdout)
    (series,) = shown["series"]
    assert f"n {series['window']['n']:,}" in said
    assert f"{series['window']['value']:.4f}" in said
    assert "AccuracyDegraded" in said
    assert "frozen control" in said
    assert "invalid_event 1" in said
    assert f"joined {COUNT}" in said
    pictures = {node.findtext("title") for node in tree.iter("svg")}
    assert "accuracy over time" in pictures
    assert len(page.encode()) < 300_000

    # each status gave its window: together they reach from the first pane to the last
    begins = [
        node.text for node in tree.findall(".//details//tbody/tr/th") if node.text and node.text.startswith("2023-")
    ]
    assert begins == sorted(begins, reverse=True)
    assert begins[-1] == "2023-11-14 22:10"
    assert len(begins) >= COUNT // 10

    short = await run(scene, "report", "m0", "-o", "-", "--since", "2h")
    assert short.returncode == 0, short.stderr
    assert begins[0] in short.stdout
    assert "2023-11-14 22:10</th>" not in short.stdout

    text = " ".join((await run(scene, "status", "m0")).stdout.split())
    assert "frozen control" in text
    assert "AccuracyDegraded firing" in " ".join((await run(scene, "status")).stdout.split())


async def test_a_model_without_a_status_is_told_what_to_do(scene: Scene, tmp_path: Path) -> None:
    await scene.open()
    file = tmp_path / "report.html"
    file.write_text("old")
    done = await run(scene, "report", "<script>", "-o", str(file))
    assert done.returncode == 1
    assert "monitor.status_interval_s" in done.stderr
    assert file.read_text() == "old"


async def test_what_others_wrote_on_the_topics_is_counted_not_believed(scene: Scene) -> None:
    await scene.open()
    status = {"model_id": "m0", "family": "f", "at": "2023-11-14T22:20:00Z", "series": [], "feedback": {}, "waiting": 0}
    await scene.produce(Topic.MODEL_STATUS, json.dumps(status).encode())
    await scene.produce(Topic.MODEL_STATUS, b"not json")
    await scene.produce(Topic.MODEL_STATUS, json.dumps({**status, "model_id": "m1", "family": "stranger"}).encode())
    done = await run(scene, "report", "m0", "-o", "-")
    assert done.returncode == 0, done.stderr
    assert "1 records could not be read" in done.stdout
    assert "stranger" not in done.stdout
    await scene.produce(Topic.ALERTS, b"\xff\x00")
    await scene.produce(Topic.ADAPTATIONS, b"{}")
    assert "3 records could not be read" in (await run(scene, "report", "m0", "-o", "-")).stdout
