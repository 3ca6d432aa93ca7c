"""The closed set of reasons for which a record is refused, and the exception that carries one.

Owns the error codes: they are header values of dead letters and labels of metrics, so they only grow.
Never touches Kafka. The codec and the core raise or return them; the runtime obeys.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a record went to the dead letters. A code is never renamed or reused."""

    NOT_JSON = "not_json"  # the body is not JSON (or not MessagePack, where the content type says so)
    WRONG_ENVELOPE = "wrong_envelope"  # CloudEvents headers or body that are not valid CloudEvents
    UNKNOWN_TYPE = "unknown_type"  # an event type or kind that this topic does not carry
    UNKNOWN_VERSION = "unknown_version"  # a contract or CloudEvents version that this build does not speak
    UNSUPPORTED_CONTENT = "unsupported_content"  # a content type that is neither JSON nor MessagePack
    INVALID_EVENT = "invalid_event"  # a field is missing, has the wrong type or is out of its bounds
    NON_FINITE = "non_finite"  # NaN or an infinity where a number is asked for
    TOO_LARGE = "too_large"  # the record is larger than the limit
    TOO_DEEP = "too_deep"  # the body is nested deeper than the limit
    EMPTY = "empty"  # no body at all (a tombstone has no meaning on an input topic)
    MISSING_KEY = "missing_key"  # no key, or one that is not UTF-8
    KEY_MISMATCH = "key_mismatch"  # the key and the body name different models
    UNKNOWN_MODEL = "unknown_model"  # no configured family matches the model id
    TOO_MANY_MODELS = "too_many_models"  # the family's row limit is reached
    WRONG_DIMENSION = "wrong_dimension"  # number or names of the features differ from the family's
    INVALID_FEATURE = "invalid_feature"  # a feature's value does not fit its declared kind
    INVALID_OUTPUT = "invalid_output"  # the output or the label does not fit the family's task
    ABSURD_TIME = "absurd_time"  # the event's time is outside the limits
    WRONG_PARTITION = "wrong_partition"  # still on the wrong partition after it was re-published once
    POISON = "poison"  # the step failed on this record


class Reject(Exception):  # noqa: N818 - it names an instruction, as Kafka Streams' exceptions do
    """Refuse one record: it goes to the dead letters, its neighbours are untouched.

    Args:
        code: the closed reason.
        message: what is wrong and what to do, without an echo of the payload.
        path: where in the body, as ``$.features[3]``; ``$`` for the whole.
    """

    def __init__(self, code: ErrorCode, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
