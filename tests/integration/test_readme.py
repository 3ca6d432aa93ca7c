"""The README's own example, as it stands there, on a real Kafka."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from adaptive_stream.config import load
from adaptive_stream.contracts.topics import Topic
from tests.integration.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.worker import WorkerProcess

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(README.read_text(encoding="utf-8")) if kind == language]


async def test_the_example_of_the_readme_runs_as_it_stands_there(
    kafka: str, names: str, start_worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    (written,) = blocks("yaml")
    file = tmp_path / "worker.yaml"
    file.write_text(written)
    load([file], {})
    family = yaml.safe_load(written)["families"]
    scene = Scene(bootstrap=kafka, name=names, family=(f"families={family}",))
    await scene.open()
    worker = start_worker(scene)

    (python,) = blocks("python")
    here = f'Publisher("{kafka}", prefix="{scene.prefix}")'
    assert 'Publisher("127.0.0.1:9092")' in python
    script = tmp_path / "app.py"
    script.write_text(python.replace('Publisher("127.0.0.1:9092")', here))
    subprocess.run([sys.executable, str(script)], check=True)

    sent = [block for block in blocks("sh") if "adaptive-stream send" in block]
    commands = re.findall(r"^echo '(.*)' \|\s+adaptive-stream (send \w+ -)", "\n".join(sent), re.MULTILINE)
    assert len(commands) == 2
    for event, verb in commands:
        cli = [sys.executable, "-m", "adaptive_stream.cli", *verb.split(), "--set", f"topics.prefix={scene.prefix}"]
        environment = {**os.environ, "ADAPTIVE_STREAM__KAFKA__BOOTSTRAP": kafka}
        subprocess.run(cli, input=event.encode() + b"\n", env=environment, check=True)

    await scene.drained()
    assert worker.code is None
    found = await scene.read(Topic.DEAD_LETTERS, Topic.ADAPTATIONS)
    assert not found[Topic.DEAD_LETTERS]
    (answer,) = found[Topic.ADAPTATIONS]
    assert msgspec.json.decode(answer.value)["caused_by"] == ["c-1"]
