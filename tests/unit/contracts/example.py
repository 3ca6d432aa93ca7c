"""The examples below ``schemas/examples``, and what a reader of the schemas alone would say of a record."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from adaptive_stream.contracts.asyncapi import asyncapi_text
from adaptive_stream.contracts.codec import CARRIES
from adaptive_stream.contracts.schema import event_name, schema_texts
from adaptive_stream.contracts.topics import INPUTS, Topic

FOLDER = Path(__file__).parents[3] / "schemas" / "examples"
BASE = "file:///schemas/"
TOPIC_OF = {event_name(topic): topic for topic in CARRIES}
STRUCTURED = "application/cloudevents+json"

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Example:
    """One file of examples with its sidecar; ``expected`` is the name of its folder."""

    place: str
    expected: str
    topic: Topic
    value: bytes
    headers: Headers = field(default_factory=list)
    path: str = ""
    schema_accepts: str = ""


def examples(kind: str) -> list[Example]:
    files = [file for file in sorted((FOLDER / kind).glob("*/*")) if file.suffix != ".yaml"]
    return [_example(file) for file in files]


def _example(file: Path) -> Example:
    sidecar = file.with_suffix(".yaml")
    said = yaml.safe_load(sidecar.read_text()) if sidecar.exists() else {}
    return Example(
        place=f"{file.parent.name}/{file.name}",
        expected=file.parent.name,
        topic=Topic(said["topic"]) if "topic" in said else TOPIC_OF[file.parent.name],
        value=file.read_bytes(),
        headers=[
            (name, value if isinstance(value, bytes) else value.encode())
            for name, value in said.get("headers", {}).items()
        ],
        path=said.get("path", ""),
        schema_accepts=said.get("schema_accepts", ""),
    )


def is_accepted_by_schema(topic: Topic, value: bytes, headers: Headers) -> bool:
    """Tell what somebody with the AsyncAPI document and a validator, but without our code, would say of a record."""
    try:
        named = {name: raw.decode() for name, raw in headers}
        content_type = named.get("content-type", "application/json")
        body = msgspec.msgpack.decode(value) if "msgpack" in content_type else strict_json(value)
    except (ValueError, msgspec.DecodeError):
        return False
    message = _camel(event_name(topic)) + ("Structured" if content_type.startswith(STRUCTURED) else "")
    if topic not in INPUTS and not named:  # the worker always sends them, readers do without
        return _validator(message, "payload").is_valid(body)
    return _validator(message, "headers").is_valid(named) and _validator(message, "payload").is_valid(body)


def strict_json(value: bytes) -> object:
    """Parse JSON as the RFC has it; Python's own parser takes NaN, and guesses encodings."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(word)

    return json.loads(value.decode(), parse_constant=refuse)


@cache
def _validator(message: str, part: str) -> Draft202012Validator:
    schema = {"$id": f"{BASE}asyncapi.yaml", **document()["components"]["messages"][message][part]}
    return Draft202012Validator(schema, registry=registry())


@cache
def document() -> dict[str, Any]:
    return yaml.safe_load(asyncapi_text())


@cache
def registry() -> Registry:
    return Registry().with_resources(
        [(BASE + name, Resource.from_contents(json.loads(text))) for name, text in schema_texts().items()]
    )


@cache
def event_validator(topic: Topic) -> Draft202012Validator:
    """Return the validator of a topic's schema alone: it needs no registry, because it is self-contained."""
    return Draft202012Validator(json.loads(schema_texts()[f"v1/{event_name(topic)}.schema.json"]))


def _camel(name: str) -> str:
    head, *rest = name.split("-")
    return head + "".join(part.title() for part in rest)
