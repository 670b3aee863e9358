"""Readers: files, folders, tables and standard input become documents and rejects."""

from semsearch.sources.plan import Sources
from semsearch.sources.record import Record

__all__ = ["Record", "Sources"]
