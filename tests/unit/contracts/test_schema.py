"""The schemas and the AsyncAPI document: valid themselves, and of one mind with the codec and the configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from adaptive_stream.config import load
from adaptive_stream.contracts.asyncapi import PARTITIONS, PREFIX, asyncapi_text
from adaptive_stream.contracts.codec import CARRIES, Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.schema import EXAMPLES, RULES, event_name, schema_texts
from adaptive_stream.contracts.topics import INPUTS, OUTPUTS, Topic
from adaptive_stream.runtime import journal, topics
from adaptive_stream.runtime.intake import Refused
from adaptive_stream.runtime.writing import Writer
from tests.unit.contracts.example import BASE, document, event_validator, registry
from tests.unit.contracts.generated import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adaptive_stream.runtime.session import Write

codec = Codec()
CONFIG = load([], {}, ['families.f.match=["*"]', "families.f.task=regression"])
SCHEMAS = {name: json.loads(text) for name, text in schema_texts().items()}
# what a careless client writes where something else belongs; no integral double, which is an integer to JSON Schema
MISTAKES = [
    None,
    True,
    "",
    "x" * 300,
    "2013-06-01",
    "high",
    -1,
    0,
    0.5,
    7,
    [],
    [0.5],
    [None, True],
    {},
    {"": 1},
    {"a": {}},
]

# the rules that span fields: a schema may see the breach, but need not
BEYOND_SCHEMAS = ("score must be within", "scale must be", "chosen and rejected", "the shares of a channel")


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_is_one_of_draft_2020_12_and_its_examples_satisfy_it(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert schema["examples"]
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_refers_to_nothing_outside_itself_and_says_what_each_part_is(schema: dict[str, Any]) -> None:
    references = {value for key, value in walk(schema) if key == "$ref"}
    assert references == {f"#/$defs/{name}" for name in schema.get("$defs", {})}
    assert schema["$id"].startswith("urn:adaptive-stream:v1:")
    for part in [schema, *schema.get("$defs", {}).values()]:
        assert part["title"]
        assert part["description"].endswith(".")
        assert "``" not in part["description"]


def test_no_schema_uses_a_word_that_json_schema_does_not_know() -> None:
    assert "discriminator" not in {key for schema in SCHEMAS.values() for key, _ in walk(schema)}


def test_there_is_a_schema_for_every_event_and_one_for_the_envelope() -> None:
    assert set(SCHEMAS) == {f"v1/{event_name(topic)}.schema.json" for topic in CARRIES} | {"v1/cloudevent.schema.json"}


@pytest.mark.parametrize("topic", CARRIES)
def test_the_examples_in_a_schema_are_events_to_the_codec(topic: Topic) -> None:
    decode = codec.decode if topic in INPUTS else codec.decode_output
    for event in EXAMPLES[topic]:
        assert decode(topic, codec.encode(event)) == event


def test_a_rule_is_told_of_a_struct_that_is_in_a_schema() -> None:
    told = {part["title"] for schema in SCHEMAS.values() for part in [schema, *schema.get("$defs", {}).values()]}
    assert set(RULES) <= told


@settings(max_examples=50)
@given(records())
def test_what_the_codec_writes_satisfies_the_schema(record: tuple[Topic, Any]) -> None:
    topic, event = record
    event_validator(topic).validate(json.loads(codec.encode(event)))


@settings(max_examples=100)
@given(record=records(), choice=st.integers(0, 1000), mistake=st.sampled_from(MISTAKES), is_removed=st.booleans())
def test_with_one_field_wrong_the_schema_says_what_the_codec_says(
    record: tuple[Topic, Any],
    choice: int,
    mistake: Any,  # noqa: ANN401 - any JSON
    is_removed: bool,  # noqa: FBT001
) -> None:
    topic, event = record
    body = json.loads(codec.encode(event))
    holder, key = places(body)[choice % len(places(body))]
    if is_removed:
        del holder[key]
    else:
        holder[key] = mistake
    value = json.dumps(body).encode()
    try:
        (codec.decode if topic in INPUTS else codec.decode_output)(topic, value)
        refusal = ""
    except Reject as reject:
        refusal = reject.message
    if not refusal.startswith(BEYOND_SCHEMAS):
        assert event_validator(topic).is_valid(body) == (not refusal), refusal


def places(body: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return where something could be replaced: every field, and every item inside it."""
    found: list[tuple[Any, Any]] = []
    stack: list[Any] = [body]
    while stack:
        holder = stack.pop()
        for key, item in holder.items() if isinstance(holder, dict) else enumerate(holder):
            found.append((holder, key))
            if isinstance(item, dict | list):
                stack.append(item)
    return found


def walk(node: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON
    """Yield every key with its value, but for the examples, which are no schemas."""
    for key, item in node.items() if isinstance(node, dict) else ():
        if key != "examples":
            yield key, item
            yield from walk(item)
    for item in node if isinstance(node, list) else ():
        yield from walk(item)


def test_the_document_is_asyncapi_3_with_a_channel_and_an_operation_for_every_topic() -> None:
    assert document()["asyncapi"] == "3.0.0"
    channels = document()["channels"]
    assert [channel["address"] for channel in channels.values()] == [f"{{prefix}}{topic}" for topic in Topic]
    operations = document()["operations"].values()
    sides = {(operation["action"], operation["channel"]["$ref"].rpartition("/")[2]) for operation in operations}
    by_address = {channel["address"]: name for name, channel in channels.items()}
    assert sides == {("receive" if t in INPUTS else "send", by_address[f"{{prefix}}{t}"]) for t in Topic}


def test_every_reference_of_the_document_leads_somewhere() -> None:
    for key, reference in walk(document()):
        if key == "$ref" and reference.startswith("#"):
            node: Any = document()
            for step in reference.removeprefix("#/").split("/"):
                node = node[step]
        elif key == "$ref":
            assert registry().get_or_retrieve(BASE + reference.removeprefix("./"))


def test_the_document_agrees_with_the_configuration_and_with_the_topics_as_they_are_made() -> None:
    assert CONFIG.topics.prefix == PREFIX
    assert CONFIG.topics.partitions == PARTITIONS
    for topic, channel in zip(Topic, document()["channels"].values(), strict=True):
        assert channel["parameters"]["prefix"]["default"] == PREFIX
        binding = channel["bindings"]["kafka"]
        assert binding["partitions"] == PARTITIONS
        assert binding["topicConfiguration"]["cleanup.policy"] == [topics.settings(CONFIG, topic)["cleanup.policy"]]


def test_the_keys_of_the_state_are_those_that_the_journal_writes() -> None:
    key = Draft202012Validator(document()["components"]["messages"]["state"]["bindings"]["kafka"]["key"])
    for written in (journal.CHECKPOINT_KEY, journal.entry_key(7, ring=4), journal.page_key("p", slot=0, chunk=1)):
        key.validate(written.decode())
    assert not key.is_valid("late-flights")


def writer() -> Writer:
    return Writer(CONFIG, codec, partition=0, partitions=dict.fromkeys(Topic, PARTITIONS))


def headers_of(write: Write) -> dict[str, str]:
    return {name: raw.decode() for name, raw in write.headers}


@pytest.mark.parametrize("topic", OUTPUTS)
def test_an_output_as_the_worker_writes_it_satisfies_the_document_and_without_any_header_it_does_not(
    topic: Topic,
) -> None:
    message = document()["components"]["messages"][event_name(topic).replace("-c", "C").replace("-s", "S")]
    write = writer().output(EXAMPLES[topic][0], batch=1, index=0, cut_ms=0)
    assert write.key
    Draft202012Validator(message["bindings"]["kafka"]["key"]).validate(write.key.decode())
    validator, named = Draft202012Validator(message["headers"]), headers_of(write)
    validator.validate(named)
    for name in named:
        assert not validator.is_valid({other: value for other, value in named.items() if other != name}), name


@pytest.mark.parametrize("code", ErrorCode)
def test_a_dead_letter_as_the_worker_writes_it_has_the_headers_of_the_document_and_no_other(code: ErrorCode) -> None:
    record = ConsumerRecord(
        topic="adaptive.feedback", partition=2, offset=7, timestamp=-1, timestamp_type=0, key=b"m", value=b"?",
        checksum=None, serialized_key_size=1, serialized_value_size=1, headers=(),
    )  # fmt: skip
    refused = Refused(topic=Topic.FEEDBACK, record=record, reject=Reject(code, "why"))
    named = headers_of(writer().dead_letter(refused, cut_ms=0))
    schema = document()["components"]["messages"]["deadLetter"]["headers"]
    Draft202012Validator(schema).validate(named)
    assert set(named) == set(schema["required"]) == set(schema["properties"])


def test_the_document_is_written_without_anchors_which_few_people_read() -> None:
    assert "&id" not in asyncapi_text()
