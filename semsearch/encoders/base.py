"""What the engine asks of an encoder; see `text.py` for the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError
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
