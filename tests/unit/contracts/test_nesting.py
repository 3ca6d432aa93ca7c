"""The two scans against a counter that walks the value, as slow and as plain as can be."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_stream.contracts.nesting import is_json_deeper, is_msgpack_deeper

limits = st.integers(0, 6)
texts = st.text(st.sampled_from('[]{}",\\:aé\n'), max_size=6)  # what could be taken for structure
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def depth(value: Any) -> int:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@settings(max_examples=100)
@given(value=values, limit=limits, is_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_json_is_deeper_exactly_when_the_value_is(value: Any, limit: int, is_ascii: bool, indent: int | None) -> None:  # noqa: ANN401, FBT001
    body = json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()
    assert is_json_deeper(body, limit) == (depth(value) > limit)


@settings(max_examples=100)
@given(value=values, limit=limits)
def test_messagepack_is_deeper_exactly_when_the_value_is(value: Any, limit: int) -> None:  # noqa: ANN401
    assert is_msgpack_deeper(msgspec.msgpack.encode(value), limit) == (depth(value) > limit)


# MessagePack in all its forms, also those that our encoder never chooses, each beside its depth. The contents of texts
# and extensions are bytes that would open containers.
_junk = st.binary(max_size=40).map(lambda raw: raw + b"\x91\xdc\xdf")
_scalars = st.one_of(
    st.sampled_from([b"\x00", b"\x7f", b"\xff", b"\xe0", b"\xc0", b"\xc2", b"\xc3"]),
    st.sampled_from([0xCC, 0xCD, 0xCE, 0xCF, 0xD0, 0xD1, 0xD2, 0xD3]).map(
        lambda first: bytes([first]) + b"\x91" * (1 << (first & 3))
    ),
    st.just(b"\xca" + b"\x91" * 4),
    st.just(b"\xcb" + b"\x91" * 8),
    st.integers(0, 31).map(lambda size: bytes([0xA0 + size]) + b"\x92" * size),
    *(
        _junk.map(lambda raw, first=first, form=form: bytes([first]) + struct.pack(form, len(raw)) + raw)
        for first, form in [(0xC4, ">B"), (0xC5, ">H"), (0xC6, ">I"), (0xD9, ">B"), (0xDA, ">H"), (0xDB, ">I")]
    ),
    *(
        _junk.map(lambda raw, first=first, form=form: bytes([first]) + struct.pack(form, len(raw)) + b"\x05" + raw)
        for first, form in [(0xC7, ">B"), (0xC8, ">H"), (0xC9, ">I")]
    ),
    *(st.just(bytes([0xD4 + power]) + b"\x05" + b"\x91" * (1 << power)) for power in range(5)),
).map(lambda raw: (raw, 0))


def _container(items: list[tuple[bytes, int]], form: str, *, is_map: bool) -> tuple[bytes, int]:
    if is_map and len(items) % 2:
        items = items[:-1]
    size = len(items) // 2 if is_map else len(items)
    heads = {
        "small": bytes([(0x80 if is_map else 0x90) + size]),
        "16": struct.pack(">BH", 0xDE if is_map else 0xDC, size),
        "32": struct.pack(">BI", 0xDF if is_map else 0xDD, size),
    }
    return heads[form] + b"".join(raw for raw, _ in items), 1 + max((layers for _, layers in items), default=0)


forms = st.recursive(
    _scalars,
    lambda inner: st.builds(
        _container, st.lists(inner, max_size=6), st.sampled_from(["small", "16", "32"]), is_map=st.booleans()
    ),
    max_leaves=15,
)


@pytest.mark.slow
@settings(max_examples=150)
@given(form=forms, limit=limits)
def test_every_form_of_messagepack_is_measured(form: tuple[bytes, int], limit: int) -> None:
    body, layers = form
    assert is_msgpack_deeper(body, limit) == (layers > limit)


@given(run=st.integers(1, 300), beside=st.integers(0, 5), limit=limits)
def test_a_run_of_doubles_is_stepped_over_without_losing_count(run: int, beside: int, limit: int) -> None:
    double = struct.pack(">Bd", 0xCB, 0.5)
    inner = struct.pack(">BH", 0xDC, run) + double * run
    body = struct.pack(">BH", 0xDC, 2 + beside) + inner + double * beside + b"\x91\x91\xc0"
    assert is_msgpack_deeper(body, limit) == (limit < 3)


@settings(max_examples=100)
@given(body=st.binary(max_size=60), limit=limits)
def test_a_scan_of_any_bytes_ends_and_never_raises(body: bytes, limit: int) -> None:
    assert is_json_deeper(body, limit) in (True, False)
    assert is_msgpack_deeper(body, limit) in (True, False)


@settings(max_examples=100)
@given(body=st.binary(max_size=30), limit=limits)
def test_bytes_that_are_messagepack_after_all_are_measured_right(body: bytes, limit: int) -> None:
    try:
        value = msgspec.msgpack.decode(body, strict=False)
    except (msgspec.DecodeError, TypeError, ValueError, NotImplementedError):
        return  # not MessagePack, or a map with keys that Python cannot hold
    if not isinstance(value, dict):
        assert is_msgpack_deeper(body, limit) == (depth(value) > limit)


@pytest.mark.parametrize(
    ("body", "is_deep"),
    [
        (b'"' + b"\\" * 60_001, False),
        (b'\\"[' * 20_000, False),  # one text without an end
        (b'["' * 30_000, True),
        (b"[" * 65_536, True),
        (b"]" * 65_536, False),
        (b"[]" * 30_000, False),
    ],
    ids=["backslashes", "endless text", "texts of brackets", "opening", "closing", "pairs"],
)
def test_hostile_texts_are_scanned_in_linear_time(body: bytes, is_deep: bool) -> None:  # noqa: FBT001
    # quadratic would be some 10^9 steps, beyond the timeout of any test
    assert is_json_deeper(body, 16) == is_deep
