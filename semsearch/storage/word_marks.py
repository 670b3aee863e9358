"""Where texts hold the words of a query, as the keyword index sees them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from semsearch.storage.keywords import TOKENIZER, words_of
from semsearch.types import Span

# No character of any text: Unicode keeps these two for a program's own use.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_BLANKED = str.maketrans({_OPEN: " ", _CLOSE: " "})
_MARK = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


def word_spans(texts: Sequence[str], query: str) -> list[list[Span]]:
    """Where each text holds a word of a query, in any form with the same stem; ascending.

    FTS5 finds them, with the tokenizer of the keyword index, in a database of its own in memory.
    """
    found: list[list[Span]] = [[] for _ in texts]
    words = " OR ".join(f'"{word}"' for word in words_of(query))
    if not words:
        return found
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"CREATE VIRTUAL TABLE given USING fts5(body, tokenize='{TOKENIZER}')")
        database.executemany(
            "INSERT INTO given(rowid, body) VALUES (?, ?)",
            ((row, text.translate(_BLANKED)) for row, text in enumerate(texts)),
        )
        marked = "SELECT rowid, highlight(given, 0, ?, ?) FROM given WHERE given MATCH ?"
        for row, text in database.execute(marked, (_OPEN, _CLOSE, words)):
            found[row] = _spans(text)
    return found


def _spans(marked: str) -> list[Span]:
    """Each mark stands two characters further behind than what it marks did."""
    return [
        Span(match.start() - 2 * number, match.end() - 2 * (number + 1))
        for number, match in enumerate(_MARK.finditer(marked))
    ]
