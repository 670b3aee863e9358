"""PowerPoint: a part for each slide, its notes included."""

from __future__ import annotations

from collections.abc import Iterator

from semsearch.sources.formats.office import main_part, paragraphs, properties
from semsearch.sources.formats.package import Package, named, unpacking
from semsearch.sources.formats.part import Part, label, present, tidy

_BESIDE = ("diagramData", "notesSlide")


def read_pptx(path: str) -> Iterator[Part]:
    """The slides that hold text, in the order in which they are shown.

    Raises:
        InvalidArgument: It cannot be read.
    """
    with unpacking(path) as package:
        slides = _slides(package)
        title, author = properties(package)
        for number, slide in enumerate(slides, start=1):
            heading, text = _slide(package, slide)
            if not text:
                continue
            yield Part(
                text=text,
                title=title,
                metadata=present(
                    {"slide": number, "slides": len(slides), "heading": heading, "author": author}
                ),
                fragment=f"slide={number}",
                position=number,
                share=number / len(slides),
            )


def _slides(package: Package) -> list[str]:
    main = main_part(package) or "ppt/presentation.xml"
    relations = package.relations(main)
    slides = (set(one.attrib.values()) for one in named(package.xml(main), "sldId"))
    return [relations[id].part for ids in slides for id in ids & relations.keys()]


def _slide(package: Package, slide: str) -> tuple[str, str]:
    """Title and text of a slide; SmartArt and notes stand in parts of their own."""
    found = list(paragraphs(package.read(slide)))
    heading = " ".join(one.text for one in found if one.style == "title")
    beside = [name for kind in _BESIDE for name in package.related(kind, slide)]
    blocks = [found, *(list(paragraphs(package.read(name))) for name in beside)]
    text = "\n\n".join("\n".join(one.text for one in block) for block in blocks)
    return label(heading), tidy(text)
