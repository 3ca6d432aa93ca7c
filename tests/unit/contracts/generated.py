"""Events made from their own declarations, so that a field that is added is tested without a word here."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.codec import CARRIES
from adaptive_stream.contracts.events import Alert, Metrics, ModelCommand, Preference, Rating
from adaptive_stream.contracts.rule import ALERT_LABELS
from adaptive_stream.contracts.topics import INPUTS, Topic

YEAR_1_MS, YEAR_9999_MS = -62_135_596_800_000, 253_402_300_799_999
MAX_ITEMS, MAX_CHARS = 3, 12  # small events find what large ones do

numbers = st.floats(allow_nan=False, allow_infinity=False)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers | st.text(max_size=MAX_CHARS),
    lambda inner: st.lists(inner, max_size=MAX_ITEMS) | st.dictionaries(st.text(max_size=5), inner, max_size=MAX_ITEMS),
    max_leaves=6,
)


@cache
def events(topic: Topic) -> st.SearchStrategy[Any]:
    """Any event that the topic carries."""
    return _of(inspect.type_info(CARRIES[topic]))


def records(topics: tuple[Topic, ...] = tuple(CARRIES)) -> st.SearchStrategy[tuple[Topic, Any]]:
    """Any event beside its topic."""
    return st.sampled_from(topics).flatmap(lambda topic: events(topic).map(lambda event: (topic, event)))


inputs = records(INPUTS)


def _of(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911, PLR0912 - one line for each kind of type
    match kind:
        case inspect.Metadata(type=inner, extra_json_schema={"format": "date-time"}):
            assert isinstance(inner, inspect.StrType)
            return st.integers(YEAR_1_MS, YEAR_9999_MS).map(format_time)
        case inspect.Metadata(type=inner):
            return _of(inner)
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=low):
            return st.integers(-(2**63) if low is None else low, 2**63 - 1)
        case inspect.FloatType(ge=least, gt=above, le=most):
            floor = least if least is not None else above
            return st.floats(floor, most, exclude_min=above is not None, allow_nan=False, allow_infinity=False)
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True).map(str.rstrip)
        case inspect.StrType(min_length=fewest):
            return st.text(min_size=fewest or 0, max_size=MAX_CHARS)
        case inspect.EnumType(cls=enum):
            return st.sampled_from(list(enum))
        case inspect.ListType(item_type=item, min_length=fewest):
            return st.lists(_of(item), min_size=fewest or 0, max_size=MAX_ITEMS)
        case inspect.TupleType(item_types=items):
            return st.tuples(*map(_of, items))
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=MAX_ITEMS)
        case inspect.UnionType(types=kinds):
            return st.one_of(*map(_of, kinds))
        case inspect.AnyType():
            return plain_json
        case inspect.StructType(cls=cls, fields=fields):
            always = {part.name: _of(part.type) for part in fields if part.required}
            sometimes = {part.name: _of(part.type) for part in fields if not part.required}
            return st.builds(_lawful, st.just(cls), st.fixed_dictionaries(always, optional=sometimes))
    raise AssertionError(kind)


def _lawful(cls: type[msgspec.Struct], fields: dict[str, Any]) -> msgspec.Struct:
    """Build a struct that obeys the rules that span fields."""
    if cls is Rating:
        low, high = sorted(fields.pop("scale", (1.0, 5.0)))
        if low < high:
            fields["scale"] = (low, high)
        else:
            low, high = 1.0, 5.0
        fields["score"] = min(max(fields["score"], low), high)
    elif cls is Preference and fields["chosen"] == fields["rejected"]:
        fields["rejected"] += "'"
    elif cls is Metrics:
        fields.setdefault("accuracy", 0.5)
        fields["values"] = fields.get("values") or {"any": 0.0}
    elif cls is Alert:
        fields["labels"] |= dict.fromkeys(ALERT_LABELS, "m")
    elif cls is ModelCommand:
        fields["serve"] = {channel: _shared(shares) for channel, shares in fields["serve"].items()}
    return cls(**fields)


def _shared(shares: dict[str, float]) -> dict[str, float]:
    return dict.fromkeys(shares, 1 / len(shares)) if shares else {"v1": 1.0}
