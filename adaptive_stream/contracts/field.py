"""What the fields of events are made of: identifiers, texts, instants, shares, values.

Owns the limits that many events share, and what every event has in common. Never an event. Read by the events.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct

from adaptive_stream.contracts.clock import TIME_PATTERN

MAX_ID_CHARS = 256  # as UUIDs, ULIDs and "tenant/model" paths need; a key stays far below Kafka's limits
MAX_TEXT_CHARS = 4096
MAX_FEATURES = 4096
MAX_CLASSES = 1024
MAX_VALUES = 256

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, description="a non-empty identifier")]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
Timestamp = Annotated[
    str,
    Meta(
        max_length=40,
        description="RFC 3339 date and time with offset",
        extra_json_schema={"format": "date-time", "pattern": TIME_PATTERN},
    ),
]
Probability = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0)]
FeatureValue = float | str | None
Features = (
    Annotated[list[FeatureValue], Meta(max_length=MAX_FEATURES)]
    | Annotated[dict[Id, FeatureValue], Meta(max_length=MAX_FEATURES)]
)
"""An array in the family's order, or values by name; null is missing. Categorical values are strings (or numbers)."""
Output = (
    float
    | Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    | Annotated[list[float], Meta(min_length=1, max_length=MAX_CLASSES)]
)
"""Binary: the probability of the positive class. Multiclass: a class name, or probabilities in the order of
``task.classes``. Regression: the predicted value."""
Label = bool | float | Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
"""Binary: 0/1 or false/true. Multiclass: a class name or its index. Regression: the true value."""
Evidence = Annotated[dict[str, Any], Meta(max_length=MAX_VALUES)]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What every event of the contract has in common: nothing but being one."""


class Severity(StrEnum):
    """How bad: ``high`` wakes somebody, ``medium`` is looked at today, ``info`` is news."""

    INFO = "info"
    MEDIUM = "medium"
    HIGH = "high"
