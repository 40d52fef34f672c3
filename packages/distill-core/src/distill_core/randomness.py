"""Numbers that follow from a key, never from the position of a stream: the hash that all randomness of a run is read off."""

from __future__ import annotations

import hashlib


def key_bits(*parts: object) -> int:
    """63 well-mixed bits of a key (BLAKE2b of its parts)."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def key_fraction(*parts: object) -> float:
    """A number in [0, 1) with 53 bits, the precision of a float64."""
    return (key_bits(*parts) >> 10) * 2.0**-53
