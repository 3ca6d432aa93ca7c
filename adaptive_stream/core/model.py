"""The marks and figures of a model's row.

Owns the constants that the fleet, the answers and the reports share. Never holds state.
"""

from __future__ import annotations

FROZEN = 1  # flag: nothing may be learned or switched
STOPPED = 2  # flag: labels are joined and not scored
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
"""What tools report on the metrics topic, in the order of the column ``reported``."""
