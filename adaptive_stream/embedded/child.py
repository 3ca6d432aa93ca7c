"""Child processes that end with their parent.

Owns how a process of the project starts another one and how it stops it. Called by the broker and the demo.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STOP_S = 15.0


def start_child(command: Sequence[str], output: Path, *, is_detached: bool = False) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own: Ctrl-C on the terminal is for its parent, which then stops it.

    Args:
        command: the program and its arguments.
        output: what it writes is appended here.
        is_detached: it outlives this process. Otherwise Linux ends it, even when this one dies by SIGKILL.
    """
    with output.open("ab") as file:
        return subprocess.Popen(  # noqa: S603 - the project's own commands
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=None if is_detached else _die_with_parent,  # noqa: PLW1509 - one call into libc
        )


def stop_children(processes: Sequence[subprocess.Popen[bytes]], *, limit_s: float = STOP_S) -> None:
    """Ask processes to end, all at once, and kill those that have not within the limit."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
