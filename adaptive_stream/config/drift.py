"""How the drift of a family's models is watched: the budget of false alarms, the reference, what an alarm begins.

Owns what is legal there, and the rows of a reference that the loader read. Never reads a file. A part of the tree.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from adaptive_stream.config.node import ClashError, Tree
from adaptive_stream.config.reference import Reference  # noqa: TC001 - pydantic reads it

LEAST_COUNTED = 256  # events of a reference that must be left when its bins are made


class DriftConfig(Tree):
    """What is watched of each series, and how many false alarms that may cost."""

    enabled: bool = Field(True, description="watch inputs, outputs and losses of every series")
    mode: Literal["sequential", "classic"] = Field(
        "sequential",
        description="sequential: evidence at every block; classic: tests with Holm on windows that do not overlap",
    )
    budget_events: float = Field(
        1e6,
        ge=1e3,
        le=1e12,
        description="of each series: at most one false alarm of data drift in so many predictions, and at most one of"
        " performance drift in so many labels, on average",
    )
    reference_predictions: int = Field(
        2_000, ge=512, le=60_000, description="events of the reference; an eighth of them makes the bins"
    )
    reference_file: str | None = Field(
        None,
        description="CSV with a header, or .parquet: rows of training data as the first reference of every series."
        " Columns as the features are named, perhaps output and confidence; what it lacks is not watched",
    )
    reference_labels: int = Field(1_000, ge=100, le=10_000_000, description="labels before the loss is watched")
    reference: Literal["growing", "frozen"] = Field(
        "growing", description="growing: what raised no alarm joins the reference, up to 65,000 events"
    )
    combine: Literal["mean", "strict"] = Field(
        "mean", description="mean: the evidence of all streams adds up; strict: one stream must suffice alone"
    )
    tolerance: float = Field(
        0.0, ge=0, le=0.9, description="harmless shift of a numeric stream, as Cliff's delta: 0.1 is 0.18 sd"
    )
    loss_tolerance: float = Field(0.0, ge=0, le=0.9, description="harmless rise of the mean loss, which is in [0, 1]")
    design_effect: float = Field(
        1.0,
        ge=1,
        le=1e6,
        description="variance of a mean, in those of as many independent events, where whole stretches are alike: 900"
        " where the flights of a day share its weather; correlations of neighbours are found without it",
    )
    projections: int = Field(4, ge=0, le=64, description="random directions of the standardised numeric features")
    block: int = Field(12, ge=4, le=64, description="events of a series that are judged at once")
    after_alarm: Literal["rereference", "keep"] = Field(
        "rereference",
        description="rereference: gather a reference anew (an alarm of performance lasts until the loss is back);"
        " keep: stay alarmed until control decides",
    )
    classic_window: int = Field(
        1_000, ge=50, le=60_000, description="events of a window of mode: classic, in whole blocks"
    )
    history: int = Field(3, ge=1, le=50, description="newest alarms of a series that are remembered, of each kind")

    _rows: Reference | None = PrivateAttr(None)  # what the loader read from the file

    @property
    def rows(self) -> Reference | None:
        """The rows of ``reference_file``."""
        return self._rows

    def adopt(self, rows: Reference) -> None:
        """Keep what the loader read from ``reference_file``."""
        self._rows = rows

    @property
    def sampled(self) -> int:
        """Events that make the bins: they are not counted, so that those counted and those judged are alike."""
        return self.reference_predictions // 8

    @model_validator(mode="after")
    def _enough(self) -> DriftConfig:
        if self.reference_predictions - self.sampled < LEAST_COUNTED:
            why = f"reference_predictions leaves fewer than {LEAST_COUNTED} events to count"
            raise ClashError((why, ["reference_predictions"]))
        return self
