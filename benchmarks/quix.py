"""The same job in Quix Streams and River: join in its state, accuracy, ADWIN on the error, exactly-once.

Run by an interpreter that has both (``make bench`` makes one): ``quix.py BOOTSTRAP PREFIX GROUP FOLDER``. Works until
it is stopped. Imports nothing of the product.
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State
from river.drift import ADWIN
from river.metrics import Accuracy

COMMIT_S = 0.2


class Models:
    """What is measured of each model, in memory as River does."""

    def __init__(self) -> None:
        self.accuracy: dict[str, Accuracy] = {}
        self.drift: dict[str, ADWIN] = {}

    def take(self, value: dict[str, Any], state: State) -> dict[str, Any] | None:
        """Remember a prediction; on feedback find it, measure, and say so."""
        if "output" in value:
            state.set(value["prediction_id"], value["output"])
            return None
        output = state.get(value["prediction_id"])
        if output is None:
            return None
        state.delete(value["prediction_id"])
        model = value["model_id"]
        accuracy = self.accuracy.setdefault(model, Accuracy())
        is_right = (output >= 0.5) == (value["label"] == 1)
        accuracy.update(True, is_right)
        drift = self.drift.setdefault(model, ADWIN())
        drift.update(0 if is_right else 1)
        if not drift.drift_detected:
            return None
        return {"model_id": model, "accuracy": accuracy.get()}


def main(bootstrap: str, prefix: str, group: str, folder: str) -> None:
    """Run the application."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_S,
        state_dir=folder,
        loglevel="WARNING",
        consumer_extra_config={"fetch.wait.max.ms": 10},
    )
    predictions = app.dataframe(app.topic(prefix + "predictions", key_deserializer="str"))
    feedback = app.dataframe(app.topic(prefix + "feedback", key_deserializer="str"))
    models = Models()
    merged = predictions.concat(feedback).apply(models.take, stateful=True)
    merged.filter(lambda value: value is not None).to_topic(app.topic(prefix + "drifts", key_serializer="str"))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
