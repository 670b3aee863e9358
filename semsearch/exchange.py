"""Latents of an index of pictures to a file and back, so that nothing is encoded twice.

A file says which pictures its latents are of, by their hashes, and the passport of the VAE and
size that made them. Trainers of image generators read such files, and write them.
"""

from __future__ import annotations

import numpy as np

from semsearch import ingest, pictures
from semsearch.errors import LatentSpaceMismatch
from semsearch.index import Index
from semsearch.latent_file import Latents, Picture
from semsearch.preparation import Item
from semsearch.reader import Reader, Where
from semsearch.types import Document


def export_latents(reader: Reader, where: Where | None = None) -> Latents:
    """The latents that an index keeps, named by the ids of their documents.

    Args:
        reader: An index of pictures. All that is exported is held in memory.
        where: Only documents that match, as in a search.

    Raises:
        InvalidArgument: It is no index of pictures, or the filter cannot be read.
    """
    space = reader.picture_encoder.latent_space
    ids = reader.ids(where)
    documents = [document for document in reader.get(ids) if document is not None]
    latents = reader.latents([document.id for document in documents])
    values = np.stack([*latents.values()]) if latents else np.empty((0, *space.shape))
    return Latents(space, values.astype(np.float32), tuple(map(_picture, documents)))


def _picture(document: Document) -> Picture:
    sizes = (document.metadata.get(name) for name in ("width", "height"))
    known = [size if isinstance(size, int) else 0 for size in sizes]
    return Picture(document.id, document.text.removeprefix(pictures.ADDRESS), *known)


def import_latents(index: Index, latents: Latents) -> ingest.IngestReport:
    """Add pictures by their latents, which are not encoded again; each id is the picture's name.

    What is in the index already stays as it is.

    An ingest of the same files under the same ids finds them unchanged, and adds their sources.

    Args:
        index: An index of pictures.
        latents: Of its VAE and size.

    Raises:
        LatentSpaceMismatch: They are of another space.
        InvalidArgument: It is no index of pictures.
        IndexLocked: Another process is writing.
    """
    encoder = index.picture_encoder
    if latents.space.fingerprint != encoder.latent_space.fingerprint:
        raise LatentSpaceMismatch(
            f"the latents are of {latents.space}, shape {latents.space.shape}; {index.path} keeps "
            f"those of {encoder.latent_space}, shape {encoder.latent_space.shape}: only latents of "
            "one VAE and size go together"
        )
    points = encoder.points_of(latents.values)
    items = (
        Item(_document(picture), points[row : row + 1], encoded=True)
        for row, picture in enumerate(latents.pictures)
    )
    return index.add_items(items, on_conflict="skip")


def _document(picture: Picture) -> Document:
    sizes = {"width": picture.width, "height": picture.height}
    return Document(picture.name, pictures.ADDRESS + picture.sha256, metadata=sizes)
