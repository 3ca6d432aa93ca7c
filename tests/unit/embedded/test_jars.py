from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.embedded import EmbeddedKafkaError, jars
from adaptive_stream.embedded.jars import Jar

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"a jar"
JAR = Jar("org.example", "thing", "1.0", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the repository serves, one content a download; empty: it cannot be reached."""
    contents: list[bytes] = []

    def download(jar: Jar, scratch: Path) -> Path:
        if not contents:
            raise EmbeddedKafkaError(f"{jar.artifact} cannot be fetched")
        path = scratch / "download.jar"
        path.write_bytes(contents.pop(0))
        return path

    monkeypatch.setattr(jars, "_download", download)
    return contents


def test_a_jar_is_fetched_once_and_kept(tmp_path: Path, served: list[bytes]) -> None:
    served.append(CONTENT)
    path = jars.fetched(JAR, tmp_path)
    assert path.read_bytes() == CONTENT
    assert jars.fetched(JAR, tmp_path) == path, "the second time nothing is served"
    assert list(tmp_path.iterdir()) == [path], "no scratch is left"


def test_a_jar_with_another_checksum_is_refused_and_not_kept(tmp_path: Path, served: list[bytes]) -> None:
    served.append(b"another jar")
    with pytest.raises(EmbeddedKafkaError, match=rf"org\.example:thing:1\.0 has SHA-256 .* pinned is {JAR.sha256}"):
        jars.fetched(JAR, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_jar_that_was_damaged_in_the_cache_is_fetched_again(tmp_path: Path, served: list[bytes]) -> None:
    (tmp_path / JAR.file_name).write_bytes(CONTENT[:-1])
    served.append(CONTENT)
    assert jars.fetched(JAR, tmp_path).read_bytes() == CONTENT


def test_a_damaged_jar_is_never_used_when_nothing_is_served(tmp_path: Path, served: list[bytes]) -> None:
    assert not served
    (tmp_path / JAR.file_name).write_bytes(CONTENT[:-1])
    with pytest.raises(EmbeddedKafkaError, match="cannot be fetched"):
        jars.fetched(JAR, tmp_path)


def test_two_versions_of_this_project_can_share_the_cache() -> None:
    other = Jar(JAR.group, JAR.artifact, JAR.version, hashlib.sha256(b"x").hexdigest())
    assert JAR.file_name != other.file_name


def test_every_line_of_the_lock_is_a_coordinate_with_its_sha256() -> None:
    locked = jars.locked()
    assert len({(jar.group, jar.artifact) for jar in locked}) == len(locked) > 40
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in locked)
    assert [jar.version for jar in locked if jar.artifact == "kafka_2.13"] == ["4.4.0"]
    # without this binding the broker logs nothing
    assert any(jar.artifact == "log4j-slf4j-impl" for jar in locked)


def test_an_unpacked_kafka_wins_over_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: list[bytes]
) -> None:
    (tmp_path / "libs").mkdir()
    monkeypatch.setenv("ADAPTIVE_STREAM_KAFKA_HOME", str(tmp_path))
    assert jars.class_path() == f"{tmp_path}/libs/*"
    assert not served


def test_a_folder_that_is_no_kafka_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTIVE_STREAM_KAFKA_HOME", str(tmp_path))
    with pytest.raises(EmbeddedKafkaError, match=f"{tmp_path}.*no folder libs"):
        jars.class_path()


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("ADAPTIVE_STREAM_CACHE", raising=False)
    assert jars.cache_folder() == tmp_path / "xdg" / "adaptive-stream"
    monkeypatch.setenv("ADAPTIVE_STREAM_CACHE", str(tmp_path / "own"))
    assert jars.cache_folder() == tmp_path / "own"
