"""``dlq`` without a broker: what is asked for, in which words it is shown, and which mistakes are whose."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from adaptive_stream.cli import app, dlq
from adaptive_stream.cli.dlq import _exact, _is_text, _time, _words, instant
from adaptive_stream.cli.page.markup import printable
from adaptive_stream.runtime import connection
from adaptive_stream.runtime.failure import Fatal, Fenced, TransactionFailed

if TYPE_CHECKING:
    from adaptive_stream.runtime.replay import Replay

NOBODY = "kafka.bootstrap=127.0.0.1:1"  # tcpmux: nothing listens there
RUNNER = CliRunner()
NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("verb", [[], ["ls"], ["show"], ["replay"]], ids=str)
def test_every_verb_explains_itself(verb: list[str]) -> None:
    done = RUNNER.invoke(app, ["dlq", *verb, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["ls", "--json"], ["show", "0@1"], ["replay", "--dry-run"], ["replay", "--yes"]],
    ids=" ".join,
)
def test_no_broker_is_exit_69_with_the_address(arguments: list[str]) -> None:
    done = RUNNER.invoke(app, ["dlq", *arguments, "--set", NOBODY])
    assert done.exit_code == 69, done.output
    assert "127.0.0.1:1" in done.stderr
    assert done.stdout == ""


async def reachable(_: object) -> None:
    """As ``explain`` of a cluster that answers."""
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (Fatal("Write on topic in"), 78, "127.0.0.1:1: Write on topic in; 3 were sent for certain\n"),
        (Fatal("no such host", exit_code=69), 69, "127.0.0.1:1: no such host; 3 were sent for certain\n"),
        (TransactionFailed("commit outlived 30 s"), 69, "3 were sent for certain.\nRun it again"),
        (Fenced("gone"), 1, "another replay has taken over; this one sent 3 before\n"),
    ],
    ids=["refused", "gone", "unknown", "fenced"],
)
def test_a_replay_that_fails_says_how_much_was_sent_and_leaves_with_the_code_of_its_failure(
    failure: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object, __: object, ___: object, sender: Replay, **____: object) -> None:
        await asyncio.sleep(0)
        sender.sent = 3
        raise failure

    monkeypatch.setattr(dlq, "_replay", fail)
    monkeypatch.setattr(connection, "explain", reachable)
    done = RUNNER.invoke(app, ["dlq", "replay", "--yes", "--set", NOBODY])
    assert done.exit_code == code, done.output
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ls", "--code", "not_jsn"], "did you mean 'not_json'?"),
        (["replay", "--code", "?"], "it is one of not_json, wrong_envelope"),
        (["ls", "--since", "yesterday"], "'yesterday' is neither a time ago, such as 2h"),
        (["replay", "--until", "2013-06-01"], "'2013-06-01' is neither"),
        (["ls", "--limit", "-1"], "--limit"),
        (["show", "0-1"], "'0-1' is not PARTITION@OFFSET, such as 0@17"),
        (["show", "@"], "is not PARTITION@OFFSET"),
        (["show", "0@" + "9" * 30], "is not PARTITION@OFFSET"),
        (["show"], "Missing argument"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_usage_error(arguments: list[str], said: str) -> None:
    done = RUNNER.invoke(app, ["dlq", *arguments, "--set", NOBODY])
    assert done.exit_code == 2, done.output
    assert said in done.stderr


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("0s", NOW_MS),
        ("90s", NOW_MS - 90_000),
        ("5m", NOW_MS - 300_000),
        ("2h", NOW_MS - 7_200_000),
        ("1.5d", NOW_MS - 129_600_000),
        ("1w", NOW_MS - 604_800_000),
        ("2013-06-01T02:00:00+02:00", 1_370_044_800_000),
    ],
)
def test_an_instant_is_a_time_or_how_long_ago_it_was(text: str, time_ms: int) -> None:
    assert instant(text, now_ms=NOW_MS) == time_ms


@pytest.mark.parametrize("text", ["", "h", "2", "2 h", "-2h", "2H", "2hh", "1e9h", "2h\n", "NaNs"])
def test_what_is_no_instant_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is neither"):
        instant(text, now_ms=NOW_MS)


def test_bytes_are_shown_so_that_nothing_is_lost() -> None:
    assert [_exact(raw) for raw in (None, b"", b"a", "é".encode(), b"\x00", b"\xff")] == [
        None,
        {"text": ""},
        {"text": "a"},
        {"text": "é"},
        {"text": "\x00"},  # JSON escapes it
        {"base64": "/w=="},
    ]
    assert [_words(raw) for raw in (None, b"", b"a", b"\x1b[31m", b"\xff")] == [
        "none",
        '""',
        '"a"',
        "hex 1b5b33316d",
        "hex ff",
    ]
    assert json.loads(json.dumps(_exact(b"\x00"), ensure_ascii=False)) == {"text": "\x00"}


def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    assert not _is_text(b"\x1b]0;owned\x07")
    assert not _is_text("a\u202eb".encode()), "nor what would turn the direction of the text"
    assert _is_text("{\n\t“é”: 1}".encode())
    assert printable("m\x1b[2J\nñ") == "m\\x1b[2J\\nñ"


def test_a_time_that_no_calendar_has_is_shown_as_a_number() -> None:
    assert _time(NOW_MS) == "2023-11-14T22:13:20Z"
    assert _time(2**62) == f"{2**62} ms"
    assert _time(-1) == "1969-12-31T23:59:59.999Z"
