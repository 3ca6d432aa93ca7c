"""Events of many series in record order, taken series by series, and cut into blocks.

Owns where each series stands in a run. Never looks at a value. Called by the detectors: cutting is by count alone, so
that where a run begins or ends changes nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.int64]
    Single = NDArray[np.float32]


Numbers = TypeVar("Numbers", "NDArray[np.float32]", "NDArray[np.float64]")


DEEP = 100  # rounds a group: up to it a whole array for each round takes less time than some for each group
FEW = 4_096  # marks: so many are looked at one by one in the time that rounds of whole arrays take


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
        self.order = np.argsort(narrow(series), kind="stable")
        ordered = series[self.order]
        self.at = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(series) else np.zeros(0, np.int64)
        self.end = np.r_[self.at[1:], len(series)] if len(series) else self.at
        self.series = ordered[self.at]

    @property
    def is_left(self) -> bool:
        """Whether any event is left."""
        return bool((self.at < self.end).any())

    def take(self, groups: Places, counts: Places) -> Places:
        """Return the places of the next events of some of the series, and pass them."""
        start = self.at[groups]
        self.at[groups] += counts
        taken: Places = self.order[np.repeat(start - ahead(counts), counts) + np.arange(counts.sum())]
        return taken


def summed(rows: Numbers) -> Numbers:
    """Add up an array over its first axis, in order: numpy's own sum takes another order where there is one column."""
    found: Numbers = rows[0].copy()
    for row in rows[1:]:
        found += row
    return found


def ahead(counts: Places) -> Places:
    """Return how many stand before each group: the exclusive running sum."""
    return np.cumsum(counts) - counts


class Cut(NamedTuple):
    """How events of some groups, those with most full blocks first, fall into blocks.

    Full blocks are numbered round by round: the first of every group, then the second of those that have two.
    """

    group: Places  # of each event
    block: Places  # of each event; -1 where it must wait
    slot: Places  # of each event in its block
    full: Places  # full blocks of each group
    starts: Places  # number of the first block of each round, and of the one after the last
    owner: Places  # group of each block
    turn: Places  # round of each block
    rounds: list[slice]  # the blocks of each round

    @property
    def is_deep(self) -> bool:
        """Whether whole arrays group by group are fewer than round by round."""
        return len(self.rounds) > DEEP * int(self.starts[1]) if self.rounds else False

    def of(self, group: int) -> Places:
        """Return the blocks of one group, in order."""
        found: Places = self.starts[: self.full[group]] + group
        return found

    def at(self, turns: Places) -> Places:
        """Return the block that each of the first groups has in a round."""
        found: Places = self.starts[turns] + np.arange(len(turns))
        return found

    def earlier(self, held: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of the block before each, of the first blocks what their groups hold: (blocks, ...)."""
        first = self.rounds[0].stop
        before = self.starts[self.turn[first:] - 1] + self.owner[first:]
        return np.concatenate([held[:first], values[before]])

    def ends(self, places: Places, b: int) -> Places:
        """Return the place of the last event of each block."""
        is_last = (self.slot == b - 1) & (self.block >= 0)
        found = np.empty(len(self.owner), dtype=np.int64)
        found[self.block[is_last]] = places[is_last]
        return found


def widest(filled: Places, counts: Places, b: int) -> Places:
    """Return the order in which ``cut`` wants its groups."""
    full = (filled + counts) // b
    return np.argsort(narrow(full.max(initial=0) - full), kind="stable")


def narrow(numbers: Places) -> NDArray[np.integer]:
    """Return numbers, none negative, in 16 bits if they fit: their stable sort, by radix, is ten times as fast."""
    return numbers.astype(np.uint16) if numbers.max(initial=0) < 1 << 16 else numbers


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
    starts = np.r_[0, np.cumsum(going)]
    group = np.repeat(np.arange(len(counts)), counts)
    slot = np.arange(len(group)) + np.repeat(filled - ahead(counts), counts)
    block = np.full(len(group), -1)
    closed = int(counts[: starts[1]].sum()) if rounds else 0  # of the others every event must wait
    number, mine = slot[:closed] // b, group[:closed]
    is_in = number < full[mine]
    block[:closed][is_in] = starts[number[is_in]] + mine[is_in]
    slot[:closed] -= number * b
    turn = np.repeat(np.arange(rounds), going)
    owner = np.arange(len(turn)) - starts[turn]
    bounds = [slice(start, stop) for start, stop in pairwise(starts.tolist())]
    return Cut(group, block, slot, full, starts, owner, turn, bounds)


def fill(found: Cut, filled: Places, values: Single, places: Places, *, waiting: Single, rows: Places) -> Single:
    """Return the full blocks, (b, blocks, ...), and leave the rest waiting.

    Args:
        found: from ``cut``.
        filled: events that wait already, of each group.
        values: of all events.
        places: in them, of the events that were cut.
        waiting: of the table, (rows, b - 1, ...); changed.
        rows: of the groups in it.
    """
    size, count = waiting.shape[1], len(found.owner)
    shape = waiting.shape[2:]
    slots = waiting.reshape(-1, *shape)  # one index is half the work of two
    is_in = found.block >= 0
    source = np.zeros((size + 1) * count, dtype=np.int64)
    source[found.slot[is_in] * count + found.block[is_in]] = places[is_in]
    blocks = values.take(source, axis=0)
    closed = int((found.full > 0).sum())
    held = np.repeat(np.arange(closed), filled[:closed])
    slot = np.arange(len(held)) - np.repeat(ahead(filled[:closed]), filled[:closed])
    # the first round's blocks are numbered as their groups
    blocks[slot * count + held] = slots.take(rows[held] * size + slot, axis=0)
    waiting[rows[:closed]] = 0  # what is used up leaves no trace: any batching leaves the same bytes
    late = np.flatnonzero(~is_in)
    slots[rows[found.group[late]] * size + found.slot[late]] = values.take(places[late], axis=0)
    return blocks.reshape(size + 1, count, *shape)


def accumulated(found: Cut, held: NDArray[Any], values: NDArray[Any]) -> None:
    """Add blocks to what their groups hold, one after the other: sums have the same bits however they were batched.

    Args:
        found: the blocks.
        held: of each closed group, (groups, ...); changed.
        values: of each block, (blocks, ...).
    """
    if found.is_deep:
        for group in range(len(held)):
            parts = np.concatenate([held[group : group + 1], values[found.of(group)]], dtype=held.dtype)
            held[group] = np.add.accumulate(parts, axis=0, dtype=held.dtype)[-1]
        return
    for one in found.rounds:
        held[: one.stop - one.start] += values[one]


def first_over(found: Cut, is_over: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Return how many blocks of each closed group count, up to the first that is over, and which groups have one."""
    stop = found.full[: int(found.starts[1])].copy()
    if not is_over.any():
        return stop, np.zeros(0, dtype=np.int64)
    over = np.flatnonzero(is_over)[::-1]  # of one group the earliest is written last
    stop[found.owner[over]] = found.turn[over] + 1
    return stop, np.unique(found.owner[over])


def last_clear(found: Cut, is_clear: NDArray[np.bool_], stop: Places) -> NDArray[np.int32]:
    """Return the last round of each closed group, before its stop, in which each column is clear; -1 for never.

    As (groups, columns) of 32 bits.
    """
    is_stopped = not np.array_equal(stop, found.full[: len(stop)])
    if is_stopped:
        is_clear = is_clear & (found.turn < stop[found.owner])[:, None]
    last = np.zeros((len(stop), is_clear.shape[1]), dtype=np.int32)  # a round's number and 1
    if is_clear.size < FEW:
        block, column = np.nonzero(is_clear)
        last[found.owner[block], column] = found.turn[block] + 1  # of one place the latest is written last
    elif found.is_deep:
        for group in range(len(stop)):
            backwards = is_clear[found.of(group)][::-1]
            last[group] = np.where(backwards.any(axis=0), len(backwards) - backwards.argmax(axis=0), 0)
    else:
        marks = is_clear * (found.turn[:, None] + 1).astype(np.int32)
        for one in found.rounds:
            held = last[: one.stop - one.start]
            np.maximum(held, marks[one], out=held)
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
