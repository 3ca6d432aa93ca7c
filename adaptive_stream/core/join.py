"""Feedback finds its prediction.

Owns the ring of predictions that wait, the feedback that came early, and the memory of what was seen. Never scores:
it says which feedback met which prediction. Called by the fleet, record by record where ids are concerned and by whole
arrays where numbers are.

Every consumed feedback has exactly one outcome at any time; ``early`` is a level, the others only grow.
"""

from __future__ import annotations

import hashlib
import zlib
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.stats.rows import Column, Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from adaptive_stream.config.tree import Join as JoinSettings
    from adaptive_stream.contracts.events import Feedback

Key = tuple[int, str]  # (model row, prediction id)

# one waiting prediction besides its features: columns 42 B, its key (a tuple and a string) 120 B, its entry in the
# index and in the list of keys 110 B; measured with tracemalloc at ids of 12 characters
BYTES_PER_PREDICTION = 272
LARGEST = float(np.finfo(np.float32).max)
PRINT = Column("print", "<u8")
REMEMBERED_PAGE_ROWS = 4096  # 32 KiB a page: many change by one row between two snapshots


class Outcome(IntEnum):
    """What became of a feedback. The number is its column in the models table."""

    JOINED = 0
    INLINE = 1
    EARLY = 2
    LATE = 3
    ORPHAN = 4
    DUPLICATE = 5
    CAPPED = 6


ANSWERED = 1  # some feedback met it
CORRECTED = 2  # a correction met it: later ones do not change the score


class Remembered:
    """The newest ``limit`` fingerprints, and whether one is among them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._set: set[int] = set()
        self.rows = Rows([PRINT], page_rows=REMEMBERED_PAGE_ROWS)
        self.count = 0
        self.cursor = 0  # the oldest, once the table is full
        self.forgotten = 0

    def __contains__(self, fingerprint: int) -> bool:
        return fingerprint in self._set

    def add(self, fingerprint: int) -> None:
        """Remember one; the oldest is forgotten when there are too many. O(1): the table grows by whole pages."""
        if fingerprint in self._set:
            return  # in the table once, so that to overwrite it is to forget it, and a restore finds the same
        if self.count < self._limit:
            row = self.count
            self.count += 1
            if row == self.rows.count:
                self.rows.extend(REMEMBERED_PAGE_ROWS)
        else:
            row = self.cursor
            self.cursor = (self.cursor + 1) % self._limit
            self._set.discard(int(self.rows.col["print"][row]))
            self.forgotten += 1
        self.rows.col["print"][row] = fingerprint
        self.rows.touch_page(row // REMEMBERED_PAGE_ROWS)
        self._set.add(fingerprint)

    def restore(self, *, count: int, cursor: int, forgotten: int) -> None:
        """Take over the cursors of a snapshot whose pages are loaded already; its limit may have been another."""
        held = self.rows.col["print"][:count]
        if count > self._limit or (cursor and count < self._limit):
            # the cursor goes round at the limit: what was kept under another one is laid out anew, the oldest first
            held = np.roll(held, -cursor)[-self._limit :]
            forgotten, cursor = forgotten + count - len(held), 0
            self._lay_out(held)
        self.count, self.cursor, self.forgotten = len(held), cursor, forgotten
        self._set = set(held.tolist())

    def _lay_out(self, prints: NDArray[np.uint64]) -> None:
        self.rows = Rows([PRINT], page_rows=REMEMBERED_PAGE_ROWS)
        self.rows.extend(-(-len(prints) // REMEMBERED_PAGE_ROWS) * REMEMBERED_PAGE_ROWS)
        self.rows.col["print"][: len(prints)] = prints


def feedback_print(model_id: str, feedback_id: str) -> int:
    """Return 64 bits of a feedback's identity. A false match would lose a feedback: 5e-14 at a million remembered."""
    digest = hashlib.blake2b(f"{model_id}\0{feedback_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def prediction_print(key: Key) -> int:
    """Return 64 cheap bits of a prediction's identity. A false match only calls an orphan late."""
    raw = key[1].encode()
    return zlib.crc32(raw, key[0]) << 32 | int.from_bytes(raw[-4:], "little")


class Join:
    """The waiting predictions of one fleet.

    Args:
        settings: the bounds.
        features: values of one prediction that are kept.
        grid_ms: between two looks; arrivals are remembered by the grid, which is all that an expiry needs.
    """

    def __init__(self, settings: JoinSettings, *, features: int, grid_ms: int) -> None:
        self._settings = settings
        self.window_ms = settings.window_s * 1000
        self._grid_ms = grid_ms
        self._features = features
        self.capacity = max(1, settings.max_bytes // (BYTES_PER_PREDICTION + 4 * features))
        self.head = 0  # sequence number of the oldest in the ring
        self.tail = 0  # of the next one
        self.keys: list[Key | None] = []  # ring like the columns
        self.index: dict[Key, int] = {}
        self.col: dict[str, NDArray[Any]] = {}
        self._size = 0
        self._grow(256)
        self.early: dict[
            int, tuple[int, Key, Feedback]
        ] = {}  # number > (since_ms, awaited, event), in order of arrival
        self.early_by_key: dict[Key, list[int]] = {}
        self.next_early = 0
        self.seen = Remembered(settings.max_feedback_ids)
        self.departed = Remembered(settings.max_feedback_ids)
        self.entities: dict[tuple[int, str], int] = {}
        self.entity_window = -1
        self.dropped = {
            "ring_evicted": 0,
            "never_labelled": 0,
            "early_evicted": 0,
            "entities_uncounted": 0,
            "duplicate_predictions": 0,
            "recorrected": 0,
            "waiting_lost": 0,
        }

    @property
    def size_bytes(self) -> int:
        """Return about how many bytes the waiting predictions hold."""
        return (self.tail - self.head) * (BYTES_PER_PREDICTION + 4 * self._features)

    # -- predictions ---------------------------------------------------------------------------------------------

    def reserve(self, count: int) -> None:
        """Make room in the columns for this many more, beside those that wait."""
        needed = self.tail - self.head + count
        if needed > self._size:
            self._grow(needed)

    def insert(self, key: Key) -> list[int]:
        """Note a prediction's id; its columns follow with ``write``. The caller has checked that it is not there.

        Returns:
            The rows of the models whose prediction had to leave for it without any feedback.
        """
        self.index[key] = self.tail
        self.keys[self.tail % self._size] = key
        self.tail += 1
        if self.tail - self.head <= self.capacity:
            return []
        self.dropped["ring_evicted"] += 1
        return self._leave(1)

    def overflow(self, count: int) -> int:
        """Return how many predictions would have to leave for so many more."""
        return max(0, self.tail - self.head + count - self.capacity)

    def insert_many(self, new: dict[Key, int]) -> list[int]:
        """Note the ids of many, as ``insert`` would one after the other.

        Args:
            new: ids that are not there, with the sequence numbers from ``tail`` on. At most as many leave for them as
                were there before.
        """
        leaving = self.overflow(len(new))
        self.index.update(new)
        _put(self.keys, self.tail, list(new))
        self.tail += len(new)
        self.dropped["ring_evicted"] += leaving
        return self._leave(leaving) if leaving else []

    def write(self, first: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Write the columns of the predictions from sequence number ``first`` on."""
        slots = np.arange(first, first + len(columns["offset"])) % self._size
        for name, values in columns.items():
            # the ring holds floats: beyond their range lies infinity
            self.col[name][slots] = values.clip(-LARGEST, LARGEST) if name == "features" else values

    def answer(self, sequence: int, *, flags: int) -> int:
        """Mark a prediction as answered. Returns its flags as they were."""
        slot = sequence % self._size
        before = int(self.col["flags"][slot])
        self.col["flags"][slot] = before | flags
        return before

    def expire(self, *, now_ms: int) -> list[int]:
        """Let go of what is older than the window. Returns as ``insert`` does."""
        # the whole grid cell of the arrival must be older than the window
        horizon = (now_ms - self.window_ms) // self._grid_ms
        if self.head == self.tail or self.col["arrival"][self.head % self._size] >= horizon:
            return []
        arrivals = self.col["arrival"][self.slots(np.arange(self.head, self.tail))]
        return self._leave(int(np.searchsorted(arrivals, horizon)))

    def _leave(self, count: int) -> list[int]:
        silent = []
        flags = self.col["flags"]
        for sequence in range(self.head, self.head + count):
            slot = sequence % self._size
            key = self.keys[slot]
            assert key is not None, "every place between head and tail holds a key"
            del self.index[key]
            self.keys[slot] = None
            self.departed.add(prediction_print(key))
            if not flags[slot]:
                silent.append(key[0])
            flags[slot] = 0
        self.head += count
        self.dropped["never_labelled"] += len(silent)
        return silent

    def slots(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of sequence numbers in the columns."""
        return sequences % self._size

    # -- feedback ------------------------------------------------------------------------------------------------

    def is_capped(self, row: int, entity: str, *, now_ms: int) -> bool:
        """Count one more feedback of an entity; say whether that is too often."""
        limit = self._settings.entity_limit
        if not limit:
            return False
        window = now_ms // (self._settings.entity_window_s * 1000)
        if window != self.entity_window:
            self.entities.clear()
            self.entity_window = window
        key = (row, entity)
        count = self.entities.get(key, 0)
        if count == 0 and len(self.entities) >= self._settings.max_entities:
            self.dropped["entities_uncounted"] += 1
            return False
        if count >= limit:
            return True
        self.entities[key] = count + 1
        return False

    def wait(self, key: Key, event: Feedback, *, since_ms: int) -> list[int]:
        """Keep feedback that came before its prediction. Returns the rows of those pushed out by it."""
        number = self.next_early
        self.next_early += 1
        self.early[number] = (since_ms, key, event)
        self.early_by_key.setdefault(key, []).append(number)
        pushed = []
        while len(self.early) > self._settings.max_early:
            self.dropped["early_evicted"] += 1
            pushed.append(self._forget(next(iter(self.early))))
        return pushed

    def arrived(self, key: Key) -> list[tuple[int, Feedback]]:
        """Take out the feedback that waited for this prediction, as (since_ms, event)."""
        numbers = self.early_by_key.pop(key, None)
        if not numbers:
            return []
        return [(since, event) for since, _, event in (self.early.pop(number) for number in numbers)]

    def expire_early(self, *, now_ms: int) -> list[int]:
        """Let go of early feedback that waited long enough. Returns the rows of their models."""
        horizon = now_ms - self._settings.early_window_s * 1000
        old = [number for number, (since, _, _) in self.early.items() if since < horizon]
        return [self._forget(number) for number in old]

    def _forget(self, number: int) -> int:
        _, key, _ = self.early.pop(number)
        numbers = self.early_by_key[key]
        numbers.remove(number)
        if not numbers:
            del self.early_by_key[key]
        return key[0]

    # -- memory --------------------------------------------------------------------------------------------------

    def _grow(self, needed: int) -> None:
        size = max(self._size, 256)
        while size < needed:
            size *= 2
        columns = {
            "offset": np.zeros(size, "<i8"),
            "time": np.zeros(size, "<i8"),
            "arrival": np.zeros(size, "<i8"),  # stream time when it came, in grid cells: never goes back
            "row": np.zeros(size, "<i4"),
            "series": np.zeros(size, "<i4"),
            "output": np.zeros(size, "<f8"),
            "flags": np.zeros(size, "|u1"),
            "features": np.zeros((size, self._features), "<f4"),
        }
        keys: list[Key | None] = [None] * size
        if self._size:
            sequences = np.arange(self.head, self.tail)
            for name, array in columns.items():
                array[sequences % size] = self.col[name][sequences % self._size]
            first = self.head % self._size
            _put(keys, self.head, (self.keys[first:] + self.keys[:first])[: len(sequences)])
        self.col, self.keys, self._size = columns, keys, size


def _put(ring: list[Key | None], first: int, keys: list[Key | None] | list[Key]) -> None:
    """Put keys into a ring from a sequence number on; there are at most as many as it has places."""
    start = first % len(ring)
    to_end = len(ring) - start
    ring[start : start + len(keys)] = keys[:to_end]
    rest = keys[to_end:]
    ring[: len(rest)] = rest
