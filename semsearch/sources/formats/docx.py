"""Word: a part for each section, which begins with a heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from semsearch.sources.formats.office import Paragraph, main_part, paragraphs, properties
from semsearch.sources.formats.package import (
    Package,
    attribute,
    local,
    named,
    unpacking,
)
from semsearch.sources.formats.part import Part, label, present, tidy

_BODY = 10  # levels of headings are 1 to 9
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)  # Word's own name in every language


def read_docx(path: str) -> Iterator[Part]:
    """The sections of a document, notes at its foot behind the last one.

    Raises:
        InvalidArgument: It cannot be read.
    """
    with unpacking(path) as package:
        main = main_part(package) or "word/document.xml"
        levels = _Levels(package, main)
        title, author = properties(package)
        found = []
        for paragraph in paragraphs(package.read(main)):
            if not title and levels.is_title(paragraph):
                title = label(paragraph.text)
            found.append((levels.of(paragraph), paragraph.text))
        for kind in ("footnotes", "endnotes"):
            for name in package.related(kind, main):
                found += [(_BODY, one.text) for one in paragraphs(package.read(name))]
    sections = [section for section in _sections(found) if section.text]
    for number, section in enumerate(sections, start=1):
        yield Part(
            text=tidy(section.text),
            title=title,
            metadata=present(
                {
                    "section": number,
                    "sections": len(sections),
                    "heading": section.heading,
                    "author": author,
                }
            ),
            fragment=f"section={number}",
            position=number,
            share=number / len(sections),
        )


@dataclass(slots=True)
class _Section:
    heading: str = ""
    lines: list[str] = field(default_factory=list)
    has_body: bool = False

    @property
    def text(self) -> str:
        return "\n\n".join(self.lines)


def _sections(found: list[tuple[int, str]]) -> Iterator[_Section]:
    """Cut at each heading that has a body before it: a heading alone is no section."""
    section = _Section()
    path: dict[int, str] = {}
    for level, text in found:
        if level < _BODY:
            if section.has_body:
                yield section
                section = _Section()
            path = {above: name for above, name in path.items() if above < level}
            path[level] = text
            section.heading = label(" > ".join(map(label, path.values())))
        section.lines.append(text)
        section.has_body |= level == _BODY
    yield section


class _Levels:
    """Which paragraphs are headings, by their style and the styles that it is based on."""

    def __init__(self, package: Package, main: str) -> None:
        self._styles: dict[str, dict[str, str]] = {}
        for part in package.related("styles", main):
            for style in named(package.xml(part), "style"):
                self._styles[attribute(style, "styleId")] = {
                    local(one.tag): attribute(one, "val") for one in style.iter()
                }

    def is_title(self, paragraph: Paragraph) -> bool:
        """Whether it has the style that Word calls Title."""
        return self._styles.get(paragraph.style, {}).get("name", "").lower() == "title"

    def of(self, paragraph: Paragraph) -> int:
        """Level of a heading, from 1 to 9; `_BODY` for other text."""
        outline, style, seen = paragraph.outline, paragraph.style, set[str]()
        while not outline and style in self._styles and style not in seen:
            seen.add(style)
            entry = self._styles[style]
            if heading := _HEADING.fullmatch(entry.get("name", "")):
                return int(heading[1])
            outline, style = entry.get("outlineLvl", ""), entry.get("basedOn", "")
        return int(outline) + 1 if re.fullmatch("[0-8]", outline) else _BODY
