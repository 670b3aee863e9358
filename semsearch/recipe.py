"""How the vector index of a new segment is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from semsearch.errors import StorageError
from semsearch.vectors import KINDS, backend, kind_for
from semsearch.vectors.base import TARGET_RECALL, Report, unreported
from semsearch.view import LiveSegment


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the vector index of a new segment is made.

    Attributes:
        kind: A kind of vector index, or for `optimize` "auto".
        target_recall: What an approximate kind is tuned for.
        memory: Bytes that "auto" may count on; see `kind_for`.
        report: Told how far a build is.
    """

    kind: str
    target_recall: float = TARGET_RECALL
    memory: float | None = None
    report: Report = unreported

    @classmethod
    def of_largest(cls, segments: Sequence[LiveSegment]) -> Recipe:
        """The one that the largest of some segments was made by, as far as its file tells."""
        largest = max(segments, key=lambda live: live.live)
        if largest.row.kind in KINDS:
            return cls(largest.row.kind, _target_of(largest))
        return cls("auto").chosen([largest])

    def chosen(self, segments: Sequence[LiveSegment]) -> Recipe:
        """This one, with the kind that "auto" stands for in a segment made of these."""
        if self.kind != "auto" or not segments:
            return self
        rows = sum(live.live for live in segments)
        dim = segments[0].file.data.vectors.shape[1]
        return replace(self, kind=kind_for(rows, dim, self.target_recall, self.memory))

    def makes(self, live: LiveSegment) -> bool:
        """Whether a segment is what it would make."""
        if live.row.kind != self.kind:
            return False
        if not backend(self.kind).derived:
            return True
        try:
            index = live.file.load_derived(live.file.data)
        except StorageError:
            return False
        return index.exact or index.facts().parameters.get("target recall") == self.target_recall


EXACT = Recipe("exact")


def _target_of(live: LiveSegment) -> float:
    return float(live.file.facts().parameters.get("target recall", TARGET_RECALL))
