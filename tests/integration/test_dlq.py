"""``dlq ls|show|replay`` against a real Kafka: nothing is lost in showing, nothing is sent twice in replaying."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from adaptive_stream.client.letters import LetterBox, Mark, read_record, way_back
from adaptive_stream.contracts.events import Correction
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.runtime.connection import connection
from adaptive_stream.runtime.intake import MOVED_HEADER, home
from adaptive_stream.runtime.replay import Replay
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.test_cli import command, run
from tests.integration.worker import working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord

    from adaptive_stream.core.slice import Slice, Stepped

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
NOTHING = b'{"prediction_id":"p","model_id":"m0"}'
UNTYPED = (("traceparent", b"00-1"), ("x", b"\x00\xff"), ("x", None), ("as_tenant", b"t"))
# what is sent: topic, key, value, headers, partition (None: that of the key)
Sent = tuple[Topic, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...], int | None]


async def send(scene: Scene, records: list[Sent], *, time_ms: int = START_MS) -> list[tuple[int, int]]:
    """Send records as a foreign client would; return their partitions and offsets."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap)
    await producer.start()
    try:
        sent = [
            await producer.send_and_wait(
                scene.prefix + topic.value,
                value,
                key=key,
                headers=list(headers),
                partition=home(key or b"", PARTITIONS) if partition is None else partition,
                timestamp_ms=time_ms + number,
            )
            for number, (topic, key, value, headers, partition) in enumerate(records)
        ]
    finally:
        await producer.stop()
    return [(at.partition, at.offset) for at in sent]


async def refuse(scene: Scene, records: list[Sent]) -> list[tuple[int, int]]:
    """Let a worker refuse records."""
    sent = await send(scene, records)
    async with working(scene.config()):
        await scene.drained()
    return sent


def bad(number: int) -> Sent:
    return Topic.PREDICTIONS, f"m{number % 5}".encode(), b'{"prediction_id":"p%d"' % number, UNTYPED, None


async def listed(scene: Scene, *options: str) -> list[dict[str, Any]]:
    done = await run(scene, "dlq", "ls", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def replayed(scene: Scene, *options: str, code: int = 0) -> dict[str, int]:
    done = await run(scene, "dlq", "replay", "--json", *options)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def sent_again(scene: Scene) -> list[ConsumerRecord]:
    found = await scene.read(*INPUTS)
    return [r for topic in INPUTS for r in found[topic] if any(name == "as_replays" for name, _ in r.headers)]


async def marks(scene: Scene) -> list[str]:
    records = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    return [str(found.letter) for record in records if isinstance(found := read_record(record), Mark)]


# -- ls and show -------------------------------------------------------------------------------------------------


async def test_letters_are_listed_by_code_model_and_time(scene: Scene) -> None:
    await scene.open()
    sent = await refuse(
        scene,
        [
            (Topic.PREDICTIONS, b"m0", NOTHING, (), None),
            (Topic.PREDICTIONS, b"m0", b"no", (), None),
            (Topic.FEEDBACK, b"m1", None, (), None),
            (Topic.METRICS, None, b"{}", (), 2),
        ],
    )
    rows = await listed(scene)
    assert [(row["code"], row["model"], row["path"]) for row in sorted(rows, key=lambda row: row["code"])] == [
        ("empty", "m1", "$"),
        ("invalid_event", "m0", "$.output"),
        ("missing_key", "", "$"),
        ("not_json", "m0", "$"),
    ]
    by_code = {row["code"]: row for row in rows}
    for code, topic, (partition, offset) in zip(
        ("invalid_event", "not_json", "empty", "missing_key"),
        ("predictions", "predictions", "feedback", "metrics"),
        sent,
        strict=True,
    ):
        source = by_code[code]["source"]
        assert (source["topic"], source["partition"], source["offset"]) == (scene.prefix + topic, partition, offset)
        assert (by_code[code]["replays"], by_code[code]["is_replayed"]) == (0, False)
        assert by_code[code]["message"]
    assert by_code["empty"]["source"]["time"] == "2023-11-14T22:13:20.002Z"

    async def codes(*options: str) -> list[str]:
        return sorted(row["code"] for row in await listed(scene, *options))

    assert await codes("--code", "empty", "--code", "not_json") == ["empty", "not_json"]
    assert await codes("--model", "m0") == ["invalid_event", "not_json"]
    assert await codes("--model", "m0", "--code", "empty") == []
    # the time is that of the refusal, not the one that the record claims
    assert len(await codes("--since", "1h")) == 4
    assert await codes("--until", "1h") == []
    assert await codes("--until", "2023-12-01T00:00:00Z") == []
    youngest = max(rows, key=lambda row: (row["time"], [int(part) for part in row["letter"].split("@")]))
    assert await listed(scene, "--limit", "1") == [youngest]
    assert len(await listed(scene, "--limit", "0")) == 4

    table = await run(scene, "dlq", "ls", "--code", "invalid_event")
    assert table.returncode == 0
    for word in (by_code["invalid_event"]["letter"], "$.output", by_code["invalid_event"]["message"], "m0"):
        assert word in table.stdout, word


async def test_a_letter_is_shown_whole_and_given_back_byte_for_byte(scene: Scene) -> None:
    await scene.open()
    body = bytes(range(256)) + b"\x1b[2J"
    await refuse(
        scene,
        [
            (Topic.PREDICTIONS, b"\xff\x00", body, UNTYPED, 1),
            (Topic.FEEDBACK, "mañana".encode(), b"[\n]", (), None),
            (Topic.CONTROL, b"m0", b"", (("e", b""),), None),
            (Topic.CONTROL, b"m1", None, (), None),
        ],
    )
    places = {
        (row["source"]["topic"].removeprefix(scene.prefix), row["code"], row["model"]): row["letter"]
        for row in await listed(scene)
    }
    binary = places["predictions", "missing_key", "\\xff\x00"]
    shown = json.loads((await run(scene, "dlq", "show", binary, "--json")).stdout)
    assert base64.b64decode(shown["key"]["base64"]) == b"\xff\x00"
    assert base64.b64decode(shown["body"]["base64"]) == body
    assert [
        (
            header["name"],
            base64.b64decode(header["value"]["base64"])
            if header["name"] == "x" and header["value"]
            else header["value"],
        )
        for header in shown["headers"]
    ] == [("traceparent", {"text": "00-1"}), ("x", b"\x00\xff"), ("x", None), ("as_tenant", {"text": "t"})]
    assert shown["is_replayed"] is False

    raw = await asyncio.to_thread(
        subprocess.run, command(scene, "dlq", "show", binary, "--raw"), capture_output=True, check=True
    )
    assert raw.stdout == body
    words = (await run(scene, "dlq", "show", binary)).stdout
    assert base64.b64encode(body).decode() in words, "a body that a terminal must not print is encoded"
    assert "\x1b" not in words
    for line in ("code      missing_key", "key       hex ff00", "  x: hex 00ff", "  x: none", '  traceparent: "00-1"'):
        assert line in words.splitlines(), line

    text = (await run(scene, "dlq", "show", places["feedback", "invalid_event", "mañana"])).stdout
    assert 'key       "mañana"' in text.splitlines()
    assert text.endswith("body      3 bytes\n[\n]\n")
    # an empty body and none are two things
    empty, none = places["control", "empty", "m0"], places["control", "empty", "m1"]
    assert json.loads((await run(scene, "dlq", "show", empty, "--json")).stdout)["body"] == {"text": ""}
    assert json.loads((await run(scene, "dlq", "show", none, "--json")).stdout)["body"] is None
    assert "body      0 bytes" in (await run(scene, "dlq", "show", empty)).stdout
    assert "body      none" in (await run(scene, "dlq", "show", none)).stdout


async def test_what_is_no_letter_is_named_as_such(scene: Scene) -> None:
    await scene.open()
    await refuse(scene, [(Topic.PREDICTIONS, b"m0", b"no", (), None)])
    partition = home(b"m0", PARTITIONS)
    foreign = await scene.produce(Topic.DEAD_LETTERS, b"hello", partition=partition)
    assert await replayed(scene) == {"replayed": 1, "replayed_before": 0, "beyond_limit": 0, "impossible": 0}
    (row,) = await listed(scene)
    assert row["is_replayed"] is True
    for place in (f"{partition}@999", "77@0", f"{partition}@{foreign.offset}"):
        done = await run(scene, "dlq", "show", place)
        assert (done.returncode, done.stdout) == (1, ""), place
        assert f"no dead letter {place}" in done.stderr
    records = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    mark = next(f"{r.partition}@{r.offset}" for r in records if isinstance(read_record(r), Mark))
    done = await run(scene, "dlq", "show", mark)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the mark that {row['letter']} was sent again" in done.stderr
    assert "1 records on the topic are no dead letters" in (await run(scene, "dlq", "ls")).stderr
    assert f"{row['letter']}  was sent again" in (await run(scene, "tail", "dead-letters")).stdout


# -- replay ------------------------------------------------------------------------------------------------------


async def test_a_dry_run_says_exactly_what_a_replay_then_does_once(scene: Scene) -> None:
    await scene.open()
    right = home(b"m0", PARTITIONS)
    wrong = (right + 1) % PARTITIONS
    good = b'{"prediction_id":"p9","model_id":"m0","output":0.9,"features":[1,2]}'
    records: list[Sent] = [
        (Topic.PREDICTIONS, b"m0", b'{"a":', UNTYPED, None),
        (Topic.FEEDBACK, b"m1", None, (("as_error_code", b"forged"), ("as_replayed", b"0@0")), None),
        (Topic.METRICS, None, b"{}", (("none", None),), 2),
        (Topic.CONTROL, b"\xff", b"{}", (), 1),
        (Topic.PREDICTIONS, b"m0", good, ((MOVED_HEADER, b"1"),), wrong),
    ]
    await refuse(scene, records)
    before = await scene.read(*INPUTS, Topic.DEAD_LETTERS)
    dry = await run(scene, "dlq", "replay", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    *intended, counts = [json.loads(line) for line in dry.stdout.splitlines()]
    assert counts == {"would_replay": 5, "replayed_before": 0, "beyond_limit": 0, "impossible": 0}
    assert await scene.read(*INPUTS, Topic.DEAD_LETTERS) == before, "a dry run writes nothing"

    assert await replayed(scene) == {"replayed": 5, "replayed_before": 0, "beyond_limit": 0, "impossible": 0}
    again = await sent_again(scene)
    assert sorted((r.topic, r.partition) for r in again) == sorted(
        (one["would_send"]["topic"], one["would_send"]["partition"]) for one in intended
    )
    # key, value, own headers and time are the original's; what this system had added is gone
    homes = [right, home(b"m1", PARTITIONS), 2, home(b"\xff", PARTITIONS), right]
    kept = [UNTYPED, (), (("none", None),), (), ()]
    assert sorted(((r.topic, r.partition, r.key, r.value, r.headers, r.timestamp) for r in again), key=repr) == sorted(
        (
            (scene.prefix + topic.value, where, key, value, (*headers, ("as_replays", b"1")), START_MS + number)
            for number, ((topic, key, value, _, _), where, headers) in enumerate(zip(records, homes, kept, strict=True))
        ),
        key=repr,
    )
    for _ in range(2):
        assert await replayed(scene) == {"replayed": 0, "replayed_before": 5, "beyond_limit": 0, "impossible": 0}
    assert await sent_again(scene) == again
    assert sorted(await marks(scene)) == sorted(row["letter"] for row in await listed(scene))

    # the misplaced one has its effect; the others come back, and say that they were here before
    await scene.publish([(Topic.FEEDBACK, correction(9), START_MS + 100)])
    async with working(scene.config()) as worker:
        await scene.caught_up()
        memory = worker.tasks[right].memory
        assert memory is not None
        assert memory.fleets.counters()["join"]["joined"] == 1
    rows = await listed(scene)
    assert sorted((row["replays"], row["is_replayed"]) for row in rows) == [(0, True)] * 5 + [(1, False)] * 4
    assert await replayed(scene) == {"replayed": 4, "replayed_before": 5, "beyond_limit": 0, "impossible": 0}
    assert sorted(dict(r.headers)["as_replays"] for r in await sent_again(scene)) == [b"1"] * 5 + [b"2"] * 4


async def test_a_replay_takes_the_oldest_that_fit_its_filters_and_its_limit(scene: Scene) -> None:
    await scene.open()
    await refuse(scene, [bad(number) for number in range(8)])
    assert await replayed(scene, "--model", "m1", "--code", "not_json") == {
        "replayed": 2,
        "replayed_before": 0,
        "beyond_limit": 0,
        "impossible": 0,
    }
    assert {record.key for record in await sent_again(scene)} == {b"m1"}
    assert (await replayed(scene, "--code", "empty"))["replayed"] == 0
    first = await replayed(scene, "--limit", "4")
    assert first == {"replayed": 4, "replayed_before": 2, "beyond_limit": 2, "impossible": 0}
    assert await replayed(scene, "--limit", "4") == {
        "replayed": 2,
        "replayed_before": 6,
        "beyond_limit": 0,
        "impossible": 0,
    }
    assert sorted(r.value for r in await sent_again(scene)) == sorted(bad(n)[2] or b"" for n in range(8))


async def test_a_letter_from_a_topic_that_is_no_input_is_left_alone(scene: Scene) -> None:
    await scene.open()
    reasons = {
        "as_error_code": b"not_json",
        "as_error_message": b"the body is not JSON",
        "as_error_path": b"$",
        "as_source_topic": b"elsewhere.predictions",
        "as_source_partition": b"0",
        "as_source_offset": b"3",
        "as_source_timestamp": b"1700000000000",
    }
    await scene.produce(Topic.DEAD_LETTERS, b"x", headers=list(reasons.items()))
    assert await replayed(scene, code=1) == {"replayed": 0, "replayed_before": 0, "beyond_limit": 0, "impossible": 1}
    assert await marks(scene) == []


async def test_poison_has_its_effect_once_it_is_replayed_to_a_build_that_can_step_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.open()
    right = home(b"m0", PARTITIONS)
    step = Fleets.step

    def failing(self: Fleets, slice_: Slice) -> Stepped:
        stepped = step(self, slice_)
        if any(isinstance(event, Correction) and event.feedback_id in ("f3", "f9") for event in slice_.events):
            raise ZeroDivisionError("planted")
        return stepped

    await scene.publish((Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(10))
    await scene.publish((Topic.FEEDBACK, correction(n), START_MS + 50 + n) for n in range(10))
    with monkeypatch.context() as patched:
        patched.setattr(Fleets, "step", failing)
        async with working(scene.config()) as worker:
            await scene.drained()
            memory = worker.tasks[right].memory
            assert memory is not None
            assert memory.fleets.counters()["join"]["joined"] == 8
    rows = await listed(scene, "--code", "poison")
    assert [row["source"]["offset"] for row in rows] == [3, 9]
    assert (await replayed(scene, "--code", "poison"))["replayed"] == 2
    async with working(scene.config()) as worker:
        await scene.caught_up()
        memory = worker.tasks[right].memory
        assert memory is not None
        outcomes = memory.fleets.counters()["join"]
        assert {outcome: count for outcome, count in outcomes.items() if count} == {"joined": 10}
    assert len(await listed(scene)) == 2


# -- crashes and rivals ------------------------------------------------------------------------------------------

LETTERS = 14
PLACES = (
    "fence:after:1",
    "begin:after:1",
    "produce:after:2",
    "begin:before:2",
    "commit:before:2",
    "commit:after:2",
    "commit:after:3",
)
DYING = """
import sys
from adaptive_stream.cli import main
from adaptive_stream.runtime import replay
from tests.integration.witness import Place, arm
replay.MAX_RECORDS = 5
arm(Place(sys.argv.pop(1)))
main()
"""


def dying(scene: Scene, place: str) -> list[str]:
    _, _, _, *arguments = command(scene, "dlq", "replay", "--json")
    return [sys.executable, "-c", DYING, place, *arguments]


async def check_each_was_sent_once(scene: Scene) -> None:
    again = await sent_again(scene)
    assert sorted(record.value for record in again) == sorted(bad(number)[2] or b"" for number in range(LETTERS))
    made = await marks(scene)
    assert len(made) == len(set(made)) == LETTERS


@pytest.mark.parametrize("place", PLACES)
async def test_a_replay_that_dies_anywhere_is_completed_by_the_next_and_nothing_is_sent_twice(
    scene: Scene, place: str
) -> None:
    await scene.open()
    await refuse(scene, [bad(number) for number in range(LETTERS)])
    died = await asyncio.to_thread(subprocess.run, dying(scene, place), capture_output=True, check=False, cwd=ROOT)
    assert died.returncode == -signal.SIGKILL, died.stderr
    before = len(await marks(scene))
    assert await replayed(scene) == {
        "replayed": LETTERS - before,
        "replayed_before": before,
        "beyond_limit": 0,
        "impossible": 0,
    }
    await check_each_was_sent_once(scene)


async def test_two_replays_at_once_send_each_letter_once_and_the_former_gives_way(scene: Scene) -> None:
    await scene.open()
    await refuse(scene, [bad(number) for number in range(LETTERS)])
    both = await asyncio.gather(*(run(scene, "dlq", "replay") for _ in range(2)))
    assert {done.returncode for done in both} <= {0, 1}, [done.stderr for done in both]
    assert any(done.returncode == 0 for done in both)
    assert all("another replay has taken over" in done.stderr for done in both if done.returncode == 1)
    await check_each_was_sent_once(scene)


@contextlib.asynccontextmanager
async def asked(scene: Scene, said: Path) -> AsyncIterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a replay on a terminal and wait until it asks; yield it and the terminal's other end."""
    ours, its = pty.openpty()
    try:
        with said.open("wb") as log:
            process = subprocess.Popen(command(scene, "dlq", "replay"), stdin=its, stdout=log, stderr=log)
        try:
            await until(lambda: f"send {LETTERS} records again? [y/N]" in said.read_text(), what="it asks")
            yield process, ours
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(ours)
        os.close(its)


async def answer(process: subprocess.Popen[bytes], terminal: int, word: bytes) -> int:
    os.write(terminal, word + b"\n")
    return await asyncio.to_thread(process.wait)


async def test_on_a_terminal_a_replay_asks_and_one_that_was_overtaken_meanwhile_sends_nothing(
    scene: Scene, tmp_path: Path
) -> None:
    await scene.open()
    await refuse(scene, [bad(number) for number in range(LETTERS)])
    said = tmp_path / "said"
    async with asked(scene, said) as (process, terminal):
        assert await answer(process, terminal, b"n") == 1
    assert await marks(scene) == []
    async with asked(scene, said) as (process, terminal):
        assert (await replayed(scene, "--yes", "--model", "m1"))["replayed"] == 3
        assert await answer(process, terminal, b"y") == 1
    assert said.read_text().endswith("another replay has taken over; this one sent 0 before\n"), "no trace behind it"
    assert len(await marks(scene)) == 3
    await replayed(scene)
    await check_each_was_sent_once(scene)


async def test_a_mark_behind_the_open_transaction_of_a_worker_is_not_overlooked(scene: Scene) -> None:
    await scene.open()
    await refuse(scene, [bad(0)])
    config = scene.config()
    options = connection(config)
    async with LetterBox(config.topics.name(Topic.DEAD_LETTERS), **options) as box:
        (record,) = [record async for record in box.read(await box.true_ends())]
    letter = read_record(record)
    assert letter is not None
    assert not isinstance(letter, Mark)
    rival = AIOKafkaProducer(**options, transactional_id=f"{scene.name}-rival", transaction_timeout_ms=60_000)
    await rival.start()
    try:
        # a worker writes a letter and is slow to commit; meanwhile the letter is replayed: its mark lies behind
        await rival.begin_transaction()
        await rival.send_and_wait(config.topics.name(Topic.DEAD_LETTERS), b"x", partition=record.partition)
        back = way_back(letter, {config.topics.name(topic): PARTITIONS for topic in INPUTS})
        assert back is not None
        first = Replay(config)
        await first.take_over()
        await first.add(letter, back)
        await first.flush()
        await first.close()
        second = asyncio.create_task(replayed(scene))
        # one that reads committed records up to the last stable offset does not see the mark, and ends at once
        done, _ = await asyncio.wait([second], timeout=5)
        assert not done, "it must wait until the transaction has ended"
        await rival.abort_transaction()
    finally:
        await rival.stop()
    assert await second == {"replayed": 0, "replayed_before": 1, "beyond_limit": 0, "impossible": 0}
    assert len(await sent_again(scene)) == 1


async def test_life_goes_on_beside_a_replay(scene: Scene) -> None:
    await scene.open()
    await refuse(scene, [bad(number) for number in range(LETTERS)])
    async with working(scene.config()) as worker:
        await scene.publish((Topic.PREDICTIONS, prediction(n), START_MS + 100 + n) for n in range(20))
        assert (await replayed(scene))["replayed"] == LETTERS
        await scene.publish((Topic.FEEDBACK, correction(n), START_MS + 200 + n) for n in range(20))
        await scene.caught_up()
        memory = worker.tasks[home(b"m0", PARTITIONS)].memory
        assert memory is not None
        assert memory.fleets.counters()["join"]["joined"] == 20
    rows = await listed(scene)
    assert sorted(row["replays"] for row in rows) == [0] * LETTERS + [1] * LETTERS
