"""The topics as an AsyncAPI 3.0 document: who sends what where, under which key, in which headers.

Owns the words of the document. Never reads or writes a file; payloads are references to the JSON Schemas beside it.
Called by ``schemas write`` and ``schemas check``.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from adaptive_stream.contracts.clock import TIME_PATTERN
from adaptive_stream.contracts.codec import TYPE_OF
from adaptive_stream.contracts.envelope import CONTRACT_VERSION, REQUIRED_HEADERS, SPEC_VERSION, STRUCTURED_TYPE
from adaptive_stream.contracts.errors import ErrorCode
from adaptive_stream.contracts.field import MAX_ID_CHARS
from adaptive_stream.contracts.schema import ENVELOPE, Schema, event_name, schema_file
from adaptive_stream.contracts.topics import CO_PARTITIONED, COMPACTED, INPUTS, OUTPUTS, Topic

FILE = "asyncapi.yaml"
PREFIX = "adaptive."  # as in the configuration, which the contracts may not see; a test holds them equal
PARTITIONS = 6
BINDING_VERSION = "0.5.0"

_TITLES = {
    Topic.PREDICTIONS: "What the served models predict. Sent by apps.",
    Topic.FEEDBACK: "What became known about predictions. Sent by apps.",
    Topic.METRICS: "Figures that tools measured themselves.",
    Topic.CONTROL: "Orders of operators.",
    Topic.ALERTS: "Alerts that began, changed or ended.",
    Topic.ADAPTATIONS: "What was learned, decided or refused, and why.",
    Topic.MODEL_COMMANDS: "What each model must serve: the whole desired state under its id. "
    "Followers ignore an epoch that they have passed.",
    Topic.MODEL_STATUS: "One summary of each model under its id.",
    Topic.DEAD_LETTERS: "Records that were refused: key, value and headers byte for byte, and why.",
    Topic.STATE: "The worker's own: batches under journal/…, snapshots under page/…, and the checkpoint. "
    "No contract: read and written by one build of the worker alone.",
}
_INFO = """\
The worker reads four topics and writes six. The key of every event is the model's id in UTF-8, partitioned by murmur2
as Kafka's own clients do; a record found on another partition is re-published once to the right one.

A body is JSON, or MessagePack of the same shape under the header `content-type: application/msgpack`. CloudEvents 1.0
are optional on the inputs, in binary or structured mode, and always there in binary mode on the outputs. The time of an
event is its record's timestamp unless it has `occurred_at`.

Within v1 fields may be added, never renamed, retyped or narrowed.
"""


class _Dumper(yaml.SafeDumper):
    """YAML that people read: without anchors, and with texts of several lines as they are."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - PyYAML's signature
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def asyncapi_text() -> str:
    """Return the document as YAML; equal for equal contracts."""
    return yaml.dump(_document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _document() -> Schema:
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "adaptive_stream", "version": CONTRACT_VERSION, "description": _INFO},
        "defaultContentType": "application/json",
        "channels": {_camel(topic): _channel(topic) for topic in Topic},
        "operations": {
            **{f"receive{_camel(topic, first=True)}": _operation("receive", topic) for topic in INPUTS},
            **{f"send{_camel(topic, first=True)}": _operation("send", topic) for topic in Topic if topic not in INPUTS},
        },
        "components": {
            "messages": {name: message for topic in Topic for name, message in _messages(topic).items()},
        },
    }


def _channel(topic: Topic) -> Schema:
    partitions = "The inputs and the state must have equally many partitions." if topic in CO_PARTITIONED else ""
    return {
        "address": f"{{prefix}}{topic}",
        "description": f"{_TITLES[topic]} {partitions}".strip(),
        "parameters": {"prefix": {"description": "topics.prefix of the worker", "default": PREFIX}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(topic)},
        "bindings": {
            "kafka": {
                "partitions": PARTITIONS,
                "topicConfiguration": {"cleanup.policy": ["compact" if topic in COMPACTED else "delete"]},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _operation(action: str, topic: Topic) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{_camel(topic)}"},
        "summary": _TITLES[topic],
        "messages": [{"$ref": f"#/channels/{_camel(topic)}/messages/{name}"} for name in _messages(topic)],
    }


def _messages(topic: Topic) -> dict[str, Schema]:
    """Return what a topic carries, by the names of the messages."""
    if topic is Topic.DEAD_LETTERS:
        return {"deadLetter": _dead_letter(), "replayMark": _replay_mark()}
    if topic is Topic.STATE:
        return {"state": _state()}
    name = _camel(event_name(topic))
    payload = {"$ref": f"./{schema_file(event_name(topic))}"}
    plain = {
        "name": f"{TYPE_OF[topic]}.{CONTRACT_VERSION}",
        "title": event_name(topic),
        "contentType": "application/json",
        "headers": _headers(topic),
        "payload": payload,
        "bindings": _keyed("the id of the model, as in the body"),
    }
    if topic in OUTPUTS:
        return {name: plain}
    structured = {
        "name": f"{TYPE_OF[topic]}.{CONTRACT_VERSION}",
        "title": f"{event_name(topic)}, as a CloudEvent in structured mode",
        "contentType": STRUCTURED_TYPE,
        "headers": {
            "type": "object",
            "properties": {"content-type": {"type": "string", "pattern": f"^{re.escape(STRUCTURED_TYPE)}"}},
            "required": ["content-type"],
        },
        "payload": {
            "allOf": [
                {"$ref": f"./{schema_file(ENVELOPE)}"},
                {"properties": {"type": {"const": f"{TYPE_OF[topic]}.{CONTRACT_VERSION}"}, "data": payload}},
            ]
        },
        "bindings": _keyed("the id of the model, as in the event"),
    }
    return {name: plain, f"{name}Structured": structured}


def _headers(topic: Topic) -> Schema:
    """Return the schema of the headers: CloudEvents' binary mode, all of it or none on an input."""
    text: Schema = {"type": "string", "minLength": 1}
    headers: Schema = {
        "type": "object",
        "properties": {
            "content-type": {
                "type": "string",
                "description": "of the body: application/json unless it is given, or application/msgpack",
            },
            "ce_specversion": {"const": SPEC_VERSION},
            "ce_type": {"const": f"{TYPE_OF[topic]}.{CONTRACT_VERSION}"},
            "ce_id": {**text, "description": "unique for the source"},
            "ce_source": {**text, "description": "who produced it, as a URI reference"},
            "ce_time": {"type": "string", "format": "date-time", "pattern": TIME_PATTERN},
        },
    }
    if topic in INPUTS:
        others = {name: [other for other in REQUIRED_HEADERS if other != name] for name in REQUIRED_HEADERS}
        return {**headers, "dependentRequired": others}
    return {**headers, "required": ["content-type", *REQUIRED_HEADERS, "ce_time"]}


def _dead_letter() -> Schema:
    number: Schema = {"type": "string", "pattern": "^-?[0-9]+$"}
    reasons: Schema = {
        "as_error_code": {"type": "string", "enum": [code.value for code in ErrorCode], "description": "the reason"},
        "as_error_message": {"type": "string", "description": "what is wrong and what to do; never a part of the body"},
        "as_error_path": {"type": "string", "description": "where in the body, as $.features[3]; $ for the whole"},
        "as_source_topic": {"type": "string"},
        "as_source_partition": number,
        "as_source_offset": number,
        "as_source_timestamp": {**number, "description": "milliseconds since the epoch"},
    }
    return {
        "name": "dead-letter",
        "title": "dead letter",
        "summary": "The refused record's own headers stand in front of these.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "properties": reasons, "required": list(reasons)},
        "payload": {"description": "the bytes of the refused record, whatever they are; null where it had none"},
        "bindings": {
            "kafka": {
                "key": {"description": "the bytes of the refused record's key"},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _replay_mark() -> Schema:
    place: Schema = {"type": "string", "pattern": "^[0-9]+@[0-9]+$", "description": "the letter, as partition@offset"}
    return {
        "name": "replay-mark",
        "title": "mark of a replay",
        "summary": "The letter was sent again. It lies behind the letter; unlike a letter it has no as_error_code.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {"as_replayed": place},
            "required": ["as_replayed"],
            "not": {"required": ["as_error_code"]},
        },
        "payload": {"type": "null"},
        "bindings": {
            "kafka": {"key": {"description": "the bytes of the letter's key"}, "bindingVersion": BINDING_VERSION}
        },
    }


def _state() -> Schema:
    return {
        "name": "state",
        "title": "state",
        "contentType": "application/octet-stream",
        "payload": {"description": "opaque"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "pattern": "^(journal/|page/|checkpoint$)"},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _keyed(words: str) -> Schema:
    key: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "description": words}
    return {"kafka": {"key": key, "bindingVersion": BINDING_VERSION}}


def _camel(name: str, *, first: bool = False) -> str:
    head, *rest = name.split("-")
    return (head.title() if first else head) + "".join(part.title() for part in rest)
