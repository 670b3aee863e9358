"""What is kept of the words asked for in one commit, so that SQLite ranks each of them once."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from semsearch.storage.keywords import Matches

_BYTES_KEPT = 32 * 2**20

_BYTES_OF_A_WORD = 500
"""What a word takes beside its letters and its matches."""


class WordScores:
    """The matches of single words; forgotten with the commit, of which they are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Matches] = OrderedDict()
        self._bytes = 0

    def of(
        self, words: Iterable[str], look_up: Callable[[Sequence[str]], Sequence[Matches]]
    ) -> dict[str, Matches]:
        """The matches of each word; only those that are not kept are looked up.

        Words that were not asked for longest go for new ones.
        """
        wanted = dict.fromkeys(words)
        with self._lock:
            found = {word: self._kept[word] for word in wanted if word in self._kept}
            for word in found:
                self._kept.move_to_end(word)
        missing = [word for word in wanted if word not in found]
        if missing:
            new = dict(zip(missing, look_up(missing), strict=True))
            self._keep(new)
            found |= new
        return found

    def _keep(self, new: dict[str, Matches]) -> None:
        with self._lock:
            for word, matches in new.items():
                if word not in self._kept:  # another thread may have been quicker
                    self._kept[word] = matches
                    self._bytes += _size(word, matches)
            while self._bytes > _BYTES_KEPT:
                self._bytes -= _size(*self._kept.popitem(last=False))


def _size(word: str, matches: Matches) -> int:
    return sys.getsizeof(word) + matches.keys.nbytes + matches.scores.nbytes + _BYTES_OF_A_WORD
