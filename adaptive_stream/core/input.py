"""What a family's models take in and give out, as numbers.

Owns the checks of features, outputs and labels against the family, and their coding. Never keeps state. Called by the
fleet for every record, and by whole arrays to score.
"""

from __future__ import annotations

import array
import contextlib
import struct
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.contracts.errors import ErrorCode, Reject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.config import Family
    from adaptive_stream.contracts.field import Features, Label, Output

NAN = float("nan")


class Inputs:
    """One family's coding.

    Args:
        family: its task, threshold, classes and features.

    Attributes:
        width: values of one prediction that are kept; 0 when the family names no features.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._task = family.task
        self.width = len(family.features)
        self._names = [feature.name for feature in family.features]
        # categorical: level > code; the code after the last level is "other"
        self._levels: list[dict[Any, float] | None] = [
            {level: float(code) for code, level in enumerate(feature.levels)} if feature.kind == "categorical" else None
            for feature in family.features
        ]
        self._is_numeric = not any(self._levels)
        self._classes = {name: float(code) for code, name in enumerate(family.classes)}

    def append(self, features: Features | None, target: array.array[float]) -> None:
        """Append a prediction's values to a flat array: missing is NaN, an unknown level the code of "other".

        Raises:
            Reject: WRONG_DIMENSION or INVALID_FEATURE; the target is unchanged.
        """
        if type(features) is list and len(features) == self.width:
            if self._is_numeric:
                try:
                    target.fromlist(features)  # type: ignore[arg-type]  # the quick way: numbers only; on any other value it changes nothing
                except TypeError:
                    target.extend(self._coded(features))
            else:
                target.extend(self._coded(features))
            return
        if isinstance(features, dict):
            missing = [name for name in self._names if name not in features]
            if missing or len(features) != self.width:
                what = f"{missing[0]!r} is missing" if missing else "there are names that the family does not have"
                raise Reject(ErrorCode.WRONG_DIMENSION, f"features: {what}; null is missing", path="$.features")
            target.extend(self._coded([features[name] for name in self._names]))
            return
        count = "none" if features is None else len(features)
        raise Reject(
            ErrorCode.WRONG_DIMENSION, f"the family has {self.width} features, the event {count}", path="$.features"
        )

    def stack(self, many: list[Features | None]) -> NDArray[np.float64]:
        """Return the values of many predictions, one row each; as ``append``, one by one.

        Raises:
            Reject: one of them is refused.
        """
        width = self.width
        if set(map(type, many)) == {list} and set(map(len, many)) == {width}:  # type: ignore[arg-type]  # all are lists
            if self._is_numeric:
                with contextlib.suppress(struct.error):  # a value is missing, or is no number
                    packed = struct.pack(f"{len(many) * width}d", *chain.from_iterable(many))  # type: ignore[arg-type]
                    return np.frombuffer(packed).reshape(len(many), width)
            columns = [self._column(place, column) for place, column in enumerate(zip(*many, strict=True))]
            return np.array(columns, dtype=np.float64).T.copy()
        values = array.array("d")
        for features in many:
            self.append(features, values)
        return np.frombuffer(values).reshape(len(many), width)

    def _column(self, place: int, values: tuple[Any, ...]) -> list[float]:
        """Return the codes of one feature of many predictions."""
        levels = self._levels[place]
        if levels is not None:
            if set(map(type, values)) == {str}:
                return list(map(levels.get, values, repeat(float(len(levels)))))
            return [self._code(value, levels) for value in values]
        if str in set(map(type, values)):
            raise self._no_number(place)
        return list(values) if None not in values else [NAN if value is None else value for value in values]

    @staticmethod
    def _code(value: float | str | None, levels: dict[Any, float]) -> float:
        if value is None:
            return NAN
        return levels.get(value if isinstance(value, str) else f"{value:g}", float(len(levels)))

    def _no_number(self, place: int) -> Reject:
        return Reject(
            ErrorCode.INVALID_FEATURE,
            f"{self._names[place]} is numeric and got a string",
            path=f"$.features[{place}]",
        )

    def _coded(self, values: list[Any]) -> list[float]:
        coded = []
        for place, (value, levels) in enumerate(zip(values, self._levels, strict=True)):
            if levels is not None:
                coded.append(self._code(value, levels))
            elif isinstance(value, str):
                raise self._no_number(place)
            else:
                coded.append(NAN if value is None else value)
        return coded

    def output(self, output: Output) -> float:
        """Return a probability (binary), a class code (multiclass) or a value (regression).

        Raises:
            Reject: INVALID_OUTPUT.
        """
        if self._task == "binary":
            if isinstance(output, float) and 0 <= output <= 1:
                return output
            raise Reject(
                ErrorCode.INVALID_OUTPUT, "binary: the probability of the positive class, from 0 to 1", path="$.output"
            )
        if self._task == "regression":
            if isinstance(output, float):
                return output
            raise Reject(ErrorCode.INVALID_OUTPUT, "regression: a number", path="$.output")
        if isinstance(output, str) and output in self._classes:
            return self._classes[output]
        if isinstance(output, list) and len(output) == len(self._classes) and min(output) >= 0 and max(output) <= 1:
            return float(max(range(len(output)), key=output.__getitem__))
        raise Reject(
            ErrorCode.INVALID_OUTPUT, "multiclass: a class name, or a probability for each class", path="$.output"
        )

    def outputs(self, many: list[Output]) -> NDArray[np.float64]:
        """Return the outputs of many predictions; as ``output``, one by one.

        Raises:
            Reject: INVALID_OUTPUT; one of them is refused.
        """
        if self._task != "multiclass" and set(map(type, many)) == {float}:
            values = np.array(many, dtype=np.float64)
            if self._task == "regression" or (values.min() >= 0 and values.max() <= 1):
                return values
        return np.array([self.output(output) for output in many], dtype=np.float64)

    def label(self, label: Label) -> float:
        """Return 0 or 1 (binary), a class code (multiclass) or a value (regression).

        Raises:
            Reject: INVALID_OUTPUT.
        """
        if self._task == "binary":
            if label in (0, 1) and not isinstance(label, str):
                return float(label)
            raise Reject(ErrorCode.INVALID_OUTPUT, "binary: the label is 0 or 1, false or true", path="$.label")
        if self._task == "regression":
            if not isinstance(label, str | bool):
                return float(label)
            raise Reject(ErrorCode.INVALID_OUTPUT, "regression: the label is a number", path="$.label")
        if isinstance(label, str) and label in self._classes:
            return self._classes[label]
        if isinstance(label, float) and label.is_integer() and 0 <= label < len(self._classes):
            return label
        raise Reject(ErrorCode.INVALID_OUTPUT, "multiclass: the label is a class name or its index", path="$.label")
