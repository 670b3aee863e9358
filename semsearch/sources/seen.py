"""Where each id was first met, for millions of ids in little memory."""

from __future__ import annotations

from array import array

_FIRST_SLOTS = 1024
_POSITION_BITS = 40


class FirstSeen:
    """A hash table of 64-bit digests in flat arrays: 34 MB for a million ids.

    A dict of the ids and their places would take about 200 MB. Two different ids are taken for
    one with probability n**2 / 2**65: 3e-8 for a million.
    """

    def __init__(self) -> None:
        self._digests = array("q", bytes(8 * _FIRST_SLOTS))
        self._places = array("q", bytes(8 * _FIRST_SLOTS))
        self._count = 0

    def first(self, id: str, source: int, position: int) -> tuple[int, int] | None:
        """Remember an id.

        Args:
            id: The id.
            source: Number of the source, below 2**23.
            position: Position in the source, below 2**40.

        Returns:
            None when the id is new, else source and position of its first appearance.
        """
        digest = hash(id) or 1  # 0 marks a free slot
        slot = self._slot(digest)
        if self._digests[slot]:
            place = self._places[slot]
            return place >> _POSITION_BITS, place & (1 << _POSITION_BITS) - 1
        self._digests[slot] = digest
        self._places[slot] = source << _POSITION_BITS | position
        self._count += 1
        if self._count * 5 > len(self._digests) * 3:
            self._grow()
        return None

    def _slot(self, digest: int) -> int:
        digests, mask = self._digests, len(self._digests) - 1
        slot = digest & mask
        while digests[slot] not in (0, digest):
            slot = slot + 1 & mask
        return slot

    def _grow(self) -> None:
        old = zip(self._digests, self._places, strict=True)
        size = 16 * len(self._digests)
        self._digests, self._places = array("q", bytes(size)), array("q", bytes(size))
        for digest, place in old:
            if digest:
                slot = self._slot(digest)
                self._digests[slot], self._places[slot] = digest, place
