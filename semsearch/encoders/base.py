"""What the engine asks of encoders: of texts (see `text.py`) and of pictures (`picture.py`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError
from semsearch.pictures import Pixels
from semsearch.points import Points
from semsearch.types import LatentSpace


class TruncationWarning(UserWarning):
    """A query has more tokens than the encoder reads; it was encoded from its beginning."""


class RuntimeFallbackWarning(UserWarning):
    """The fast runtime cannot run this model here; it is run by a slower one."""


class NotConvertible(BackendError):
    """The fast runtime cannot run this model, or not with the same vectors."""


@runtime_checkable
class Encoder(Protocol):
    """Maps texts to points of one latent space.

    While documents are added, one thread counts and two encode; what cannot bear that keeps a lock.

    Attributes:
        name: What `semsearch.encoders.load(name)` takes to get this encoder again.
        space: Passport of the space; must be cheap (no model is loaded to read it).
        max_tokens: Longest input, in tokens with the special ones, that is encoded whole.
    """

    @property
    def name(self) -> str:
        """What `load` takes."""
        ...

    @property
    def space(self) -> LatentSpace:
        """The passport."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest input."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document: special ones and the model's prompt included."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode passages, `(n, dim)` float32, unit length, in the order given.

        Raises:
            TextTooLong: A text has more than `max_tokens` tokens.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode queries, `(n, dim)` float32, unit length, in the order given.

        Warns:
            TruncationWarning: A query has more than `max_tokens` tokens; the rest was not read.
        """
        ...


@runtime_checkable
class PictureEncoder(Protocol):
    """Maps pictures to points of one latent space, and their latents back to pictures.

    While they are added, one thread prepares and two encode; what cannot bear that keeps a lock.

    Attributes:
        name: What `semsearch.encoders.load(name)` takes to get this encoder again.
        space: Passport of the space, of modality "image"; must be cheap.
    """

    @property
    def name(self) -> str:
        """What `load` takes."""
        ...

    @property
    def space(self) -> LatentSpace:
        """The passport; its `latent` is the shape of what is decoded."""
        ...

    @property
    def latent_space(self) -> LatentSpace:
        """The passport of the latents, from which the vectors are made."""
        ...

    def points_of(self, latents: NDArray[np.float32]) -> Points:
        """The points of latents, `(n, *latent_space.shape)`; vectors of unit length."""
        ...

    def prepared(self, picture: Pixels) -> Pixels:
        """A picture of any size as it is encoded: `(height, width, 3)` uint8, all of one size."""
        ...

    def encode_pictures(self, prepared: Sequence[Pixels]) -> Points:
        """Encode pictures that were prepared, in the order given; vectors of unit length."""
        ...

    def decode(self, latents: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """Decode `(n, size)` latents to pictures: `(n, height, width, 3)` uint8 in RGB."""
        ...


AnyEncoder = Encoder | PictureEncoder
"""Of texts or of pictures: its `space.modality` says which."""

PICTURES = "vae"
"""An encoder's name is of pictures when it is this, or begins with it and a colon or an @."""


def of_pictures(name: object) -> bool:
    """Whether a name is that of an encoder of pictures."""
    return isinstance(name, str) and re.split("[:@]", name, maxsplit=1)[0] == PICTURES
