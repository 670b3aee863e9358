"""The numbers by which SQLite recognises a catalog of ours."""

from __future__ import annotations

APPLICATION_ID = 0x53454D53
"""`PRAGMA application_id` of every catalog: "SEMS"."""

FORMAT_VERSION = 3
"""`PRAGMA user_version`: raised whenever an older semsearch could misread the directory."""

KEYWORDS_SINCE = 2
"""The first format with a keyword index."""
