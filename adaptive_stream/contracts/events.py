"""Every event of the seven topics, as frozen structs in closed unions with bounds.

Owns the meaning and the limits of each field; the JSON Schemas are generated from here. Contracts only grow: within v1
a field may be added with a default, never renamed, retyped or narrowed. The codec decodes into these; the core reads
and returns them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from adaptive_stream.contracts.drift import DriftStatus
from adaptive_stream.contracts.field import (
    MAX_VALUES,
    Event,
    Evidence,
    Features,
    Id,
    Label,
    NonNegative,
    Output,
    Probability,
    Severity,
    Text,
    Timestamp,
)


class Prediction(Event, frozen=True, kw_only=True):
    """A served model has predicted something. Source: apps. Topic: predictions."""

    TYPE: ClassVar[str] = "adaptive.prediction"

    prediction_id: Id
    model_id: Id
    output: Output
    variant_id: Id = "default"
    channel_id: Id = "default"
    features: Features | None = None
    confidence: Probability | None = None
    latency_ms: NonNegative | None = None
    propensity: Annotated[float, Meta(gt=0, le=1)] | None = None
    entity_id: Id | None = None
    failed: bool = False
    occurred_at: Timestamp | None = None


class Rating(Event, frozen=True, kw_only=True, tag_field="kind", tag="rating"):
    """Somebody rated a prediction on a scale. Source: apps. Topic: feedback."""

    TYPE: ClassVar[str] = "adaptive.feedback"

    feedback_id: Id
    prediction_id: Id
    model_id: Id
    score: float
    scale: tuple[float, float] = (1.0, 5.0)
    details: Text | None = None
    entity_id: Id | None = None
    features: Features | None = None
    occurred_at: Timestamp | None = None


class Correction(Event, frozen=True, kw_only=True, tag_field="kind", tag="correction"):
    """The truth became known. With ``features`` (and ``output``) it needs no prediction. Topic: feedback."""

    TYPE: ClassVar[str] = "adaptive.feedback"

    feedback_id: Id
    prediction_id: Id
    model_id: Id
    label: Label
    weight: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    details: Text | None = None
    entity_id: Id | None = None
    features: Features | None = None
    output: Output | None = None
    variant_id: Id | None = None
    channel_id: Id | None = None
    occurred_at: Timestamp | None = None


class Preference(Event, frozen=True, kw_only=True, tag_field="kind", tag="preference"):
    """Of two predictions, somebody chose one. Source: apps. Topic: feedback."""

    TYPE: ClassVar[str] = "adaptive.feedback"

    feedback_id: Id
    model_id: Id
    chosen: Id
    rejected: Id
    details: Text | None = None
    entity_id: Id | None = None
    occurred_at: Timestamp | None = None


Feedback = Rating | Correction | Preference


class Metrics(Event, frozen=True, kw_only=True):
    """A tool reports figures of a model that it measured itself. Topic: metrics. At least one figure is given."""

    TYPE: ClassVar[str] = "adaptive.metrics"

    model_id: Id
    variant_id: Id = "default"
    channel_id: Id = "default"
    accuracy: Probability | None = None
    precision: Probability | None = None
    recall: Probability | None = None
    f1_score: Probability | None = None
    latency_ms: NonNegative | None = None
    memory_usage_mb: NonNegative | None = None
    prediction_confidence: Probability | None = None
    error_rate: Probability | None = None
    values: Annotated[dict[Id, float], Meta(max_length=MAX_VALUES)] | None = None
    occurred_at: Timestamp | None = None


class Action(StrEnum):
    """What an operator may order."""

    START = "start"
    STOP = "stop"
    FREEZE = "freeze"
    RESUME = "resume"
    UPDATE = "update"
    RETRAIN = "retrain"
    SET_BASELINE = "set_baseline"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    SWITCH = "switch"
    ACKNOWLEDGE = "acknowledge"
    SILENCE = "silence"


class Control(Event, frozen=True, kw_only=True):
    """An operator's order, obeyed by the log's order. Topic: control."""

    TYPE: ClassVar[str] = "adaptive.control"

    command_id: Id
    action: Action
    model_id: Id
    args: Annotated[dict[str, Any], Meta(max_length=MAX_VALUES)] = {}
    reason: Text | None = None
    issued_by: Id | None = None
    expires_at: Timestamp | None = None
    occurred_at: Timestamp | None = None


class AlertStatus(StrEnum):
    """The two stages of an alert that the world is told about."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(Event, frozen=True, kw_only=True):
    """An alert began, changed its severity, or ended. Field names are Alertmanager's. Topic: alerts."""

    TYPE: ClassVar[str] = "adaptive.alert"

    alert_id: Id
    status: AlertStatus
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float
    threshold: float
    evidence: Evidence
    starts_at: Timestamp
    ends_at: Timestamp | None = None

    @property
    def model_id(self) -> str:
        """The model the alert is about: the record's key."""
        return self.labels["model_id"]


class AdaptationKind(StrEnum):
    """What was learned, decided or refused."""

    UPDATED = "updated"
    REJECTED = "rejected"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    RETRAINED = "retrained"
    LEARNING_RATE_CHANGED = "learning_rate_changed"
    BASELINE_SET = "baseline_set"
    TRIAL_STARTED = "trial_started"
    TRIAL_DECIDED = "trial_decided"
    FROZEN = "frozen"
    RESUMED = "resumed"
    APPLIED = "applied"


class Trigger(StrEnum):
    """What made the worker act."""

    FEEDBACK = "feedback"
    DRIFT = "drift"
    DEGRADATION = "degradation"
    CONTROL = "control"
    SCHEDULE = "schedule"


class Adaptation(Event, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Something about a model changed, or was refused, and why. Topic: adaptations."""

    TYPE: ClassVar[str] = "adaptive.adaptation"

    adaptation_id: Id
    kind: AdaptationKind
    model_id: Id
    trigger: Trigger
    evidence: Evidence
    at: Timestamp
    from_: Id | None = None
    to: Id | None = None
    caused_by: Annotated[list[Id], Meta(max_length=MAX_VALUES)] = []


class Artifact(Event, frozen=True, kw_only=True):
    """Where a variant's weights are, and how to check them."""

    uri: Annotated[str, Meta(min_length=1, max_length=2048)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
    size_bytes: Annotated[int, Meta(ge=0)]


class ModelCommand(Event, frozen=True, kw_only=True):
    """What a model must serve: the whole desired state, never a delta. Topic: model-commands (compacted)."""

    TYPE: ClassVar[str] = "adaptive.model-command"

    command_id: Id
    model_id: Id
    epoch: Annotated[int, Meta(ge=0)]
    serve: dict[Id, dict[Id, Probability]]
    artifacts: dict[Id, Artifact] = {}
    threshold: dict[Id, float] = {}
    reason: Text | None = None
    evidence: Annotated[list[Id], Meta(max_length=MAX_VALUES)] = []


class Estimate(Event, frozen=True, kw_only=True):
    """A measured figure with its uncertainty. ``low`` and ``high`` bound a 95 % interval; absent when ``n`` is 0."""

    n: Annotated[int, Meta(ge=0)]
    value: float | None = None
    low: float | None = None
    high: float | None = None


class PaneFigures(Event, frozen=True, kw_only=True):
    """What one pane of event time holds.

    ``labelled`` and ``value`` are credited to the time of the predictions, ``arrived`` and ``arrived_value`` are the
    labels that came in this time, whatever the age of their predictions.
    """

    starts_at: Timestamp
    labelled: Annotated[int, Meta(ge=0)]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    arrived: Annotated[int, Meta(ge=0)] = 0
    arrived_value: float | None = None
    estimated: float | None = None
    predictions: Annotated[int, Meta(ge=0)] = 0
    failed: Annotated[int, Meta(ge=0)] = 0
    latency_ms: float | None = None
    confidence: float | None = None


class Direction(StrEnum):
    """Where a figure is going; ``stable`` with fewer than three panes, which give no slope."""

    IMPROVING = "improving"
    STABLE = "stable"
    DECLINING = "declining"


class Trend(Event, frozen=True, kw_only=True):
    """The slope of a figure over its last panes: units of the figure for each pane, with its 95 % interval."""

    direction: Direction
    panes: Annotated[int, Meta(ge=0)]
    slope: float | None = None
    low: float | None = None
    high: float | None = None


class HealthLevel(StrEnum):
    """The health of a series, from its score."""

    EXCELLENT = "excellent"
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    INSUFFICIENT_DATA = "insufficient_data"


class Health(Event, frozen=True, kw_only=True):
    """The documented score: each part gives 0, ½ or 1; ``points`` are scaled to three parts where one has no data."""

    level: HealthLevel
    points: float | None = None
    parts: dict[str, float] = {}


class CalibrationBin(Event, frozen=True, kw_only=True):
    """One bin of the calibration curve: the mean of what was predicted, and the share that came true."""

    n: Annotated[int, Meta(ge=0)]
    predicted: float
    observed: float


class BaselineSource(StrEnum):
    """Where a baseline comes from. A stated objective beats a learned one."""

    LEARNED = "learned"
    ORDERED = "ordered"
    STATED = "stated"


class OpenAlert(Event, frozen=True, kw_only=True):
    """An alert that is not over: ``stage`` is pending, firing or resolved (in its cool-down)."""

    alertname: str
    stage: str
    severity: Severity
    since: Timestamp
    starts_at: Timestamp | None = None
    value: float | None = None
    threshold: float | None = None
    acknowledged: bool = False
    silenced_until: Timestamp | None = None


class SeriesStatus(Event, frozen=True, kw_only=True):
    """One variant of a model on one channel.

    ``metrics`` are those of the window, credited to the time of the predictions; ``arrived`` those of the labels that
    came in the window; ``estimated`` need no labels, and are blind to concept drift; ``reported`` is what tools say.
    ``confusion`` has a row for each true class and a column for each predicted one, in the order of ``classes``.
    """

    variant_id: Id
    channel_id: Id
    metric: str
    predictions: Annotated[int, Meta(ge=0)]
    labelled: Annotated[int, Meta(ge=0)]
    window: Estimate
    total: Estimate
    baseline: Estimate | None = None
    baseline_set_at: Timestamp | None = None
    baseline_version: Annotated[int, Meta(ge=0)] = 0
    baseline_source: BaselineSource | None = None
    baselines: dict[str, float] = {}
    metrics: dict[str, Estimate] = {}
    arrived: dict[str, Estimate] = {}
    estimated: dict[str, Estimate] = {}
    reported: dict[str, Estimate] = {}
    values: dict[str, float] = {}
    trends: dict[str, Trend] = {}
    health: Health | None = None
    calibration: list[CalibrationBin] = []
    classes: list[str] = []
    confusion: list[list[int]] = []
    panes: list[PaneFigures] = []
    alerts: dict[str, str] = {}
    open_alerts: list[OpenAlert] = []
    drift: DriftStatus | None = None


class ModelStatus(Event, frozen=True, kw_only=True):
    """One summary per model, published when it changed, at intervals. Topic: model-status (compacted)."""

    TYPE: ClassVar[str] = "adaptive.model-status"

    model_id: Id
    family: Id
    at: Timestamp
    series: list[SeriesStatus]
    feedback: dict[str, Annotated[int, Meta(ge=0)]]
    waiting: Annotated[int, Meta(ge=0)]
    adaptations: Annotated[int, Meta(ge=0)] = 0
    last_adaptation: AdaptationKind | None = None
    last_adaptation_at: Timestamp | None = None
    reported: dict[str, float] = {}
    frozen: bool = False
    stopped: bool = False


InputEvent = Prediction | Rating | Correction | Preference | Metrics | Control
OutputEvent = Alert | Adaptation | ModelCommand | ModelStatus
