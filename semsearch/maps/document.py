"""A map as one HTML file that needs nothing else, not even a server."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from semsearch.maps import Map
from semsearch.page import FOLDER
from semsearch.types import Hit

_LONGEST = 1000  # characters of a passage in the file


def write_document(drawn: Map, path: Path, name: str) -> None:
    """Write an HTML file in which one can look around, point at passages, and find words.

    Args:
        drawn: The map.
        path: The file.
        name: Title of the page.

    Raises:
        OSError: The file cannot be written.
    """
    style = _read("map.css")
    script = _read("scatter.js").replace("export class", "class") + _read("standalone.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    parts = {
        "POLICY": policy,
        "NAME": html.escape(name),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _in_script(_data(drawn)),
    }
    page = re.sub("%([A-Z]+)%", lambda place: parts[place[1]], _read("standalone.html"))
    path.write_text(page, encoding="utf-8")


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _data(drawn: Map) -> dict[str, Any]:
    return {
        "total": drawn.sample.total,
        "x": drawn.points[:, 0].round(5).tolist(),
        "y": drawn.points[:, 1].round(5).tolist(),
        "topics": [asdict(topic) for topic in drawn.topics],
        "noun": drawn.sample.noun,
        "passages": [_told(hit, drawn.sample.text(hit)) for hit in drawn.sample.passages],
    }


def _told(hit: Hit, text: str) -> dict[str, Any]:
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    return {"id": hit.id, "title": hit.title, "text": short, "metadata": hit.metadata}


def _in_script(data: Any) -> str:
    """JSON that ends no script element, whatever the texts say."""
    return json.dumps(data, ensure_ascii=False, default=float).replace("<", "\\u003c")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
