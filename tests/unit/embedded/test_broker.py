"""When an embedded broker counts as started; a script stands in for Java here."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.embedded import EmbeddedKafka, EmbeddedKafkaError
from adaptive_stream.embedded import broker as module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def held() -> Iterator[int]:
    """A port that another process would hold: it takes connections."""
    with socket.create_server((module.HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "class_path", lambda: "none.jar")
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    return tmp_path


def java(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a script be the broker; as Java it also formats the storage, with success."""
    path = folder / "java"
    path.write_text(f'#!/bin/sh\ncase "$*" in *StorageTool*) exit 0;; esac\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setattr(module, "find_java", lambda: path)


def test_a_port_that_is_taken_is_told_before_anything_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    java(folder, monkeypatch, f"touch {folder}/launched; exec sleep 60")
    with pytest.raises(EmbeddedKafkaError, match=f"port {held} is taken; --port 0 takes a free one"):
        EmbeddedKafka(folder=folder / "kafka", port=held).start()
    assert not (folder / "launched").exists()


def test_connections_that_another_process_takes_are_no_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    java(folder, monkeypatch, "sleep 0.3; echo Address already in use; exit 3")
    monkeypatch.setattr(module, "_check_free", lambda _: None)  # it was free a moment before
    with pytest.raises(EmbeddedKafkaError, match=r"(?s)ended with code 3.*Address already in use"):
        EmbeddedKafka(folder=folder / "kafka", port=held).start()


def test_what_the_log_says_of_an_earlier_start_does_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    (folder / "kafka").mkdir()
    log = folder / "kafka" / "node-1.log"
    log.write_text("[KafkaRaftServer nodeId=1] Kafka Server started\n")
    monkeypatch.setattr(module, "_check_free", lambda _: None)
    java(folder, monkeypatch, "exit 3")
    with pytest.raises(EmbeddedKafkaError, match="ended with code 3"):
        EmbeddedKafka(folder=folder / "kafka", port=held).start()

    java(folder, monkeypatch, f"echo 'Kafka Server started' >> {log}; exec sleep 60")
    with EmbeddedKafka(folder=folder / "kafka", port=held) as kafka:
        assert kafka.bootstrap == f"127.0.0.1:{held}"
