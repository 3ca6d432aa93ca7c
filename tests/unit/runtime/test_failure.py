from __future__ import annotations

import pytest

from adaptive_stream.runtime import failure
from adaptive_stream.runtime.failure import (
    Disposition,
    Fatal,
    Fenced,
    OutOfRange,
    RestoreFailed,
    TaskFailure,
    TransactionFailed,
)


def leaves(kind: type[TaskFailure]) -> list[type[TaskFailure]]:
    below = kind.__subclasses__()
    return [leaf for one in below for leaf in leaves(one)] if below else [kind]


def test_every_leaf_of_the_tree_says_what_to_do() -> None:
    assert {leaf: leaf.disposition for leaf in leaves(TaskFailure)} == {
        Fenced: Disposition.REJOIN,
        TransactionFailed: Disposition.RESTORE,
        RestoreFailed: Disposition.RESTORE,
        OutOfRange: Disposition.RESTORE,
        Fatal: Disposition.EXIT,
    }


@pytest.mark.parametrize(("code", "number"), [("EX_UNAVAILABLE", 69), ("EX_TEMPFAIL", 75), ("EX_CONFIG", 78)])
def test_exit_codes_are_those_of_sysexits(code: str, number: int) -> None:
    assert getattr(failure, code) == number


def test_a_fatal_failure_carries_its_exit_code_and_asks_for_an_operator_unless_told_otherwise() -> None:
    assert Fatal("x").exit_code == 78
    assert Fatal("x", exit_code=69).exit_code == 69
