"""The rules of the contract that span fields or hide in free-form parts: what a type alone cannot say.

Owns one function per kind of event. Never touches bytes. Called by the codec after the decoder, for every event but the
predictions, whose only rule the codec checks in line.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import (
    Adaptation,
    Alert,
    Control,
    Metrics,
    ModelCommand,
    ModelStatus,
    Preference,
    Rating,
)
from adaptive_stream.contracts.plain import check_plain

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import InputEvent, OutputEvent, SeriesStatus

FIGURES = (
    "accuracy",
    "precision",
    "recall",
    "f1_score",
    "latency_ms",
    "memory_usage_mb",
    "prediction_confidence",
    "error_rate",
)
"""What tools report. A column of the worker's state stands in this order: only append."""
ALERT_LABELS = ("alertname", "severity", "model_id")
SHARES_TOLERANCE = 1e-6  # shares are written in decimal; thirds do not sum to 1 exactly


def check_input(event: InputEvent, *, root: str, max_depth: int) -> None:
    """Check an input event.

    Args:
        event: as decoded.
        root: the path in front of its fields' names.
        max_depth: deepest nesting of the body.

    Raises:
        Reject: INVALID_EVENT, or what free-form parts are refused for.
    """
    if event.occurred_at is not None:
        check_time(event.occurred_at, f"{root}.occurred_at")
    match event:
        case Rating(score=score, scale=(low, high)):
            if not low < high:
                _refuse("scale must be [low, high] with low below high", f"{root}.scale")
            if not low <= score <= high:
                _refuse("score must be within its scale, [1, 5] unless it is given", f"{root}.score")
        case Preference(chosen=chosen, rejected=rejected):
            if chosen == rejected:
                _refuse("chosen and rejected must be two predictions", f"{root}.rejected")
        case Metrics():
            if not event.values and all(getattr(event, name) is None for name in FIGURES):
                _refuse("at least one figure is needed, named or in values", root)
        case Control(args=args, expires_at=expires_at):
            if expires_at is not None:
                check_time(expires_at, f"{root}.expires_at")
            if args:
                check_plain(args, path=f"{root}.args", layers=max_depth - 1)


def check_output(event: OutputEvent, *, root: str, max_depth: int) -> None:
    """Check an output event; as for the inputs."""
    match event:
        case Alert():
            missing = [name for name in ALERT_LABELS if name not in event.labels]
            if missing:
                _refuse(f"the labels lack {', '.join(missing)}", f"{root}.labels")
            check_time(event.starts_at, f"{root}.starts_at")
            if event.ends_at is not None:
                check_time(event.ends_at, f"{root}.ends_at")
            check_plain(event.evidence, path=f"{root}.evidence", layers=max_depth - 1)
        case Adaptation():
            check_time(event.at, f"{root}.at")
            check_plain(event.evidence, path=f"{root}.evidence", layers=max_depth - 1)
        case ModelCommand(serve=serve):
            for shares in serve.values():
                if not math.isclose(sum(shares.values()), 1, abs_tol=SHARES_TOLERANCE):
                    _refuse("the shares of a channel must sum to 1", f"{root}.serve[...]")
        case ModelStatus():
            check_time(event.at, f"{root}.at")
            if event.last_adaptation_at is not None:
                check_time(event.last_adaptation_at, f"{root}.last_adaptation_at")
            for place, series in enumerate(event.series):
                _check_series(series, f"{root}.series[{place}]")


def _check_series(series: SeriesStatus, root: str) -> None:
    if series.baseline_set_at is not None:
        check_time(series.baseline_set_at, f"{root}.baseline_set_at")
    for number, alert in enumerate(series.open_alerts):
        for field in ("since", "starts_at", "silenced_until"):
            text = getattr(alert, field)
            if text is not None:
                check_time(text, f"{root}.open_alerts[{number}].{field}")
    for number, pane in enumerate(series.panes):
        check_time(pane.starts_at, f"{root}.panes[{number}].starts_at")


def check_time(text: str, path: str) -> None:
    """Check that a text is an instant.

    Raises:
        Reject: INVALID_EVENT.
    """
    try:
        parse_time(text)
    except ValueError as error:
        raise Reject(ErrorCode.INVALID_EVENT, str(error), path=path) from error


def _refuse(message: str, path: str) -> None:
    raise Reject(ErrorCode.INVALID_EVENT, message, path=path)
