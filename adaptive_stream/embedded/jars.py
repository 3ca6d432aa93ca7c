"""The jars of Apache Kafka: fetched once, checked always.

Owns the lock file and the cache. Never resolves versions: every coordinate is pinned with its SHA-256. Called when an
embedded broker starts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).with_name("jars.lock")
THREADS = 8


class EmbeddedKafkaError(RuntimeError):
    """The embedded Kafka cannot be had: what is missing and what to do about it."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned artifact."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name of the file in the cache; the digest makes it safe to share between versions of this project."""
        return f"{self.artifact}-{self.version}-{self.sha256[:8]}.jar"


def locked(lock: Path = LOCK) -> list[Jar]:
    """Return the pinned jars."""
    jars = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            coordinate, sha256 = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def cache_folder() -> Path:
    """Return the folder that keeps jars between runs: ADAPTIVE_STREAM_CACHE, or the user's cache folder."""
    named = os.environ.get("ADAPTIVE_STREAM_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "adaptive-stream"


def class_path() -> str:
    """Return the class path of Kafka; fetches what the cache lacks.

    Raises:
        EmbeddedKafkaError: a jar cannot be fetched, or is not the one that was pinned.
    """
    home = os.environ.get("ADAPTIVE_STREAM_KAFKA_HOME")
    if home:
        libs = Path(home) / "libs"
        if not libs.is_dir():
            raise EmbeddedKafkaError(
                f"ADAPTIVE_STREAM_KAFKA_HOME is {home}, which has no folder libs: unpack Kafka there"
            )
        return f"{libs}/*"
    folder = cache_folder() / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(THREADS) as threads:
        paths = list(threads.map(lambda jar: fetched(jar, folder), locked()))
    return os.pathsep.join(str(path) for path in paths)


def fetched(jar: Jar, folder: Path) -> Path:
    """Return the path of a checked jar in the cache; two processes may fetch it at once."""
    path = folder / jar.file_name
    if path.exists() and _digest(path) == jar.sha256:
        return path
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source = _download(jar, Path(scratch))
        found = _digest(source)
        if found != jar.sha256:
            raise EmbeddedKafkaError(
                f"{jar.group}:{jar.artifact}:{jar.version} has SHA-256 {found}, pinned is {jar.sha256}: "
                "the repository served another file; it was not used"
            )
        whole = Path(scratch) / "whole.jar"
        shutil.copyfile(source, whole)
        whole.replace(path)  # atomic: another process sees the old state or the new one
    return path


def _download(jar: Jar, scratch: Path) -> Path:
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 - an extra: only those who start a broker have it
    except ImportError as error:
        raise EmbeddedKafkaError("the embedded Kafka needs `pip install 'adaptive-stream[embedded]'`") from error
    try:
        context = MavenContext(repo_cache=scratch, timeout=60)
        found = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except Exception as error:
        raise EmbeddedKafkaError(
            f"{jar.group}:{jar.artifact}:{jar.version} cannot be fetched ({type(error).__name__}). Without a network, "
            "unpack Kafka 4 somewhere and set ADAPTIVE_STREAM_KAFKA_HOME to the folder"
        ) from error
    return Path(found)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
