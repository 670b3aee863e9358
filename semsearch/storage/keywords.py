"""The keyword index inside the catalog: SQLite's FTS5, ranked by BM25.

A query is a bag of words: a passage matches if it holds one of them, in its text or its title, in
any form that has the same stem. Nothing in a query is an operator.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semsearch.stopwords import STOP_WORDS

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""What words are to the keyword index: runs of letters and digits, by their stems."""

MOST_WORDS = 1000
"""Different words of a query that are looked up; of a longer one the first."""

TITLE_WEIGHT = 2.0
"""What a word in the title counts, when one in the text counts 1 (measured: decision 0009)."""

_AT_ONCE = 16  # words that SQLite ranks in one statement
_K1 = 1.2
_LEAST_IDF = 1e-6
_DIGITS = 14  # that a score has: those beyond depend on the order in which words are added up
_WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")  # with the accents that NFC leaves


class Matches(NamedTuple):
    """Passages that hold a word of a query: keys ascending, and the BM25 score of each, above 0."""

    keys: NDArray[np.int64]
    scores: NDArray[np.float64]

    def scores_of(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """The scores of any passages, 0 of those that hold no word; there must be one that does."""
        rows = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[rows] == keys, self.scores[rows], 0.0)

    def among(self, keys: NDArray[np.int64]) -> Matches:
        """Those with one of these keys."""
        kept = np.isin(self.keys, keys)
        return Matches(self.keys[kept], self.scores[kept])


def words_of(query: str) -> list[str]:
    """The different words of a query that are looked up, in its order.

    Common English words are left out, unless there are no others.
    """
    # As they are spelt: FTS5 folds case by an older Unicode than Python's.
    found = {word.lower(): word for word in _WORD.findall(unicodedata.normalize("NFC", query))}
    rarer = [word for lower, word in found.items() if lower not in STOP_WORDS]
    return (rarer or list(found.values()))[:MOST_WORDS]


def scores(connection: sqlite3.Connection, words: Sequence[str]) -> Iterator[Matches]:
    """All passages that hold a word, for each of several words."""
    for at in range(0, len(words), _AT_ONCE):
        query = json.dumps([f'"{word}"' for word in words[at : at + _AT_ONCE]])
        (found,) = connection.execute(_SCORES, (query,)).fetchone()
        for keys, scores in json.loads(found):
            yield Matches(np.array(keys, np.int64), np.array(scores, np.float64))


def together(words: Sequence[Matches]) -> Matches:
    """All passages that hold one of several words: a BM25 score is the sum over the words."""
    if not words:
        return Matches(np.empty(0, np.int64), np.empty(0, np.float64))
    keys, where = np.unique(np.concatenate([word.keys for word in words]), return_inverse=True)
    sums = np.bincount(where, np.concatenate([word.scores for word in words]), len(keys))
    mantissas, exponents = np.frexp(sums)
    return Matches(keys, np.ldexp(np.round(mantissas, _DIGITS), exponents))


def norm(words: Sequence[Matches], passages: int) -> float:
    """Length of a query as a vector of what each word contributes at most; above 0.

    That is (k1 + 1) times its inverse document frequency, as FTS5 computes it (https://sqlite.org/fts5.html#the_bm25_function).
    """
    counts = np.array([len(word.keys) for word in words], np.float64)
    idf = np.maximum(_LEAST_IDF, np.log((passages - counts + 0.5) / (counts + 0.5)))
    return float((_K1 + 1) * np.linalg.norm(idf))


def create(connection: sqlite3.Connection) -> None:
    """Make the index, and fill it with the chunks that are there."""
    for statement in _INDEX:
        connection.execute(statement)
    rebuild(connection)


def insert(connection: sqlite3.Connection, keys: str) -> None:
    """Take in chunks, whose rows and documents are there already; `keys` is a JSON list."""
    connection.execute(_INSERT, {"keys": keys})


def delete(connection: sqlite3.Connection, keys: str) -> None:
    """Take out chunks, whose rows and documents are still as they were taken in."""
    connection.execute(_DELETE, {"keys": keys})


def rebuild(connection: sqlite3.Connection) -> None:
    """Make it anew from the texts."""
    connection.execute("INSERT INTO keywords(keywords) VALUES ('rebuild')")


def merge(connection: sqlite3.Connection) -> None:
    """Make it as small and as quick as it gets; drops what is left of deleted texts."""
    connection.execute("INSERT INTO keywords(keywords) VALUES ('optimize')")


def agrees(connection: sqlite3.Connection) -> bool:
    """Whether it holds exactly the words of all passages, by building another beside it.

    FTS5's own 'integrity-check' would need the right to write, and keep writers waiting.
    """
    for statement in _FRESH:
        connection.execute(statement)
    try:
        return all(_equal(connection, query) for query in _COMPARED)
    finally:
        for table in ("fresh_words", "stored_words", "fresh"):
            connection.execute(f"DROP TABLE temp.{table}")


def _equal(connection: sqlite3.Connection, queries: tuple[str, str]) -> bool:
    stored, fresh = map(connection.execute, queries)
    return all(left == right for left, right in zip_longest(stored, fresh))


# The keyword index, since format 2: one row for each chunk, under its key. Its text is not stored
# again: FTS5 reads it through the view to rebuild, and a writer when it takes a chunk out.
_INDEX = (
    """
    CREATE VIEW passages AS
    SELECT chunks.key AS key, documents.title AS title, chunks.piece AS body
    FROM chunks JOIN documents ON documents.key = chunks.document
    """,
    f"""
    CREATE VIRTUAL TABLE keywords USING fts5(
        title, body, content='passages', content_rowid='key',
        tokenize='{TOKENIZER}'
    )
    """,
)
"""Statements that make it: https://sqlite.org/fts5.html#external_content_tables."""

# One row of all: between two rows Python's lock is given away, and a busy server gets it back late.
_SCORES = (
    "SELECT '[' || group_concat((SELECT json_array(json_group_array(key), json_group_array(score)) "
    f"FROM (SELECT rowid AS key, -bm25(keywords, {TITLE_WEIGHT}, 1.0) AS score FROM keywords "
    "WHERE keywords MATCH word.value ORDER BY rowid LIMIT -1))) || ']' FROM json_each(?) AS word"
)
_INSERT = (
    "INSERT INTO keywords(rowid, title, body) "
    "SELECT key, title, body FROM passages WHERE key IN (SELECT value FROM json_each(:keys))"
)
_DELETE = (
    "INSERT INTO keywords(keywords, rowid, title, body) "
    "SELECT 'delete', key, title, body FROM passages "
    "WHERE key IN (SELECT value FROM json_each(:keys))"
)
_FRESH = (
    f"CREATE VIRTUAL TABLE temp.fresh USING fts5(title, body, content='', tokenize='{TOKENIZER}')",
    "INSERT INTO temp.fresh(rowid, title, body) SELECT key, title, body FROM main.passages",
    "CREATE VIRTUAL TABLE temp.stored_words USING fts5vocab('main', 'keywords', 'instance')",
    "CREATE VIRTUAL TABLE temp.fresh_words USING fts5vocab('temp', 'fresh', 'instance')",
)
_COMPARED = (
    ("SELECT * FROM temp.stored_words", "SELECT * FROM temp.fresh_words"),
    (
        "SELECT id, sz FROM main.keywords_docsize ORDER BY id",
        "SELECT id, sz FROM temp.fresh_docsize ORDER BY id",
    ),
    (  # number of rows and of words: what BM25 takes for the average length; of none, no matter
        "SELECT block FROM main.keywords_data WHERE id = 1 AND EXISTS (SELECT 1 FROM chunks)",
        "SELECT block FROM temp.fresh_data WHERE id = 1 AND EXISTS (SELECT 1 FROM chunks)",
    ),
)
