"""The files of the web page, as they are sent: HTML, CSS and JavaScript modules, not built."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "files"
"""Where they lie."""
