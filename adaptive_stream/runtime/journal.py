"""What the state topic holds: the journal of batches, the pages of a snapshot, and the checkpoint that names them.

Owns the keys and the bytes of the state topic. Never reads or writes Kafka. Called by the task (to write) and by the
restore (to read). docs/decisions/journal.md says why the state itself is not a changelog.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMAT = 1
CHECKPOINT_KEY = b"checkpoint"
JOURNAL_PREFIX = b"journal/"
PAGE_PREFIX = b"page/"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One batch: which records, in which order, by which build.

    ``ranges`` maps an input to its first and next offset, equal where it goes on behind records that retention took;
    ``skipped`` names the offsets on which the step failed; ``passed`` is where an input goes on when nothing but
    markers of transactions lies behind what was stepped; ``is_look`` says that a batch without records looked for
    silence.
    """

    batch: int
    cut_ms: int
    ranges: dict[str, tuple[int, int]]
    version: str
    skipped: dict[str, list[int]] = {}
    passed: dict[str, int] = {}
    is_look: bool = True
    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The newest complete snapshot: the state after ``batch``.

    ``positions`` maps an input to its next offset; ``first_waiting`` is the offset of the oldest prediction that still
    waits; ``directory`` maps a page to (slot, chunks, crc32 of the whole page).
    """

    batch: int
    positions: dict[str, int]
    first_waiting: int | None
    directory: dict[str, tuple[int, int, int]]
    version: str
    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT


_encoder = msgspec.json.Encoder()
_entry_decoder = msgspec.json.Decoder(Entry)
_checkpoint_decoder = msgspec.json.Decoder(Checkpoint)


def encode(value: Entry | Checkpoint) -> bytes:
    """Return the bytes of an entry or a checkpoint; JSON, so that an operator can read them."""
    return _encoder.encode(value)


def decode_entry(value: bytes) -> Entry:
    """Return the entry. Raises msgspec.ValidationError when the bytes are not one."""
    return _entry_decoder.decode(value)


def decode_checkpoint(value: bytes) -> Checkpoint:
    """Return the checkpoint. Raises msgspec.ValidationError when the bytes are not one."""
    return _checkpoint_decoder.decode(value)


def entry_key(batch: int, *, ring: int) -> bytes:
    """Return the key of a batch's entry: a ring, so that compaction keeps the newest ``ring`` entries at most.

    A ring of another size has keys of its own: it must not overwrite what the last checkpoint still needs.
    """
    return JOURNAL_PREFIX + f"{ring}/{batch % ring}".encode()


def page_key(page: str, *, slot: int, chunk: int) -> bytes:
    """Return the key of one chunk of a page in one of its two slots."""
    return PAGE_PREFIX + f"{page}/{slot}/{chunk}".encode()


def chunks(page: bytes, *, record_bytes: int) -> Iterator[bytes]:
    """Cut a page into records below the broker's limit; an empty page is one empty chunk."""
    for start in range(0, max(len(page), 1), record_bytes):
        yield page[start : start + record_bytes]


class Snapshotter:
    """Write a snapshot over several commits, so that no commit's cost depends on the size of the state.

    A page alternates between two slots: while a new snapshot is on its way, the pages of the last complete one stay
    readable, and a crash between two chunks leaves the old checkpoint whole.

    Args:
        directory: of the last complete checkpoint.
        record_bytes: most bytes of one chunk.
    """

    def __init__(self, directory: Mapping[str, tuple[int, int, int]], *, record_bytes: int) -> None:
        self.directory = dict(directory)
        self._record_bytes = record_bytes
        self._queue: list[tuple[bytes, bytes]] = []
        self._next = 0
        self._checkpoint: Checkpoint | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no snapshot is on its way."""
        return self._checkpoint is None

    def begin(self, pages: Mapping[str, bytes], checkpoint: Checkpoint, *, every: Iterable[str]) -> None:
        """Queue the changed pages; ``checkpoint`` follows them, its directory completed here.

        Args:
            pages: that changed.
            checkpoint: of the same state.
            every: page that the state has; what the last checkpoint had beside them is forgotten.
        """
        assert self.is_idle, "a snapshot starts when the one before is complete"
        kept = {*every, *pages}
        directory = {page: place for page, place in self.directory.items() if page in kept}
        for page, content in pages.items():
            slot = 1 - directory[page][0] if page in directory else 0
            parts = list(chunks(content, record_bytes=self._record_bytes))
            directory[page] = (slot, len(parts), zlib.crc32(content))
            self._queue.extend((page_key(page, slot=slot, chunk=i), part) for i, part in enumerate(parts))
        self._checkpoint = msgspec.structs.replace(checkpoint, directory=directory)

    def due(self, max_bytes: int) -> tuple[list[tuple[bytes, bytes]], Checkpoint | None]:
        """Return the next records to write, about ``max_bytes`` of them, and the checkpoint if they complete it."""
        start, size = self._next, 0
        while self._next < len(self._queue) and size < max_bytes:
            size += len(self._queue[self._next][1])
            self._next += 1
        records = self._queue[start : self._next]
        checkpoint = self._checkpoint
        if checkpoint is None or self._next < len(self._queue):
            return records, None
        self.directory = dict(checkpoint.directory)
        self._queue, self._next, self._checkpoint = [], 0, None
        return [*records, (CHECKPOINT_KEY, encode(checkpoint))], checkpoint
