"""The input and the output of one step.

Owns nothing but their shapes. Made by the runtime's intake and by the testing driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptive_stream.contracts.errors import Reject
    from adaptive_stream.contracts.events import InputEvent, OutputEvent
    from adaptive_stream.contracts.topics import Topic


@dataclass(frozen=True, slots=True)
class Slice:
    """Ordered records: parallel lists. Within one topic offsets ascend; times are the records' timestamps.

    ``refused`` are records that became dead letters before the core saw them: before which place, and of which model.
    ``cut_ms`` is the journalled wall clock of the batch; -1 where there is none.
    """

    topics: list[Topic]
    offsets: list[int]
    times_ms: list[int]
    events: list[InputEvent]
    refused: list[tuple[int, str]] = field(default_factory=list)
    cut_ms: int = -1


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a slice led to; ``rejected`` names places of the slice whose records changed nothing."""

    outputs: list[OutputEvent] = field(default_factory=list)
    rejected: list[tuple[int, Reject]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A snapshot: a frozen copy, untouched by later steps.

    ``pages`` holds those that changed since the last freeze, ``directory`` the keys of all.
    """

    head: bytes
    pages: dict[str, bytes]
    directory: list[str]
    first_waiting_offset: int | None
