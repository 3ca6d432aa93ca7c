"""How deep a body is nested, told from its bytes before anything is built from them.

Owns the two scans, one for each format. Never raises: what is malformed is left to the decoder. Called by the codec.
"""

from __future__ import annotations

import re

_JSON_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # possessive: linear in the body, whatever it holds
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_SQUARE = bytes(set(range(256)) - set(b"[]"))
_NOT_CONTAINER = bytes(set(range(256)) - set(range(0x80, 0xA0)) - {0xDC, 0xDD, 0xDE, 0xDF})

# MessagePack: how many bytes an item takes when its first byte says so, else 0
_SIZES = (
    [1] * 0x80  # small integers
    + [0] * 0x20  # small maps and arrays
    + [1 + length for length in range(0x20)]  # short strings
    + [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]  # nil, unused, booleans; binary; extensions
    + [5, 9, 2, 3, 5, 9, 2, 3, 5, 9]  # floats, unsigned and signed integers
    + [3, 4, 6, 10, 18]  # extensions of fixed size
    + [0] * 7  # strings, arrays, maps
    + [1] * 0x20  # small negative integers
)
# ... and, where a length follows the first byte: (bytes of the length, bytes of an extension's type)
_LENGTHS = {
    0xC4: (1, 0),
    0xC5: (2, 0),
    0xC6: (4, 0),  # bytes
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),  # extensions
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),  # texts
}
# ... and containers: (bytes of the length after the first byte, items per entry)
_CONTAINERS = {
    **dict.fromkeys(range(128, 144), (0, 2)),
    **dict.fromkeys(range(144, 160), (0, 1)),
    0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2),
}  # fmt: skip
_DOUBLE = 0xCB
_DOUBLES = re.compile(rb"(?:\xcb.{8})+", re.DOTALL)
_NOTHING = -1  # an empty container, which still counts as a layer


def is_json_deeper(body: bytes, limit: int) -> bool:
    """Tell whether arrays and objects stand more than ``limit`` deep in a JSON body."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    brackets = _JSON_TEXT.sub(b"", body).translate(_AS_SQUARE, b"").translate(None, _NOT_SQUARE)
    for _ in range(limit):  # each round takes off the innermost layer
        brackets = brackets.replace(b"[]", b"")
    return b"[]" in brackets or brackets.count(b"[") > limit


def is_msgpack_deeper(body: bytes, limit: int) -> bool:
    """Tell whether arrays and maps stand more than ``limit`` deep in a MessagePack body."""
    if len(body.translate(None, _NOT_CONTAINER)) <= limit:
        return False
    open_items: list[int] = []  # of each container that is not complete
    place, end = 0, len(body)
    while place < end:
        first = body[place]
        size, opened, items = _SIZES[first], 0, 1
        if first == _DOUBLE and open_items:
            run = _DOUBLES.match(body, place)  # features come as one long run: step over it at once
            items = min((run.end() - place) // size, open_items[-1]) if run else 1
            place += items * size
        elif size:
            place += size
        elif first in _LENGTHS:
            width, extra = _LENGTHS[first]
            place += 1 + width + extra + int.from_bytes(body[place + 1 : place + 1 + width])
        else:
            width, per_entry = _CONTAINERS[first]
            length = int.from_bytes(body[place + 1 : place + 1 + width]) if width else first & 0x0F
            opened = per_entry * length or _NOTHING
            place += 1 + width
        if open_items:
            open_items[-1] -= items
        if opened:
            open_items.append(max(opened, 0))
            if len(open_items) > limit:
                return True
        while open_items and open_items[-1] == 0:
            open_items.pop()
    return False
