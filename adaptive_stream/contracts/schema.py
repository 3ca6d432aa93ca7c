"""The events as JSON Schemas, for those who do not speak Python.

Owns what the schemas say beyond the structs: the rules that span fields, the words of each document and the examples.
Never reads or writes a file. Called by ``schemas write`` and ``schemas check``, and by the AsyncAPI document.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from adaptive_stream.contracts.clock import TIME_PATTERN
from adaptive_stream.contracts.codec import CARRIES, TYPE_OF
from adaptive_stream.contracts.envelope import CONTRACT_VERSION, SPEC_VERSION
from adaptive_stream.contracts.events import (
    Action,
    Adaptation,
    AdaptationKind,
    Alert,
    AlertStatus,
    BaselineSource,
    CalibrationBin,
    Control,
    Correction,
    Direction,
    Estimate,
    Health,
    HealthLevel,
    InputEvent,
    Metrics,
    ModelCommand,
    ModelStatus,
    OpenAlert,
    OutputEvent,
    PaneFigures,
    Prediction,
    Preference,
    Rating,
    SeriesStatus,
    Trend,
    Trigger,
)
from adaptive_stream.contracts.field import Severity
from adaptive_stream.contracts.rule import ALERT_LABELS, FIGURES
from adaptive_stream.contracts.topics import Topic

Schema = dict[str, Any]
"""A JSON Schema; its own schema is draft 2020-12's."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ENVELOPE = "cloudevent"
_ALL = (
    "Unknown fields are ignored. Every number is finite and fits a double. An instant must exist in the calendar. "
    "A worker bounds inputs to 64 KiB and 16 levels of nesting unless it is configured otherwise."
)
_FEEDBACK = "What became known about a prediction: a rating, a correction or a preference. Topic: feedback."


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that spans fields.

    Args:
        words: the rule as a sentence, for what JSON Schema cannot say.
        overlay: what JSON Schema can say of it, merged into the event's schema.
    """

    words: str
    overlay: Schema = field(default_factory=dict)


RULES: dict[str, Rule] = {
    "Rating": Rule(
        "`scale` is [low, high] with low below high; `score` lies within it, within [1, 5] unless it is given.",
        {"anyOf": [{"required": ["scale"]}, {"properties": {"score": {"minimum": 1, "maximum": 5}}}]},
    ),
    "Preference": Rule("`chosen` and `rejected` are two different predictions."),
    "Metrics": Rule(
        "A figure is one of the named ones that is not null, or any in `values`.",
        {
            "anyOf": [
                *({"required": [name], "properties": {name: {"type": "number"}}} for name in FIGURES),
                {"required": ["values"], "properties": {"values": {"type": "object", "minProperties": 1}}},
            ]
        },
    ),
    "Control": Rule("Integers in `args` fit 64 bits."),
    "Alert": Rule(
        f"The labels hold at least {', '.join(ALERT_LABELS)}. Integers in `evidence` fit 64 bits.",
        {"properties": {"labels": {"required": list(ALERT_LABELS)}}},
    ),
    "Adaptation": Rule("Integers in `evidence` fit 64 bits."),
    "ModelCommand": Rule(
        "`serve` maps a channel to shares by variant; the shares of a channel sum to 1.",
        {"properties": {"serve": {"additionalProperties": {"minProperties": 1}}}},
    ),
}
"""By the name of the struct; ``rule.py`` is what runs, this is what is told of it."""

_AT = "2013-06-01T00:00:00Z"
_LATER = "2013-06-08T00:00:00Z"
EXAMPLES: dict[Topic, tuple[InputEvent | OutputEvent, ...]] = {
    Topic.PREDICTIONS: (
        Prediction(
            prediction_id="p-1",
            model_id="late-flights",
            variant_id="v12",
            channel_id="web",
            features=[0.12, "JFK", None],
            output=0.83,
            confidence=0.9,
            latency_ms=3.1,
            entity_id="u-9",
        ),
        Prediction(
            prediction_id="p-2",
            model_id="late-flights",
            features={"temp": 3.1, "origin": "EWR"},
            output=[0.2, 0.7, 0.1],
            occurred_at=_AT,
        ),
    ),
    Topic.FEEDBACK: (
        Rating(feedback_id="f-1", prediction_id="p-1", model_id="late-flights", score=7, scale=(0, 10)),
        Correction(feedback_id="f-2", prediction_id="p-1", model_id="late-flights", label=1),
        Preference(feedback_id="f-3", model_id="late-flights", chosen="p-1", rejected="p-2"),
    ),
    Topic.METRICS: (
        Metrics(model_id="late-flights", variant_id="v12", accuracy=0.91, latency_ms=12, values={"conversion": 0.04}),
    ),
    Topic.CONTROL: (
        Control(
            command_id="c-1", action=Action.FREEZE, model_id="late-flights", reason="incident 42", issued_by="ana",
            expires_at=_LATER,
        ),
    ),
    Topic.ALERTS: (
        Alert(
            alert_id="a-1",
            status=AlertStatus.FIRING,
            labels={"alertname": "AccuracyDegraded", "severity": Severity.HIGH.value, "model_id": "late-flights"},
            annotations={"summary": "accuracy is below its baseline"},
            value=0.71,
            threshold=0.8,
            evidence={"n": 2400, "low": 0.69, "high": 0.73},
            starts_at=_AT,
        ),
    ),
    Topic.ADAPTATIONS: (
        Adaptation(
            adaptation_id="d-1",
            kind=AdaptationKind.PROMOTED,
            model_id="late-flights",
            trigger=Trigger.DRIFT,
            from_="v12",
            to="v13",
            evidence={"n": 5200, "gain": 0.04},
            caused_by=["a-1"],
            at=_AT,
        ),
    ),
    Topic.MODEL_COMMANDS: (
        ModelCommand(
            command_id="k-1",
            model_id="late-flights",
            epoch=13,
            serve={"web": {"v13": 0.9, "v12": 0.1}},
            threshold={"web": 0.47},
            evidence=["d-1"],
        ),
    ),
    Topic.MODEL_STATUS: (
        ModelStatus(
            model_id="late-flights",
            family="flights",
            at=_LATER,
            series=[
                SeriesStatus(
                    variant_id="v12",
                    channel_id="web",
                    metric="accuracy",
                    predictions=5300,
                    labelled=5200,
                    window=Estimate(n=2400, value=0.71, low=0.69, high=0.73),
                    total=Estimate(n=5200, value=0.75, low=0.74, high=0.76),
                    baseline=Estimate(n=1000, value=0.83),
                    baseline_set_at=_AT,
                    baseline_version=1,
                    baseline_source=BaselineSource.LEARNED,
                    baselines={"accuracy": 0.83, "latency_p95_ms": 9.5},
                    metrics={
                        "accuracy": Estimate(n=2400, value=0.71, low=0.69, high=0.73),
                        "latency_p95_ms": Estimate(n=2500, value=9.8, low=9.1, high=10.4),
                    },
                    arrived={"accuracy": Estimate(n=2380, value=0.72, low=0.7, high=0.74)},
                    estimated={"accuracy": Estimate(n=2500, value=0.82, low=0.8, high=0.84)},
                    trends={
                        "accuracy": Trend(
                            direction=Direction.DECLINING, panes=10, slope=-0.012, low=-0.016, high=-0.008
                        )
                    },
                    health=Health(level=HealthLevel.GOOD, points=2.0, parts={"accuracy": 0, "latency": 1, "errors": 1}),
                    calibration=[CalibrationBin(n=1200, predicted=0.2, observed=0.31)],
                    classes=["0", "1"],
                    confusion=[[1500, 300], [396, 204]],
                    panes=[
                        PaneFigures(
                            starts_at=_AT, labelled=2400, value=0.71, low=0.69, high=0.73, predictions=2500
                        )
                    ],
                    alerts={"AccuracyDegraded": "firing"},
                    open_alerts=[
                        OpenAlert(
                            alertname="AccuracyDegraded",
                            stage="firing",
                            severity=Severity.HIGH,
                            since=_AT,
                            starts_at=_AT,
                            value=0.71,
                            threshold=0.78,
                        )
                    ],
                )
            ],
            feedback={"joined": 5200},
            waiting=100,
        ),
    ),
}  # fmt: skip
"""What a reader sees first; typed, so that they cannot rot."""


def event_name(topic: Topic) -> str:
    """Return what the topic's events are called, in file names too.

    >>> event_name(Topic.MODEL_COMMANDS)
    'model-command'
    """
    return TYPE_OF[topic].removeprefix("adaptive.")


def schema_file(name: str) -> str:
    """Return where the schema of an event, or of the envelope, stands below the folder of schemas."""
    return f"{CONTRACT_VERSION}/{name}.schema.json"


def event_schema(topic: Topic) -> Schema:
    """Return the JSON Schema of the events of a topic; it refers to nothing outside itself."""
    (root,), components = msgspec.json.schema_components([CARRIES[topic]], ref_template="#/$defs/{name}")
    parts = {name: _told(name, _mended(part)) for name, part in components.items()}
    if "$ref" in root:
        top = parts.pop(CARRIES[topic].__name__)
    else:  # msgspec adds OpenAPI's discriminator, which is no word of JSON Schema; each kind is a const in its part
        top = {"title": "Feedback", "description": _FEEDBACK, "oneOf": root["anyOf"]}
    schema = {
        "$schema": DIALECT,
        "$id": _identity(event_name(topic)),
        **top,
        "description": f"{top['description']} {_ALL}",
        "examples": [msgspec.to_builtins(event) for event in EXAMPLES[topic]],
    }
    if parts:
        schema["$defs"] = dict(sorted(parts.items()))
    return schema


def envelope_schema() -> Schema:
    """Return the JSON Schema of a CloudEvent in structured mode, whatever event it holds."""
    text: Schema = {"type": "string", "minLength": 1}
    null: Schema = {"type": "null"}
    example = EXAMPLES[Topic.FEEDBACK][1]
    return {
        "$schema": DIALECT,
        "$id": _identity(ENVELOPE),
        "title": "CloudEvent",
        "description": "CloudEvents 1.0 in structured mode, sent with the header `content-type: "
        "application/cloudevents+json`. `data` is one event, valid against the schema that `type` names and carried by "
        "that event's topic; `data_base64` is the same as JSON or MessagePack bytes. Unknown attributes are ignored.",
        "type": "object",
        "properties": {
            "specversion": {"const": SPEC_VERSION},
            "type": {"enum": [f"{name}.{CONTRACT_VERSION}" for name in TYPE_OF.values()]},
            "id": {**text, "description": "unique for the source"},
            "source": {**text, "description": "who produced it, as a URI reference"},
            "time": {"type": ["string", "null"], "format": "date-time", "pattern": TIME_PATTERN},
            "datacontenttype": {
                "type": ["string", "null"],
                "description": "application/json unless it is given; application/msgpack inside data_base64 only",
            },
            "data": {"description": "the event"},
            "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
        },
        "required": ["specversion", "type", "id", "source"],
        "oneOf": [
            {"required": ["data"], "properties": {"data": {"not": null}, "data_base64": null}},
            {"required": ["data_base64"], "properties": {"data": null, "data_base64": text}},
        ],
        "examples": [
            {
                "specversion": SPEC_VERSION,
                "type": f"{example.TYPE}.{CONTRACT_VERSION}",
                "id": "e-1",
                "source": "/apps/web",
                "time": _AT,
                "data": msgspec.to_builtins(example),
            }
        ],
    }


def schema_texts() -> dict[str, str]:
    """Return every schema as the text of its file, by the file's place; equal for equal contracts."""
    schemas = {event_name(topic): event_schema(topic) for topic in CARRIES}
    schemas[ENVELOPE] = envelope_schema()
    return {
        schema_file(name): json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()
    }


def _identity(name: str) -> str:
    return f"urn:adaptive-stream:{CONTRACT_VERSION}:{name}"


def _mended(node: Any) -> Any:  # noqa: ANN401 - walks any JSON
    """Return a part of a schema in the words of JSON Schema: plain quotes, and strings said to be strings."""
    if isinstance(node, list):
        return [_mended(item) for item in node]
    if not isinstance(node, dict):
        return node
    mended = {name: _mended(item) for name, item in node.items()}
    if isinstance(mended.get("description"), str):
        mended["description"] = mended["description"].replace("``", "`")
    if isinstance(mended.get("enum"), list):
        mended = {"type": "string", **mended}
    return mended


def _told(name: str, part: Schema) -> Schema:
    """Return the schema of a struct with its rules."""
    if name not in RULES:
        return part
    rule = RULES[name]
    told = _merged(part, rule.overlay)
    told["description"] = f"{part['description']} {rule.words}"
    return told


def _merged(below: Schema, above: Schema) -> Schema:
    merged = dict(below)
    for name, item in above.items():
        merged[name] = _merged(merged[name], item) if isinstance(item, dict) and name in merged else item
    return merged
