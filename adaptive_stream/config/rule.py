"""Alert rules: what a family raises an alert for, by default and by order.

Owns the fields of a rule and the default set. Never evaluates one: the monitor does.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from adaptive_stream.config.node import ClashError, Tree
from adaptive_stream.contracts.figure import ARRIVED, BETTER_HIGH, DRIFT, ESTIMATED, FLOW, LABELLED, REPORTED, SERVED

MAX_RULES = 64
RUNBOOKS = "docs/runbooks/alerts.md"
COMPARABLE = (*LABELLED, *SERVED, *(f"reported_{name}" for name in REPORTED))
"""Figures that have a baseline of their own."""
OF_TASK = {
    "binary": {"accuracy", "precision", "recall", "f1_score", "auc", "log_loss", "brier", "calibration_error"},
    "multiclass": {"accuracy", "f1_macro"},
    "regression": {"mean_absolute_error", "root_mean_squared_error"},
}


def figures_of(task: str) -> set[str]:
    """Return the figures that a family of this kind of task has."""
    labelled = OF_TASK[task]
    arrived = {f"arrived_{name}" for name in ARRIVED if name in labelled}
    estimated = {f"estimated_{name}" for name in ESTIMATED} if task == "binary" else set()
    return labelled | arrived | estimated | {*SERVED, *FLOW, *DRIFT} | {f"reported_{name}" for name in REPORTED}


def is_share(metric: str) -> bool:
    """Say whether a figure lies between 0 and 1."""
    is_unbounded = metric in {"log_loss", "mean_absolute_error", "root_mean_squared_error"}
    return not is_unbounded and not metric.endswith(("_ms", "_mb"))


class Rule(Tree):
    """When an alert fires and when it is over."""

    metric: str = Field(description="a figure, as accuracy, latency_p95_ms, estimated_accuracy, reported_error_rate")
    compare: Literal["absolute", "delta", "ratio"] = Field("absolute", description="with a level, or with the baseline")
    when: Literal["below", "above"] | None = Field(None, description="which side is bad; None: by the figure")
    medium: float | None = Field(None, description="level of severity medium; a delta is the distance to the baseline")
    severity: Literal["info", "medium"] = Field("medium", description="of the level medium: news, or to be looked at")
    high: float | None = Field(None, description="level of severity high")
    clear: float | None = Field(None, description="level below which it is over; None: from `recovery`")
    recovery: float = Field(0.5, gt=0, le=1, description="over when back to this share of the distance to the baseline")
    min_count: int = Field(100, ge=1, le=10_000_000, description="labels or predictions behind the figure, at least")
    needs_evidence: bool = Field(True, description="the 95 % interval must exclude the level at which it is over")
    for_s: int = Field(0, ge=0, le=31_536_000, description="stream time for which it must last")
    cool_down_s: int = Field(0, ge=0, le=31_536_000, description="stream time after a resolution without another alert")
    repeat_s: int = Field(86_400, ge=0, le=31_536_000, description="stream time between two notices; 0: one is enough")
    recommended_action: str = Field("investigate", max_length=256)
    runbook: str = Field("", max_length=2_048, description="where to read what to do")
    enabled: bool = True

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in BETTER_HIGH:
            raise ValueError(f"{value!r} is no figure; there are {', '.join(BETTER_HIGH)}")
        return value

    @model_validator(mode="after")
    def _levels(self) -> Rule:
        if self.medium is None and self.high is None:
            raise ClashError(("a rule needs a level: medium, high or both", ["medium", "high"]))
        if self.compare != "absolute" and self.metric in FLOW | DRIFT:
            raise ClashError((f"{self.metric} has no baseline; compare: absolute", ["compare", "metric"]))
        for name in ("medium", "high"):
            level: float | None = getattr(self, name)
            if level is not None and self.compare == "delta" and level <= 0:
                raise ClashError(("a delta is a distance to the baseline, above 0", [name, "compare"]))
            if level is not None and self.compare == "ratio" and (level >= 1 if self.is_below else level <= 1):
                why = f"a ratio to the baseline is {'below' if self.is_below else 'above'} 1 on the bad side"
                raise ClashError((why, [name, "compare", "when"]))
        if self.medium is not None and self.high is not None:
            is_absolute_below = self.is_below and self.compare != "delta"
            if self.high > self.medium if is_absolute_below else self.high < self.medium:
                raise ClashError(
                    ("high must be further on the bad side than medium", ["medium", "high", "when", "compare"])
                )
        if self.clear is not None:
            is_low_bad = self.is_below and self.compare != "delta"
            if self.clear < self.first_level if is_low_bad else self.clear > self.first_level:
                why = (
                    f"clear ({self.clear:g}) must not be further on the bad side than the level at which the alert"
                    f" begins ({self.first_level:g}); give both"
                )
                raise ClashError((why, ["clear", "medium", "high", "when", "compare"]))
        return self

    @property
    def is_below(self) -> bool:
        """Whether low values are bad."""
        return BETTER_HIGH[self.metric] if self.when is None else self.when == "below"

    @property
    def first_level(self) -> float:
        """The level at which the alert begins."""
        level = self.medium if self.medium is not None else self.high
        assert level is not None, "a rule has a level"
        return level

    @property
    def clear_level(self) -> float:
        """The level at which the alert is over, and which the interval must exclude for it to begin."""
        if self.clear is not None:
            return self.clear
        if self.compare == "delta":
            return self.recovery * self.first_level
        return 1 + self.recovery * (self.first_level - 1) if self.compare == "ratio" else self.first_level


def default_rules(task: str, tolerance: float) -> dict[str, dict[str, Any]]:
    """Return the default set of a family's kind of task; levels of an error are shares of the tolerance."""
    if task == "regression":
        quality: dict[str, dict[str, Any]] = {
            "ErrorIncreased": {
                "metric": "mean_absolute_error",
                "compare": "delta",
                "medium": 0.05 * tolerance,
                "high": 0.10 * tolerance,
                "recommended_action": "trigger_retraining",
            }
        }
    else:
        drop = {"compare": "delta", "medium": 0.05, "high": 0.10, "recommended_action": "trigger_retraining"}
        quality = {
            "AccuracyDegraded": {"metric": "accuracy", **drop},
            "ReportedAccuracyDegraded": {
                "metric": "reported_accuracy", **drop, "needs_evidence": False, "min_count": 2, "recovery": 1.0,
            },
        }  # fmt: skip
    if task == "binary":
        quality |= {
            "EstimatedAccuracyLow": {
                "metric": "estimated_accuracy", "compare": "delta", "medium": 0.05, "high": 0.10, "min_count": 1_000,
                "recommended_action": "inspect_inputs",
            },
            "CalibrationBroken": {
                "metric": "calibration_error", "compare": "delta", "medium": 0.05, "high": 0.15, "min_count": 500,
                "recommended_action": "recalibrate",
            },
        }  # fmt: skip
    rules = {
        **quality,
        "LatencyHigh": {
            "metric": "latency_p95_ms", "compare": "ratio", "medium": 2.0, "recommended_action": "optimize_inference",
        },
        "ErrorRateHigh": {
            "metric": "error_rate", "high": 0.10, "clear": 0.05, "recommended_action": "immediate_investigation",
        },
        "FeedbackSilent": {
            "metric": "feedback_age_s", "medium": 172_800, "needs_evidence": False,
            "recommended_action": "check_feedback_producers",
        },
        "PredictionsSilent": {
            "metric": "predictions_age_s", "medium": 86_400, "needs_evidence": False,
            "recommended_action": "check_prediction_producers",
        },
        "VolumeAnomaly": {
            "metric": "volume_fold", "medium": 3.0, "high": 10.0, "needs_evidence": False,
            "recommended_action": "check_traffic",
        },
        "DeadLetterRateHigh": {
            "metric": "refused_rate", "medium": 0.01, "high": 0.10, "recommended_action": "read_the_dead_letters",
        },
        "DataDrift": {
            "metric": "data_drift", "medium": 1.0, "high": 2.0, "severity": "info", "clear": 0.999, "min_count": 1,
            "needs_evidence": False, "repeat_s": 604_800, "recommended_action": "inspect_inputs",
        },
        "PerformanceDrift": {
            "metric": "performance_drift", "medium": 1.0, "clear": 0.999, "min_count": 1, "needs_evidence": False,
            "recommended_action": "trigger_retraining",
        },
        "PerformanceImproved": {
            "metric": "performance_gain", "medium": 1.0, "severity": "info", "clear": 0.999, "min_count": 1,
            "needs_evidence": False, "repeat_s": 0, "recommended_action": "review_the_baseline",
        },
        "ReportedLatencyHigh": {
            "metric": "reported_latency_ms", "compare": "ratio", "medium": 2.0, "needs_evidence": False, "min_count": 2,
            "recovery": 1.0, "recommended_action": "optimize_inference",
        },
        "ReportedErrorRateHigh": {
            "metric": "reported_error_rate", "high": 0.10, "needs_evidence": False, "min_count": 1,
            "recommended_action": "immediate_investigation",
        },
    }  # fmt: skip
    return {name: {"runbook": f"{RUNBOOKS}#{name.lower()}", **rule} for name, rule in rules.items()}


DEFAULT_NAMES = frozenset({*default_rules("binary", 1.0), *default_rules("regression", 1.0)})
"""The rules that a family of any task may have by default."""
