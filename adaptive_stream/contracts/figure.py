"""The figures of a model's performance: their names, and which way is better.

Owns the closed list that rules, statuses and reports speak of. Never computes one. Read by the configuration and by
the monitor.
"""

from __future__ import annotations

LABELLED = {
    "accuracy": True,
    "precision": True,
    "recall": True,
    "f1_score": True,
    "f1_macro": True,
    "auc": True,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
    "mean_absolute_error": False,
    "root_mean_squared_error": False,
}
"""What needs labels; whether high is better. A column of the worker's state stands in this order: only append."""
SERVED = {
    "latency_p50_ms": False,
    "latency_p95_ms": False,
    "latency_p99_ms": False,
    "confidence": True,
    "error_rate": False,
    "labelled_share": True,
}
"""What predictions tell by themselves; only append."""
REPORTED = {
    "accuracy": True,
    "precision": True,
    "recall": True,
    "f1_score": True,
    "latency_ms": False,
    "memory_usage_mb": False,
    "prediction_confidence": True,
    "error_rate": False,
}
"""What tools report; only append."""
FLOW = {"feedback_age_s": False, "predictions_age_s": False, "volume_fold": False, "refused_rate": False}
"""How the records of a model flow: ages by stream time, the volume against that of former windows, dead letters."""
DRIFT = {"data_drift": False, "performance_drift": False, "performance_gain": False}
"""Evidence for a change, as a share of what an alarm needs: of the inputs and outputs, of a loss that rose or fell."""
ARRIVED = ("accuracy", "mean_absolute_error", "log_loss", "brier")
ESTIMATED = ("accuracy", "precision", "recall", "f1_score")

BETTER_HIGH: dict[str, bool] = {
    **LABELLED,
    **SERVED,
    **FLOW,
    **DRIFT,
    **{f"arrived_{name}": LABELLED[name] for name in ARRIVED},
    **{f"estimated_{name}": LABELLED[name] for name in ESTIMATED},
    **{f"reported_{name}": is_high for name, is_high in REPORTED.items()},
}
"""Every figure that an alert rule may name."""
