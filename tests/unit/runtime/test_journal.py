from __future__ import annotations

import zlib

import msgspec
import pytest

from adaptive_stream.runtime import journal
from adaptive_stream.runtime.journal import Checkpoint, Entry, Snapshotter

ENTRY = Entry(batch=7, cut_ms=5, ranges={"predictions": (3, 9)}, version="1", skipped={"feedback": [4]})


def checkpoint(batch: int) -> Checkpoint:
    return Checkpoint(batch=batch, positions={"predictions": 9}, first_waiting=None, directory={}, version="1")


def read_back(log: dict[bytes, bytes]) -> tuple[int, dict[str, bytes]]:
    """Read a compacted log as a restore does: the checkpoint, then the pages that it names, each checked."""
    newest = journal.decode_checkpoint(log[journal.CHECKPOINT_KEY])
    pages = {}
    for page, (slot, count, crc) in newest.directory.items():
        pages[page] = b"".join(log[journal.page_key(page, slot=slot, chunk=chunk)] for chunk in range(count))
        assert zlib.crc32(pages[page]) == crc
    return newest.batch, pages


def test_an_entry_and_a_checkpoint_come_back_as_they_were() -> None:
    assert journal.decode_entry(journal.encode(ENTRY)) == ENTRY
    assert journal.decode_checkpoint(journal.encode(checkpoint(3))) == checkpoint(3)


def test_an_entry_of_an_older_build_without_skipped_offsets_can_be_read() -> None:
    old = b'{"batch":1,"cut_ms":2,"ranges":{"feedback":[0,4]},"version":"0"}'
    assert journal.decode_entry(old) == Entry(batch=1, cut_ms=2, ranges={"feedback": (0, 4)}, version="0")


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\x00", journal.encode(ENTRY)[:-1]])
def test_bytes_that_are_not_an_entry_are_refused(damaged: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        journal.decode_entry(damaged)


def test_an_entry_is_tens_of_bytes() -> None:
    assert len(journal.encode(ENTRY)) < 150


def test_the_keys_of_entries_repeat_after_the_ring_so_that_compaction_bounds_the_topic() -> None:
    keys = {journal.entry_key(batch, ring=16) for batch in range(1, 1000)}
    assert len(keys) == 16
    assert journal.entry_key(3, ring=16) == journal.entry_key(19, ring=16)


def test_a_ring_of_another_size_overwrites_nothing_of_the_one_before() -> None:
    before = {journal.entry_key(batch, ring=4096) for batch in range(32_700, 32_852)}
    assert before.isdisjoint(journal.entry_key(batch, ring=1000) for batch in range(32_852, 33_002))


def test_a_page_is_cut_below_the_limit_and_an_empty_one_is_one_empty_chunk() -> None:
    assert list(journal.chunks(b"abcde", record_bytes=2)) == [b"ab", b"cd", b"e"]
    assert list(journal.chunks(b"abcd", record_bytes=2)) == [b"ab", b"cd"]
    assert list(journal.chunks(b"", record_bytes=2)) == [b""]


def test_a_snapshot_is_written_over_several_commits_and_complete_with_the_checkpoint() -> None:
    writer = Snapshotter({}, record_bytes=4)
    writer.begin({"a": b"0123456789", "b": b"", "head": b"h"}, checkpoint(5), every=["a", "b", "head"])
    log: dict[bytes, bytes] = {}
    commits = 0
    while not writer.is_idle:
        records, done = writer.due(4)
        assert sum(len(value) for key, value in records if key != journal.CHECKPOINT_KEY) <= 4
        assert (done is not None) == (journal.CHECKPOINT_KEY in dict(records))
        log |= dict(records)
        commits += 1
    assert commits > 2
    assert read_back(log) == (5, {"a": b"0123456789", "b": b"", "head": b"h"})
    assert writer.due(4) == ([], None)


def test_however_many_snapshots_there_were_one_is_held_and_two_of_each_page_are_in_the_log() -> None:
    pages = {f"p{number}": b"0123456789" for number in range(5)}
    writer, log = Snapshotter({}, record_bytes=4), {}
    for batch in range(1, 51):
        writer.begin({page: content + b"%d" % batch for page, content in pages.items()}, checkpoint(batch), every=pages)
        assert len(writer._queue) <= 5 * 3 + 1, "its pages, in chunks, and the checkpoint"
        while not writer.is_idle:
            log |= dict(writer.due(8)[0])
        assert not writer._queue
        assert writer.directory.keys() == pages.keys()
    assert len(log) == 2 * 5 * 3 + 1


def test_a_crash_between_any_two_chunks_leaves_the_former_checkpoint_whole() -> None:
    first = {"a": b"aaaaaa", "b": b"bbbb", "head": b"one"}
    second = {"a": b"AAAAAAAA", "head": b"two"}  # b did not change
    third = {"a": b"x", "b": b"BBBBBBBB", "c": b"c", "head": b"three"}
    wholes = [first, {**first, **second}, {**first, **second, **third}]
    writer, log = Snapshotter({}, record_bytes=2), {}
    for batch, pages in enumerate((first, second, third)):
        writer.begin(pages, checkpoint(batch), every=["a", "b", "head"])
        while not writer.is_idle:
            if batch:
                assert read_back(log) == (batch - 1, wholes[batch - 1])
            log |= dict(writer.due(2)[0])
        assert read_back(log) == (batch, wholes[batch])


def test_a_page_that_the_state_has_no_more_is_forgotten_and_readable_until_then() -> None:
    writer, log = Snapshotter({}, record_bytes=2), {}
    whole = {"a": b"aa", "g/0": b"gone", "head": b"1"}
    writer.begin(whole, checkpoint(1), every=["a", "g/0"])
    log |= dict(writer.due(100)[0])
    writer.begin({"head": b"two"}, checkpoint(2), every=["a"])
    log |= dict(writer.due(2)[0])
    assert read_back(log) == (1, whole)
    log |= dict(writer.due(100)[0])
    assert read_back(log) == (2, {"a": b"aa", "head": b"two"})
    writer.begin({"g/0": b"new", "head": b"3"}, checkpoint(3), every=["a", "g/0"])
    log |= dict(writer.due(2)[0])
    assert read_back(log) == (2, {"a": b"aa", "head": b"two"}), "it came back; what is complete stays readable"
    log |= dict(writer.due(100)[0])
    assert read_back(log) == (3, {"a": b"aa", "g/0": b"new", "head": b"3"})


def test_a_restored_directory_goes_on_in_the_other_slot() -> None:
    writer, log = Snapshotter({}, record_bytes=100), {}
    writer.begin({"a": b"old"}, checkpoint(1), every="a")
    log |= dict(writer.due(100)[0])
    restored = Snapshotter(journal.decode_checkpoint(log[journal.CHECKPOINT_KEY]).directory, record_bytes=100)
    restored.begin({"a": b"new"}, checkpoint(2), every="a")
    keys = [key for key, _ in restored.due(1)[0]]
    assert journal.page_key("a", slot=0, chunk=0) in log
    assert keys == [journal.page_key("a", slot=1, chunk=0), journal.CHECKPOINT_KEY]


def test_a_snapshot_starts_only_when_the_one_before_is_complete() -> None:
    writer = Snapshotter({}, record_bytes=1)
    writer.begin({"a": b"ab"}, checkpoint(1), every="a")
    writer.due(1)
    with pytest.raises(AssertionError, match="complete"):
        writer.begin({}, checkpoint(2), every="a")
