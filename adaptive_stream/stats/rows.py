"""Growable tables of arrays: a model, a series, a remembered id is a row.

Owns the growth, the marks of what changed since the last snapshot, and the bytes of a page. Never knows what a column
means. Every organ keeps its state in these tables, so that snapshot and restore are written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Adapt = Callable[[str, NDArray[Any]], NDArray[Any] | None]

FORMAT = 1
Key = tuple[str, ...]


class Column(NamedTuple):
    """One column: its name, dtype, the shape of one row's value, and the value of a fresh row."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    fill: float = 0


class _Page(msgspec.Struct):
    first: int
    keys: list[Key]
    columns: dict[str, tuple[str, list[int], bytes]]
    count: int
    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT


class Rows:
    """A table that grows by doubling, up to a limit that its owner enforces.

    Args:
        columns: of the table.
        page_rows: rows of one page, the unit of a snapshot.

    Attributes:
        col: the arrays by name, longer than ``count``; they are replaced when the table grows, so hold none of them.
        keys: what each row stands for; empty for tables without keys.
        index: from key to row.
    """

    def __init__(self, columns: Sequence[Column], *, page_rows: int = 64) -> None:
        self._columns = {column.name: column for column in columns}
        self._page_rows = page_rows
        self.count = 0
        self.keys: list[Key] = []
        self.index: dict[Key, int] = {}
        self.col: dict[str, NDArray[Any]] = {column.name: _fresh(page_rows, column) for column in columns}
        self._is_dirty = np.zeros(1, dtype=np.bool_)  # of each page there is room for

    def add(self, key: Key) -> int:
        """Append a row under a key and return it."""
        row = self.extend(1)
        self.keys.append(key)
        self.index[key] = row
        return row

    def extend(self, count: int) -> int:
        """Append fresh rows and return the first of them. O(1) a row, amortised."""
        self._reserve(self.count + count)
        first, self.count = self.count, self.count + count
        self.touch(np.arange(first, self.count))
        return first

    def _reserve(self, count: int) -> None:
        """Make room for so many rows in all."""
        capacity = len(next(iter(self.col.values())))
        if count <= capacity:
            return
        capacity = max(count, 2 * capacity)
        for name, column in self._columns.items():
            grown = _fresh(capacity, column)
            grown[: self.count] = self.col[name][: self.count]
            self.col[name] = grown
        is_dirty = np.zeros(-(-capacity // self._page_rows), dtype=np.bool_)
        is_dirty[: len(self._is_dirty)] = self._is_dirty
        self._is_dirty = is_dirty

    def touch(self, rows: NDArray[np.int64] | Sequence[int]) -> None:
        """Mark rows as changed."""
        self._is_dirty[np.asarray(rows, dtype=np.int64) // self._page_rows] = True

    def touch_page(self, page: int) -> None:
        """Mark one page as changed."""
        self._is_dirty[page] = True

    def take_dirty(self) -> dict[int, bytes]:
        """Return the pages that changed since the last call, and start anew."""
        pages = {page: self.page(page) for page in np.flatnonzero(self._is_dirty).tolist()}
        self._is_dirty[:] = False
        return pages

    @property
    def page_count(self) -> int:
        """How many pages the table has."""
        return -(-self.count // self._page_rows)

    def page(self, number: int) -> bytes:
        """Return the bytes of one page."""
        first = number * self._page_rows
        stop = min(first + self._page_rows, self.count)
        columns = {
            name: (array.dtype.str, list(array[first:stop].shape), array[first:stop].tobytes())
            for name, array in self.col.items()
        }
        return msgspec.msgpack.encode(
            _Page(first=first, keys=self.keys[first:stop], columns=columns, count=stop - first)
        )

    def load(self, pages: Sequence[bytes], *, adapt: Adapt | None = None) -> None:
        """Put pages back, in ascending order. A column that a page lacks keeps its fill.

        Args:
            pages: the bytes of each.
            adapt: returns what a column holds in the present layout, None to leave it at its fill.

        Raises:
            msgspec.DecodeError: the bytes are no page of this format, or not the next one; discard the table.
        """
        self._reserve(self.count + len(pages) * self._page_rows)  # at once: a table that grows is copied
        for page in pages:
            self._load(page, adapt)

    def _load(self, content: bytes, adapt: Adapt | None) -> None:
        page = msgspec.msgpack.decode(content, type=_Page)
        if page.first != self.count:
            raise msgspec.DecodeError(f"the page begins at row {page.first}, the table ends at row {self.count}")
        self.extend(page.count)  # marks the page as changed, and it stays so unless it comes back as it is
        is_same = page.columns.keys() == self.col.keys()
        for name, (dtype, shape, raw) in page.columns.items():
            if name in self.col:
                try:
                    values: NDArray[Any] | None = np.frombuffer(raw, dtype=dtype).reshape(shape)
                    if adapt is not None:
                        values = adapt(name, values)  # type: ignore[arg-type]  # an array
                    if values is not None:
                        self.col[name][page.first : self.count] = values
                    is_same = is_same and self.col[name][page.first : self.count].tobytes() == raw
                except (ValueError, TypeError, IndexError) as error:
                    raise msgspec.DecodeError(f"the bytes of column {name} do not fit: {error}") from error
        for place, key in enumerate(page.keys):
            self.keys.append(key)
            self.index[key] = page.first + place
        if is_same:
            # one that was adapted must be saved: the next head speaks of the present configuration
            self._is_dirty[page.first // self._page_rows] = False


def _fresh(rows: int, column: Column) -> NDArray[Any]:
    """Return fresh rows of a column. Zeros take no memory until they are written."""
    shape = rows, *column.shape
    if column.fill == 0:
        return np.zeros(shape, dtype=column.dtype)
    return np.full(shape, column.fill, dtype=column.dtype)
