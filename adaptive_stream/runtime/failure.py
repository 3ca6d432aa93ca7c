"""What can go wrong in the runtime, and what the loop does about it.

Owns the dispositions: every error that reaches the loop carries one, and the loop obeys it without reading the message.
Never raised by the core, which knows only ``Reject`` (one record) and exceptions (poison).
"""

from __future__ import annotations

from enum import Enum

from aiokafka import errors as kafka_errors


class Disposition(Enum):
    """What the loop does next."""

    RESTORE = "restore"  # drop the task's memory and its producer, fence again, read the state back
    REJOIN = "rejoin"  # another owner fenced this one: let go, and come back only if the group still says so
    EXIT = "exit"  # nobody but an operator can mend it: leave with the exit code


EX_UNAVAILABLE = 69  # sysexits.h: Kafka cannot be reached
EX_TEMPFAIL = 75  # sysexits.h: try again, the supervisor should restart
EX_CONFIG = 78  # sysexits.h: the configuration, or the topics, must be changed first

# Answers of the broker that come again however often it is asked
HOPELESS = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.AuthenticationFailedError,
    kafka_errors.InvalidTransactionTimeout,
    kafka_errors.InvalidTopicError,
    kafka_errors.PolicyViolationError,
    kafka_errors.UnsupportedVersionError,
)


class TaskFailure(Exception):  # noqa: N818 - the tree's root; its leaves say what to do
    """A task cannot go on as it is. The disposition says what the loop must do."""

    disposition = Disposition.RESTORE


class Fenced(TaskFailure):
    """The transactional id belongs to a newer producer: this one may never commit again."""

    disposition = Disposition.REJOIN


class TransactionFailed(TaskFailure):
    """A transactional call failed or outlived its limit; whether it took effect is known only to the log."""


class OutOfRange(TaskFailure):
    """The next record is not in its topic any more. The restore decides by ``state.on_lost_history``."""


class RestoreFailed(TaskFailure):
    """The state could not be read back this time."""


class Fatal(TaskFailure):
    """Only an operator can mend this.

    Args:
        message: what is wrong, where, and what to do.
        exit_code: of the process, from sysexits.h.
    """

    disposition = Disposition.EXIT

    def __init__(self, message: str, *, exit_code: int = EX_CONFIG) -> None:
        super().__init__(message)
        self.exit_code = exit_code
