"""The topics by their roles. A topic's name is the configured prefix plus the role.

Owns the closed set of roles and which of them are inputs. Everybody else calls topics by role, never by a literal name.
"""

from __future__ import annotations

from enum import StrEnum


class Topic(StrEnum):
    """The role of a topic; the name on the cluster is ``{prefix}{role}``."""

    PREDICTIONS = "predictions"
    FEEDBACK = "feedback"
    METRICS = "metrics"
    CONTROL = "control"
    ALERTS = "alerts"
    ADAPTATIONS = "adaptations"
    MODEL_COMMANDS = "model-commands"
    MODEL_STATUS = "model-status"
    DEAD_LETTERS = "dead-letters"
    STATE = "state"


INPUTS: tuple[Topic, ...] = (Topic.CONTROL, Topic.PREDICTIONS, Topic.FEEDBACK, Topic.METRICS)
"""In the order of their rank: at equal time an order is obeyed before the predictions, and a prediction is known before
its feedback."""
OUTPUTS: tuple[Topic, ...] = (Topic.ALERTS, Topic.ADAPTATIONS, Topic.MODEL_COMMANDS, Topic.MODEL_STATUS)
COMPACTED: tuple[Topic, ...] = (Topic.MODEL_COMMANDS, Topic.MODEL_STATUS, Topic.STATE)
CO_PARTITIONED: tuple[Topic, ...] = (*INPUTS, Topic.STATE)
