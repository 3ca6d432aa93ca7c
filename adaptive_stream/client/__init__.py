"""For apps: publish predictions and feedback, follow what the worker says. Needs neither numpy nor the core."""

from adaptive_stream.client.publisher import Publisher
from adaptive_stream.client.subscriber import Subscriber
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import (
    Action,
    Adaptation,
    AdaptationKind,
    Alert,
    AlertStatus,
    Control,
    Correction,
    Metrics,
    ModelCommand,
    ModelStatus,
    Prediction,
    Preference,
    Rating,
)
from adaptive_stream.contracts.topics import Topic

__all__ = [
    "Action",
    "Adaptation",
    "AdaptationKind",
    "Alert",
    "AlertStatus",
    "Control",
    "Correction",
    "ErrorCode",
    "Metrics",
    "ModelCommand",
    "ModelStatus",
    "Prediction",
    "Preference",
    "Publisher",
    "Rating",
    "Reject",
    "Subscriber",
    "Topic",
]
