"""Events of many series in record order, taken series by series, and cut into blocks.

Owns where each series stands in a run. Never looks at a value. Called by the detectors: cutting is by count alone, so
that where a run begins or ends changes nothing.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Places = NDArray[np.int64]
    Single = NDArray[np.float32]


Numbers = TypeVar("Numbers", "NDArray[np.float32]", "NDArray[np.float64]")


FEW = 4_096  # marks: so many are looked at one by one in the time that whole arrays take


class Run:
    """One run of events.

    Args:
        series: of each event.

    Attributes:
        order: places of the events, those of a series together and in their order.
        series: that occur, each once.
        at: where the next event of each stands in ``order``.
        end: where its events end.
    """

    def __init__(self, series: Places) -> None:
        small = narrow(series)
        self.order = np.argsort(small, kind="stable")
        ordered = small[self.order]
        edges = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        bounds = np.concatenate([[0], edges, [len(series)]]) if len(series) else np.zeros(1, dtype=np.int64)
        self.at, self.end = bounds[:-1].copy(), bounds[1:]
        self.series = series[self.order[self.at]]

    @property
    def is_left(self) -> bool:
        """Whether any event is left."""
        return bool((self.at < self.end).any())

    def skip(self, groups: Places, counts: Places) -> Places:
        """Pass the next events of some of the series, and return where in ``order`` those of each begin."""
        start = self.at[groups]
        self.at[groups] = start + counts
        return start

    def take(self, groups: Places, counts: Places) -> Places:
        """Return the places of the next events of some of the series, and pass them."""
        return self.order.take(upwards(self.skip(groups, counts), counts))


def summed(parts: Numbers) -> Numbers:
    """Add up an array in C's order over its first axis, one after the other, however many there are.

    numpy's own sum takes another order where there is one column.
    """
    found: Numbers = np.add.accumulate(parts)[-1] if parts.size == len(parts) else np.add.reduce(parts)
    return found


def pieces(tiles: NDArray[Any]) -> NDArray[Any]:
    """Return an array with its last axis as one value: numpy moves it in one piece, several times as fast."""
    width = tiles.shape[-1]
    found: NDArray[Any] = tiles.view(np.dtype((np.void, width * tiles.itemsize)))[..., 0] if width else tiles
    return found


def crossed(tiles: NDArray[Any]) -> NDArray[Any]:
    """Return an array (m, n, width) as (n, m, width)."""
    rows, columns, width = tiles.shape
    if not width:
        return tiles.transpose(1, 0, 2)
    return np.ascontiguousarray(pieces(tiles).T).view(tiles.dtype).reshape(columns, rows, width)


def ahead(counts: Places) -> Places:
    """Return how many stand before each group: the exclusive running sum."""
    return np.cumsum(counts) - counts


def upwards(starts: Places, counts: Places) -> Places:
    """Return so many numbers upwards from each start, one group after the other."""
    found = np.repeat(starts - ahead(counts), counts)
    found += np.arange(len(found))
    return found


class Cut(NamedTuple):
    """How events of some groups, those with most full blocks first, fall into blocks.

    Full blocks are numbered round by round: the first of every group, then the second of those that have two.
    """

    filled: Places  # events of each group that waited
    taken: Places  # events of each group that came and are in full blocks
    late: Places  # those that must wait
    cells: Places  # of the events taken, group by group: slot x blocks + block
    full: Places  # full blocks of each group
    starts: Places  # number of the first block of each round, and of the one after the last
    owner: Places  # group of each block
    turn: Places  # round of each block
    widths: list[tuple[int, int]]  # how many rounds have as many groups as each other, and how many those are

    @property
    def closed(self) -> int:
        """How many groups have a full block."""
        return int(self.starts[1]) if len(self.owner) else 0

    @property
    def has_one_round(self) -> bool:
        """Whether no group has more than one full block: each is its group's first and last."""
        return len(self.widths) == 1 and self.widths[0][0] == 1

    def stretches(self, blocks: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield rounds that the same groups take part in: how many groups, and their blocks as (rounds, groups, ...).

        Whole arrays do what would take a call for each round: there are no more stretches than groups.
        """
        first = 0
        for rounds, width in self.widths:
            end = first + rounds * width
            yield width, blocks[first:end].reshape(rounds, width, *blocks.shape[1:])
            first = end

    def last(self, values: NDArray[Any], stop: Places) -> NDArray[Any]:
        """Return the value of the last block of each of the first groups that counts, of values (blocks, ...)."""
        if self.has_one_round:
            return values
        return values.take(self.starts[stop - 1] + np.arange(len(stop)), axis=0)

    def earlier(self, held: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of the block before each, of the first blocks what their groups hold: (blocks, ...)."""
        first = self.closed
        before = self.starts[self.turn[first:] - 1] + self.owner[first:]
        return np.concatenate([held[:first], values[before]])


def widest(filled: Places, counts: Places, b: int) -> Places:
    """Return the order in which ``cut`` wants its groups."""
    full = (filled + counts) // b
    is_closed = full > 0
    closed = np.flatnonzero(is_closed)
    by_size = np.argsort(narrow(full.max(initial=0) - full[closed]), kind="stable")
    return np.concatenate([closed[by_size], np.flatnonzero(~is_closed)])


def narrow(numbers: Places) -> NDArray[np.integer]:
    """Return numbers, none negative, in 8 or 16 bits if they fit: their stable sort, by radix, is ten times as fast."""
    size = np.min_scalar_type(numbers.max(initial=0))
    return numbers.astype(size) if size.itemsize <= 2 else numbers


def cut(filled: Places, counts: Places, b: int) -> Cut:
    """Cut groups of events into blocks.

    Args:
        filled: events that wait already, of each group.
        counts: events that come.
        b: of a block.
    """
    full = (filled + counts) // b
    rounds = int(full[0]) if len(full) else 0
    going = np.searchsorted(-full, -np.arange(rounds))
    starts = np.concatenate([[0], np.cumsum(going)])
    closed = int(starts[1]) if rounds else 0
    taken = np.zeros_like(counts)
    taken[:closed] = full[:closed] * b - filled[:closed]
    place = upwards(filled[:closed], taken[:closed])  # in what waited and came, of each group
    number = place // b
    cells = (place - number * b) * starts[-1] + starts.take(number)
    cells += np.repeat(np.arange(closed), taken[:closed])
    turn = np.repeat(np.arange(rounds), going)
    owner = np.arange(len(turn)) - starts[turn]
    widths = [(len(list(alike)), width) for width, alike in groupby(going.tolist())]
    return Cut(filled, taken, counts - taken, cells, full, starts, owner, turn, widths)


def fill(
    found: Cut, values: Single, order: Places, begin: Places, *, waiting: Single, rows: Places
) -> tuple[Single, Places]:
    """Return the full blocks, (b, blocks, ...), and the place of the last event of each; leave the rest waiting.

    Args:
        found: from ``cut``.
        values: of all events.
        order: places in them, the events of a group together.
        begin: of those that were cut, in the order.
        waiting: of the table, (rows, b - 1, ...); changed.
        rows: of the groups in it.
    """
    size, count = waiting.shape[1], len(found.owner)
    shape = waiting.shape[2:]
    slots = _rowwise(waiting.reshape(-1, *shape))  # one index is half the work of two
    closed = found.closed
    source = np.zeros((size + 1) * count, dtype=np.int64)
    source[found.cells] = order.take(upwards(begin[:closed], found.taken[:closed]))
    blocks = values.take(source, axis=0)
    held = found.filled[:closed]
    # the first round's blocks are numbered as their groups
    cells = upwards(np.zeros(closed, dtype=np.int64), held) * count + np.repeat(np.arange(closed), held)
    _rowwise(blocks)[cells] = slots.take(upwards(rows[:closed] * size, held))
    waiting[rows[:closed]] = 0  # what is used up leaves no trace: any batching leaves the same bytes
    first = rows * size
    first[closed:] += found.filled[closed:]
    group = np.repeat(np.arange(len(rows)), found.late)
    number = np.arange(len(group))
    before = ahead(found.late)
    late = order.take((begin + found.taken - before).take(group) + number)
    slots[(first - before).take(group) + number] = _rowwise(values).take(late)
    return blocks.reshape(size + 1, count, *shape), source[size * count :]  # whose last slot none that waited has


def _rowwise(rows: NDArray[Any]) -> NDArray[Any]:
    return pieces(rows) if rows.ndim > 1 else rows


def accumulated(found: Cut, held: NDArray[Any], values: NDArray[Any]) -> None:
    """Add blocks to what their groups hold, one after the other: sums have the same bits however they were batched.

    Args:
        found: the blocks.
        held: of each closed group, (groups, ...); changed.
        values: of each block, (blocks, ...).
    """
    for width, parts in found.stretches(values):
        mine = held[:width]
        if len(parts) == 1:
            mine += parts[0]
        elif held.dtype.kind == "u":
            mine += np.add.reduce(parts, axis=0, dtype=held.dtype)
        else:
            mine[:] = summed(np.concatenate([mine[None], parts]))


def first_over(found: Cut, is_over: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Return how many blocks of each closed group count, up to the first that is over, and which groups have one."""
    stop = found.full[: found.closed].copy()
    if not is_over.any():
        return stop, np.zeros(0, dtype=np.int64)
    over = np.flatnonzero(is_over)[::-1]  # of one group the earliest is written last
    stop[found.owner[over]] = found.turn[over] + 1
    return stop, np.unique(found.owner[over])


def last_clear(found: Cut, is_clear: NDArray[np.bool_], stop: Places) -> NDArray[np.int32]:
    """Return the last round of each closed group, before its stop, in which each column is clear; -1 for never.

    As (groups, columns) of 32 bits.
    """
    if found.has_one_round:
        return is_clear.astype(np.int32) - np.int32(1)
    if (stop < found.full[: len(stop)]).any():
        is_clear = is_clear & (found.turn < stop[found.owner])[:, None]
    last = np.zeros((len(stop), is_clear.shape[1]), dtype=np.int32)  # a round's number and 1
    if is_clear.size < FEW:
        block, column = np.nonzero(is_clear)
        last[found.owner[block], column] = found.turn[block] + 1  # of one place the latest is written last
    else:
        small = np.min_scalar_type(len(found.starts))
        for width, marks in found.stretches(is_clear * (found.turn[:, None] + 1).astype(small)):
            np.maximum(last[:width], np.maximum.reduce(marks), out=last[:width])
    last -= 1
    return last


def changed(found: Cut, before: NDArray[np.signedinteger], leaders: NDArray[np.signedinteger]) -> NDArray[np.bool_]:
    """Say where a block has another leader than the block before it, or none.

    Args:
        found: the blocks.
        before: leaders of each closed group, (groups, columns).
        leaders: of each block, (blocks, columns); -1 for none.
    """
    is_new: NDArray[np.bool_] = (leaders < 0) | (leaders != found.earlier(before, leaders))
    return is_new
