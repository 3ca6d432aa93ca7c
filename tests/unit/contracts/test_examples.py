"""Every file below ``schemas/examples`` is executed, by the codec and by a validator that knows the schemas alone."""

from __future__ import annotations

import pytest

from adaptive_stream.contracts.codec import CARRIES, Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.schema import event_name
from adaptive_stream.contracts.topics import INPUTS
from tests.unit.contracts.example import FOLDER, STRUCTURED, Example, examples, is_accepted_by_schema

VALID, INVALID = examples("valid"), examples("invalid")
FROM_THE_CODEC = {
    ErrorCode.NOT_JSON,
    ErrorCode.WRONG_ENVELOPE,
    ErrorCode.UNKNOWN_TYPE,
    ErrorCode.UNKNOWN_VERSION,
    ErrorCode.UNSUPPORTED_CONTENT,
    ErrorCode.INVALID_EVENT,
    ErrorCode.NON_FINITE,
    ErrorCode.TOO_DEEP,
    ErrorCode.EMPTY,
}  # and TOO_LARGE, whose example would be large: it is made in test_codec.py

codec = Codec()


def decode(example: Example) -> object:
    verb = codec.decode if example.topic in INPUTS else codec.decode_output
    return verb(example.topic, example.value, example.headers)


@pytest.mark.parametrize("example", VALID, ids=lambda example: example.place)
def test_a_valid_example_decodes_as_the_event_of_its_folder_and_satisfies_the_schema(example: Example) -> None:
    assert isinstance(decode(example), CARRIES[example.topic])
    assert is_accepted_by_schema(example.topic, example.value, example.headers)


@pytest.mark.parametrize("example", INVALID, ids=lambda example: example.place)
def test_an_invalid_example_is_refused_with_the_code_of_its_folder_at_its_path(example: Example) -> None:
    with pytest.raises(Reject) as refused:
        decode(example)
    assert (refused.value.code, refused.value.path) == (example.expected, example.path), refused.value.message


@pytest.mark.parametrize("example", INVALID, ids=lambda example: example.place)
def test_an_invalid_example_is_refused_by_the_schema_unless_it_says_why_not(example: Example) -> None:
    accepted = is_accepted_by_schema(example.topic, example.value, example.headers)
    assert accepted == bool(example.schema_accepts), example.schema_accepts


def test_every_event_has_two_valid_examples_and_every_input_a_structured_one() -> None:
    for topic in CARRIES:
        mine = [example for example in VALID if example.topic == topic]
        assert len(mine) >= 2, topic
        structured = [e for e in mine if any(raw.decode().startswith(STRUCTURED) for _, raw in e.headers)]
        assert bool(structured) == (topic in INPUTS), topic


def test_every_code_of_the_codec_has_an_invalid_example() -> None:
    assert {example.expected for example in INVALID} == set(FROM_THE_CODEC)


def test_no_file_among_the_examples_is_overlooked() -> None:
    bodies = [file for kind in ("valid", "invalid") for file in (FOLDER / kind).rglob("*.*") if file.suffix != ".yaml"]
    sidecars = [file for kind in ("valid", "invalid") for file in (FOLDER / kind).rglob("*.yaml")]
    assert len(bodies) == len(VALID) + len(INVALID)
    assert len({body.with_suffix("") for body in bodies}) == len(bodies), "two bodies share a sidecar"
    assert {sidecar.with_suffix("") for sidecar in sidecars} <= {body.with_suffix("") for body in bodies}
    assert {example.expected for example in VALID} == {event_name(topic) for topic in CARRIES}
