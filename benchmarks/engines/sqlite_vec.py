"""sqlite-vec: a virtual table of SQLite; through apsw, for not every sqlite3 loads extensions."""

from pathlib import Path

import apsw
import sqlite_vec

from engines.base import Record, Vector, Where

_TABLE = """
CREATE VIRTUAL TABLE records USING vec0(
    vector float[{}] distance_metric=cosine, year integer, category text, +id text, +text text
)"""
_SEARCH = "SELECT id, text, year, category FROM records WHERE vector MATCH ? AND k = ?"


class Engine:
    package = "sqlite-vec"
    index = "vec0, exact; fields as metadata columns"
    knob = ""
    efforts = ()
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._database = apsw.Connection(str(folder / "records.sqlite"))
        self._database.enable_load_extension(True)
        self._database.load_extension(sqlite_vec.loadable_path())

    def build(self, records: list[Record], vectors: Vector) -> None:
        self._database.execute(_TABLE.format(vectors.shape[1]))
        rows = (
            (vector.tobytes(), one.year, one.category, one.id, one.text)
            for one, vector in zip(records, vectors, strict=True)
        )
        with self._database:
            self._database.executemany(
                "INSERT INTO records(vector, year, category, id, text) VALUES (?, ?, ?, ?, ?)", rows
            )

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        sql, parameters = _SEARCH, [vector.tobytes(), k]
        if where is not None:
            sql += f" AND {where.field} = ?"
            parameters.append(where.value)
        return [Record(*row) for row in self._database.execute(sql, parameters)]

    def close(self) -> None:
        self._database.close()
