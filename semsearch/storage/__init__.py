"""Files of an index: SQLite catalog, Arrow segments, writer lock."""
