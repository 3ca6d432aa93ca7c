"""Growable tables of arrays, as pages and back."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from adaptive_stream.stats.rows import Column, Rows

COLUMNS = [
    Column("count", "<i8"),
    Column("mean", "<f8", (), math.nan),
    Column("pane", "<i4", (3,), -1),
]


def table(rows: int = 0, *, page_rows: int = 4) -> Rows:
    made = Rows(COLUMNS, page_rows=page_rows)
    for number in range(rows):
        row = made.add((f"m{number}", "v"))
        made.col["count"][row] = number
        made.col["pane"][row, 1] = number
    return made


def copied(source: Rows, *, page_rows: int = 4) -> Rows:
    made = Rows(COLUMNS, page_rows=page_rows)
    for number in range(source.page_count):
        made.load([source.page(number)])
    return made


def test_a_fresh_row_holds_the_fills_of_its_columns() -> None:
    rows = table(1)
    rows.add(("another",))
    assert rows.col["count"][1] == 0
    assert math.isnan(rows.col["mean"][1])
    assert rows.col["pane"][1].tolist() == [-1, -1, -1]


def test_growth_keeps_what_was_written_and_fills_the_rest() -> None:
    rows = table(1)
    sizes = set()
    for number in range(1, 1_000):
        rows.add((f"m{number}", "v"))
        rows.col["count"][number] = number
        sizes.add(len(rows.col["count"]))
    assert rows.col["count"][:1_000].tolist() == list(range(1_000))
    assert (rows.col["pane"][1:1_000] == -1).all()
    assert sorted(sizes) == [4 * 2**power for power in range(9)]
    assert [rows.index[key] for key in rows.keys] == list(range(1_000))


def test_extend_returns_the_first_of_the_fresh_rows() -> None:
    rows = Rows(COLUMNS, page_rows=4)
    assert (rows.extend(3), rows.extend(10), rows.count, rows.page_count) == (0, 3, 13, 4)
    assert rows.keys == []


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 13])
def test_pages_give_the_same_table(count: int) -> None:
    rows = table(count)
    assert rows.page_count == math.ceil(count / 4)
    again = copied(rows)
    assert (again.count, again.keys, again.index) == (rows.count, rows.keys, rows.index)
    for name in rows.col:
        np.testing.assert_array_equal(again.col[name][:count], rows.col[name][:count])
    assert [again.page(n) for n in range(again.page_count)] == [rows.page(n) for n in range(rows.page_count)]


def test_a_page_is_a_copy() -> None:
    rows = table(4)
    page = rows.page(0)
    rows.col["count"][:] = 99
    again = Rows(COLUMNS, page_rows=4)
    again.load([page])
    assert again.col["count"][:4].tolist() == [0, 1, 2, 3]
    again.col["count"][0] = 5  # what was loaded may be written
    assert again.page(0) != page


def test_only_pages_that_changed_are_taken() -> None:
    rows = table(12)
    assert set(rows.take_dirty()) == {0, 1, 2}
    assert rows.take_dirty() == {}
    rows.touch([1, 2, 11])
    assert set(rows.take_dirty()) == {0, 2}
    rows.touch_page(1)
    rows.add(("last",))
    taken = rows.take_dirty()
    assert set(taken) == {1, 3}
    assert taken[3] == rows.page(3)
    assert set(copied(rows).take_dirty()) == set(), "what was loaded is in the snapshot already"


def test_a_column_that_a_page_lacks_keeps_its_fill_and_one_too_many_is_left_out() -> None:
    page = table(2).page(0)
    rows = Rows([Column("count", "<i8"), Column("later", "<f8", (), 7)], page_rows=4)
    rows.load([page])
    assert rows.col["count"][:2].tolist() == [0, 1]
    assert rows.col["later"][:2].tolist() == [7, 7]
    assert set(rows.col) == {"count", "later"}


def test_pages_out_of_order_or_with_a_hole_are_refused() -> None:
    rows = table(12)
    with pytest.raises(msgspec.DecodeError, match="begins at row 4, the table ends at row 0"):
        Rows(COLUMNS, page_rows=4).load([rows.page(1)])
    again = Rows(COLUMNS, page_rows=4)
    again.load([rows.page(0)])
    with pytest.raises(msgspec.DecodeError, match="begins at row 8, the table ends at row 4"):
        again.load([rows.page(2)])
    with pytest.raises(msgspec.DecodeError):
        again.load([rows.page(0)])


def test_a_page_of_another_version_or_with_damage_is_refused() -> None:
    page = table(3).page(0)
    raw = msgspec.msgpack.decode(page)
    other = msgspec.msgpack.encode({**raw, "format": 2})
    dtype, shape, content = raw["columns"]["count"]
    short = msgspec.msgpack.encode({**raw, "columns": {"count": [dtype, shape, content[:-1]]}})
    narrow = msgspec.msgpack.encode({**raw, "columns": {"count": [dtype, [2], content[:16]]}})
    strange = msgspec.msgpack.encode({**raw, "columns": {"count": ["no dtype", shape, content]}})
    for wrong in (other, short, narrow, strange, page[:-1], page[1:], b"", b"\x00"):
        with pytest.raises(msgspec.DecodeError):
            Rows(COLUMNS, page_rows=4).load([wrong])
    Rows(COLUMNS, page_rows=4).load([page])
