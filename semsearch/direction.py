"""A direction in a latent space: what pictures of one kind have, and those of another have not."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import InvalidArgument


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """What leads from pictures of one kind to those of another, fitted from examples.

    Attributes:
        latent: `(size,)` float32: added to a latent once, it leads from the mean of the negative
            examples to that of the positive ones.
        auc: Of examples that were held out, how often a positive one lies further along the
            direction than a negative one: 1 always, 0.5 by chance.
        positive: How many examples there were.
        negative: Likewise.
    """

    latent: NDArray[np.float32]
    auc: float
    positive: int
    negative: int

    def to_json(self) -> str:
        """Serialise for the catalog."""
        content = base64.b64encode(self.latent.astype("<f4").tobytes()).decode()
        facts = {"auc": self.auc, "positive": self.positive, "negative": self.negative}
        return json.dumps({"latent": content, **facts})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidArgument: The text is not a direction.
        """
        try:
            raw = json.loads(text)
            latent = np.frombuffer(base64.b64decode(raw.pop("latent")), "<f4")
            return cls(latent.astype(np.float32), **raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidArgument(f"not a direction: {text[:80]!r}") from error
