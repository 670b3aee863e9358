"""Pictures: a file is a document. Here only its head is decoded; the rest when it is encoded."""

from __future__ import annotations

from semsearch import pictures
from semsearch.errors import InvalidArgument
from semsearch.sources.record import File, Record
from semsearch.types import Document, Reject


def read_picture(file: File) -> Record:
    """The document of a picture, or what is wrong with its file."""
    try:
        document = Document(file.id, text="", image=file.path, source=file.path)
        return Record(pictures.addressed(document), file.size)
    except InvalidArgument as error:
        reason = str(error).removeprefix(f"{file.path}: ")
        return Record(Reject(file.path, 0, reason), file.size)
