"""A monitor for the tests: times in seconds from a start on every grid, arrays from plain lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.config import Family
from adaptive_stream.monitor.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptive_stream.monitor.monitor import Looked

START_S = 1_600_000_000 // 86_400 * 86_400
SETTINGS = {"pane_s": 60, "panes": 8, "baseline_labels": 10, "baseline_predictions": 10, "evaluate_every_s": 60}


def family(*, task: str = "binary", alerts: dict[str, Any] | None = None, **fields: Any) -> Family:  # noqa: ANN401
    monitor = {**SETTINGS, "status_interval_s": 60, **fields.pop("monitor", {})}
    classes = {"classes": ["a", "b", "c"]} if task == "multiclass" else {}
    return Family.model_validate(
        {"match": ["*"], "task": task, "monitor": monitor, "alerts": alerts or {}, **classes, **fields}
    )


class Measured:
    """A monitor with its first series already there."""

    def __init__(self, *channels: str, **fields: Any) -> None:  # noqa: ANN401
        self.monitor = Monitor(family(**fields))
        for channel in channels or ("web",):
            self.monitor.add(("m", "v", channel), row=0)

    def serve(
        self,
        outputs: Sequence[float],
        *,
        at_s: float = 0,
        came_s: float | None = None,
        series: int | Sequence[int] = 0,
        confidence: float | Sequence[float] = np.nan,
        latency: float | Sequence[float] = np.nan,
    ) -> None:
        """Serve predictions; NaN is a failed one."""
        self.monitor.serve(
            _many(series, outputs).astype(np.int64),
            {
                "output": np.array(outputs, dtype=np.float64),
                "confidence": _many(confidence, outputs),
                "latency": _many(latency, outputs),
            },
            times_ms=_many(ms(at_s), outputs).astype(np.int64),
            now_ms=_many(ms(at_s if came_s is None else came_s), outputs).astype(np.int64),
        )

    def label(
        self,
        outputs: Sequence[float],
        labels: Sequence[float],
        *,
        at_s: float = 0,
        came_s: float | None = None,
        series: int | Sequence[int] = 0,
    ) -> None:
        """Label predictions of a time, perhaps later."""
        self.monitor.label(
            _many(series, outputs).astype(np.int64),
            np.array(outputs, dtype=np.float64),
            np.array(labels, dtype=np.float64),
            times_ms=_many(ms(at_s), outputs).astype(np.int64),
            now_ms=_many(ms(at_s if came_s is None else came_s), outputs).astype(np.int64),
        )

    def figure(self, name: str, *, now_s: float = 60, series: int = 0, idle_s: float = 0) -> tuple[float, float]:
        """Return n and the value of a figure over the window that ends then."""
        found = self.monitor.window(np.array([series]), now_ms=ms(now_s), idle_ms=round(idle_s * 1000))[name]
        return float(found.n[0]), float(found.value[0])

    def look(self, now_s: float, *, idle_s: float = 0) -> list[Looked]:
        return self.monitor.look(now_ms=ms(now_s), idle_ms=round(idle_s * 1000))

    def told(self, now_s: float, *, idle_s: float = 0) -> dict[str, str]:
        """Look, and return what is told of the first series by the name of the rule."""
        return {
            looked.name: kind
            for looked in self.look(now_s, idle_s=idle_s)
            for kind in ("fired", "escalated", "resolved", "repeated")
            if 0 in looked.series[getattr(looked.turns, kind)]
        }

    def held(self, column: str, series: int = 0) -> Any:  # noqa: ANN401
        return self.monitor.series.col[column][series]


def ms(seconds: float) -> int:
    return round((START_S + seconds) * 1000)


def _many(value: float | Sequence[float], like: Sequence[float]) -> np.ndarray:
    return np.broadcast_to(np.asarray(value), (len(like),)).copy()
