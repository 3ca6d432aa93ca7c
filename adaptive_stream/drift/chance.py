"""Chance that depends on nothing but whose event it is and its number: however events were batched, it is the same.

Owns the hash. Never keeps a generator. Called when events are sampled, ranks break ties and scores are rounded.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hash = NDArray[np.uint64]

_GOLDEN, _ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_SAMPLE = np.uint64(1 << 40)  # a lane that no stream has


def seed(key: tuple[str, ...]) -> int:
    """Return what stands for a key."""
    digest = hashlib.blake2b("\0".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mixed(x: Hash) -> Hash:
    """Return the finaliser of splitmix64, in place (Steele, Lea, Flood, OOPSLA 2014)."""
    spare = x >> _SHIFTS[0]
    x ^= spare
    x *= _FIRST
    np.right_shift(x, _SHIFTS[1], out=spare)
    x ^= spare
    x *= _SECOND
    np.right_shift(x, _SHIFTS[2], out=spare)
    x ^= spare
    return x


def uniforms(seeds: Hash, events: NDArray[np.int64], lanes: int) -> NDArray[np.float32]:
    """Return chance in (0, 1) of 16 bits for each event and lane; four lanes share one hash.

    Args:
        seeds: of the events' keys, any shape.
        events: their numbers, the same shape.
        lanes: wanted.

    Returns:
        Shape (..., lanes).
    """
    # mixed once before the lanes are added: neighbours in event and lane must not meet
    base = _mixed(seeds + events.astype(np.uint64) * _GOLDEN)
    quads = np.arange(1, -(-lanes // 4) + 1, dtype=np.uint64) * _ODD
    bits = _mixed(base[..., None] + quads).astype("<u8", copy=False).view("<u2")[..., :lanes]
    found = bits.astype(np.float32)
    found += np.float32(0.5)
    found *= np.float32(2.0**-16)
    return found


def even(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return a place in [0, 1) for each number: those of neighbours fill it evenly, as Weyl's sequence does."""
    bits = (numbers.astype(np.uint64) * _GOLDEN) >> np.uint64(40)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def places(seeds: Hash, events: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return where each event goes in a sample that keeps ``size`` of those so far, ``size`` and more for nowhere.

    Source:
        Vitter, "Random sampling with a reservoir", ACM TOMS 11, 1985, algorithm R.
    """
    bits = _mixed(_mixed(seeds + events.astype(np.uint64) * _GOLDEN) + _SAMPLE) >> np.uint64(11)
    drawn = (bits.astype(np.float64) * 2.0**-53 * (events + 1)).astype(np.int64)
    return np.where(events < size, events, drawn)
