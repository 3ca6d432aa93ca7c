"""Bad records: each goes to the dead letters byte for byte, its neighbours never notice, nothing stops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.contracts.events import Correction, Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.runtime.intake import MOVED_HEADER, home
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.worker import dump, working

if TYPE_CHECKING:
    from adaptive_stream.core.slice import Slice, Stepped
    from adaptive_stream.runtime.worker import Worker

ONE_PARTITION = ("topics.partitions=1",)
REASONS = (
    "as_error_code",
    "as_error_message",
    "as_error_path",
    "as_source_topic",
    "as_source_partition",
    "as_source_offset",
    "as_source_timestamp",
)
GOOD = b'{"prediction_id":"p-good","model_id":"m0","output":0.9,"features":[1,2]}'
AHEAD_MS = time.time_ns() // 1_000_000 + 1_800_000  # Kafka itself refuses what is more than an hour ahead
MSGPACK = ("content-type", b"application/msgpack")
BAD: list[tuple[str, str, bytes | None, bytes | None, tuple[tuple[str, bytes], ...], int, str]] = [
    # what, expected code, key, value, headers, time, expected path
    ("not-json", "not_json", b"m0", b'{"prediction_id":', (), START_MS, "$"),
    ("not-utf8", "not_json", b"m0", b'{"prediction_id":"\xff"}', (), START_MS, "$"),
    ("empty", "empty", b"m0", None, (), START_MS, "$"),
    ("no-key", "missing_key", None, GOOD, (), START_MS, "$"),
    ("key-not-utf8", "missing_key", b"\xff\xfe", GOOD, (), START_MS, "$"),
    ("other-key", "key_mismatch", b"m1", GOOD, (), START_MS, "$.model_id"),
    ("stranger", "unknown_model", b"x", GOOD.replace(b'"m0"', b'"x"'), (), START_MS, "$.model_id"),
    ("nan", "non_finite", b"m0", GOOD.replace(b"0.9", b"NaN"), (), START_MS, "$.output"),
    ("no-output", "invalid_event", b"m0", GOOD.replace(b'"output"', b'"input"'), (), START_MS, "$.output"),
    ("three-features", "wrong_dimension", b"m0", GOOD.replace(b"[1,2]", b"[1,2,3]"), (), START_MS, "$.features"),
    ("word-feature", "invalid_feature", b"m0", GOOD.replace(b"[1,2]", b'[1,"x"]'), (), START_MS, "$.features[1]"),
    ("output-seven", "invalid_output", b"m0", GOOD.replace(b"0.9", b"7"), (), START_MS, "$.output"),
    ("too-deep", "too_deep", b"m0", GOOD[:-1] + b',"x":' + b"[" * 40 + b"]" * 40 + b"}", (), START_MS, "$"),
    ("too-large", "too_large", b"m0", GOOD[:-1] + b',"x":"' + b"x" * 70_000 + b'"}', (), START_MS, "$"),
    ("1970", "absurd_time", b"m0", GOOD, (), 12_345, "$"),
    ("ahead-of-its-time", "absurd_time", b"m0", GOOD, (), AHEAD_MS, "$"),
    ("half-envelope", "wrong_envelope", b"m0", GOOD, (("ce_id", b"1"), ("x", b"\x00\xff")), START_MS, "$"),
    ("other-content", "unsupported_content", b"m0", GOOD, (("content-type", b"text/xml"),), START_MS, "$"),
    ("not-msgpack", "not_json", b"m0", b"\xc1", (MSGPACK,), START_MS, "$"),
    (
        "next-version",
        "unknown_version",
        b"m0",
        GOOD,
        (
            ("ce_specversion", b"1.0"),
            ("ce_type", b"adaptive.prediction.v2"),
            ("ce_id", b"1"),
            ("ce_source", b"/x"),
        ),
        START_MS,
        "$",
    ),
    ("moved-twice", "missing_key", b"", GOOD, ((MOVED_HEADER, b"1"),), START_MS, "$"),
]


def counted(worker: Worker, name: str, **labels: str) -> float:
    return worker.telemetry.registry.get_sample_value(f"adaptive_stream_{name}", labels) or 0.0


async def test_bad_records_go_to_the_dead_letters_byte_for_byte_and_good_ones_pass(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=(*ONE_PARTITION, "time.max_future_skew_s=60"))
    await scene.open()
    sent = {}
    for number, (what, code, key, value, headers, time_ms, path) in enumerate(BAD):
        # each bad record stands between two good ones
        await scene.publish([(Topic.PREDICTIONS, prediction(number), START_MS)])
        at = await scene.produce(Topic.PREDICTIONS, value, key=key, partition=0, headers=headers, time_ms=time_ms)
        sent[at.offset] = (what, code, key, value, list(headers), time_ms, path)
    await scene.publish((Topic.FEEDBACK, correction(number), START_MS + 1) for number in range(len(BAD)))
    async with working(scene.config()) as worker:
        await scene.drained()
        memory = worker.tasks[0].memory
        assert memory is not None
        assert memory.fleets.counters()["join"]["joined"] == len(BAD)
        assert memory.fleets.gauges()["waiting"] == 0
        await until(lambda: counted(worker, "dead_letters_total", code="empty") == 1, what="the refused are counted")
        for code in {code for _, code, *_ in BAD}:
            expected = sum(known == code for _, known, *_ in BAD)
            assert counted(worker, "records_rejected_total", code=code) == expected
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    assert len(letters) == len(BAD)
    for letter in letters:
        added = dict(letter.headers[-len(REASONS) :])
        assert tuple(name for name, _ in letter.headers[-len(REASONS) :]) == REASONS
        offset = int(added["as_source_offset"])
        what, code, key, value, headers, time_ms, path = sent.pop(offset)
        assert (letter.key, letter.value, list(letter.headers[: -len(REASONS)])) == (key, value, headers), what
        assert (added["as_error_code"].decode(), added["as_error_path"].decode()) == (code, path), what
        assert added["as_source_topic"].decode() == scene.prefix + "predictions"
        assert (added["as_source_partition"], added["as_source_timestamp"]) == (b"0", str(time_ms).encode())
        assert added["as_error_message"]
        assert b"p-good" not in added["as_error_message"], "a message never echoes the payload"
    assert not sent


# -- poison ------------------------------------------------------------------------------------------------------

EVENTS = 12
POISON = {
    "the-first-of-a-batch": {0},
    "the-last-of-a-batch": {EVENTS - 1},
    "two-in-a-batch": {3, 7},
    "two-side-by-side": {5, 6},
    "all-but-one": set(range(EVENTS)) - {4},
}


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Prediction ids on which the step raises, after it has begun to change the memory."""
    ids: set[str] = set()
    step = Fleets.step

    def failing(self: Fleets, slice_: Slice) -> Stepped:
        stepped = step(self, slice_)
        if any(isinstance(event, Prediction) and event.prediction_id in ids for event in slice_.events):
            raise ZeroDivisionError("planted")
        return stepped

    monkeypatch.setattr(Fleets, "step", failing)
    return ids


@pytest.mark.parametrize("places", POISON.values(), ids=POISON)
async def test_poison_is_found_and_its_neighbours_have_their_effect(
    places: set[int], kafka: str, names: str, poisoned: set[str]
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=(*ONE_PARTITION, "batch.slice_records=5"))
    await scene.open()
    poisoned |= {f"p{place}" for place in places}
    await scene.publish((Topic.PREDICTIONS, prediction(number), START_MS + number) for number in range(EVENTS))
    async with working(scene.config()) as worker:
        await scene.drained()
        # life goes on: what comes later is stepped as ever
        await scene.publish((Topic.FEEDBACK, correction(n), START_MS + EVENTS + n) for n in range(EVENTS))
        await scene.drained()
        memory = worker.tasks[0].memory
        assert memory is not None
        join = memory.fleets.counters()["join"]
        assert (join["joined"], join["early"]) == (EVENTS - len(places), len(places))
        state = dump(worker)
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    assert sorted(int(dict(letter.headers)["as_source_offset"]) for letter in letters) == sorted(places)
    assert {dict(letter.headers)["as_error_code"] for letter in letters} == {b"poison"}
    await scene.check_journals()
    # the journal names the poison: a restore skips it as well, although the step would raise on it
    async with working(scene.config()) as worker:
        assert dump(worker) == state
        await scene.publish(
            [(Topic.FEEDBACK, Correction(feedback_id="last", prediction_id="p", model_id="m0", label=1), START_MS + 99)]
        )
        await scene.drained()
    assert len((await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]) == len(places)


async def test_poison_alone_in_its_batch_is_found(kafka: str, names: str, poisoned: set[str]) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=ONE_PARTITION)
    await scene.open()
    poisoned.add("p0")
    async with working(scene.config()) as worker:
        await scene.publish([(Topic.PREDICTIONS, prediction(0), START_MS)])
        await scene.drained()
        await scene.publish([(Topic.PREDICTIONS, prediction(1), START_MS + 1)])
        await scene.drained()
        memory = worker.tasks[0].memory
        assert memory is not None
        assert memory.fleets.gauges()["waiting"] == 1
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    assert [dict(letter.headers)["as_error_code"] for letter in letters] == [b"poison"]


async def test_a_record_that_becomes_poison_in_a_restore_is_skipped_and_told(
    kafka: str, names: str, poisoned: set[str]
) -> None:
    scene = Scene(
        bootstrap=kafka,
        name=names,
        settings=(*ONE_PARTITION, "state.snapshot_interval_s=3600", "state.journal_ring=300000"),
    )
    await scene.open()
    await scene.publish((Topic.PREDICTIONS, prediction(number), START_MS + number) for number in range(EVENTS))
    async with working(scene.config()):
        await scene.drained()
    # as another build would: it raises on what the one before stepped well
    poisoned.add("p5")
    async with working(scene.config()) as worker:
        await scene.publish((Topic.FEEDBACK, correction(n), START_MS + EVENTS + n) for n in range(EVENTS))
        await scene.drained()
        memory = worker.tasks[0].memory
        assert memory is not None
        assert memory.fleets.counters()["join"]["joined"] == EVENTS - 1
        state = dump(worker)
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    assert [dict(letter.headers)["as_source_offset"] for letter in letters] == [b"5"]
    async with working(scene.config()) as worker:
        assert dump(worker) == state


# -- the wrong partition -----------------------------------------------------------------------------------------


async def test_a_record_on_the_wrong_partition_is_moved_once_and_has_its_effect(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names)
    await scene.open()
    right = home(b"m0", 3)
    wrong = (right + 1) % 3
    headers = (("traceparent", b"00-1"),)
    await scene.produce(Topic.PREDICTIONS, GOOD, partition=wrong, headers=headers)
    body = b'{"kind":"correction","feedback_id":"f","prediction_id":"p-good","model_id":"m0","label":1}'
    async with working(scene.config()) as worker:
        await until(lambda: counted(worker, "records_repartitioned_total") == 1, what="the record is moved")
        await scene.produce(Topic.FEEDBACK, body, time_ms=START_MS + 1)

        def joined() -> bool:
            memory = worker.tasks[right].memory
            return memory is not None and memory.fleets.counters()["join"]["joined"] == 1

        await until(joined, what="the moved prediction meets its feedback")
        # again on the wrong partition, after it was moved once: by then it is nobody's
        await scene.produce(Topic.PREDICTIONS, GOOD, partition=wrong, headers=((MOVED_HEADER, b"1"),))
        await until(lambda: counted(worker, "dead_letters_total", code="wrong_partition") == 1, what="it is refused")
        assert counted(worker, "records_repartitioned_total") == 1
    records = (await scene.read(Topic.PREDICTIONS))[Topic.PREDICTIONS]
    assert [(r.partition, r.key, r.value, r.headers) for r in records if r.partition == right] == [
        (right, b"m0", GOOD, (*headers, (MOVED_HEADER, b"1")))
    ]
    assert all(record.timestamp == START_MS for record in records)
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    assert [dict(letter.headers)["as_error_code"] for letter in letters] == [b"wrong_partition"]
