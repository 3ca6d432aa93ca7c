"""A family of models: its inputs, its kind of task, what is measured of it and what it is alerted for.

Owns what is legal in a family. Never reads a file. A part of the tree.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.config.node import ClashError, Name, Setting, Tree, unless
from adaptive_stream.config.reference import CONFIDENCE, OUTPUT
from adaptive_stream.config.rule import COMPARABLE, MAX_RULES, Rule, default_rules, figures_of, is_share

if TYPE_CHECKING:
    from collections.abc import Iterator


class Feature(Tree):
    """One input of a family's models."""

    name: str = Field(min_length=1, max_length=256)
    kind: Literal["numeric", "categorical"] = "numeric"
    levels: list[str] = Field(default=[], max_length=4_096, description="of a categorical feature, without 'other'")

    @model_validator(mode="after")
    def _levels(self) -> Feature:
        mistakes: list[tuple[str, list[Setting]]] = []
        if self.kind == "categorical" and not self.levels:
            mistakes.append(("a categorical feature needs levels", ["kind", "levels"]))
        if self.kind == "numeric" and self.levels:
            mistakes.append(("a numeric feature has no levels; is it categorical?", ["kind", "levels"]))
        if len(set(self.levels)) != len(self.levels):
            mistakes.append(("levels must differ from each other", ["levels"]))
        return unless(mistakes, self)


class Monitor(Tree):
    """What is measured, over which time, against what."""

    pane_s: int = Field(3_600, ge=1, le=2_678_400, description="event time of one pane")
    panes: int = Field(24, ge=1, le=400, description="panes of the window: 24 hours by default")
    evaluate_every_s: int = Field(300, ge=1, le=2_678_400, description="stream time between two looks")
    status_interval_s: int = Field(300, ge=1, le=2_678_400, description="stream time between two statuses")
    statuses_at_once: int = Field(
        250, ge=1, le=1_000_000, description="models; more are spread over the interval, so that records do not wait"
    )
    baseline_labels: int = Field(5_000, ge=10, le=10_000_000, description="labelled examples that make the baseline")
    baseline_predictions: int = Field(
        1_000, ge=10, le=10_000_000, description="predictions that make the baseline of latency, confidence and errors"
    )
    baseline: float | None = Field(
        None, description="a stated objective for accuracy, or mean absolute error; it beats a learned baseline"
    )
    baselines: dict[str, float] = Field(default={}, max_length=32, description="stated objectives for other figures")
    auc_labels: int = Field(500, ge=0, le=100_000, description="newest labelled examples behind the AUC; 0: no AUC")
    trend_panes: int = Field(10, ge=3, le=400, description="panes behind a trend")
    trend_slope: float = Field(0.001, ge=0, description="a pane; below it a trend is stable")

    @field_validator("baselines")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in value if name not in COMPARABLE]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no figure with a baseline; there are {', '.join(COMPARABLE)}")
        absurd = [name for name, level in value.items() if level < 0 or (is_share(name) and level > 1)]
        if absurd:
            raise ValueError(f"{', '.join(absurd)}: not in the range of the figure")
        return value

    @model_validator(mode="after")
    def _grids(self) -> Monitor:
        if self.status_interval_s % self.evaluate_every_s:
            settings = ["status_interval_s", "evaluate_every_s"]
            raise ClashError(("status_interval_s must be a multiple of evaluate_every_s", settings))
        return self


class Family(Tree):
    """A template that many models share."""

    match: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        min_length=1, description="patterns over model ids, as tenant-*/churn"
    )
    task: Literal["binary", "multiclass", "regression"] = "binary"
    threshold: float = Field(0.5, ge=0, le=1, description="binary: from here on the positive class is predicted")
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, max_length=1_000, description="the same by channel, where one differs"
    )
    classes: list[str] = Field(default=[], max_length=1_024, description="multiclass: in the order of probabilities")
    tolerance: float = Field(1.0, gt=0, description="regression: the absolute error that counts as a full error")
    features: list[Feature] = Field(default=[], max_length=4_096, description="empty: neither checked nor kept")
    max_models: int = Field(10_000, ge=1, le=1_000_000, description="a task")
    max_variants: int = Field(16, ge=1, le=1_000, description="a model; further ones count as 'other'")
    max_channels: int = Field(16, ge=1, le=1_000, description="a model; further ones count as 'other'")
    monitor: Monitor = Monitor()
    drift: DriftConfig = DriftConfig()
    alerts: dict[Name, Rule] = Field(default={}, max_length=MAX_RULES, description="rules by name, over the defaults")

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, data: Any) -> Any:  # noqa: ANN401 - what the file holds
        if not isinstance(data, dict):
            return data
        given = data.get("alerts") or {}
        if not isinstance(given, dict) or not all(isinstance(rule, dict | Rule) for rule in given.values()):
            raise ValueError("alerts holds rules by name, as alerts: {AccuracyDegraded: {medium: 0.03}}")
        rules = default_rules(str(data.get("task", "binary")), _tolerance(data.get("tolerance", 1.0)))
        for name, rule in given.items():
            rules[name] = {**rules.get(name, {}), **(rule if isinstance(rule, dict) else rule.model_dump())}
        return {**data, "alerts": rules}

    @model_validator(mode="after")
    def _whole(self) -> Family:
        mistakes: list[tuple[str, list[Setting]]] = []
        if self.task == "multiclass" and len(set(self.classes)) < 2:
            mistakes.append(("multiclass needs classes, at least two different ones", ["task", "classes"]))
        if self.task != "multiclass" and self.classes:
            mistakes.append((f"classes belong to task: multiclass, this is {self.task}", ["task", "classes"]))
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            mistakes.append((f"features are named twice: {', '.join(twice)}", ["features"]))
        # in a reference file, in statuses and in alerts a column is known by its name alone
        for name in names:
            if name in {OUTPUT, CONFIDENCE} or re.fullmatch(r"projection_\d+", name):
                why = f"no feature can be named {name!r}, which is watched beside the features"
                mistakes.append((f"{why}: name it last_{name}, for example", ["features"]))
        known = figures_of(self.task)
        for name, rule in self.alerts.items():
            if rule.metric not in known:
                why = f"alerts.{name}: {rule.metric} is no figure of task: {self.task}"
                mistakes.append((why, ["task", ("alerts", name)]))
            if rule.metric == "auc" and self.monitor.auc_labels == 0:
                why = f"alerts.{name}: there is no auc without monitor.auc_labels"
                mistakes.append((why, [("monitor", "auc_labels"), ("alerts", name)]))
        return unless([*mistakes, *self._mistaken_baseline()], self)

    def _mistaken_baseline(self) -> Iterator[tuple[str, list[Setting]]]:
        place: Setting = ("monitor", "baseline")
        baseline = self.monitor.baseline
        if baseline is None:
            return
        if self.task != "regression":
            if not 0 <= baseline <= 1:
                yield "monitor.baseline of an accuracy is between 0 and 1", [place, "task"]
        elif baseline < 0:
            yield "monitor.baseline of an error is not negative", [place, "task"]
        # scores are 1 - error / tolerance, cut off at 0: nothing is worse than an error of one tolerance
        elif baseline + self.alerts["ErrorIncreased"].first_level >= self.tolerance:
            why = "tolerance leaves no room above monitor.baseline for ErrorIncreased: no alert could fire"
            yield why, [place, "tolerance", ("alerts", "ErrorIncreased")]


def _tolerance(given: Any) -> float:  # noqa: ANN401 - what the file holds
    """Return a tolerance as the field will read it: a text, as YAML reads 1e3, is a number; 1 for what it refuses."""
    try:
        tolerance = float(given)
    except (TypeError, ValueError, OverflowError):
        return 1.0
    return tolerance if math.isfinite(tolerance) and tolerance > 0 else 1.0
